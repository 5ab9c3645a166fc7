"""What a change of policies does to recorded traffic, and how sure the share of accounts hit is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from gateway.cli.policy import policy
from gateway.replay.compare import share_interval
from tests.replay.logs import account, request, write_rows

OLD = "version: 1\nplans:\n  free: {budgets: [{limit: 3/day}]}\n  pro: {budgets: [{limit: 100/day}]}\n"
TIGHT = OLD.replace("3/day", "2/day")
LOOSE = OLD.replace("3/day", "4/day")
MARKING = OLD + "rules:\n  - {name: tell, match: {plan: pro}, then: {mark: true}}\n"


def diff(folder: Path, new: str, *, rows: list[dict[str, Any]] | None = None) -> tuple[int, dict[str, Any], str]:
    log = folder / "log"
    log.mkdir(exist_ok=True)
    (folder / "old.yaml").write_text(OLD)
    (folder / "new.yaml").write_text(new)
    accounts = [account("a1", org="o1"), account("a2"), account("p1", "pro"), account("idle")]
    write_rows(log / "accounts.ndjson", accounts)
    traffic = [request(n, name) for n, name in enumerate(["a1", "a1", "a1", "a1", "a2", "a2", "p1"])]
    write_rows(log / "requests.ndjson", rows if rows is not None else traffic)
    given = ["diff", str(folder / "old.yaml"), str(folder / "new.yaml"), "--replay", str(log / "requests.ndjson")]
    shown = CliRunner().invoke(policy, given)
    found = CliRunner().invoke(policy, [*given, "--json"])
    assert shown.exit_code == found.exit_code
    return found.exit_code, orjson.loads(found.stdout)["replay"], shown.stdout


def test_a_tighter_limit_names_whom_it_hurts(tmp_path: Path) -> None:
    code, told, text = diff(tmp_path, TIGHT)
    assert code == 1
    assert told["changes"] == {"allow -> throttle": 1}
    assert told["by_plan"] == {"free": {"allow -> throttle": 1}}
    assert told["by_organisation"] == {"o1": {"allow -> throttle": 1}}
    assert (told["accounts"], told["accounts_newly_stopped"]) == (3, 0)
    assert told["accounts_most_hurt"] == [
        {
            "account": "a1",
            "plan": "free",
            "organisation": "o1",
            "requests": 4,
            "stopped_before": 1,
            "newly_stopped": 1,
            "newly_answered": 0,
            "newly_marked": 0,
            "rules": {"free/requests-per-day": 1},
        }
    ]
    assert "1 of 7 decisions change" in text
    assert "a1 (free): 1 more stopped, 0 more marked of 4; free/requests-per-day 1" in text


def test_an_account_that_was_never_stopped_counts_as_newly_stopped(tmp_path: Path) -> None:
    rows = [request(n, name) for n, name in enumerate(["a1", "a1", "a1", "a2", "p1"])]
    _, told, text = diff(tmp_path, TIGHT, rows=rows)
    share = told["share_newly_stopped"]
    exact = binomtest(1, 3).proportion_ci(0.95, "exact")
    assert told["accounts_newly_stopped"] == 1
    assert (share["low"], share["high"]) == pytest.approx((exact.low, exact.high), rel=1e-9)
    assert "1 of 3 accounts are newly throttled or refused: 33.333% (0.840% to 90.570%" in text
    by_plan = told["share_newly_stopped_by_plan"]
    assert {plan: (found["newly_stopped"], found["accounts"]) for plan, found in by_plan.items()} == {
        "free": (1, 2),
        "pro": (0, 1),
    }
    exact = binomtest(1, 2).proportion_ci(0.95, "exact")
    assert (by_plan["free"]["low"], by_plan["free"]["high"]) == pytest.approx((exact.low, exact.high), rel=1e-9)
    assert "  plan free: 1 of 2: 50.000% (1.258% to 98.742%)" in text


def test_a_looser_limit_hurts_nobody(tmp_path: Path) -> None:
    _, told, _ = diff(tmp_path, LOOSE)
    assert told["changes"] == {"throttle -> allow": 1}
    assert told["accounts_most_hurt"] == []


def test_new_marks_are_told_apart_from_refusals(tmp_path: Path) -> None:
    _, told, _ = diff(tmp_path, MARKING)
    assert told["changes"] == {"allow -> mark": 1}
    assert told["accounts_newly_stopped"] == 0
    assert [row["account"] for row in told["accounts_most_hurt"]] == ["p1"]


def test_the_same_policies_change_nothing_and_an_empty_log_says_nothing(tmp_path: Path) -> None:
    code, told, text = diff(tmp_path, OLD)
    assert (code, told["changed"], told["accounts_most_hurt"]) == (0, 0, [])
    assert text.startswith("no difference in meaning\n0 of 7 decisions change\n")
    _, told, _ = diff(tmp_path, TIGHT, rows=[])
    assert told["share_newly_stopped"] == {"share": 0.0, "low": 0.0, "high": 1.0, "confidence": 0.95}


def test_a_log_without_accounts_beside_it_is_asked_for_them(tmp_path: Path) -> None:
    (tmp_path / "old.yaml").write_text(OLD)
    log = write_rows(tmp_path / "requests.ndjson", [request(1)])
    found = CliRunner().invoke(
        policy, ["diff", str(tmp_path / "old.yaml"), str(tmp_path / "old.yaml"), "--replay", str(log)]
    )
    assert "expected --accounts FILE" in str(found.exception)


@given(
    st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.sampled_from([0.5, 0.95, 0.999])
)
def test_the_interval_is_that_of_the_library(case: tuple[int, int], confidence: float) -> None:
    hits, trials = case
    exact = binomtest(hits, trials).proportion_ci(confidence, "exact")
    assert share_interval(hits, trials, confidence) == pytest.approx((exact.low, exact.high), rel=1e-6, abs=1e-12)


@pytest.mark.parametrize(("hits", "trials", "confidence"), [(-1, 5, 0.95), (6, 5, 0.95), (1, 5, 0.0), (1, 5, 1.0)])
def test_an_impossible_share_is_refused(hits: int, trials: int, confidence: float) -> None:
    with pytest.raises(ValueError, match="expected 0 <= hits"):
        share_interval(hits, trials, confidence)
