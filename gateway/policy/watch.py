"""Hot reload: the policy set that is in force, replaced as a whole when its files change.

A change is a change of what ``stat`` says of any file, or of where a symbolic link leads (a Kubernetes
ConfigMap swaps ``..data``). The last good set stays in force while the files are wrong; ``error`` then says
why. Nothing is reloaded while nothing changed: a look costs one ``stat`` a file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from gateway.errors import ConfigError
from gateway.policy.load import policy_paths, shipped_policies, try_policies

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gateway.clock import Clock
    from gateway.policy.decide import PolicySet


class PolicyWatcher:
    """Keeps ``current`` up to date; ``generation`` counts the sets that were in force.

    ``on_change`` is called with each new set, after it is in force; ``on_error`` with each new reason why
    the files cannot be used. Raises as ``load_policies`` when the first set cannot be loaded.
    """

    def __init__(
        self,
        path: Path | None,
        interval_s: float = 0.25,
        on_change: Callable[[PolicySet], None] | None = None,
        *,
        on_error: Callable[[str], None] | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._path = shipped_policies() if path is None else path
        self._interval_s = interval_s
        self._on_change = on_change
        self._on_error = on_error
        self._clock = clock
        loaded, self._files = try_policies(self._path)
        if isinstance(loaded, ConfigError):
            raise loaded
        self._seen: tuple[object, ...] | None = None
        self.current: PolicySet = loaded
        self.error: str | None = None
        self.failures = 0
        self.generation = 1
        self.loaded_at: float | None = self._now()

    def check_now(self) -> bool:
        """Look at the files and reload if they changed; whether a new set is in force."""
        return self._put_in_force(self._read_if_changed())

    async def run(self) -> None:
        """Look every ``interval_s`` until cancelled; files are read in a thread, callbacks run on the loop."""
        while True:
            await anyio.sleep(self._interval_s)
            self._put_in_force(await anyio.to_thread.run_sync(self._read_if_changed))

    def _read_if_changed(self) -> PolicySet | str | None:
        """The new set, why there is none, or ``None`` if nothing changed.

        Files are looked at before they are read, so a change in between is seen at the next look; where other
        files were read than were looked at, and after the start, there is one look more.
        """
        seen = self._look()
        if seen == self._seen:
            return None
        loaded, files = try_policies(self._path)
        self._seen = seen if files == self._files else None
        self._files = files
        return str(loaded) if isinstance(loaded, ConfigError) else loaded

    def _put_in_force(self, read: PolicySet | str | None) -> bool:
        if isinstance(read, str):
            if read != self.error:
                self._failed(read)
            return False
        if read is None:
            return False
        self.error = None
        if read.hash == self.current.hash and read.upstreams == self.current.upstreams:
            return False
        self.current = read
        self.generation += 1
        self.loaded_at = self._now()
        if self._on_change is not None:
            self._on_change(read)
        return True

    def _failed(self, said: str) -> None:
        self.failures += 1
        self.error = said
        if self._on_error is not None:
            self._on_error(said)

    def _now(self) -> float | None:
        return None if self._clock is None else self._clock.now()

    def _look(self) -> tuple[object, ...]:
        """What the files look like from outside: those of the folder now, and those that were read."""
        try:
            now = policy_paths(self._path)
        except (ConfigError, OSError):
            now = []
        found: list[object] = []
        for path in dict.fromkeys((*now, *self._files)):
            try:
                status = path.stat()
                found.append((path, path.resolve(), status.st_mtime_ns, status.st_size, status.st_ino))
            except OSError:
                found.append((path, None))
        return tuple(found)
