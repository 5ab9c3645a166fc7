"""Threads that keep what a gateway believes up to date: one for the keys, one for the account directory.

Invariants: the event loop never waits for a store or a file; a revocation is in force one look after it was
written (``LOOK_EVERY_S`` and the store's time to answer); a long load of accounts does not delay it; a
directory that cannot be read leaves the last good one in force and says so. Leaves out: what is believed
(``book.py``), what a directory is (``directory.py``).
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from gateway.errors import ConfigError, FileErrors, StoreError
from gateway.identity.accounts_file import load_directory, signature
from gateway.identity.directory import Directory

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gateway.clock import Clock
    from gateway.identity.book import KeyBook
    from gateway.identity.keys import KeyStore

LOOK_EVERY_S = 0.25
_log = logging.getLogger(__name__)


class KeyRefresher:
    """Brings the store's changes into the book. ``look`` blocks and is not for two threads at once."""

    def __init__(self, store: KeyStore, book: KeyBook, clock: Clock) -> None:
        self._store = store
        self._book = book
        self._clock = clock
        self._stamp: object = None

    def look(self) -> None:
        """Look once; a store that cannot be asked is noted in the book."""
        try:
            stamp = self._store.stamp()
            if stamp != self._stamp or self._book.error is not None:
                risen = self._book.install(self._store.snapshot(), self._clock.monotonic())
                self._stamp = stamp
                for public_id in risen:
                    _log.warning("the key store forgot that key %s is revoked; it was told again", public_id)
                    self._store.revoke(public_id, self._book.revoked_at(public_id))
            else:
                self._book.seen()
        except StoreError as error:
            if self._book.error is None:
                _log.error("keys cannot be refreshed: %s", error)
            self._book.failed(str(error), self._clock.monotonic())


class DirectoryRefresher:
    """Holds the directory of ``path``; ``current`` is replaced whole. ``load`` raises, ``look`` does not."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.current = Directory()
        self.error: str | None = None
        self._signature: object = None

    def load(self) -> None:
        """Read the file. Raises FileErrors, also where it changed meanwhile."""
        before = signature(self.path)
        directory = load_directory(self.path)
        if signature(self.path) != before:
            raise ConfigError(f"{self.path}: changed while it was read; replace it by a rename instead")
        self.current, self.error, self._signature = directory, None, before

    def look(self) -> None:
        """Load the file again if it changed; what is wrong with it is told by ``error``."""
        seen = signature(self.path)
        if seen == self._signature:
            return
        try:
            self.load()
        except FileErrors as error:
            self._signature = seen
            self._refuse(str(error))
        except ConfigError as error:
            self._refuse(str(error))

    def _refuse(self, error: str) -> None:
        if error != self.error:
            _log.error("accounts not reloaded, the last good ones stay in force: %s", error.partition("\n")[0])
        self.error = error


class Ticker:
    """Calls ``work`` every ``interval_s`` in a daemon thread between ``start`` and ``stop``."""

    def __init__(self, name: str, work: Callable[[], None], interval_s: float) -> None:
        self._name = name
        self._work = work
        self._interval_s = interval_s
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin; again is no error."""
        if self._thread is None:
            self._stopping.clear()
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End, after the call in progress; blocks for that long."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        while not self._stopping.wait(self._interval_s):
            try:
                self._work()
            except Exception:  # noqa: BLE001 - the thread must outlive a bug: without it no revocation arrives
                _log.exception("%s failed and will be tried again", self._name)
