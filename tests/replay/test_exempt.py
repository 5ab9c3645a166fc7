"""A replay's analysis leaves alone exactly the requests that a gateway's would."""

from __future__ import annotations

from itertools import product
from pathlib import Path

from gateway.identity import load_accounts
from gateway.policy import load_policies
from gateway.replay.engine import identity_of
from gateway.replay.log import Recorded
from gateway.replay.prepare import Prepared, Preparer
from gateway.replay.reader import columns
from gateway.replay.source import KEY, analysis_plan
from tests.replay.logs import account, request, write_rows

POLICY = """\
version: 1
plans:
  free: {budgets: [{limit: 100/day}]}
  pro: {budgets: [{limit: 100/day}]}
exempt:
  - {name: licensed, match: {declared_use: evaluation}, from: [analysis]}
  - {name: office, match: {address: [198.51.100.0/24, "2001:db8::/32"]}, from: [analysis]}
  - {name: lab, match: {plan: pro, address: 10.0.0.0/8}, from: [analysis, marks]}
  - {name: one, match: {account: a3, address: 192.0.2.7}, from: [analysis]}
  - {name: marks-only, match: {address: 203.0.113.0/24}, from: [marks]}
"""
ADDRESSES = ["198.51.100.9", "2001:db8::1", "10.1.2.3", "192.0.2.7", "192.0.2.8", "203.0.113.9", "no address", None]
ACCOUNTS = [account("a1"), account("p1", "pro"), account("a3"), account("e1", declared_use="evaluation")]


def prepared(name: str, address: str | None) -> Prepared:
    row = request(1, name)
    return Preparer(KEY).prepare(
        Recorded(id="r", ts=row["ts"], account=name, ip=address, headers=[], path=row["path"], body=row["body"])
    )


def test_a_request_is_spared_by_its_address_exactly_where_a_gateway_spares_it(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(POLICY)
    policies = load_policies(tmp_path / "policy.yaml")
    known = load_accounts(write_rows(tmp_path / "accounts.ndjson", ACCOUNTS))
    plan = analysis_plan(policies, known)
    rows = [prepared(name, address) for name, address in product(["a1", "p1", "a3", "e1", "stranger"], ADDRESSES)]
    _, accounts, traits = columns(rows, plan)
    spared = 0
    for row, name, taken in zip(rows, accounts, traits, strict=True):
        whole = name in plan.exempt if name in {one["account"] for one in ACCOUNTS} else plan.exempt_unknown
        expected = policies.exempt_from_analysis(identity_of(known, row))
        assert (whole or taken is None) == expected, (name, row.ip)
        spared += expected
    assert 10 < spared < len(rows) - 10


def test_without_addresses_in_exemptions_nothing_is_looked_at(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(POLICY.split("  - {name: office", maxsplit=1)[0])
    known = load_accounts(write_rows(tmp_path / "accounts.ndjson", ACCOUNTS))
    assert analysis_plan(load_policies(tmp_path / "policy.yaml"), known).exempt_at == {}
