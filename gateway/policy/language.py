"""The language of policy files: one pydantic model per mapping, from which the JSON Schema is made.

Invariants: every key is described here and nowhere else; unknown keys are errors; values are checked and
turned into the gateway's own words (``Rate``, seconds, ``Level``) while they are read. What spans several
keys or files (names that must exist, budgets that must differ) is checked in ``compile``.
"""

from __future__ import annotations

import re
from ipaddress import ip_network
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from gateway.policy.conditions import MAX_CHARS, Condition, compile_condition
from gateway.policy.messages import show
from gateway.policy.notation import Rate, parse_duration, parse_limit, parse_share
from gateway.types import Level

if TYPE_CHECKING:
    from collections.abc import Callable

NAME = r"[a-z0-9][a-z0-9._-]{0,63}"
"""Names of plans, rules, upstreams and budgets: they become keys in stores and labels in metrics."""

ROUTE_PATHS = {
    "openai.chat_completions": "/v1/chat/completions",
    "openai.completions": "/v1/completions",
    "openai.responses": "/v1/responses",
    "openai.embeddings": "/v1/embeddings",
    "openai.models": "/v1/models",
    "anthropic.messages": "/v1/messages",
    "anthropic.count_tokens": "/v1/messages/count_tokens",
    "anthropic.models": "/v1/models",
}
"""The metered routes and their paths."""


def _checked(parse: Callable[[object], Any]) -> PlainValidator:
    """A validator from a parser that raises ValueError; its words reach the user as they are."""

    def validate(value: object) -> Any:
        try:
            return parse(value)
        except ValueError as error:
            raise PydanticCustomError("policy", "{said}", {"said": str(error)}) from None

    return PlainValidator(validate)


def _texts(check: Callable[[str], str], expected: str) -> Callable[[object], tuple[str, ...]]:
    """A parser for one text or a list of them, each passed through ``check``."""

    def parse(value: object) -> tuple[str, ...]:
        items: list[Any] = value if isinstance(value, list) else [value]
        if not items:
            raise ValueError(f"got an empty list, expected {expected}: delete the key if it is not needed")
        for item in items:
            if not isinstance(item, str) or not item:
                raise ValueError(f"got {show(item)}, expected {expected}")
        return tuple(check(item) for item in items)

    return parse


def _name(text: object) -> str:
    if not isinstance(text, str) or not re.fullmatch(NAME, text):
        raise ValueError(f"got {text!r}, expected a name of small letters, digits, '.', '_' and '-' (64 at most)")
    return text


def _country(text: str) -> str:
    if not re.fullmatch(r"[A-Z]{2}", text):
        raise ValueError(f"got {text!r}, expected a country as two capital letters (ISO 3166-1), such as 'DE'")
    return text


def _pattern(text: str) -> str:
    if len(text) > 128 or text.count("*") > 8 or any(letter.isspace() for letter in text):  # noqa: PLR2004 - bounds of a pattern
        raise ValueError(f"got {text[:40]!r}, expected a pattern such as 'gpt-4o*' (128 characters, 8 stars at most)")
    return text


def _network(text: str) -> str:
    try:
        whole = str(ip_network(text, strict=False))
    except ValueError:
        raise ValueError(f"got {text!r}, expected an address range such as '203.0.113.0/24'") from None
    if "/" in text and str(ip_network(text, strict=False)) != text.lower():
        raise ValueError(f"got {text!r}, expected a range that begins at its first address: did you mean {whole!r}?")
    return whole


def _route(text: str) -> str:
    if text not in ROUTE_PATHS and text != "pass_through":
        raise ValueError(f"got {text!r}, expected one of {', '.join(ROUTE_PATHS)}, pass_through")
    return text


def _path(text: object) -> str:
    if not isinstance(text, str) or not re.fullmatch(r"/[^\s?#%\\]*", text):
        raise ValueError(f"got {show(text)}, expected a path that begins with '/', without spaces and any of ?#%\\")
    return text


def _secret(text: object) -> str:
    if not isinstance(text, str) or not re.fullmatch(r"\$\{[A-Za-z_][A-Za-z0-9_]*\}", text):
        raise ValueError("got a value of its own, expected ${NAME}: secrets stand in the environment, not in files")
    return text


def _level(text: str) -> str:
    if text not in {level.value for level in Level}:
        raise ValueError(f"got {text!r}, expected one of none, watch, suspect, confirmed")
    return text


def _condition(text: object) -> Condition:
    if not isinstance(text, str):
        raise ValueError(f"got {show(text)}, expected a CEL expression as text")  # noqa: TRY004 - a mistake in a file
    return compile_condition(text)


