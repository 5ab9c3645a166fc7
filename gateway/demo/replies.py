"""What the embedded model server answers to a call: routes, errors and the faults of content. Pure."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import orjson

from gateway.demo import anthropic_api, faults, openai_api, responses_api
from gateway.demo.ask import ANSWER_OF_COMPLETIONS, Ask, BadRequest, Said, Writer, answer, read_ask

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

MODELS = ("demo-small", "demo-large", "demo-reasoner")
_POSTS = frozenset(
    f"/v1/{name}"
    for name in ("chat/completions", "completions", "responses", "embeddings", "messages", "messages/count_tokens")
)
_JSON = b"application/json"
_SSE = b"text/event-stream; charset=utf-8"
_UNKNOWN_MODEL = "no-such-model"
_PLAIN: dict[str, Callable[[Ask, list[Said], float], Any]] = {
    "chat/completions": openai_api.chat,
    "completions": openai_api.completion,
    "responses": lambda ask, said, now: responses_api.response(ask, said[0], now),
    "messages": lambda ask, said, _now: anthropic_api.message(ask, said[0]),
}
_STREAMED: dict[str, Callable[[Ask, list[Said], float], Iterable[bytes]]] = {
    "chat/completions": openai_api.chat_events,
    "completions": openai_api.completion_events,
    "responses": lambda ask, said, now: responses_api.response_events(ask, said[0], now),
    "messages": lambda ask, said, _now: anthropic_api.message_events(ask, said[0]),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A request, whole; header names are lower-case."""

    method: str
    path: str
    headers: Mapping[bytes, bytes]
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A reply before its pace: one part, or the events of a stream."""

    status: int
    kind: bytes
    parts: list[bytes]
    headers: tuple[tuple[bytes, bytes], ...] = ()

    @property
    def streams(self) -> bool:
        """Whether the parts are events."""
        return self.kind == _SSE


class Dialect:
    """How the errors of a call look."""

    def __init__(self, path: str, headers: Mapping[bytes, bytes], body: bytes) -> None:
        self.is_anthropic = path.startswith("/v1/messages") or b"anthropic-version" in headers
        bearer = headers.get(b"authorization", b"").decode("latin-1").removeprefix("Bearer ")
        self.credential = headers.get(b"x-api-key", b"").decode("latin-1") or bearer
        self.request_id_header = b"request-id" if self.is_anthropic else b"x-request-id"
        self.request_id = b"req_demo_%08x" % zlib.crc32(body)
        self._is_responses = path == "/v1/responses"

    def error(self, status: int, message: str, *, param: str | None = None, code: str | None = None) -> Reply:
        """An error reply."""
        if self.is_anthropic:
            value = anthropic_api.error(status, message, request_id=self.request_id.decode())
        else:
            value = openai_api.error(status, message, param=param, code=code)
        later = ((b"retry-after", b"1"),) if status in {429, 503} else ()
        return Reply(status=status, kind=_JSON, parts=[orjson.dumps(value)], headers=later)

    def error_event(self) -> bytes:
        """An error within a stream."""
        text = "Scripted fault error-mid-stream."
        if self.is_anthropic:
            return anthropic_api.event("error", error=anthropic_api.error(529, text)["error"])
        if self._is_responses:
            value = {"type": "error", "sequence_number": 0, "code": "server_error", "message": text, "param": None}
            return b"event: error\ndata: " + orjson.dumps(value) + b"\n\n"
        return openai_api.event(openai_api.error(500, text))


def reply_to(call: Call, dialect: Dialect, writer: Writer, now: float) -> tuple[Reply, str | None]:
    """The reply, and the fault that remains to be done while it is sent."""
    if call.method == "GET" and call.path.startswith("/v1/models"):
        return _models(call.path, dialect), None
    if call.path not in _POSTS:
        return dialect.error(404, f"Unknown request URL: {call.method} {call.path}."), None
    if call.method != "POST":
        return dialect.error(405, f"Not allowed to {call.method} on {call.path}."), None
    try:
        return _post(call, dialect, writer, now)
    except BadRequest as error:
        return dialect.error(400, str(error), param=error.param), None


def _post(call: Call, dialect: Dialect, writer: Writer, now: float) -> tuple[Reply, str | None]:
    """The reply to a request with a body. Raises BadRequest."""
    ask = read_ask(call.body)
    try:
        fault = faults.fault_of(ask.model, call.headers)
    except ValueError as error:
        raise BadRequest(str(error), "model") from None
    if ask.model == _UNKNOWN_MODEL:
        return dialect.error(404, f"The model `{ask.model}` does not exist", code="model_not_found"), None
    if fault is not None and fault.isdigit():
        return dialect.error(int(fault), f"Scripted fault {fault}."), fault
    return _with_content_fault(_success(call.path.removeprefix("/v1/"), ask, writer, now), fault), fault


def _success(route: str, ask: Ask, writer: Writer, now: float) -> Reply:
    """What a healthy server answers on a route of ``_POSTS``. Raises BadRequest where the API wants a member that is missing."""
    if route == "embeddings":
        return _plain(openai_api.embeddings(ask))
    if route == "messages/count_tokens":
        return _plain(anthropic_api.token_count(ask))
    if route == "messages" and ask.max_tokens is None:
        raise BadRequest("max_tokens: Field required", "max_tokens")
    if route == "completions" and ask.max_tokens is None:
        ask = replace(ask, max_tokens=ANSWER_OF_COMPLETIONS)
    said = answer(ask, writer)
    if ask.stream:
        return Reply(status=200, kind=_SSE, parts=list(_STREAMED[route](ask, said, now)))
    return _plain(_PLAIN[route](ask, said, now))


def _with_content_fault(reply: Reply, fault: str | None) -> Reply:
    """The reply with what a fault does to its bytes."""
    if fault == "no-usage":
        return replace(reply, parts=[faults.without_usage(part) for part in reply.parts])
    if fault == "html":
        return Reply(status=502, kind=b"text/html", parts=[faults.HTML])
    if fault in {"garbage", "empty"}:
        return replace(reply, parts=[faults.GARBAGE if fault == "garbage" else b""])
    return reply


def _plain(value: Any) -> Reply:
    """A JSON reply."""
    return Reply(status=200, kind=_JSON, parts=[orjson.dumps(value)])


def _models(path: str, dialect: Dialect) -> Reply:
    """``/v1/models`` and ``/v1/models/NAME``."""
    card = anthropic_api.model_card if dialect.is_anthropic else openai_api.model_card
    name = path.removeprefix("/v1/models").removeprefix("/")
    if name == _UNKNOWN_MODEL:
        return dialect.error(404, f"The model `{name}` does not exist", code="model_not_found")
    if name:
        return _plain(card(name))
    ends = {"has_more": False, "first_id": MODELS[0], "last_id": MODELS[-1]}
    return _plain({**(ends if dialect.is_anthropic else {"object": "list"}), "data": [card(model) for model in MODELS]})
