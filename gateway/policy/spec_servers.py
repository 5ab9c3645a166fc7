"""The language of policy files, continued: what they say of model servers, prices, the analysis and recordings."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from gateway.policy.fields import REQUIRED, Duration, Name, Patterns, Retention, SecretRef, Strict, UrlPath, entry


class UpstreamFileSpec(Strict):
    """A model server."""

    url: str | None = entry(
        "`http(s)://HOST[:PORT][/PATH]`; `${NAME}` reads the environment.",
        by_default="required, but for `default`: `--upstream`",
        why="only `default` has another place to be named",
    )
    models: Patterns | None = entry(
        "Models it serves.",
        by_default="those that no other upstream names",
        why="one of several model servers takes the rest",
    )
    path_prefix: UrlPath | None = entry(
        "Only paths that begin so.", by_default="every path", why="most model servers have every route"
    )
    api_key: SecretRef | None = entry(
        "`${NAME}`: its credential, from the environment.",
        by_default="the gateway's `DISTILLGUARD_UPSTREAM_API_KEY`, or the caller's own credential",
        why="secrets stand in no file",
    )
    connect_timeout: Duration | None = entry(
        "Longest time to connect.",
        unit="ms, s, m, h or d",
        by_default="the gateway's `--connect-timeout-s` (5 s)",
        why="one value for all model servers, unless one differs",
    )
    first_byte_timeout: Duration | None = entry(
        "Longest wait for the first byte.",
        unit="ms, s, m, h or d",
        by_default="the gateway's `--first-byte-timeout-s` (10 min)",
        why="one value for all model servers, unless one differs",
    )
    idle_timeout: Duration | None = entry(
        "Longest silence within a reply.",
        unit="ms, s, m, h or d",
        by_default="the gateway's `--idle-timeout-s` (5 min)",
        why="one value for all model servers, unless one differs",
    )


class PassThroughSpec(Strict):
    """A route that is not metered: answered by the upstream as it is."""

    path: UrlPath = entry("The path; a `*` at its end stands for anything.", REQUIRED, why="only what is listed passes")
    methods: list[Literal["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"]] = entry(
        "HTTP methods.", lambda: ["GET"], min_length=1, by_default="`GET`", why="reading is the least that may go wrong"
    )
    authenticate: bool = entry(
        "Whether a valid credential is asked for; without one nothing is counted.",
        True,
        by_default="`true`",
        why="an open door is a decision",
    )
    upstream: Name = entry(
        "Where it is sent.", "default", by_default="`default`", why="the one that `--upstream` names"
    )


class PriceSpec(Strict):
    """USD per million tokens."""

    input: Annotated[float, Field(ge=0, le=100_000, allow_inf_nan=False)] = entry(
        "For input tokens.", REQUIRED, unit="USD per million tokens", why="a price has two sides"
    )
    output: Annotated[float, Field(ge=0, le=100_000, allow_inf_nan=False)] = entry(
        "For output tokens.", REQUIRED, unit="USD per million tokens", why="a price has two sides"
    )


class AnalysisSpec(Strict):
    """What the analysis must show before anybody is limited."""

    alpha: Annotated[float, Field(gt=0, le=0.01)] | None = entry(
        "Bound on limiting a customer wrongly, over all looks.",
        unit="probability per customer",
        by_default="1.0e-6",
        why="one in a million customers",
    )
    families: Annotated[int, Field(ge=2, le=5)] | None = entry(
        "Independent families of evidence that must agree; 2 is the least.",
        unit="families",
        by_default="2",
        why="nobody is limited on suspicion of one kind",
    )
    horizon: Duration | None = entry(
        "How far back evidence counts.",
        unit="ms, s, m, h or d",
        by_default="45d",
        why="as long as the longest campaign reported",
    )


class SamplesSpec(Strict):
    """How requests are kept in full, where a rule or a level of standing says `sample`."""

    key: SecretRef = entry(
        "`${NAME}`: what samples are sealed with, 32 bytes in base64 (`distillguard recordings keygen`).",
        REQUIRED,
        why="what customers write is never on a disk in the clear",
    )
    retention: Retention = entry(
        "How long samples are kept, at least 1h.",
        REQUIRED,
        unit="h or d",
        why="there is no length that suits everybody's law",
    )


class RecordingSpec(Strict):
    """What `serve --record` keeps of live traffic."""

    retention: Retention | None = entry(
        "How long recordings are kept, at least 1h.",
        unit="h or d",
        by_default="30d",
        why="a month of traffic to replay",
    )
    samples: SamplesSpec | None = entry(
        "How requests are kept in full, where a rule or a level says `sample`.",
        by_default="none are kept",
        why="sketches are enough for budgets, plans and rules",
    )
