"""The words of the gateway: frozen values that travel between its rooms.

Nothing here does I/O, reads a clock or knows a vendor's API. A value is made by one room and read by
those after it:

    bytes -> RequestFacts -> (Identity, Standing) -> Plan -> Grant | Refusal -> Usage -> Event

Units stand in names: ``_s`` seconds, ``_tokens``, ``_bytes``, ``_microusd`` millionths of a US dollar.
All times are seconds since the epoch, UTC.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, make_dataclass
from enum import Enum, StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping

JSON: TypeAlias = Any
Headers: TypeAlias = list[tuple[bytes, bytes]]
"""Header fields as ASGI has them: lower-case names, raw bytes, duplicates and order kept."""

CARRIERS = (
    "spelling",
    "contraction",
    "number",
    "connective",
    "synonym",
    "punctuation",
    "structure",
    "order",
    "cue",
    "closing",
    "bridge",
)
"""Carriers of marks that are written into replies, in the order of reports."""
BEHAVIOUR = "behaviour"
"""The carrier that the model is asked for; only where a policy names it."""

_Value = TypeVar("_Value")


def made_often(cls: type[_Value]) -> type[_Value]:
    """A frozen data class of which each request makes some: made in a third to a half of the time.

    What freezes one makes it slow to make, a call for each field (6 µs for an ``Event``). So these are frozen for the
    type checker and for whoever hashes them, and plain while the program runs.
    """
    given = [
        (one.name, one.type, field(default=one.default, default_factory=one.default_factory))
        for one in fields(cls)  # type: ignore[arg-type]
    ]
    cls.__init__ = make_dataclass(cls.__name__, given, kw_only=True).__init__  # type: ignore[method-assign,misc]
    del cls.__setattr__, cls.__delattr__
    return cls


class Family(StrEnum):
    """Whose API a route belongs to; decides the shape of errors and headers."""

    OPENAI = "openai"
    ANTHROPIC = "anthropic"


@made_often
@dataclass(frozen=True, slots=True, kw_only=True)
class TextPart:
    """One text of a request, in the order of the body.

    ``role`` is ``system``, ``user``, ``assistant``, ``tool`` (a tool's result), ``tools`` (a tool's
    definition), ``signature`` (an opaque reasoning signature) or ``input`` (completions, embeddings).
    """

    role: str
    text: str


@made_often
@dataclass(frozen=True, slots=True, kw_only=True)
class RequestFacts:
    """What a request asks for, read once from its body.

    ``max_output_tokens`` is the larger declared cap for one choice (``None``: none declared);
    ``choices`` is how many replies are made and billed (``n`` or ``best_of``, the larger, times the
    number of prompts for completions; at least 1).
    """

    family: Family
    route: str
    model: str
    stream: bool = False
    usage_asked: bool = False
    max_output_tokens: int | None = None
    choices: int = 1
    makes_output: bool = True
    texts: tuple[TextPart, ...] = ()
    input_chars: int = 0
    body_bytes: int = 0
    logprobs: bool = False
    end_user: str | None = None
    body: Mapping[str, JSON] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who is calling, after credentials were verified.

    ``account`` is an id of the directory or key store, or ``anon-`` and a keyed hash where any
    credential is an account of its own. ``credential`` is a public id or keyed hash, never the secret.
    """

    account: str
    plan: str | None = None
    org: str | None = None
    country: str | None = None
    verified: bool = False
    declared_use: str | None = None
    created_at: float | None = None
    address: str | None = None
    ja4: str | None = None
    end_user: str | None = None
    """Whom a trusted proxy says that the account acts for."""
    home_country: str | None = None
    """The directory's country; ``country`` is where the call comes from, where a trusted proxy tells."""
    credential: str = ""
    own_credential: bool = True
    """True: the caller's credential is forwarded; False: the upstream's own is put in its place."""


class Level(Enum):
    """How far the analysis (or a person) distrusts an account's cluster; ordered by ``rank``."""

    NONE = "none"
    WATCH = "watch"
    SUSPECT = "suspect"
    CONFIRMED = "confirmed"

    __hash__ = object.__hash__  # members are single; ``Enum`` hashes names, in Python

    @property
    def rank(self) -> int:
        """0 for ``none`` up to 3 for ``confirmed``."""
        return _LEVELS.index(self)


