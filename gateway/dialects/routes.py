"""The table of routes: everything that differs between the APIs and can be said in a row.

Adding a route is adding a row to ``ROUTES``; the readers, the meter and the splice take their places from
it. Decisions use the path as it was received (``scope["path"]``, percent-decoded), so a path with dot
segments or control characters after ``/v1/models/`` is no known route.

Left out: what cannot be said as data (how texts lie in a body: ``texts.py``; how a stream is told:
``streams.py``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from gateway.types import Family

if TYPE_CHECKING:
    from gateway.types import Headers


class Shape(StrEnum):
    """How the texts of a body and of its reply are laid out; functions are chosen by it."""

    CHAT = "chat"
    COMPLETIONS = "completions"
    RESPONSES = "responses"
    EMBEDDINGS = "embeddings"
    MESSAGES = "messages"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageFields:
    """Where a ``usage`` object has its numbers. ``input`` fields are added up; ``cached`` and
    ``reasoning`` are paths within the object.
    """

    input: tuple[str, ...] = ()
    output: str = ""
    cached: tuple[str, ...] = ()
    reasoning: tuple[str, ...] = ()
    spent: tuple[str, ...] = field(init=False)
    """Names of the numbers of which one at least makes a report."""
    cached_name: str = field(init=False)
    """``cached`` in one word; so for ``reasoning``."""
    reasoning_name: str = field(init=False)
    details: tuple[tuple[tuple[str, ...], str], ...] = field(init=False)
    """The paths that there are, with their names."""

    def __post_init__(self) -> None:
        """Put together what is asked for each reply."""
        object.__setattr__(self, "spent", (*self.input, *((self.output,) if self.output else ())))
        object.__setattr__(self, "cached_name", "/".join(self.cached))
        object.__setattr__(self, "reasoning_name", "/".join(self.reasoning))
        paths = (self.cached, self.reasoning)
        object.__setattr__(self, "details", tuple((path, "/".join(path)) for path in paths if path))


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One row: a method and path, and where the JSON bodies of its requests and replies say things.

    ``caps`` are the fields that bound the tokens of one choice, the preferred one first; ``counts`` those
    that multiply choices. ``containers`` are fields whose type must be one of those named, or their texts
    would not be found. ``decides`` are all fields that may stand only once. ``asks_usage``: usage in a
    stream must be asked for by ``stream_options.include_usage``. ``billed``: a reply spends tokens.
    """

    name: str
    family: Family
    method: str
    path: str
    shape: Shape = Shape.NONE
    has_body: bool = True
    makes_output: bool = True
    billed: bool = True
    streams: bool = False
    asks_usage: bool = False
    has_id: bool = False
    caps: tuple[str, ...] = ()
    counts: tuple[str, ...] = ()
    containers: tuple[tuple[str, tuple[type, ...]], ...] = ()
    more_decides: tuple[str, ...] = ()
    refused_true: tuple[tuple[str, str], ...] = ()
    logprobs: tuple[str, ...] = ()
    usage: UsageFields = UsageFields()
    end_user: tuple[tuple[str, ...], ...] = ()

    decides: tuple[str, ...] = field(init=False)
    """The top-level fields that decide what a request costs or says."""
    quoted: tuple[tuple[str, bytes], ...] = field(init=False)
    """The same with their names as they stand in a body."""

    def __post_init__(self) -> None:
        """Put together what is asked for each request."""
        listed = ("model", *self.caps, *self.counts, *(name for name, _ in self.containers), *self.more_decides)
        decides = (*listed, "stream", *(("stream_options",) if self.asks_usage else ()))
        object.__setattr__(self, "decides", decides)
        object.__setattr__(self, "quoted", tuple((name, b'"%b"' % name.encode()) for name in decides))


_CHAT_USAGE = UsageFields(
    input=("prompt_tokens",),
    output="completion_tokens",
    cached=("prompt_tokens_details", "cached_tokens"),
    reasoning=("completion_tokens_details", "reasoning_tokens"),
)
_RESPONSES_USAGE = UsageFields(
    input=("input_tokens",),
    output="output_tokens",
    cached=("input_tokens_details", "cached_tokens"),
    reasoning=("output_tokens_details", "reasoning_tokens"),
)
_MESSAGES_USAGE = UsageFields(
    input=("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"),
    output="output_tokens",
    cached=("cache_read_input_tokens",),
    reasoning=("output_tokens_details", "thinking_tokens"),
)
_OPENAI_USER = (("safety_identifier",), ("user",))
_ANTHROPIC_TEXTS = (("messages", (list,)), ("system", (str, list)), ("tools", (list,)))

