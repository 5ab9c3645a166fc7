"""A verdict counts from the next request on, and a policy says what it means."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.analysis.config import AnalysisConfig
from gateway.identity import load_accounts
from gateway.policy import load_policies
from gateway.replay.engine import Decision, Replay
from gateway.replay.log import Recorded
from gateway.replay.prepare import Prepared, Preparer
from gateway.replay.source import KEY, analysis_plan
from gateway.types import Level, Verdict
from tests.replay.logs import START_S, account, request, write_rows

POLICY = """\
version: 1
plans:
  free: {budgets: [{limit: 100/day}]}
standings:
  suspect: {mark: true, cluster_budgets: [{limit: 2/day}]}
  confirmed: {refuse: true}
exempt:
  - name: licensed
    match: {declared_use: evaluation, verified: true}
    from: [analysis]
  - name: ours
    match: {account: [probe, a2]}
    from: [analysis]
  - name: half
    match: {plan: free, organisation: o1}
    from: [marks]
"""


def prepared(number: int, name: str) -> Prepared:
    row = request(number, name)
    headers = [(key.encode(), value.encode()) for key, value in row["headers"].items()]
    fields = {key: row[key] for key in ("id", "ts", "account", "ip", "path", "body")}
    return Preparer(KEY).prepare(Recorded(headers=headers, **fields))


def verdict(level: Level, *members: str, version: int = 1) -> Verdict:
    return Verdict(
        cluster="c1", level=level, members=members, decided_at=START_S, expires_at=START_S + 1000, version=version
    )


@pytest.fixture
def replay(tmp_path: Path) -> Replay:
    (tmp_path / "policy.yaml").write_text(POLICY)
    accounts = write_rows(tmp_path / "accounts.ndjson", [account("a1"), account("a2"), account("a3")])
    return Replay(load_policies(tmp_path / "policy.yaml"), load_accounts(accounts))


def told(decision: Decision) -> tuple[str, str | None, str]:
    return decision.action, decision.cluster, decision.level


async def test_a_cluster_is_marked_then_spends_as_one_then_is_refused(replay: Replay) -> None:
    assert told(await replay.step(prepared(1, "a1"))) == ("allow", None, "none")
    replay.apply([verdict(Level.SUSPECT, "a1", "a2")])
    assert told(await replay.step(prepared(2, "a2"))) == ("mark", "c1", "suspect")
    assert (await replay.step(prepared(3, "a1"))).action == "throttle"  # with what a1 had spent before
    assert told(await replay.step(prepared(3, "a3"))) == ("allow", None, "none")
    replay.apply([verdict(Level.CONFIRMED, "a1", "a2", version=2)])
    decision = await replay.step(prepared(4, "a2"))
    assert told(decision) == ("refuse", "c1", "confirmed")
    assert decision.rule == "standings/confirmed"


async def test_a_verdict_that_has_ended_means_nothing(replay: Replay) -> None:
    replay.apply([verdict(Level.CONFIRMED, "a1")])
    assert (await replay.step(prepared(999, "a1"))).action == "refuse"
    assert (await replay.step(prepared(1000, "a1"))).action == "allow"


def test_exemptions_from_the_analysis_are_told_by_name(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(POLICY + "analysis: {alpha: 0.001, families: 3}\n")
    rows = [
        account("a1"),
        account("a2"),
        account("lab", verified=True, declared_use="evaluation"),
        account("liar", verified=False, declared_use="evaluation"),
        account("marked", org="o1"),
    ]
    accounts = load_accounts(write_rows(tmp_path / "accounts.ndjson", rows))
    plan = analysis_plan(load_policies(tmp_path / "policy.yaml"), accounts)
    assert plan.exempt == {"a2", "lab", "probe"}
    assert not plan.exempt_unknown
    assert plan.config == AnalysisConfig(alpha=0.001, families=3)