def _one_or_many(pattern: str | None = None) -> WithJsonSchema:
    text: dict[str, Any] = {"type": "string", **({"pattern": pattern} if pattern else {})}
    return WithJsonSchema({"anyOf": [text, {"type": "array", "items": text, "minItems": 1}]})


def _text_schema(pattern: str | None = None, **more: Any) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", **({"pattern": pattern} if pattern else {}), **more})


def _true_is_empty(value: object) -> object:
    """``refuse: true`` is ``refuse: {}``."""
    return {} if value is True else value


Name: TypeAlias = Annotated[str, _checked(_name), _text_schema(f"^{NAME}$")]
Texts: TypeAlias = Annotated[tuple[str, ...], _checked(_texts(str, "a text or a list of texts")), _one_or_many()]
Patterns: TypeAlias = Annotated[
    tuple[str, ...], _checked(_texts(_pattern, "a pattern or a list of patterns")), _one_or_many()
]
Countries: TypeAlias = Annotated[
    tuple[str, ...], _checked(_texts(_country, "a country such as 'DE', or a list")), _one_or_many("^[A-Z]{2}$")
]
Networks: TypeAlias = Annotated[tuple[str, ...], _checked(_texts(_network, "an address range")), _one_or_many()]
Routes: TypeAlias = Annotated[tuple[str, ...], _checked(_texts(_route, "a route")), _one_or_many()]
UrlPath: TypeAlias = Annotated[str, _checked(_path), _text_schema(r"^/[^\s?#%\\]*$")]
SecretRef: TypeAlias = Annotated[str, _checked(_secret), _text_schema(r"^\$\{[A-Za-z_][A-Za-z0-9_]*\}$")]
Limit: TypeAlias = Annotated[
    Rate,
    _checked(parse_limit),
    _text_schema(examples=["200/day", "100k output_tokens/hour", "$25/day", "8 concurrent"]),
]
Duration: TypeAlias = Annotated[
    float, _checked(parse_duration), _text_schema(r"^\s*[0-9]+(\.[0-9]+)?\s*(ms|s|m|h|d)\s*$")
]
Share: TypeAlias = Annotated[float, _checked(parse_share), _text_schema(r"^\s*[0-9.]+%$")]
If: TypeAlias = Annotated[Condition, _checked(_condition), _text_schema(maxLength=MAX_CHARS)]
Levels: TypeAlias = Annotated[
    tuple[str, ...], _checked(_texts(_level, "a level")), _one_or_many("^(none|watch|suspect|confirmed)$")
]
SubjectName: TypeAlias = Literal["account", "organisation", "model", "address", "global"]


class Strict(BaseModel):
    """Unknown keys and silent conversions are errors."""

    model_config = ConfigDict(extra="forbid", strict=True, arbitrary_types_allowed=True, populate_by_name=True)


class BudgetSpec(Strict):
    """What a subject may spend in a window."""

    limit: Limit = Field(description="NUMBER [UNIT]/TIME, such as '200/day', '$25/day', or 'N concurrent'.")
    name: Name | None = Field(None, description="Identity of the counter (default: made from unit and time).")
    subject: SubjectName | None = Field(None, description="Whose spending counts (default: account).")
    window: Literal["sliding", "bucket", "calendar"] | None = Field(
        None, description="How the window moves (default: sliding; bucket where there is a burst)."
    )
    burst: Annotated[int, Field(ge=1)] | None = Field(
        None, description="For window bucket: how much may be spent at once (default: the whole limit)."
    )
    shadow: bool = Field(False, description="Counted and reported as if enforced, answered as if not.")
    on_store_error: Literal["allow", "deny", "local_share"] = Field(
        "local_share", description="What is answered while the store cannot be asked."
    )


class RefuseSpec(Strict):
    """A request that is not answered."""

    message: Annotated[str, Field(min_length=1, max_length=300)] | None = Field(
        None, description="What the caller is told; never say what was suspected."
    )


class PlanSpec(Strict):
    """What a customer's plan allows."""

    description: str | None = Field(None, description="For people.")
    budgets: list[BudgetSpec] = Field(default_factory=list, description="What one account (or organisation) may spend.")
    models: Patterns | None = Field(None, description="Models that the plan may use (default: all).")
    max_output_tokens: Annotated[int, Field(ge=1)] | None = Field(None, description="Caps are lowered to it.")
    max_choices: Annotated[int, Field(ge=1)] | None = Field(None, description="`n` is lowered to it.")


