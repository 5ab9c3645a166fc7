"""Hot reload: the policy set that is in force, replaced as a whole when its files change.

A change is a change of what ``stat`` says of any file, or of where a symbolic link leads (a Kubernetes
ConfigMap swaps ``..data``). The last good set stays in force while the files are wrong; ``error`` then says
why. Nothing is reloaded while nothing changed: a look costs one ``stat`` a file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from gateway.errors import ConfigError
from gateway.policy.load import load_policies, policy_paths, shipped_policies

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
        self._seen = self._look()
        self.current: PolicySet = load_policies(self._path)
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

        Files are looked at before they are read, so a change in between is seen at the next look.
        """
        seen = self._look()
        if seen == self._seen:
            return None
        self._seen = seen
        try:
            return load_policies(self._path)
        except (ConfigError, OSError) as error:
            return str(error)

    def _put_in_force(self, read: PolicySet | str | None) -> bool:
        if isinstance(read, str):
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

    def _look(self) -> tuple[tuple[str, str, int, int, int], ...]:
        """What the files look like from outside; unreadable ones look like nothing."""
        try:
            paths = policy_paths(self._path)
        except (ConfigError, OSError):
            return ()
        root = self._path if self._path.is_dir() else self._path.parent
        found = []
        for path in sorted({*paths, *root.rglob("*.yaml"), *root.rglob("*.yml")}):
            try:
                status = path.stat()
                found.append((str(path), str(path.resolve()), status.st_mtime_ns, status.st_size, status.st_ino))
            except OSError:
                continue
        return tuple(found)
