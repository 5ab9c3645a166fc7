from __future__ import annotations

import math
from typing import Any

import anthropic
import httpx
import openai
import orjson
import pytest

from gateway.dialects import error_event, find_route, write_refusal
from gateway.types import Algorithm, Balance, Budget, Family, Refusal, RefusalKind, Subject, Unit, Window
from tests.dialects.samples import CHAT, MESSAGES, RESPONSES, route_of

OPENAI_ERRORS: dict[RefusalKind, tuple[int, type[Exception]]] = {
    RefusalKind.BAD_REQUEST: (400, openai.BadRequestError),
    RefusalKind.UNAUTHENTICATED: (401, openai.AuthenticationError),
    RefusalKind.FORBIDDEN: (403, openai.PermissionDeniedError),
    RefusalKind.NOT_FOUND: (404, openai.NotFoundError),
    RefusalKind.METHOD_NOT_ALLOWED: (405, openai.APIStatusError),
    RefusalKind.TIMEOUT: (408, openai.APIStatusError),
    RefusalKind.TOO_LARGE: (413, openai.APIStatusError),
    RefusalKind.UNSUPPORTED: (415, openai.APIStatusError),
    RefusalKind.RATE_LIMITED: (429, openai.RateLimitError),
    RefusalKind.BUDGET_EXHAUSTED: (429, openai.RateLimitError),
    RefusalKind.INTERNAL: (500, openai.InternalServerError),
    RefusalKind.UNAVAILABLE: (503, openai.InternalServerError),
    RefusalKind.UPSTREAM_FAILED: (502, openai.InternalServerError),
    RefusalKind.UPSTREAM_TIMEOUT: (504, openai.InternalServerError),
}
REFUSALS = [Refusal(kind=kind, message="the reason", rule="secret-rule", param="p") for kind in RefusalKind]


def headers_of(refusal: Refusal, family: Family = Family.OPENAI) -> dict[bytes, bytes]:
    _, headers, body = write_refusal(family, refusal, request_id="req_1", now_s=1e9)
    named = dict(headers)
    assert len(named) == len(headers)
    assert named[b"content-length"] == str(len(body)).encode()
    assert all(name == name.lower() for name in named)
    return named


def answering(family: Family, refusal: Refusal, seen: list[str]) -> Any:
    """An SDK's client (one retry) whose server refuses with ``refusal``."""
    import openai._base_client as base

    library = getattr(base, "httpx2", httpx)

    def answer(request: Any) -> Any:
        seen.append(str(request.url))
        status, headers, body = write_refusal(family, refusal, request_id="req_1", now_s=1e9)
        return library.Response(status, headers=headers, content=body)

    client = library.Client(transport=library.MockTransport(answer))
    if family is Family.OPENAI:
        return openai.OpenAI(api_key="k", base_url="http://t/v1", http_client=client, max_retries=1)
    return anthropic.Anthropic(api_key="k", base_url="http://t", http_client=client, max_retries=1)


def ask(family: Family, refusal: Refusal) -> tuple[Any, int]:
    """The error that the SDK raises, and how many requests it sent."""
    seen: list[str] = []
    client = answering(family, refusal, seen)
    messages: Any = [{"role": "user", "content": "x"}]
    with pytest.raises((openai.APIStatusError, anthropic.APIStatusError)) as caught:
        if family is Family.OPENAI:
            client.chat.completions.create(model="m", messages=messages)
        else:
            client.messages.create(model="m", max_tokens=5, messages=messages)
    return caught.value, len(seen)


def no_wait(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    waits: list[float] = []
    monkeypatch.setattr("time.sleep", waits.append)
    return waits


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.kind.value)
def test_the_openai_sdk_raises_its_own_error(refusal: Refusal, monkeypatch: pytest.MonkeyPatch) -> None:
    no_wait(monkeypatch)
    error, _ = ask(Family.OPENAI, refusal)
    status, kind = OPENAI_ERRORS[refusal.kind]
    assert issubclass(type(error), kind)
    assert (error.status_code, error.code, error.param) == (status, refusal.kind.value, "p")
    assert error.request_id == "req_1"
    assert error.body == {"message": "the reason", "type": error.type, "param": "p", "code": refusal.kind.value}


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.kind.value)
def test_the_anthropic_sdk_raises_its_own_error(refusal: Refusal, monkeypatch: pytest.MonkeyPatch) -> None:
    no_wait(monkeypatch)
    error, _ = ask(Family.ANTHROPIC, refusal)
    status, kind = OPENAI_ERRORS[refusal.kind]
    assert isinstance(error, getattr(anthropic, kind.__name__))
    assert (error.status_code, error.request_id) == (status, "req_1")
    assert error.body["type"] == "error"
    assert error.body["request_id"] == "req_1"
    assert error.body["error"]["message"] == "the reason"
    types = {"invalid_request_error", "authentication_error", "permission_error", "not_found_error", "timeout_error"}
    assert error.body["error"]["type"] in types | {
        "request_too_large",
        "rate_limit_error",
        "api_error",
        "overloaded_error",
    }


