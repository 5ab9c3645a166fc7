"""Count what a reply spends: the upstream's own numbers, or a floor from what was seen to flow.

The floor is one token for each delta that is not empty and one for each ``CHARS_PER_TOKEN`` characters,
whichever is more: never zero where something flowed, and never the worst case.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.dialects.texts import CHARS_PER_TOKEN
from gateway.types import JSON, Usage

if TYPE_CHECKING:
    from gateway.dialects.routes import UsageFields

MAX_TOKENS = 2**53
"""Numbers above are no token counts (and not exact in every JSON parser)."""


class Tally:
    """The running count of one reply; written to by the observers in ``streams`` and ``wholes``."""

    __slots__ = (
        "_fields",
        "_input_chars",
        "_numbers",
        "chars",
        "deltas",
        "ended",
        "final",
        "finished",
        "refused",
        "reports",
        "sequence",
        "text",
    )

    def __init__(self, fields: UsageFields, input_chars: int) -> None:
        self._fields = fields
        self._input_chars = input_chars
        self._numbers: dict[str, int] = {}
        self.chars = 0
        self.deltas = 0
        self.final = False
        """The upstream has reported usage for all that was made."""
        self.ended = False
        self.refused = False
        self.finished: set[JSON] = set()
        """Indexes of the choices that gave a finish reason."""
        self.sequence = 0
        """The sequence number that the next event of a Responses stream would have."""
        self.reports = 0
        self.text = ""
        """The last piece of output."""

    def news(self) -> tuple[JSON, ...]:
        """What an event changes that says more than a piece of output."""
        return self.reports, self.final, self.ended, self.refused, len(self.finished), self.sequence

    def saw(self, text: JSON) -> None:
        """A piece of output: prose, reasoning or a tool call's arguments; anything else is passed over."""
        if type(text) is str and text:
            self.chars += len(text)
            self.deltas += 1
            self.text = text

    def report(self, usage: JSON, *, final: bool = True) -> None:
        """A ``usage`` object; numbers that are missing or absurd leave what was known before."""
        if type(usage) is not dict:
            return
        self.reports += 1
        fields, numbers, said = self._fields, self._numbers, False
        for name in fields.spent:
            if name in usage:
                said = True
                value = usage[name]
                if type(value) is int and 0 <= value <= MAX_TOKENS:
                    numbers[name] = value
        for path, name in fields.details:
            if path[0] not in usage:
                continue
            found: JSON = usage
            for step in path:
                found = found.get(step) if type(found) is dict else None
            if type(found) is int and 0 <= found <= MAX_TOKENS:
                numbers[name] = found
        self.final = self.final or (final and said)

    def usage(self) -> Usage:
        """What is known now. A report of zero for what was seen to flow is no report."""
        fields, numbers = self._fields, self._numbers
        input_tokens = 0
        for name in fields.input:
            input_tokens += numbers.get(name, 0)
        output_tokens = numbers.get(fields.output, 0)
        silent = (not input_tokens and self._input_chars) or (not output_tokens and self.deltas)
        reported = self.final and not silent
        if not reported:
            input_tokens = input_tokens or -(-self._input_chars // CHARS_PER_TOKEN)
            output_tokens = max(output_tokens, self.deltas, -(-self.chars // CHARS_PER_TOKEN))
        return Usage(
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            cached_input_tokens=numbers.get(fields.cached_name, 0),
            reasoning_tokens=numbers.get(fields.reasoning_name, 0),
            reported=bool(reported),
        )
