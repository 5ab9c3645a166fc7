"""From a line of a log to what deciding needs, so that another process can do it: facts without their texts.

A ``Prepared`` is a flat tuple of plain values (``marshal`` carries it in a few microseconds). Traits are taken
here, once, and packed: few of those who pass a request on look into them. Texts and bodies stay behind. Nothing in it
depends on policies or accounts.
"""

from __future__ import annotations

import marshal
from array import array
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from gateway.analysis.traits import TraitExtractor
from gateway.dialects import facts_of, find_route
from gateway.errors import RequestRefused
from gateway.types import Family, Identity, RequestFacts, Usage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.dialects import Route
    from gateway.replay.log import Recorded

BASE_S = 0.5
"""Modelled time before a reply's first token where a log tells no duration."""
TOKENS_PER_S = 50.0
"""Modelled speed of a reply: common for hosted models; with ``BASE_S`` used for concurrency only."""
KEPT_TEXTS = 8_192
"""Texts of a log recur, and a replay may use some memory: 3 kB each."""
_FAMILIES = {family.value: family for family in Family}


class Prepared(NamedTuple):
    """One request. ``facts`` is ``None`` where the route is not ours or the body cannot be read (``problem``)."""

    id: str
    ts: float
    account: str
    ip: str | None
    ja4: str | None
    country: str | None
    method: str
    path: str
    family: str
    route: str | None
    facts: tuple[Any, ...] | None
    traits: bytes | None
    """See ``unpack``."""
    input_tokens: int
    output_tokens: int
    has_usage: bool
    status: int
    duration_s: float
    problem: str | None


class Preparer:
    """Prepares requests under one key; ``body_bytes`` counts bodies, for policies that ask for their size."""

    def __init__(self, key: bytes, *, body_bytes: bool = False) -> None:
        self._extractor = TraitExtractor(key, KEPT_TEXTS)
        self._body_bytes = body_bytes

    def prepare(self, recorded: Recorded) -> Prepared:
        """What deciding needs of one request; never raises for what a caller may have sent."""
        ja4 = None
        for name, value in recorded.headers:
            if name == b"x-ja4":
                ja4 = value.decode("latin-1")
                break
        route = find_route(recorded.method, recorded.path, recorded.headers)
        facts, traits, problem = None, None, None
        if route is not None:
            try:
                found = self._facts(route, recorded)
            except RequestRefused as refused:
                problem = refused.refusal.message
            else:
                facts = _flat(found)
                shown = recorded.traits
                if shown is None:
                    identity = Identity(account=recorded.account, address=recorded.ip, ja4=ja4)
                    shown = self._extractor.request(found, identity, recorded.headers)
                traits = pack(shown)
        usage = recorded.usage or Usage()
        duration_s = recorded.duration_s
        return Prepared(
            recorded.id,
            recorded.ts,
            recorded.account,
            recorded.ip,
            ja4,
            recorded.country,
            recorded.method,
            recorded.path,
            route.family.value if route is not None else "",
            route.name if route is not None else None,
            facts,
            traits,
            usage.input_tokens,
            usage.output_tokens,
            recorded.usage is not None,
            recorded.status,
            BASE_S + usage.output_tokens / TOKENS_PER_S if duration_s is None else duration_s,
            problem,
        )

    def _facts(self, route: Route, recorded: Recorded) -> RequestFacts:
        if not route.has_body:
            return RequestFacts(family=route.family, route=route.name, model="", makes_output=False)
        size = recorded.body_bytes
        if size is None:
            size = len(orjson.dumps(recorded.body)) if self._body_bytes else 0
        return facts_of(route, recorded.body, size)


def pack(traits: Mapping[str, Any]) -> bytes:
    """Traits as bytes; phrases, which are most of them, as they stand in memory."""
    rest = dict(traits)
    phrases = rest.pop("ph", ())
    try:
        packed = phrases if type(phrases) is array else array("Q", phrases)
        return marshal.dumps((rest, packed.tobytes()))
    except (TypeError, OverflowError):  # no hashes: somebody else wrote the log
        return marshal.dumps((dict(traits), b""))


def unpack(packed: bytes) -> dict[str, Any]:
    """What ``pack`` was given; phrases as an array."""
    traits: dict[str, Any]
    traits, phrases = marshal.loads(packed)  # noqa: S302 - packed by this replay
    if phrases:
        codes = array("Q")
        codes.frombytes(phrases)
        traits["ph"] = codes
    return traits


def _flat(facts: RequestFacts) -> tuple[Any, ...]:
    """The facts that policies and budgets look at, as plain values."""
    return (
        facts.model, facts.stream, facts.usage_asked, facts.max_output_tokens, facts.choices, facts.makes_output,
        facts.input_chars, facts.body_bytes, facts.logprobs,
    )  # fmt: skip


def facts_from(prepared: Prepared) -> RequestFacts:
    """The facts of a request, without its texts. ``prepared.facts`` and ``route`` must not be ``None``."""
    assert prepared.facts is not None
    assert prepared.route is not None
    model, stream, usage_asked, cap, choices, makes_output, chars, size, logprobs = prepared.facts
    return RequestFacts(
        family=_FAMILIES[prepared.family],
        route=prepared.route,
        model=model,
        stream=stream,
        usage_asked=usage_asked,
        max_output_tokens=cap,
        choices=choices,
        makes_output=makes_output,
        input_chars=chars,
        body_bytes=size,
        logprobs=logprobs,
    )
