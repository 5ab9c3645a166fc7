"""The language of policy files, continued: budgets and the customers' plans."""

from __future__ import annotations

from typing import Literal

from gateway.policy.fields import REQUIRED, AtLeastOne, Limit, Name, Patterns, Strict, SubjectName, entry


class BudgetSpec(Strict):
    """What a subject may spend in a window."""

    limit: Limit = entry(
        "How much in which time: `NUMBER [UNIT]/TIME`, such as `200/day`, `$25/day`, or `N concurrent`.",
        REQUIRED,
        unit="requests, input_tokens, output_tokens, total_tokens, USD, or concurrent",
        why="a budget is a limit",
    )
    name: Name | None = entry(
        "Identity of the counter: keep it, and a changed limit keeps what was spent.",
        by_default="made from unit and time",
        why="the same limit in the same place is the same counter, over reloads and restarts",
    )
    subject: SubjectName | None = entry(
        "Whose spending counts: `account`, `organisation`, `model`, `address`, `global`.",
        by_default="`account`",
        why="a customer's limit is the customer's own",
    )
    window: Literal["sliding", "bucket", "calendar"] | None = entry(
        "How the window moves: `sliding` (any stretch of that length), `bucket` (steady rate with a burst), `calendar` (UTC).",
        by_default="`sliding`; `bucket` where there is a burst",
        why="a sliding window cannot be spent twice around the turn of a window",
    )
    burst: AtLeastOne | None = entry(
        "For `bucket` only: how much may be spent at once.",
        unit="as the limit",
        by_default="the whole limit",
        why="a lower one is a decision on its own",
    )
    shadow: bool = entry(
        "Counted and reported as if enforced, answered as if not.",
        False,
        by_default="`false`",
        why="what is written down is meant",
    )
    on_store_error: Literal["allow", "deny", "local_share"] = entry(
        "While the store cannot be asked: `allow`, `deny`, or `local_share` (the limit over the workers).",
        "local_share",
        by_default="`local_share`",
        why="neither free for all nor an outage",
    )


class PlanSpec(Strict):
    """What a customer's plan allows."""

    description: str | None = entry("For people.", by_default="none", why="nothing depends on it")
    budgets: list[BudgetSpec] = entry(
        "What one account may spend (or what else a budget's `subject` names).",
        list,
        by_default="none",
        why="a plan may be limited by the `budgets` of all requests alone; `policy check` warns where it is not",
    )
    models: Patterns | None = entry(
        "Model patterns that the plan may use.", by_default="all", why="a new model reaches customers without an edit"
    )
    max_output_tokens: AtLeastOne | None = entry(
        "Declared caps are lowered to it.",
        unit="tokens a reply",
        by_default="not lowered",
        why="callers know their need",
    )
    max_choices: AtLeastOne | None = entry(
        "`n` is lowered to it.", unit="replies a request", by_default="not lowered", why="callers know their need"
    )