def test_no_refusal_names_the_rule_behind_it() -> None:
    for family in Family:
        for refusal in REFUSALS:
            status, headers, body = write_refusal(family, refusal, request_id="r", now_s=1e9)
            assert b"secret-rule" not in body + b"".join(name + value for name, value in headers)
            assert status >= 400


RETRIES = [
    # kind, retry_after_s, retry-after, retry-after-ms, x-should-retry by openai, by anthropic
    (RefusalKind.RATE_LIMITED, 0.0, b"1", b"1", b"true", b"true"),
    (RefusalKind.RATE_LIMITED, 0.25, b"1", b"250", b"true", b"true"),
    (RefusalKind.RATE_LIMITED, 1.0, b"1", b"1000", b"true", b"true"),
    (RefusalKind.RATE_LIMITED, 1.0001, b"2", b"1001", b"true", b"true"),
    (RefusalKind.RATE_LIMITED, 60.0, b"60", b"60000", b"true", b"true"),
    (RefusalKind.RATE_LIMITED, 60.5, b"61", b"60500", b"true", b"false"),
    (RefusalKind.RATE_LIMITED, 120.0, b"120", b"120000", b"true", b"false"),
    (RefusalKind.RATE_LIMITED, 121.0, b"121", b"121000", b"false", b"false"),
    (RefusalKind.BUDGET_EXHAUSTED, 80_000.0, b"80000", b"80000000", b"false", b"false"),
    (RefusalKind.BUDGET_EXHAUSTED, 1e300, b"31622400", b"31622400000", b"false", b"false"),
    (RefusalKind.RATE_LIMITED, -5.0, b"1", b"1", b"true", b"true"),
    (RefusalKind.RATE_LIMITED, math.inf, None, None, b"false", b"false"),
    (RefusalKind.RATE_LIMITED, math.nan, None, None, b"false", b"false"),
    (RefusalKind.RATE_LIMITED, None, None, None, b"false", b"false"),
    (RefusalKind.UNAVAILABLE, None, None, None, b"false", b"false"),
    (RefusalKind.UNAVAILABLE, 5.0, b"5", b"5000", b"true", b"true"),
    (RefusalKind.FORBIDDEN, None, None, None, b"false", b"false"),
    (RefusalKind.UPSTREAM_FAILED, None, None, None, None, None),
    (RefusalKind.UPSTREAM_TIMEOUT, None, None, None, None, None),
    (RefusalKind.TIMEOUT, None, None, None, None, None),
    (RefusalKind.INTERNAL, None, None, None, None, None),
]


@pytest.mark.parametrize(("kind", "wait_s", "seconds", "millis", "by_openai", "by_anthropic"), RETRIES)
def test_when_to_come_back(
    kind: RefusalKind,
    wait_s: float | None,
    seconds: bytes | None,
    millis: bytes | None,
    by_openai: bytes | None,
    by_anthropic: bytes | None,
) -> None:
    refusal = Refusal(kind=kind, message="m", retry_after_s=wait_s)
    for family, should in ((Family.OPENAI, by_openai), (Family.ANTHROPIC, by_anthropic)):
        headers = headers_of(refusal, family)
        names = (b"retry-after", b"retry-after-ms", b"x-should-retry")
        assert tuple(headers.get(name) for name in names) == (seconds, millis, should)


