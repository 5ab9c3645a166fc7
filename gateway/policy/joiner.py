"""What joining policy files needs everywhere: places, names that stand once, environment, budgets.

Mistakes are collected, never raised: the compiler raises them all at the end.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gateway.policy.messages import unknown_name
from gateway.policy.rules import Place
from gateway.types import Algorithm, Budget, OnStoreError, Subject, Unit, Window

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.errors import FileError
    from gateway.policy.language import PolicyFile
    from gateway.policy.source import Document, Path
    from gateway.policy.spec_plans import BudgetSpec

_ENV = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_UNIT_WORDS = {
    Unit.REQUESTS: "requests",
    Unit.INPUT_TOKENS: "input-tokens",
    Unit.OUTPUT_TOKENS: "output-tokens",
    Unit.TOTAL_TOKENS: "total-tokens",
    Unit.COST: "usd",
    Unit.CONCURRENCY: "concurrency",
}
_TIME_WORDS = {1: "second", 60: "minute", 3_600: "hour", 86_400: "day", 2_592_000: "month"}


@dataclass(frozen=True, slots=True)
class ReadFile:
    """One file: its values with their places, and its model."""

    document: Document
    model: PolicyFile


@dataclass(slots=True)
class Joiner:
    """Joins files; ``errors`` grows, nothing is raised before the end."""

    files: Sequence[ReadFile]
    environ: Mapping[str, str] | None
    errors: list[FileError] = field(default_factory=list)
    budgets: dict[str, Place] = field(default_factory=dict)
    names: dict[str, Place] = field(default_factory=dict)
    """Names already given, of budgets and of rules, with where they stand."""

    def wrong(self, file: ReadFile, path: Path, message: str, *, at_key: bool = False) -> None:
        """Note a mistake at ``path`` of ``file``."""
        self.errors.append(file.document.error(path, message, at_key=at_key))

    def place(self, file: ReadFile, path: Path) -> Place:
        """Where a value stands, for messages and explanations."""
        line, column = file.document.values_at.get(path, (1, 1))
        return Place(file=file.document.file, line=line, column=column)

    def once(self, seen: dict[str, Place], name: str, kind: str, file: ReadFile, path: Path) -> bool:
        """Whether ``name`` is new; else an error at the second place."""
        if name in seen:
            todo = ": give one of them a name" if kind == "budget" else ""
            said = f"got the {kind} {name!r} a second time (first at {seen[name]}), expected it once{todo}"
            self.wrong(file, path, said)
            return False
        seen[name] = self.place(file, path)
        return True

    def known(self, kind: str, name: str | None, valid: set[str], file: ReadFile, path: Path) -> None:
        """An error unless ``name`` is defined."""
        if name is not None and name not in valid:
            self.wrong(file, path, unknown_name(kind, name, sorted(valid)))

    def resolved(self, file: ReadFile, path: Path, text: str | None) -> str | None:
        """``text`` with ``${NAME}`` read from the environment; unread while only checking."""
        if text is None or self.environ is None:
            return None if text is None else _ENV.sub("unread", text)
        for name in _ENV.findall(text):
            if not self.environ.get(name):
                self.wrong(file, path, f"got ${{{name}}}, which is not set, expected the environment to have {name}")
        environ = self.environ
        return _ENV.sub(lambda found: environ.get(found[1]) or "unset", text)

    def single(self, key: str, default: Any) -> Any:
        """A value that may stand in one file only (``a.b`` for one in a section)."""
        seen: dict[str, Place] = {}
        value = default
        path: Path = tuple(key.split("."))
        for file in self.files:
            at: Any = file.model
            for part in path:
                at = getattr(at, str(part))
            if at is not None and self.once(seen, key, "key", file, path):
                value = at
        return value

    def budget(self, file: ReadFile, path: Path, spec: BudgetSpec, owner: str, subject: Subject) -> Budget:
        """One budget; its name is ``owner/`` and its own, or made from unit and time."""
        subject = Subject(spec.subject) if spec.subject is not None else subject
        window = self._window(file, path, spec)
        own = spec.name or self._derived_name(spec, subject, owner)
        name = f"{owner}/{own}"
        self.once(self.budgets, name, "budget", file, path)
        return Budget(
            name=name, subject=subject, unit=spec.limit.unit, limit=spec.limit.limit, window=window,
            shadow=spec.shadow, on_store_error=OnStoreError(spec.on_store_error),
        )  # fmt: skip

    def _window(self, file: ReadFile, path: Path, spec: BudgetSpec) -> Window:
        rate, kind = spec.limit, spec.window
        length_s, calendar = rate.length_s, rate.calendar
        if rate.unit is Unit.CONCURRENCY:
            if kind is not None or spec.burst is not None:
                self.wrong(file, path, "got a window or burst for what is held at once, expected neither: delete it")
            return Window(algorithm=Algorithm.LEASE)
        if kind == "calendar" and not calendar:
            lengths = {86_400: 86_400, 2_592_000: 31 * 86_400}
            if length_s not in lengths:
                said = "got window 'calendar', expected a limit per day or month: calendars have no other windows here"
                self.wrong(file, (*path, "window"), said)
            length_s, calendar = lengths.get(length_s, 86_400), True
        if calendar and kind in {"sliding", "bucket"}:
            self.wrong(file, (*path, "window"), f"got window {kind!r} with a calendar limit, expected one of the two")
        if spec.burst is not None and (calendar or kind == "sliding"):
            self.wrong(file, (*path, "burst"), "got a burst, expected one only with window 'bucket'")
        if spec.burst is not None and spec.burst > rate.limit:
            self.wrong(file, (*path, "burst"), f"got burst {spec.burst}, expected at most the limit ({rate.limit})")
        bucket = not calendar and (kind == "bucket" or spec.burst is not None)
        algorithm = Algorithm.CALENDAR if calendar else Algorithm.BUCKET if bucket else Algorithm.SLIDING
        return Window(algorithm=algorithm, length_s=length_s, burst=spec.burst or 0)

    @staticmethod
    def _derived_name(spec: BudgetSpec, subject: Subject, owner: str) -> str:
        """``requests-per-day``, ``organisation-usd-per-10s``, ``concurrency``."""
        rate = spec.limit
        word = _UNIT_WORDS[rate.unit]
        calendar = "calendar-" if rate.calendar or spec.window == "calendar" else ""
        time = _TIME_WORDS.get(rate.length_s, f"{rate.length_s}s")
        if rate.calendar:
            time = "day" if rate.length_s == 86_400 else "month"  # noqa: PLR2004 - seconds of a day
        whole = word if rate.unit is Unit.CONCURRENCY else f"{word}-per-{calendar}{time}"
        usual = Subject.CLUSTER if owner.startswith("cluster/") else Subject.ACCOUNT
        return whole if subject is usual else f"{subject.value}-{whole}"

    def budget_list(
        self, file: ReadFile, path: Path, specs: Sequence[BudgetSpec] | None, owner: str, subject: Subject
    ) -> tuple[Budget, ...]:
        """The budgets of one list; ``subject`` where they name none."""
        return tuple(self.budget(file, (*path, index), spec, owner, subject) for index, spec in enumerate(specs or ()))
