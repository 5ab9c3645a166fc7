"""``distillguard policy explain``: why a request is decided as it is, and what is left of its budgets."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gateway.budgets.estimator import Estimator
from gateway.cli.policy_case import PastRequest, case_of_event, case_of_file
from gateway.cli.policy_live import balances_now, known_account, standing_now
from gateway.errors import StoreError
from gateway.policy.cases import CaseFile
from gateway.policy.explain import explain as explain_decision
from gateway.policy.language import ROUTE_PATHS
from gateway.policy.load import check_policies
from gateway.policy.messages import validate_value

if TYPE_CHECKING:
    from gateway.policy.explanation import Explanation
    from gateway.types import Plan, RequestFacts, Standing

_OPTIONS: dict[str, tuple[click.Option, ...]] = {
    "subject": (
        click.Option(["--account"], help="The account's id."),
        click.Option(["--plan"], help="Its plan."),
        click.Option(["--organisation"], help="Its organisation."),
        click.Option(["--country"], help="Its country."),
        click.Option(["--verified"], is_flag=True, default=None, help="The organisation was verified."),
        click.Option(["--declared-use"], help="Its declared use."),
        click.Option(["--age-days"], type=float, help="Days since the account was made."),
        click.Option(["--address"], help="The client's address."),
    ),
    "request": (
        click.Option(["--model"], help="The model asked for."),
        click.Option(["--route"], type=click.Choice(list(ROUTE_PATHS)), help="The route."),
        click.Option(["--stream"], is_flag=True, default=None, help="The reply is streamed."),
        click.Option(["--max-output-tokens"], type=int, help="The larger declared cap."),
        click.Option(["--choices"], type=int, help="How many replies."),
        click.Option(["--input-chars"], type=int, help="Characters of all texts."),
        click.Option(["--body-bytes"], type=int, help="Size of the body."),
        click.Option(["--logprobs"], is_flag=True, default=None, help="Log-probabilities are asked for."),
    ),
    "standing": (
        click.Option(
            ["--level"], type=click.Choice(["none", "watch", "suspect", "confirmed"]),
            help="The standing (default: the account's as it is kept now).",
        ),
        click.Option(["--cluster"], help="The cluster."),
    ),
}  # fmt: skip
"""The keys of a case as options."""


def _described(command: click.Command) -> click.Command:
    """The command with an option for every key of a case."""
    command.params += [option for options in _OPTIONS.values() for option in options]
    return command


@_described
@click.command()
@click.argument("path", type=click.Path(path_type=Path), required=False)
@click.option("--case", type=click.Path(path_type=Path), help="A YAML or JSON file: subject, request, standing.")
@click.option("--event", "--request-id", "event", help="The id of a past request, from the events of the gateways.")
@click.option(
    "--state-dir", type=click.Path(path_type=Path), default=Path(".distillguard"), envvar="DISTILLGUARD_STATE_DIR",
    help="Where a gateway keeps embedded state (default: .distillguard).",
)  # fmt: skip
@click.option("--redis", metavar="URL", envvar="DISTILLGUARD_REDIS", help="Where gateways share state.")
@click.option(
    "--accounts", type=click.Path(path_type=Path), envvar="DISTILLGUARD_ACCOUNTS",
    help="The account directory: who --account is.",
)  # fmt: skip
@click.option("--now", "now_s", type=float, help="Seconds since the epoch (default: now; of an event, its own time).")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def explain(
    path: Path | None, case: Path | None, event: str | None, state_dir: Path, redis: str | None,
    accounts: Path | None, now_s: float | None, *, as_json: bool, **flags: Any,
) -> None:  # fmt: skip
    """Why a request is decided as it is: every rule considered, which matched, what is charged and left.

    The request is given by options, by --case, or by --event (a past one); options go over what those say. Balances, the
    standing and what its keys say of the account are looked up where there is state of a gateway; nothing is charged.
    """
    if case is not None and event is not None:
        raise click.UsageError("got both --case and --event, expected one of the two.")
    policies = check_policies(path)
    past = PastRequest()
    if case is not None:
        past = case_of_file(case)
    elif event is not None:
        past = case_of_event(event, state_dir, redis, now_s)
    look = _Look(state_dir, redis)
    given = _given(past, flags)
    if "account" in given["subject"]:
        given["subject"] = {**look.account(given["subject"]["account"], accounts), **given["subject"]}
    found = validate_value(given, CaseFile)
    if isinstance(found, list):
        raise click.UsageError(f"{'; '.join(found)}.")
    at_s = now_s if now_s is not None else past.ts if past.ts is not None else time.time()
    standing = found.standing.standing()
    if not given["standing"] and "account" in given["subject"]:
        standing = look.standing(found.subject.account, at_s) or standing
    identity, facts = found.subject.identity(at_s), found.request.facts()
    plan = policies.decide(identity, facts, standing, at_s)
    explanation = look.weighed(explain_decision(policies, identity, facts, standing, at_s), facts, plan)
    if as_json:
        recorded = {"recorded": past.recorded} if past.recorded else {}
        click.echo(json.dumps({**explanation.to_dict(), **recorded, "notes": look.notes}, indent=2))
    else:
        click.echo("\n".join([past.to_text() + explanation.to_text(), *look.notes]))


def _given(past: PastRequest, flags: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The case: the file or event, then the options."""
    given = {}
    for part, options in _OPTIONS.items():
        names = [str(option.name) for option in options]
        given[part] = {**past.given.get(part, {}), **{name: flags[name] for name in names if flags[name] is not None}}
    return given


class _Look:
    """Looks into the state of gateways; what cannot be looked at is a note and no mistake."""

    def __init__(self, state_dir: Path, redis: str | None) -> None:
        self._state_dir, self._redis = state_dir, redis
        self.notes: list[str] = []

    def account(self, account: str, accounts: Path | None) -> dict[str, Any]:
        """Who the account is. Raises ConfigError."""
        try:
            return known_account(account, accounts, self._state_dir, self._redis)
        except StoreError as error:
            self.notes.append(f"the account's keys cannot be looked up: {error}")
            return {}

    def standing(self, account: str, at_s: float) -> Standing | None:
        """What is held of the account."""
        try:
            return standing_now(account, self._state_dir, self._redis, at_s)
        except StoreError as error:
            self.notes.append(f"the standing cannot be looked up: {error}")
            return None

    def weighed(self, explanation: Explanation, facts: RequestFacts, plan: Plan) -> Explanation:
        """The explanation with what is left of each budget."""
        try:
            balances = balances_now(plan.charges, self._state_dir, self._redis) if plan.charges else None
        except StoreError as error:
            self.notes.append(f"what is left cannot be looked up: {error}")
            return explanation
        if balances is None:
            return explanation
        return explanation.with_balances(balances, Estimator().estimate(facts, plan))
