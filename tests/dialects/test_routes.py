from __future__ import annotations

import pytest

from gateway.dialects import ROUTES, allowed_methods, family_of, find_route, path_known
from gateway.types import Family, Headers

ANTHROPIC: Headers = [(b"anthropic-version", b"2023-06-01")]


@pytest.mark.parametrize(
    ("method", "path", "headers", "name"),
    [
        ("POST", "/v1/chat/completions", [], "openai.chat_completions"),
        ("POST", "/v1/chat/completions", ANTHROPIC, "openai.chat_completions"),
        ("POST", "/v1/completions", [], "openai.completions"),
        ("POST", "/v1/responses", [], "openai.responses"),
        ("POST", "/v1/embeddings", [], "openai.embeddings"),
        ("POST", "/v1/messages", [], "anthropic.messages"),
        ("POST", "/v1/messages/count_tokens", [], "anthropic.count_tokens"),
        ("GET", "/v1/models", [], "openai.models"),
        ("GET", "/v1/models", ANTHROPIC, "anthropic.models"),
        ("GET", "/v1/models/gpt-4o", [], "openai.models"),
        ("GET", "/v1/models/ft:gpt-4o:acme::x1", [], "openai.models"),
        ("GET", "/v1/models/meta-llama/Llama-3.1-8B", [], "openai.models"),
        ("GET", "/v1/models/meta-llama%2FLlama-3.1-8B", [], "openai.models"),
        ("GET", "/v1/models/ft%3agpt-4o%3Aacme%40x", [], "openai.models"),
        ("GET", "/v1/models/claude-3", ANTHROPIC, "anthropic.models"),
    ],
)
def test_a_served_route_is_found(method: str, path: str, headers: Headers, name: str) -> None:
    route = find_route(method, path, headers)
    assert route is not None
    assert route.name == name


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "",
        "/v1",
        "/v1/chat/completions/",
        "//v1/chat/completions",
        "/v1/Chat/Completions",
        "/v1/chat/completions\x00",
        "/v1/batches",
        "/v1/models/",
        "/v1/models//",
        "/v1/models/..",
        "/v1/models/../chat/completions",
        "/v1/models/a/../../admin",
        "/v1/models/./a",
        "/v1/models/a\n",
        "/v1/models/a\\..\\b",
        "/v1/models/a%2e%2e",
        "/v1/models/a%2F..%2F..%2Fadmin",
        "/v1/models/a%2f../b",
        "/v1/models/%2Fa",
        "/v1/models/a%2F%2Fb",
        "/v1/models/a%252Fb",
        "/v1/models/a%5C..%5Cb",
        "/v1/models/a?b",
        "/v1/models/" + "a" * 600,
        "/v1/models/a/b/c/d/e",
    ],
)
def test_any_other_path_is_unknown(path: str) -> None:
    assert not path_known(path)
    assert allowed_methods(path) == b""
    for method in ("GET", "POST"):
        assert find_route(method, path, []) is None


@pytest.mark.parametrize(("method", "path"), [("GET", "/v1/messages"), ("POST", "/v1/models"), ("HEAD", "/v1/models")])
def test_a_known_path_with_another_method_is_told_from_an_unknown_one(method: str, path: str) -> None:
    assert find_route(method, path, []) is None
    assert path_known(path)
    assert allowed_methods(path) in {b"GET", b"POST"}


@pytest.mark.parametrize(
    ("path", "headers", "family"),
    [
        ("/v1/messages", [], Family.ANTHROPIC),
        ("/v1/messages/batches", [], Family.ANTHROPIC),
        ("/v1/messagesx", [], Family.OPENAI),
        ("/v1/complete", [], Family.ANTHROPIC),
        ("/v1/completions", ANTHROPIC, Family.OPENAI),
        ("/v1/unknown", [], Family.OPENAI),
        ("/v1/unknown", ANTHROPIC, Family.ANTHROPIC),
        ("/v1/models", [(b"anthropic-beta", b"x")], Family.ANTHROPIC),
    ],
)
def test_an_unknown_route_is_answered_in_the_dialect_of_its_family(path: str, headers: Headers, family: Family) -> None:
    assert family_of(path, headers) is family


def test_every_row_says_where_usage_and_caps_are_or_makes_no_output() -> None:
    assert len({route.name for route in ROUTES}) == len(ROUTES)
    for route in ROUTES:
        assert route.name.startswith(f"{route.family.value}.")
        assert route.makes_output == bool(route.caps) == bool(route.usage.output)
        assert route.billed == bool(route.usage.input)
