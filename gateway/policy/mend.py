"""What is left of a file once its mistakes are taken out, so that what spans keys is checked at the first try too.

Only for finding more mistakes: nothing mended is ever decided with. A mistake that may follow from what was taken out
(something around it, or a name that it may have defined) is not told.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.policy.messages import wrong_paths
from gateway.policy.source import Document

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pydantic import BaseModel

    from gateway.errors import FileError
    from gateway.policy.source import Path

_ROUNDS = 8
"""A budget without its bad limit is a budget without a limit, is no budget: three are enough for what files hold."""
_MAY_FOLLOW = ("which is not defined", "got no plans")
"""Mistakes that a plan or upstream which was not understood may be the reason of."""
_NAMING = frozenset(("plans", "upstreams"))
_NAMED = 2
"""Length of the path of a plan or upstream."""


class Mended:
    """A document without its mistakes, and the places around what was taken out."""

    def __init__(self, document: Document, model: type[BaseModel]) -> None:
        self.document: Document | None = document
        self.touched: set[tuple[int, int]] = set()
        self.lost_names = False
        """Whether a plan or an upstream was taken out as a whole."""
        for _ in range(_ROUNDS):
            paths = wrong_paths(self.document, model)
            if not paths:
                return
            if () in paths:
                break
            self._take_out(self.document, set(paths))
        self.document = None  # nothing that could be checked is left

    def _take_out(self, document: Document, gone: set[Path]) -> None:
        self.lost_names |= any(path[0] in _NAMING and len(path) <= _NAMED for path in gone)
        for path in gone:
            self.touched |= {
                document.values_at[path[:size]] for size in range(len(path)) if path[:size] in document.values_at
            }
        self.document = Document(file=document.file)
        self.document.data = self._copied(document, (), (), gone)

    def _copied(self, document: Document, old: Path, new: Path, gone: set[Path]) -> Any:
        """The value at ``old`` without what is gone; places go along to where it stands now."""
        assert self.document is not None
        value: Any = document.data
        for part in old:
            value = value[part]
        for before, after in ((document.values_at, self.document.values_at), (document.keys_at, self.document.keys_at)):
            if old in before:
                after[new] = before[old]
        if isinstance(value, dict):
            kept = [key for key in value if (*old, key) not in gone]
            return {key: self._copied(document, (*old, key), (*new, key), gone) for key in kept}
        if isinstance(value, list):
            places = [index for index in range(len(value)) if (*old, index) not in gone]
            return [self._copied(document, (*old, place), (*new, index), gone) for index, place in enumerate(places)]
        return value


def not_following(errors: Iterable[FileError], mended: Sequence[Mended], *, names_lost: bool) -> list[FileError]:
    """Those of ``errors`` that are mistakes of their own; ``names_lost``: files are missing that may define names."""
    lost = names_lost or any(one.lost_names for one in mended)
    touched = {(one.document.file, *place) for one in mended if one.document is not None for place in one.touched}
    return [
        error
        for error in errors
        if (error.file, error.line, error.column) not in touched
        and not (lost and any(said in error.message for said in _MAY_FOLLOW))
    ]
