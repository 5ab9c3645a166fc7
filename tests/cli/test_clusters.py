from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from gateway.cli import main
from gateway.clock import SystemClock
from gateway.settings import Settings
from gateway.standing import open_standing
from gateway.types import Level, Verdict
from tests.redis_server import free_port

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(params=["files", "redis"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> list[str]:
    """The options that name a store with two clusters in it, one merged into a third."""
    if request.param == "redis":
        url = request.getfixturevalue("redis_url")
        options, settings = ["--redis", url], Settings(redis=url)
    else:
        options, settings = ["--state-dir", str(tmp_path)], Settings(state_dir=tmp_path)
    now_s = time.time()
    verdicts = [
        Verdict(
            cluster=name,
            level=level,
            members=members,
            decided_at=now_s + number,
            expires_at=now_s + 1e6,
            reasons=(f"{len(members)} accounts, one template",),
            replaces=replaces,
            evidence=({"family": "content", "e_value": 2e7},),
        )
        for number, (name, level, members, replaces) in enumerate(
            [
                ("c1", Level.CONFIRMED, tuple(f"a{n}" for n in range(30)), ()),
                ("c2", Level.SUSPECT, ("b1",), ()),
                ("c3", Level.WATCH, ("b1", "b2"), ("c2",)),
            ]
        )
    ]

    async def fill() -> None:
        table = open_standing(settings, SystemClock())
        table.apply(verdicts)
        await table.stop()

    asyncio.run(fill())
    return options


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], where: list[str]) -> Run:
    def command(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(["clusters", *arguments, *where])
        out, err = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, out, err

    return command


def answer(run: Run, *arguments: str) -> Any:
    code, out, err = run(*arguments, "--json")
    assert (code, err) == (0, "")
    return json.loads(out)


def test_the_list_shows_every_cluster_and_what_became_of_it(run: Run) -> None:
    rows = answer(run, "list")
    assert [(row["cluster"], row["level"], row["accounts"], row["replaced_by"]) for row in rows] == [
        ("c1", "confirmed", 30, None),
        ("c2", "none", 0, "c3"),
        ("c3", "watch", 2, None),
    ]
    code, out, _ = run("list")
    heading, first, second, _ = out.splitlines()
    assert code == 0
    assert heading.split() == ["CLUSTER", "LEVEL", "ACCOUNTS", "EXPIRES", "BY", "A", "PERSON", "BECAUSE"]
    assert first.endswith("30 accounts, one template")
    assert second.endswith("merged into c3")


def test_the_list_can_be_narrowed_to_a_level(run: Run) -> None:
    assert [row["cluster"] for row in answer(run, "list", "--level", "watch")] == ["c3"]


def test_show_tells_the_evidence_and_the_accounts_and_says_how_many_more(run: Run) -> None:
    code, out, _ = run("show", "c1")
    assert code == 0
    assert "family content, e_value 20000000.0" in out
    assert "a19 and 10 more (--json)" in out
    assert len(answer(run, "show", "c1")["members"]) == 30


@pytest.mark.parametrize(
    ("verb", "level"), [("confirm", "confirmed"), ("dismiss", "none"), ("exempt", "none"), ("release", "watch")]
)
def test_what_a_person_decides_holds_and_is_written_down(run: Run, verb: str, level: str) -> None:
    done = answer(run, verb, "c3", "--reason", "looked at it", "--by", "eve", "--until", "30d")
    assert (done["verb"], done["who"], done["why"], done["accounts"]) == (verb, "eve", "looked at it", 2)
    shown = answer(run, "show", "c3")
    assert shown["level"] == level
    assert shown["audit"] == [done]


def test_an_account_can_be_spared_by_its_id(run: Run) -> None:
    code, out, _ = run("exempt", "a7", "--account", "--reason", "licensed", "--by", "eve")
    assert (code, out) == (0, "exempt: account a7, until taken back\n")
    assert [row["subject"] for row in answer(run, "show", "c1")["audit"]] == ["a7"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["show", "c9"],
            "distillguard: c9: got a cluster that is not known, expected one of `distillguard clusters list`\n",
        ),
        (
            ["dismiss", "c9", "--reason", "x"],
            (
                "distillguard: c9: got a cluster that is not known, expected one of `distillguard clusters list`, "
                "or --account for an account\n"
            ),
        ),
        (
            ["confirm", "c1"],
            "distillguard clusters confirm: Missing option '--reason'. Try 'distillguard clusters confirm --help'.\n",
        ),
        (
            ["confirm", "c1", "--reason", " "],
            "distillguard: confirm c1: got an empty name or reason, expected who decides and why\n",
        ),
        (
            ["confirm", "c1", "--reason", "x", "--until", "soon"],
            "distillguard: --until: got 'soon', expected 12h, 30d, 2w, or a date such as 2026-12-31\n",
        ),
        (
            ["confirm", "c1", "--reason", "x", "--until", "2020-01-01"],
            "distillguard: confirm c1: got an end that has passed, expected a time to come\n",
        ),
    ],
)
def test_what_cannot_be_done_is_one_line_and_exit_code_2_and_nothing_is_written(
    run: Run, arguments: list[str], words: str
) -> None:
    assert run(*arguments) == (2, "", words)
    assert all(answer(run, "show", name)["audit"] == [] for name in ("c1", "c3"))


def test_an_absent_redis_is_one_line_without_its_password(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["clusters", "list", "--redis", f"redis://:hunter2@127.0.0.1:{free_port()}"])
    _, err = capsys.readouterr()
    assert ended.value.code == 2
    assert err.startswith("distillguard: redis: ConnectionError: ")
    assert err.count("\n") == 1
    assert "hunter2" not in err


@pytest.mark.parametrize(
    ("options", "words"),
    [([], "No cluster is known.\n"), (["--level", "suspect"], "No cluster is suspect now.\n")],
)
def test_nothing_to_list_is_said_in_words(
    options: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["clusters", "list", *options, "--state-dir", str(tmp_path / "none")])
    assert (ended.value.code, capsys.readouterr().out) == (0, words)


def test_an_empty_store_has_no_clusters(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["clusters", "list", "--json", "--state-dir", str(tmp_path / "none")])
    assert (ended.value.code, capsys.readouterr().out) == (0, "[]\n")
