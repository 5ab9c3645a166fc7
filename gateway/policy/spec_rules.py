"""The language of policy files, continued: rules, access, what standings mean, who is exempt."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from gateway.policy.fields import (
    REQUIRED,
    AtLeastOne,
    Countries,
    Duration,
    If,
    Levels,
    Name,
    Networks,
    Patterns,
    Routes,
    Share,
    Strict,
    Texts,
    entry,
)
from gateway.policy.spec_plans import BudgetSpec  # noqa: TC001 - pydantic reads it as the class is made


def _true_is_empty(value: object) -> object:
    """``refuse: true`` is ``refuse: {}``."""
    return {} if value is True else value


def _narrows(text: str, *, by_default: str = "any") -> Any:
    """An entry of a match."""
    return entry(text, by_default=by_default, why="what is not written does not narrow")


class RefuseSpec(Strict):
    """A request that is not answered."""

    message: Annotated[str, Field(min_length=1, max_length=300)] | None = entry(
        "What the caller is told; never say what was suspected.",
        by_default="one wording for every refusal",
        why="different words would tell callers which rule refused",
    )


class MatchSpec(Strict):
    """Which requests are meant; every key given must hold, of a list any one."""

    account: Texts | None = _narrows("Ids of accounts.")
    organisation: Texts | None = _narrows("Ids of organisations.")
    plan: Texts | None = _narrows("The account's own plan.")
    country: Countries | None = _narrows(
        "Where the call comes from if a trusted proxy tells, else the account's country; two capital letters."
    )
    verified: bool | None = _narrows("Whether the organisation was verified.", by_default="either")
    declared_use: Texts | None = _narrows("Declared uses, such as synthetic-data.")
    model: Patterns | None = _narrows("Patterns of model names; case is ignored.")
    route: Routes | None = _narrows("Routes, such as `openai.chat_completions`.")
    address: Networks | None = _narrows("Address ranges of the client, such as `203.0.113.0/24`.")
    level: Levels | None = _narrows("Levels of standing: `none`, `watch`, `suspect`, `confirmed`.")


class EffectSpec(Strict):
    """What follows for requests that match."""

    refuse: Annotated[RefuseSpec, BeforeValidator(_true_is_empty)] | None = entry(
        "Not answered: `true`, or a mapping with a `message`.",
        by_default="no",
        why="what nothing refuses is answered",
        several="the most specific of `refuse` and `allow`, a tie refuses",
    )
    allow: Literal[True] | None = entry(
        "Answered although a less specific rule, `access` or the plan's `models` refuses.",
        by_default="no",
        why="an exception has to be written down",
        several="as above",
    )
    plan: Name | None = entry(
        "Budgets, models and caps of this plan instead of the account's.",
        by_default="the account's own plan",
        several="the most specific",
        why="customers have what they pay for",
    )
    budgets: list[BudgetSpec] | None = entry(
        "Charged besides the plan's budgets.", by_default="none", several="all are charged", why="a rule need not limit"
    )
    upstream: Name | None = entry(
        "Sent to this upstream.",
        by_default="the upstream that names the model most exactly",
        why="routing is the upstreams' part",
        several="the most specific",
    )
    mark: bool | None = entry(
        "Answered with marks.",
        by_default="no",
        why="marks are for suspects; a test of marks is a rule",
        several="one is enough",
    )
    carriers: Texts | None = entry(
        "Kinds of marks.",
        by_default="all that suit the reply, `behaviour` only where it is named",
        why="more carriers are more evidence",
        several="together",
    )
    holdout: Share | None = entry(
        "The share of a cluster's questions that are answered without marks, as a control: `5%`.",
        unit="percent of questions",
        by_default="0%",
        why="a control is a decision of the auditor",
        several="the largest",
    )
    sample: bool | None = entry(
        "The request is kept in full, sealed, where `serve` records; see `recording`.",
        by_default="no",
        why="what customers write is not kept unless somebody decides it",
        several="one is enough",
    )
    max_output_tokens: AtLeastOne | None = entry(
        "Declared caps are lowered to it.",
        unit="tokens a reply",
        by_default="not lowered",
        several="the lowest",
        why="callers know their need",
    )
    max_choices: AtLeastOne | None = entry(
        "`n` is lowered to it.",
        unit="replies a request",
        by_default="not lowered",
        several="the lowest",
        why="callers know their need",
    )
    drop_logprobs: bool | None = entry(
        "Log-probabilities are not passed on.",
        by_default="they are",
        several="one is enough",
        why="a reply is passed on as it is",
    )
    hide_reasoning: bool | None = entry(
        "Reasoning text is not passed on.",
        by_default="it is",
        several="one is enough",
        why="a reply is passed on as it is",
    )
    delay: Duration | None = entry(
        "Waited before the request is sent on, such as `250ms`.",
        unit="ms, s, m, h or d",
        by_default="none",
        several="the longest, not the sum",
        why="waiting is a cost to honest callers",
    )


class RuleSpec(Strict):
    """One rule: which requests, and what follows."""

    name: Name = entry(
        "Unique; shown in events and explanations, never to callers.",
        REQUIRED,
        why="explanations, counters and the rollout's hash use it",
    )
    description: str | None = entry("For people.", by_default="none", why="nothing depends on it")
    match: MatchSpec = entry(
        "Which requests are meant.", MatchSpec, by_default="all", why="what is not written does not narrow"
    )
    if_: If | None = entry(
        "A further condition in CEL.", alias="if", by_default="none", why="what is not written does not narrow"
    )
    shadow: bool = entry(
        "What it would refuse is reported and answered; its budgets count in shadow; its other effects wait.",
        False,
        by_default="`false`",
        why="what is written down is meant",
    )
    share: Share | None = entry(
        "Staged rollout: the share of accounts, by a stable hash of rule and account.",
        unit="percent of accounts",
        by_default="all accounts",
        why="a rollout is a stage, not a state",
    )
    then: EffectSpec = entry("What follows.", REQUIRED, why="a rule without effect is a mistake")


class AccessSpec(Strict):
    """Who and what is refused outright."""

    deny_countries: Countries | None = entry(
        "Accounts of these countries are refused; one whose country is not known is not.",
        by_default="none",
        why="whom a law forbids to serve is the operator's to say",
    )
    verified_only: Patterns | None = entry(
        "Models that only verified organisations get.",
        by_default="none",
        why="which models need it is the operator's to say",
    )
    kill: Patterns | None = entry(
        'The kill switch: nobody gets these models; `"*"` stops everything.',
        by_default="none",
        why="it is for emergencies",
    )


class StandingSpec(Strict):
    """What a level of standing means."""

    description: str | None = entry("For people.", by_default="none", why="nothing depends on it")
    refuse: Annotated[RefuseSpec, BeforeValidator(_true_is_empty)] | None = entry(
        "Not answered.", by_default="no", why="a suspicion costs little until somebody decides otherwise"
    )
    mark: bool = entry("Answered with marks.", False, by_default="`false`", why="marks are a decision of the operator")
    carriers: Texts | None = entry(
        "Kinds of marks.",
        by_default="all that suit the reply, `behaviour` only where it is named",
        why="more carriers are more evidence",
    )
    holdout: Share | None = entry(
        "The share of a cluster's questions that are answered without marks, as a control: `5%`.",
        unit="percent of questions",
        by_default="0%",
        why="a control is a decision of the auditor",
    )
    sample: bool = entry(
        "Requests are kept in full, sealed, where `serve` records; see `recording`.",
        False,
        by_default="`false`",
        why="what customers write is not kept unless somebody decides it",
    )
    cluster_plan: Name | None = entry(
        "The cluster as a whole may spend what one account of this plan may.",
        by_default="no budget of the cluster",
        why="which plan is fair depends on the plans",
    )
    cluster_budgets: list[BudgetSpec] = entry(
        "Further budgets of the cluster as a whole.", list, by_default="none", why="`cluster_plan` is the usual way"
    )
    max_output_tokens: AtLeastOne | None = entry(
        "Declared caps are lowered to it.",
        unit="tokens a reply",
        by_default="not lowered",
        why="what it costs a suspect is the operator's to say",
    )
    max_choices: AtLeastOne | None = entry(
        "`n` is lowered to it.",
        unit="replies a request",
        by_default="not lowered",
        why="what it costs a suspect is the operator's to say",
    )
    drop_logprobs: bool = entry(
        "Log-probabilities are not passed on.",
        False,
        by_default="`false`",
        why="what it costs a suspect is the operator's to say",
    )
    hide_reasoning: bool = entry(
        "Reasoning text is not passed on.",
        False,
        by_default="`false`",
        why="what it costs a suspect is the operator's to say",
    )
    delay: Duration | None = entry(
        "Waited before the request is sent on, such as `250ms`.",
        unit="ms, s, m, h or d",
        by_default="none",
        why="waiting is a cost to honest callers",
    )


class StandingsSpec(Strict):
    """Levels of standing."""

    watch: StandingSpec | None = entry(
        "Something was noticed.", by_default="nothing changes", why="one kind of evidence limits nobody"
    )
    suspect: StandingSpec | None = entry(
        "Independent families of evidence agree.",
        by_default="nothing changes",
        why="what it costs is the operator's to say",
    )
    confirmed: StandingSpec | None = entry(
        "A person said so.", by_default="nothing changes", why="as above; a level does not inherit from the one below"
    )


class ExemptSpec(Strict):
    """Who is spared from what standings say."""

    name: Name = entry("Unique among rules and exemptions.", REQUIRED, why="explanations and messages name it")
    description: str | None = entry("For people.", by_default="none", why="nothing depends on it")
    match: MatchSpec = entry(
        "Who is exempt; at least one condition.", REQUIRED, why="an exemption for everybody is a mistake"
    )
    from_: list[Literal["marks", "budgets", "caps", "delay", "refusal", "samples", "analysis"]] | None = entry(
        "What of: `marks`, `budgets` (of the cluster), `caps` (lowered caps, withheld fields), `delay`, `refusal`, "
        "`samples`, `analysis` (it leaves the account alone).",
        alias="from",
        min_length=1,
        by_default="everything",
        why="who is known and licensed is no suspect in any part",
    )
