from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.types import Event, Outcome, Usage

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def make_event() -> Callable[..., Event]:
    """Events that differ in every field that a kind of request may set."""

    def make(number: int = 0, **more: object) -> Event:
        values: dict[str, object] = {
            "id": f"r{number}",
            "ts": 1_771_632_000.125 + number,
            "outcome": Outcome.ANSWERED,
            "family": "openai",
            "route": "openai.chat_completions",
            "status": 200,
            "account": f"a{number % 7}",
            "model": "gpt-x",
            "usage": Usage(input_tokens=number, output_tokens=3, reported=True),
            "shadowed": ("free-day",),
            "traits": {"template": ["9f", "é\n"], "bits": 1.5},
        }
        return Event(**{**values, **more})  # type: ignore[arg-type]

    return make