class MatchSpec(Strict):
    """Which requests are meant; every key given must hold, of a list any one."""

    account: Texts | None = Field(None, description="Ids of accounts.")
    organisation: Texts | None = Field(None, description="Ids of organisations.")
    plan: Texts | None = Field(None, description="Plans.")
    country: Countries | None = Field(None, description="Countries of the account, two capital letters.")
    verified: bool | None = Field(None, description="Whether the organisation was verified.")
    declared_use: Texts | None = Field(None, description="Declared uses, such as synthetic-data.")
    model: Patterns | None = Field(None, description="Patterns of model names; case is ignored.")
    route: Routes | None = Field(None, description="Routes, such as openai.chat_completions.")
    address: Networks | None = Field(None, description="Address ranges of the client.")
    level: Levels | None = Field(None, description="Levels of standing: none, watch, suspect, confirmed.")


class EffectSpec(Strict):
    """What follows for requests that match."""

    refuse: Annotated[RefuseSpec, BeforeValidator(_true_is_empty)] | None = Field(
        None, description="Not answered: true, or a mapping with a message."
    )
    allow: Literal[True] | None = Field(
        None, description="Answered although a less specific rule, or the section access, refuses."
    )
    plan: Name | None = Field(None, description="Treated as if on this plan.")
    budgets: list[BudgetSpec] | None = Field(None, description="Charged besides the plan's budgets.")
    upstream: Name | None = Field(None, description="Sent to this upstream.")
    mark: bool | None = Field(None, description="Answered with marks.")
    carriers: Texts | None = Field(None, description="Kinds of marks (default: all that suit the reply).")
    holdout: Share | None = Field(None, description="The share of questions answered without marks, as a control.")
    max_output_tokens: Annotated[int, Field(ge=1)] | None = Field(None, description="Caps are lowered to it.")
    max_choices: Annotated[int, Field(ge=1)] | None = Field(None, description="`n` is lowered to it.")
    drop_logprobs: bool | None = Field(None, description="Log-probabilities are not passed on.")
    hide_reasoning: bool | None = Field(None, description="Reasoning text is not passed on.")
    delay: Duration | None = Field(None, description="Waited before the request is sent on.")


class RuleSpec(Strict):
    """One rule: which requests, and what follows."""

    name: Name = Field(description="Unique; shown in events and explanations.")
    description: str | None = Field(None, description="For people.")
    match: MatchSpec = Field(default_factory=MatchSpec, description="Which requests (default: all).")
    if_: If | None = Field(None, alias="if", description="A further condition in CEL.")
    shadow: bool = Field(False, description="Refusals and budgets are counted and reported, and not enforced.")
    share: Share | None = Field(None, description="Staged rollout: the share of accounts, by a stable hash.")
    then: EffectSpec = Field(description="What follows.")


class AccessSpec(Strict):
    """Who and what is refused outright."""

    deny_countries: Countries | None = Field(None, description="Accounts of these countries are refused.")
    verified_only: Patterns | None = Field(None, description="Models for verified organisations only.")
    kill: Patterns | None = Field(None, description="Kill switch: models that nobody gets; '*' stops everything.")


class StandingSpec(Strict):
    """What a level of standing means."""

    description: str | None = Field(None, description="For people.")
    refuse: Annotated[RefuseSpec, BeforeValidator(_true_is_empty)] | None = Field(None, description="Not answered.")
    mark: bool = Field(False, description="Answered with marks.")
    carriers: Texts | None = Field(None, description="Kinds of marks (default: all that suit the reply).")
    holdout: Share | None = Field(None, description="The share of questions answered without marks, as a control.")
    cluster_plan: Name | None = Field(
        None, description="The cluster as a whole may spend what one account of this plan may."
    )
    cluster_budgets: list[BudgetSpec] = Field(default_factory=list, description="Budgets of the cluster as a whole.")
    max_output_tokens: Annotated[int, Field(ge=1)] | None = Field(None, description="Caps are lowered to it.")
    max_choices: Annotated[int, Field(ge=1)] | None = Field(None, description="`n` is lowered to it.")
    drop_logprobs: bool = Field(False, description="Log-probabilities are not passed on.")
    hide_reasoning: bool = Field(False, description="Reasoning text is not passed on.")
    delay: Duration | None = Field(None, description="Waited before the request is sent on.")


class StandingsSpec(Strict):
    """Levels of standing; a level that is not listed changes nothing."""

    watch: StandingSpec | None = Field(None, description="Something was noticed; events only.")
    suspect: StandingSpec | None = Field(None, description="Evidence of two kinds.")
    confirmed: StandingSpec | None = Field(None, description="A person, or overwhelming evidence.")


