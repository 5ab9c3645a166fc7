"""``distillguard keys`` as an operator runs it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from gateway.cli import main
from gateway.clock import SystemClock
from gateway.errors import RequestRefused
from gateway.identity import open_identities, public_id_of
from gateway.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path


class Run:
    """Runs the command line in this process; tells its exit code, output and errors."""

    def __init__(self, capsys: pytest.CaptureFixture[str], *where: str) -> None:
        self._capsys = capsys
        self._where = where

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(["keys", *arguments, *self._where])
        out, err = self._capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, out, err

    def json(self, *arguments: str) -> Any:
        code, out, err = self(*arguments, "--json")
        assert (code, err) == (0, "")
        return orjson.loads(out)


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in os.environ:
        if name.startswith("DISTILLGUARD_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(params=["state_dir", "redis"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    if request.param == "redis":
        return Settings(redis=request.getfixturevalue("redis_url"), state_dir=tmp_path / "unused")
    return Settings(state_dir=tmp_path / "state")


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], settings: Settings) -> Run:
    return Run(capsys, *(("--redis", settings.redis) if settings.redis else ("--state-dir", str(settings.state_dir))))


def test_a_key_that_was_made_is_good_until_it_is_revoked(run: Run, settings: Settings) -> None:
    code, out, err = run("create", "--account", "a1", "--plan", "pro", "--org", "o1")
    key = out.strip()
    public_id = public_id_of(key)
    assert (code, out) == (0, f"{key}\n")
    assert public_id is not None
    assert f"cannot be shown again. Public id {public_id}" in err
    gateway = open_identities(settings, SystemClock())
    identity = gateway.identify([(b"x-api-key", key.encode())], None)
    assert (identity.account, identity.plan, identity.org, identity.credential) == ("a1", "pro", "o1", public_id)
    assert run("revoke", public_id)[:2] == (0, f"{public_id} of a1 is revoked since {_revoked_at(run)}.\n")
    gateway.refresh()
    with pytest.raises(RequestRefused, match="revoked or expired"):
        gateway.identify([(b"x-api-key", key.encode())], None)


def _revoked_at(run: Run) -> str:
    from datetime import UTC, datetime

    (row,) = run.json("list")
    return datetime.fromtimestamp(row["revoked_at"], UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def test_a_key_can_be_revoked_by_itself_and_twice(run: Run) -> None:
    key = run("create", "--account", "a1")[1].strip()
    first = run.json("revoke", key)
    assert first["state"] == "revoked"
    assert run.json("revoke", key) == first


def test_no_output_but_the_first_holds_the_secret(run: Run) -> None:
    made = run.json("create", "--account", "a1", "--expires", "90d", "--label", "ci")
    key = made.pop("key")
    assert made["expires_at"] == made["created_at"] + 90 * 86_400
    assert run.json("list") == [made]
    for arguments in (("list",), ("list", "--json"), ("revoke", key), ("revoke", key, "--json")):
        _, out, err = run(*arguments)
        assert key.split("_")[2] not in out + err
        assert "hash" not in out


def test_the_list_is_aligned_oldest_first_and_can_be_narrowed(run: Run) -> None:
    for account, plan in (("short", "pro"), ("a-much-longer-account", "team"), ("short", "free")):
        run("create", "--account", account, "--plan", plan)
    lines = run("list")[1].splitlines()
    assert lines[0].split("  ")[0] == "PUBLIC ID"
    column = lines[0].index("STATE")
    assert [line[column : column + 6] for line in lines[1:]] == ["active"] * 3
    assert [line.split()[1] for line in lines[1:]] == ["short", "a-much-longer-account", "short"]
    assert [row["plan"] for row in run.json("list", "--account", "short")] == ["pro", "free"]


def test_looking_for_keys_makes_no_files(run: Run, settings: Settings) -> None:
    code, out, err = run("list")
    assert (code, out) == (0, "")
    assert err.startswith("No keys in ")
    assert run.json("list", "--account", "a1") == []
    assert not settings.state_dir.exists()


def test_a_key_that_is_not_there_is_a_no(run: Run) -> None:
    code, out, err = run("revoke", "nope")
    assert (code, out) == (1, "")
    assert err.startswith("nope: no key with this public id in ")
    run("create", "--account", "a1")
    assert run("revoke", "dg1_nope")[0] == 1


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("create",), "Missing option '--account'."),
        (("create", "--account", ""), "got '', expected 1 to 256 printable characters."),
        (("create", "--account", "a\nb"), "got 'a\\nb', expected 1 to 256 printable characters."),
        (("create", "--account", "a" * 257), "expected 1 to 256 printable characters."),
        (("create", "--account", "a", "--expires", "0d"), "got '0d', expected a number and s, m, h, d or w, such as 90d."),
        (("create", "--account", "a", "--expires", "-1d"), "got '-1d', expected a number"),
        (("create", "--account", "a", "--expires", "90"), "got '90', expected a number"),
        (("create", "--account", "a", "--expires", "9999999w"), "got '9999999w', expected a number"),
        (("revoke",), "Missing argument 'PUBLIC_ID|KEY'."),
    ],
)  # fmt: skip
def test_unusable_arguments_are_told_on_one_line(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], error: str
) -> None:
    code, out, err = Run(capsys, "--state-dir", "state")(*arguments)
    assert (code, out) == (2, "")
    assert error in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("verb", [("list",), ("create", "--account", "a1"), ("revoke", "x")])
def test_a_store_that_is_away_is_told_without_its_password(
    capsys: pytest.CaptureFixture[str], verb: tuple[str, ...]
) -> None:
    code, out, err = Run(capsys, "--redis", "redis://:hunter2@127.0.0.1:1/0")(*verb)
    assert (code, out) == (2, "")
    assert err.startswith("distillguard: key store redis://127.0.0.1:1/0 cannot be asked: ")
    assert err.count("\n") == 1
    assert "hunter2" not in err


def test_keys_are_not_made_under_another_hash_key_but_can_be_revoked(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    key = run("create", "--account", "a1")[1].strip()
    monkeypatch.setenv("DISTILLGUARD_HASH_KEY", "another key, long enough")
    code, _, err = run("create", "--account", "a2")
    assert code == 2
    assert "expected" in err
    assert run("revoke", key)[0] == 0


def test_options_fall_back_to_the_environment(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DISTILLGUARD_STATE_DIR", str(tmp_path / "elsewhere"))
    Run(capsys)("create", "--account", "a1")
    assert sorted(path.name for path in (tmp_path / "elsewhere").iterdir()) == ["hash.key", "keys.db"]
