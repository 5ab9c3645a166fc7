"""How a request is described by hand: who asks, for what, with which standing. For tests and explanations."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from gateway.policy.language import Strict
from gateway.types import NO_STANDING, Family, Identity, Level, RequestFacts, Standing

_DAY_S = 86_400.0
_Positive = Annotated[int, Field(ge=1)]
_Days = Annotated[float, Field(ge=0, le=100_000, allow_inf_nan=False)]
_Seconds = Annotated[float, Field(ge=0, lt=1e11, allow_inf_nan=False)]


class SubjectSpec(Strict):
    """Who asks."""

    account: str = Field("account", description="The account's id.")
    plan: str | None = Field(None, description="Its plan.")
    organisation: str | None = Field(None, description="Its organisation.")
    country: str | None = Field(None, description="Its country, two capital letters.")
    verified: bool = Field(False, description="Whether the organisation was verified.")
    declared_use: str | None = Field(None, description="Its declared use.")
    age_days: _Days | None = Field(None, description="Days since the account was made.")
    address: str | None = Field(None, description="The client's address.")

    def identity(self, now_s: float) -> Identity:
        """The identity that this writes."""
        return Identity(
            account=self.account,
            plan=self.plan,
            org=self.organisation,
            country=self.country,
            verified=self.verified,
            declared_use=self.declared_use,
            created_at=None if self.age_days is None else now_s - self.age_days * _DAY_S,
            address=self.address,
        )


class RequestSpec(Strict):
    """What is asked for."""

    model: str = Field(description="The model.")
    route: str = Field("openai.chat_completions", description="The route.")
    stream: bool = Field(False, description="Whether the reply is streamed.")
    max_output_tokens: _Positive | None = Field(None, description="The larger declared cap.")
    choices: _Positive = Field(1, description="How many replies.")
    input_chars: Annotated[int, Field(ge=0)] = Field(0, description="Characters of all texts.")
    body_bytes: Annotated[int, Field(ge=0)] = Field(0, description="Size of the body.")
    logprobs: bool = Field(False, description="Whether log-probabilities are asked for.")

    def facts(self) -> RequestFacts:
        """The facts that this writes."""
        return RequestFacts(
            family=Family.ANTHROPIC if self.route.startswith("anthropic.") else Family.OPENAI,
            route=self.route,
            model=self.model,
            stream=self.stream,
            max_output_tokens=self.max_output_tokens,
            choices=self.choices,
            input_chars=self.input_chars,
            body_bytes=self.body_bytes,
            logprobs=self.logprobs,
        )


class StandingGiven(Strict):
    """What is known of the account's cluster."""

    level: Literal["none", "watch", "suspect", "confirmed"] = Field("none", description="The level.")
    cluster: str | None = Field(None, description="The cluster.")

    def standing(self) -> Standing:
        """The standing that this writes."""
        if self.level == "none":
            return NO_STANDING
        return Standing(level=Level(self.level), cluster=self.cluster or "c1")


class CaseFile(Strict):
    """One case to explain; what is left out has its default."""

    subject: SubjectSpec = Field(default_factory=SubjectSpec, description="Who asks.")
    request: RequestSpec = Field(description="What is asked for.")
    standing: StandingGiven = Field(default_factory=StandingGiven, description="What is known of the cluster.")


class LiveCase(Strict):
    """One case to explain on a running gateway; what is left out is looked up there."""

    subject: SubjectSpec = Field(default_factory=SubjectSpec, description="Who asks (default: as the directory says).")
    request: RequestSpec = Field(description="What is asked for.")
    standing: StandingGiven | None = Field(None, description="What is held of the cluster (default: as held now).")
    at: _Seconds | None = Field(None, description="When, in seconds since the epoch (default: now).")
