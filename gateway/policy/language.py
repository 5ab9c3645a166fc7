"""The language of policy files: one pydantic model per mapping, from which the JSON Schema is made.

Invariants: every key is described here and nowhere else, with its unit, its default and why that default; unknown
keys are errors; values are checked and turned into the gateway's own words (``Rate``, seconds, ``Level``) while they
are read. What spans several keys or files (names that must exist, budgets that must differ) is checked in ``compile``.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from gateway.policy.fields import REQUIRED, ROUTE_PATHS, Name, Strict, entry
from gateway.policy.spec_plans import BudgetSpec, PlanSpec  # noqa: TC001 - pydantic reads it as the class is made
from gateway.policy.spec_rules import AccessSpec, ExemptSpec, RuleSpec, StandingsSpec
from gateway.policy.spec_servers import AnalysisSpec, PassThroughSpec, PriceSpec, RecordingSpec, UpstreamFileSpec

__all__ = ["ROUTE_PATHS", "PolicyFile", "Strict", "json_schema"]


class PolicyFile(Strict):
    """One file of policies; every section may stand in any file of the set."""

    version: Literal[1] = entry(
        "Version of the language, in every file: 1.", REQUIRED, why="a file of another version would be misread"
    )
    include: list[str] | None = entry(
        "More files, relative to this one, inside its folder; no cycles.",
        by_default="none",
        why="a folder's files are read by themselves",
    )
    default_plan: Name | None = entry(
        "Plan of accounts without one, or with an unknown one.",
        by_default="the first plan",
        why="the first is the smallest where plans are written in order",
    )
    default_output_tokens: Annotated[int, Field(ge=1, le=10_000_000)] | None = entry(
        "Reserved for each reply where a request declares no cap.",
        unit="tokens",
        by_default="4096",
        why="a long answer",
    )
    plans: dict[Name, PlanSpec] = entry(
        "The customers' plans, by name.",
        dict,
        by_default="at least one in the set",
        why="without plans nobody has a budget",
    )
    budgets: list[BudgetSpec] = entry(
        "Charged for every request, whatever its plan.",
        list,
        by_default="none",
        why="what everybody shares depends on the model servers",
    )
    rules: list[RuleSpec] = entry(
        "What else holds for which requests.", list, by_default="none", why="plans come first"
    )
    access: AccessSpec = entry(
        "Who and what is refused outright.",
        AccessSpec,
        by_default="nobody",
        why="whom to refuse is the operator's to say",
    )
    standings: StandingsSpec = entry(
        "What levels of standing mean.",
        StandingsSpec,
        by_default="they change nothing",
        why="a verdict has no effect that nobody wrote down",
    )
    exempt: list[ExemptSpec] = entry(
        "Who is spared from what standings say.", list, by_default="nobody", why="exemptions are contracts"
    )
    upstreams: dict[Name, UpstreamFileSpec] = entry(
        "Model servers, by name.",
        dict,
        by_default="all goes to `--upstream`",
        why="one model server is the common case",
    )
    pass_through: list[PassThroughSpec] = entry(
        "Routes that are not metered.",
        list,
        by_default="none: unknown routes are answered as not found",
        why="a route that nobody thought of must not go past the budgets",
    )
    prices: dict[str, PriceSpec] = entry(
        "What models cost, by model pattern.", dict, by_default="0", why="a price is known or it is not counted"
    )
    analysis: AnalysisSpec = entry(
        "What the analysis must show before anybody is limited.",
        AnalysisSpec,
        by_default="as its keys say",
        why="each key has a default of its own",
    )
    recording: RecordingSpec = entry(
        "What `serve --record` keeps of live traffic.",
        RecordingSpec,
        by_default="as its keys say",
        why="each key has a default of its own",
    )


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a policy file, for editors."""
    schema = PolicyFile.model_json_schema(by_alias=True)
    schema["title"] = "distillguard policy file"
    for model in (schema, *schema["$defs"].values()):
        for value in model["properties"].values():
            for name in [name for name in value if name.startswith("x-")]:  # they are in the description
                del value[name]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