@pytest.mark.parametrize("family", Family)
@pytest.mark.parametrize(
    ("kind", "wait_s", "waits"),
    [
        (RefusalKind.RATE_LIMITED, 2.5, [2.5]),
        (RefusalKind.BUDGET_EXHAUSTED, 50_000.0, []),
        (RefusalKind.RATE_LIMITED, None, []),
        (RefusalKind.FORBIDDEN, None, []),
        (RefusalKind.UNAVAILABLE, None, []),
        (RefusalKind.UNAVAILABLE, 3.0, [3.0]),
    ],
)
def test_the_sdks_retry_only_where_waiting_helps(
    family: Family, kind: RefusalKind, wait_s: float | None, waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    slept = no_wait(monkeypatch)
    _, sent = ask(family, Refusal(kind=kind, message="m", retry_after_s=wait_s))
    assert (slept, sent) == (waits, len(waits) + 1)


@pytest.mark.parametrize("family", Family)
def test_a_broken_upstream_is_retried_by_the_sdks_own_rule(family: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    slept = no_wait(monkeypatch)
    _, sent = ask(family, Refusal(kind=RefusalKind.UPSTREAM_FAILED, message="m"))
    assert (len(slept), sent) == (1, 2)


def test_an_unauthenticated_caller_learns_the_scheme() -> None:
    assert headers_of(Refusal(kind=RefusalKind.UNAUTHENTICATED, message="m"))[b"www-authenticate"] == b"Bearer"


def test_a_refusal_shows_the_callers_budgets() -> None:
    budget = Budget(
        name="day",
        subject=Subject.ACCOUNT,
        unit=Unit.REQUESTS,
        limit=5,
        window=Window(algorithm=Algorithm.SLIDING, length_s=60),
    )
    refusal = Refusal(
        kind=RefusalKind.RATE_LIMITED, message="m", balances=(Balance(budget=budget, remaining=0, reset_s=3.0),)
    )
    assert headers_of(refusal)[b"x-ratelimit-remaining-requests"] == b"0"
    assert headers_of(refusal, Family.ANTHROPIC)[b"anthropic-ratelimit-requests-remaining"] == b"0"


def test_a_message_with_quotes_and_line_breaks_stays_one_json_body() -> None:
    _, _, body = write_refusal(
        Family.OPENAI, Refusal(kind=RefusalKind.BAD_REQUEST, message='a "b"\r\nc é'), request_id="r\r\nx: y", now_s=0.0
    )
    assert orjson.loads(body)["error"]["message"] == 'a "b"\r\nc é'


BROKEN = Refusal(kind=RefusalKind.UPSTREAM_FAILED, message="the upstream broke off")


def streamed(family: Family, body: bytes, call: Any) -> list[Any]:
    import openai._base_client as base

    library = getattr(base, "httpx2", httpx)
    head = {"content-type": "text/event-stream"}
    transport = library.MockTransport(lambda _: library.Response(200, headers=head, content=body))
    client = library.Client(transport=transport)
    if family is Family.OPENAI:
        return list(call(openai.OpenAI(api_key="k", base_url="http://t/v1", http_client=client)))
    return list(call(anthropic.Anthropic(api_key="k", base_url="http://t", http_client=client)))


CALLS: dict[str, tuple[Family, list[bytes], Any]] = {
    "chat": (Family.OPENAI, CHAT, lambda c: c.chat.completions.create(model="m", messages=[], stream=True)),
    "completions": (Family.OPENAI, CHAT, lambda c: c.completions.create(model="m", prompt="x", stream=True)),
    "responses": (Family.OPENAI, RESPONSES, lambda c: c.responses.create(model="m", input="x", stream=True)),
    "messages": (
        Family.ANTHROPIC,
        MESSAGES,
        lambda c: c.messages.create(model="m", max_tokens=5, messages=[], stream=True),
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_the_sdk_raises_on_the_error_event_of_a_broken_stream(name: str) -> None:
    family, events, call = CALLS[name]
    body = b"".join(events[:3])
    assert streamed(family, body, call)
    last = error_event(route_of(name), BROKEN, request_id="req_1", sequence_number=3)
    with pytest.raises((openai.APIError, anthropic.APIError)) as caught:
        streamed(family, body + last, call)
    assert "the upstream broke off" in str(caught.value)


def test_the_error_event_of_responses_is_of_the_sdks_type() -> None:
    from openai.types.responses import ResponseErrorEvent

    lines = error_event(route_of("responses"), BROKEN, request_id="r", sequence_number=7).split(b"\n")
    assert lines[0] == b"event: error"
    found = ResponseErrorEvent.model_validate_json(lines[1].removeprefix(b"data: "))
    assert (found.sequence_number, found.code, found.message) == (7, "upstream_error", "the upstream broke off")


def test_every_route_has_an_error_event_that_ends_in_a_blank_line() -> None:
    route = find_route("POST", "/v1/embeddings", [])
    assert route is not None
    assert error_event(route, BROKEN, request_id="r").endswith(b"\n\n")
