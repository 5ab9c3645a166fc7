"""Label values that stay few, whatever callers send."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

OTHER = "other"
_LONGEST_CHARS = 128


class BoundedLabel:
    """Lets the first ``limit`` values through and calls the rest ``other``.

    ``known`` values are let through from the start and count. With ``admit=False`` a new value does not take
    a place: a model that no upstream ever answered for must not push out a real one.
    """

    def __init__(self, limit: int, known: Iterable[str] = ()) -> None:
        self._limit = limit
        self._known: dict[str, str] = {}
        for value in known:
            self.of(value)

    def of(self, value: str | None, *, admit: bool = True) -> str:
        """The label for ``value``; nothing known is ``""``."""
        if not value:
            return ""
        label = self._known.get(value)
        if label is not None:
            return label
        if not admit or len(self._known) >= self._limit or len(value) > _LONGEST_CHARS:
            return OTHER
        self._known[value] = value
        return value