_LEVELS = (Level.NONE, Level.WATCH, Level.SUSPECT, Level.CONFIRMED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What the request path knows of an account's cluster; data, never code, from the analysis."""

    level: Level = Level.NONE
    cluster: str | None = None
    expires_at: float | None = None
    reasons: tuple[str, ...] = ()


NO_STANDING = Standing()


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the analysis holds of one cluster, from ``decided_at`` until ``expires_at``.

    Of two verdicts on one cluster the one with the higher ``version`` counts, in whatever order they
    arrive; an account named by several clusters belongs to the one decided last. ``members`` is the whole
    membership. ``replaces`` names clusters that were merged into this one and are no more. ``evidence``
    is for people (one mapping a family, numbers and words); ``signatures`` are the campaign's traits for the
    request path, opaque to whoever only carries them.
    """

    cluster: str
    level: Level
    members: tuple[str, ...]
    decided_at: float
    expires_at: float
    version: int = 1
    reasons: tuple[str, ...] = ()
    replaces: tuple[str, ...] = ()
    evidence: tuple[Mapping[str, JSON], ...] = ()
    signatures: Mapping[str, JSON] = field(default_factory=dict)


class Unit(StrEnum):
    """What a budget counts."""

    REQUESTS = "requests"
    INPUT_TOKENS = "input_tokens"
    OUTPUT_TOKENS = "output_tokens"
    TOTAL_TOKENS = "total_tokens"
    COST = "usd"
    CONCURRENCY = "concurrency"


class Subject(StrEnum):
    """Whose spending a budget counts."""

    ACCOUNT = "account"
    ORGANISATION = "organisation"
    CLUSTER = "cluster"
    MODEL = "model"
    ADDRESS = "address"
    GLOBAL = "global"


class Algorithm(StrEnum):
    """How a budget's window moves."""

    SLIDING = "sliding"
    """Sliding window in twelve slices, the oldest counted in full: never over the limit."""
    BUCKET = "bucket"
    """GCRA (token bucket): a steady rate with a burst."""
    CALENDAR = "calendar"
    """Resets at UTC midnight or on the first of the month."""
    LEASE = "lease"
    """Concurrency: what is held now."""


class OnStoreError(StrEnum):
    """What a budget answers while the store that counts it cannot be asked."""

    ALLOW = "allow"
    DENY = "deny"
    LOCAL_SHARE = "local_share"


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A budget's window. ``length_s`` is 0 for leases; for calendar windows it is 86,400 or 2,678,400
    (31 days: an upper bound used for expiry, the real end comes from the calendar).
    """

    algorithm: Algorithm
    length_s: int = 0
    burst: int = 0
    """GCRA only: how much may be spent at once; 0 means the whole limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """One limit of a policy. ``name`` is unique in the policy set and is the bucket's identity in the
    store, so that a changed limit keeps what was already spent. ``limit`` is in the unit's own steps
    (requests, tokens, micro-USD, leases) and may be 0 (nothing is allowed).
    """

    name: str
    subject: Subject
    unit: Unit
    limit: int
    window: Window
    shadow: bool = False
    on_store_error: OnStoreError = OnStoreError.LOCAL_SHARE


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """A budget applied to a request: ``value`` names the subject (the account's id, the model, ...)."""

    budget: Budget
    value: str

    @property
    def key(self) -> str:
        """The bucket's name, unique over all subjects: ``SUBJECT:VALUE:BUDGET``."""
        return f"{self.budget.subject.value}:{self.value}:{self.budget.name}"


@made_often
@dataclass(frozen=True, slots=True, kw_only=True)
class Amounts:
    """What a request spends, in each unit; all >= 0."""

    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_microusd: int = 0

    def of(self, unit: Unit) -> int:
        """The amount in ``unit`` (concurrency: 1 per reservation)."""
        if unit is Unit.REQUESTS:
            return self.requests
        if unit is Unit.INPUT_TOKENS:
            return self.input_tokens
        if unit is Unit.OUTPUT_TOKENS:
            return self.output_tokens
        if unit is Unit.TOTAL_TOKENS:
            return self.input_tokens + self.output_tokens
        if unit is Unit.COST:
            return self.cost_microusd
        return 1


class Balance(NamedTuple):
    """A bucket as the store saw it at the decision. ``remaining`` >= 0; ``reset_s`` is how long until
    something more can be spent (0: now). A tuple, because each request makes one a budget.
    """

    budget: Budget
    remaining: int
    reset_s: float


class RefusalKind(Enum):
    """Why a request is not answered; the value is the stable error code."""

    BAD_REQUEST = "invalid_request"
    UNAUTHENTICATED = "invalid_api_key"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    TIMEOUT = "request_timeout"
    TOO_LARGE = "request_too_large"
    UNSUPPORTED = "unsupported_media_type"
    RATE_LIMITED = "rate_limit_exceeded"
    BUDGET_EXHAUSTED = "insufficient_quota"
    UNAVAILABLE = "service_unavailable"
    INTERNAL = "internal_error"
    UPSTREAM_FAILED = "upstream_error"
    UPSTREAM_TIMEOUT = "upstream_timeout"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A request that is not answered. ``message`` goes to the caller and names no detector, cluster or
    rule of suspicion; ``rule`` goes to the event only. ``retry_after_s`` is ``None`` where waiting
    does not help.
    """

    kind: RefusalKind
    message: str
    rule: str | None = None
    retry_after_s: float | None = None
    balances: tuple[Balance, ...] = ()
    param: str | None = None


@made_often
@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """A reservation that was made. ``shadowed`` names the shadow budgets that would have refused;
    ``degraded`` tells that the store could not be asked and the budgets' ``on_store_error`` decided.
    ``charges`` and ``reserved`` are what was charged, for the settlement.
    """

    reservation: str
    balances: tuple[Balance, ...] = ()
    shadowed: tuple[str, ...] = ()
    degraded: bool = False
    charges: tuple[Charge, ...] = ()
    reserved: Amounts = Amounts()


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What a model costs, in USD per million tokens (so micro-USD per token)."""

    input: float = 0.0
    output: float = 0.0

    def cost_microusd(self, input_tokens: int, output_tokens: int) -> int:
        """Cost rounded up to whole micro-USD, so that small requests are never free by rounding."""
        exact = input_tokens * self.input + output_tokens * self.output
        return -int(-exact // 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What the policy decided for one request. With ``refusal`` set nothing else counts."""

    plan: str
    rule: str | None = None
    refusal: Refusal | None = None
    charges: tuple[Charge, ...] = ()
    upstream: str = "default"
    price: Price = field(default_factory=Price)
    default_output_tokens: int = 4096
    """Reserved per choice where a request declares no cap."""
    mark: bool = False
    carriers: tuple[str, ...] = ()
    holdout: float = 0.0
    """Share of a cluster's questions, 0 to 1, that are answered without marks, as a control."""
    max_output_tokens: int | None = None
    """Where set, the declared caps are lowered to it."""
    max_choices: int | None = None
    drop_logprobs: bool = False
    hide_reasoning: bool = False
    delay_s: float = 0.0
    sample: bool = False
    """Kept in full, sealed, where traffic is recorded; a refused request too."""
    shadowed: tuple[str, ...] = ()
    """Rules in shadow that would have refused; answered as if they were not there."""
    policy: str = ""
    """Hash of the policy set that decided."""


@made_often
@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a reply spent. ``reported`` tells whether the upstream said so; else it is a floor counted
    from what was seen to flow.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_input_tokens: int = 0
    reasoning_tokens: int = 0
    reported: bool = False


class Outcome(StrEnum):
    """How a request ended."""

    ANSWERED = "answered"
    REFUSED = "refused"
    DISCONNECTED = "disconnected"
    UPSTREAM_FAILED = "upstream_failed"
    FAILED = "failed"


@made_often
@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One request, as it is written down: no credential, no prompt text, addresses as keyed hashes."""

    id: str
    ts: float
    outcome: Outcome
    family: str
    route: str
    status: int
    account: str | None = None
    org: str | None = None
    plan: str | None = None
    credential: str | None = None
    address: str | None = None
    country: str | None = None
    model: str | None = None
    upstream: str | None = None
    stream: bool = False
    level: str = "none"
    cluster: str | None = None
    rule: str | None = None
    refusal: str | None = None
    """The code of the refusal (``RefusalKind``), where the request was refused."""
    shadowed: tuple[str, ...] = ()
    marked: bool = False
    marks: Mapping[str, JSON] | None = None
    """Of a marked reply: the keyring's version and how many marks of each carrier; no text. Of one that was kept
    unmarked as a control: the version and ``holdout``.
    """
    usage: Usage | None = None
    cost_microusd: int = 0
    first_byte_s: float | None = None
    duration_s: float = 0.0
    degraded: bool = False
    policy: str = ""
    traits: Mapping[str, JSON] | None = None
    """Keyed hashes, sketches and numbers for the analysis."""