class ExemptSpec(Strict):
    """Who is spared from what standings say."""

    name: Name = Field(description="Unique among rules and exemptions.")
    description: str | None = Field(None, description="For people.")
    match: MatchSpec = Field(description="Who is exempt.")
    from_: list[Literal["marks", "budgets", "caps", "delay", "refusal", "analysis"]] | None = Field(
        None, alias="from", min_length=1, description="What of (default: everything)."
    )


class UpstreamFileSpec(Strict):
    """A model server."""

    url: str | None = Field(None, description="http(s)://HOST[:PORT][/PATH]; ${NAME} reads the environment.")
    models: Patterns | None = Field(None, description="Models it serves (default: those that no other serves).")
    path_prefix: UrlPath | None = Field(None, description="Only paths that begin so.")
    api_key: SecretRef | None = Field(None, description="${NAME}: its credential.")
    connect_timeout: Duration | None = Field(None, description="Longest time to connect.")
    first_byte_timeout: Duration | None = Field(None, description="Longest wait for the first byte.")
    idle_timeout: Duration | None = Field(None, description="Longest silence within a reply.")


class PassThroughSpec(Strict):
    """A route that is not metered: answered by the upstream as it is."""

    path: UrlPath = Field(description="The path; a '*' at its end stands for anything.")
    methods: list[Literal["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"]] = Field(
        ["GET"], min_length=1, description="Methods (default: GET)."
    )
    authenticate: bool = Field(True, description="Whether a valid credential is asked for.")
    upstream: Name = Field("default", description="Where it is sent.")


class PriceSpec(Strict):
    """USD per million tokens."""

    input: Annotated[float, Field(ge=0, le=100_000, allow_inf_nan=False)] = Field(description="For input tokens.")
    output: Annotated[float, Field(ge=0, le=100_000, allow_inf_nan=False)] = Field(description="For output tokens.")


class AnalysisSpec(Strict):
    """What the analysis must show before anybody is limited."""

    alpha: Annotated[float, Field(gt=0, le=0.01)] | None = Field(
        None, description="Bound on false alarms per customer, over all looks (default: 1.0e-6)."
    )
    families: Annotated[int, Field(ge=2, le=5)] | None = Field(
        None, description="Independent families of evidence needed (default and least: 2)."
    )
    horizon: Duration | None = Field(None, description="How far back evidence counts (default: 45d).")


class RecordingSpec(Strict):
    """What `serve --record` keeps of live traffic."""

    bodies: Literal["sketch", "full"] | None = Field(
        None,
        description="sketch: every text is replaced by signs of equal number; full: as received (default: sketch).",
    )
    retention: Duration | None = Field(None, description="How long recordings are kept (default: 30d).")


class PolicyFile(Strict):
    """One file of policies; every section may stand in any file of the set, once."""

    version: Literal[1] = Field(description="Version of the language: 1.")
    include: list[str] | None = Field(None, description="More files, relative to this one, inside its folder.")
    default_plan: Name | None = Field(None, description="Plan of accounts without one (default: the first plan).")
    default_output_tokens: Annotated[int, Field(ge=1, le=10_000_000)] | None = Field(
        None, description="Reserved per choice where a request declares no cap (default: 4096)."
    )
    plans: dict[Name, PlanSpec] = Field(default_factory=dict, description="The customers' plans.")
    budgets: list[BudgetSpec] = Field(default_factory=list, description="Budgets charged for every request.")
    rules: list[RuleSpec] = Field(default_factory=list, description="What else holds for which requests.")
    access: AccessSpec = Field(default_factory=AccessSpec, description="Who and what is refused outright.")
    standings: StandingsSpec = Field(default_factory=StandingsSpec, description="What levels of standing mean.")
    exempt: list[ExemptSpec] = Field(default_factory=list, description="Who is spared from standings.")
    upstreams: dict[Name, UpstreamFileSpec] = Field(default_factory=dict, description="The model servers.")
    pass_through: list[PassThroughSpec] = Field(default_factory=list, description="Routes that are not metered.")
    prices: dict[str, PriceSpec] = Field(default_factory=dict, description="USD per million tokens, by model pattern.")
    analysis: AnalysisSpec = Field(default_factory=AnalysisSpec, description="What the analysis must show.")
    recording: RecordingSpec = Field(
        default_factory=RecordingSpec, description="What `serve --record` keeps of live traffic."
    )


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a policy file, for editors."""
    schema = PolicyFile.model_json_schema(by_alias=True)
    schema["title"] = "distillguard policy file"
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
