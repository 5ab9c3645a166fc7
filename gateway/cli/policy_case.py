"""The request that ``policy explain`` explains: from a file, or a past one from the events."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gateway.errors import ConfigError, FileErrors
from gateway.events.search import STREAM_EVENTS, find_event, find_in_stream
from gateway.policy.cases import CaseFile
from gateway.policy.messages import validate
from gateway.policy.source import read_yaml

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.types import Event

NOT_KEPT = "verified, declared use, address, age, caps and sizes are not in an event: give them as options"


@dataclass(frozen=True, slots=True, kw_only=True)
class PastRequest:
    """What is known of a request: ``given`` as a case file has it, ``ts``, and what was decided then."""

    given: dict[str, Any] = field(default_factory=dict)
    ts: float | None = None
    recorded: dict[str, Any] = field(default_factory=dict)

    def to_text(self) -> str:
        """What was decided then, in a line; nothing for a request that is not of the past."""
        told = ", ".join(f"{key} {value}" for key, value in self.recorded.items() if value is not None)
        return f"recorded: {told}\n({NOT_KEPT})\n" if told else ""


def case_of_file(path: Path) -> PastRequest:
    """What a case file says. Raises ConfigError, or FileErrors with places."""
    try:
        document = read_yaml(path.read_bytes(), str(path))
    except OSError as error:
        raise ConfigError(f"{path}: got {error.strerror}, expected a file with subject, request and standing") from None
    found = validate(document, CaseFile)
    if isinstance(found, list) or document.errors:
        raise FileErrors([*document.errors, *(found if isinstance(found, list) else [])])
    return PastRequest(given=document.data)


def case_of_event(wanted: str, state_dir: Path, redis: str | None = None, at_s: float | None = None) -> PastRequest:
    """The request whose event has the id ``wanted``: in the state folder, or in Redis (``at_s``: when it was made).

    Raises ConfigError if there is none, StoreError where Redis cannot be asked.
    """
    if redis:
        event = asyncio.run(find_in_stream(redis, wanted, at_s))
        where = (
            f"redis: got no event {wanted!r} among {STREAM_EVENTS:,}, expected the id of a request, --now when it was"
        )
    else:
        event = find_event(state_dir / "events", wanted)
        where = f"{state_dir / 'events'}: got no event {wanted!r}, expected the id of a request (x-distillguard-request-id or x-request-id of its reply)"
    if event is None:
        raise ConfigError(where)
    return _of(event)


def _of(event: Event) -> PastRequest:
    subject = {"account": event.account, "plan": event.plan, "organisation": event.org, "country": event.country}
    request = {"model": event.model or "", "route": event.route, "stream": event.stream}
    standing = {"level": event.level, "cluster": event.cluster}
    return PastRequest(
        given={
            "subject": {key: value for key, value in subject.items() if value is not None},
            "request": request,
            "standing": {key: value for key, value in standing.items() if value is not None},
        },
        ts=event.ts,
        recorded={
            "outcome": event.outcome.value,
            "status": event.status,
            "rule": event.rule,
            "refusal": event.refusal,
            "policy": event.policy or None,
        },
    )