ROUTES: tuple[Route, ...] = (
    Route(
        name="openai.chat_completions",
        family=Family.OPENAI,
        method="POST",
        path="/v1/chat/completions",
        shape=Shape.CHAT,
        streams=True,
        asks_usage=True,
        caps=("max_completion_tokens", "max_tokens"),
        counts=("n", "best_of"),
        containers=(("messages", (list,)), ("tools", (list,)), ("functions", (list,))),
        logprobs=("logprobs", "top_logprobs", "prompt_logprobs"),
        usage=_CHAT_USAGE,
        end_user=_OPENAI_USER,
    ),
    Route(
        name="openai.completions",
        family=Family.OPENAI,
        method="POST",
        path="/v1/completions",
        shape=Shape.COMPLETIONS,
        streams=True,
        asks_usage=True,
        caps=("max_tokens",),
        counts=("n", "best_of"),
        containers=(("prompt", (str, list)), ("suffix", (str,))),
        logprobs=("logprobs", "top_logprobs", "prompt_logprobs"),
        usage=_CHAT_USAGE,
        end_user=_OPENAI_USER,
    ),
    Route(
        name="openai.responses",
        family=Family.OPENAI,
        method="POST",
        path="/v1/responses",
        shape=Shape.RESPONSES,
        streams=True,
        caps=("max_output_tokens",),
        containers=(("input", (str, list)), ("instructions", (str, list)), ("tools", (list,)), ("prompt", (dict,))),
        more_decides=("background",),
        # A background reply is fetched later by a route that is not served, so its tokens would go uncounted.
        refused_true=(("background", "background replies cannot be fetched here; send the request without it"),),
        logprobs=("top_logprobs",),
        usage=_RESPONSES_USAGE,
        end_user=_OPENAI_USER,
    ),
    Route(
        name="openai.embeddings",
        family=Family.OPENAI,
        method="POST",
        path="/v1/embeddings",
        shape=Shape.EMBEDDINGS,
        makes_output=False,
        containers=(("input", (str, list)),),
        usage=UsageFields(input=("prompt_tokens",)),
        end_user=_OPENAI_USER,
    ),
    Route(
        name="anthropic.messages",
        family=Family.ANTHROPIC,
        method="POST",
        path="/v1/messages",
        shape=Shape.MESSAGES,
        streams=True,
        caps=("max_tokens",),
        containers=_ANTHROPIC_TEXTS,
        usage=_MESSAGES_USAGE,
        end_user=(("metadata", "user_id"),),
    ),
    Route(
        name="anthropic.count_tokens",
        family=Family.ANTHROPIC,
        method="POST",
        path="/v1/messages/count_tokens",
        shape=Shape.MESSAGES,
        makes_output=False,
        billed=False,
        containers=_ANTHROPIC_TEXTS,
    ),
    *(
        Route(
            name=f"{family.value}.models",
            family=family,
            method="GET",
            path="/v1/models",
            has_body=False,
            makes_output=False,
            billed=False,
            has_id=True,
        )
        for family in (Family.OPENAI, Family.ANTHROPIC)
    ),
)

_BY_PATH: dict[str, tuple[Route, ...]] = {
    path: tuple(route for route in ROUTES if route.path == path) for path in {route.path for route in ROUTES}
}
_ONLY = {(rows[0].method, path): rows[0] for path, rows in _BY_PATH.items() if len(rows) == 1}
"""Paths with one row, by the method and path that find it."""
# Model ids may contain slashes (organisation/name) but no dot segments, which an upstream might resolve.
_SIGNS = {"%2F": "/", "%3A": ":", "%40": "@", "%2B": "+"}
_ENCODED = re.compile("|".join(_SIGNS), re.IGNORECASE)
_MODEL_ID = re.compile(r"(?:/(?!\.{1,2}(?:/|\Z))[A-Za-z0-9._:@+-]{1,128}){1,4}\Z")


def find_route(method: str, path: str, headers: Headers) -> Route | None:
    """The row for a request, or None. Where two families share a path, the ``anthropic-version`` header
    (which Anthropic requires and OpenAI does not know) tells them apart.
    """
    only = _ONLY.get((method, path))
    if only is not None:
        return only
    rows = [route for route in _rows(path) if route.method == method]
    if len(rows) > 1:
        family = family_of(path, headers)
        rows = [route for route in rows if route.family is family]
    return rows[0] if rows else None


def path_known(path: str) -> bool:
    """True where some method is served at ``path``: the answer is 405 and not 404."""
    return bool(_rows(path))


def allowed_methods(path: str) -> bytes:
    """The value of ``allow`` for a 405 (RFC 9110, section 10.2.1); empty for an unknown path."""
    return ", ".join(sorted({route.method for route in _rows(path)})).encode()


def family_of(path: str, headers: Headers) -> Family:
    """In whose dialect to answer, also where the route is unknown."""
    own = _BY_PATH.get(path)
    if own is not None and len(own) == 1:
        return own[0].family
    if path.startswith("/v1/messages/") or path == "/v1/complete":
        return Family.ANTHROPIC
    if any(name in {b"anthropic-version", b"anthropic-beta"} for name, _ in headers):
        return Family.ANTHROPIC
    return Family.OPENAI


def _plain(path: str) -> str:
    """The path with the signs of a model id that SDKs encode written out; any other encoding stays and fits nothing.

    Dot segments are looked for behind it, so that an encoded slash hides none.
    """
    return _ENCODED.sub(lambda found: _SIGNS[found[0].upper()], path) if "%" in path else path


def _rows(path: str) -> tuple[Route, ...]:
    rows = _BY_PATH.get(path)
    if rows is not None:
        return rows
    if path.startswith("/v1/models/") and len(path) <= 512 and _MODEL_ID.match(_plain(path), len("/v1/models")):  # noqa: PLR2004 - longer than any id
        return tuple(route for route in _BY_PATH["/v1/models"] if route.has_id)
    return ()
