"""Marks in live replies: one keyring file, one writer for each piece of free prose, one record a reply.

A cluster's key is promised in the keyring's ledger, with a time stamp, before the first reply is marked with
it: until the promise is on disk, its replies go out as they are. The file is rewritten under a lock, so that
several workers and ``canary keygen`` may share it.
"""

from __future__ import annotations

import logging
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from gateway.canary.asked import markable
from gateway.canary.keyring import load_keyring, locked, new_keyring, rotate, save_keyring
from gateway.canary.marking import MarkRecord, make_writer
from gateway.canary.slots import load_inventory
from gateway.canary.trace import ledger_line, trace_key
from gateway.canary.wishes import wish
from gateway.errors import ConfigError
from gateway.types import BEHAVIOUR

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from gateway.canary.keyring import Keyring
    from gateway.canary.writer import MarkWriter
    from gateway.clock import Clock

_log = logging.getLogger(__name__)


class ReplyMarks:
    """The writers of one reply; calling it makes one (for a choice, content block or output item).

    Where the policy names the carrier ``behaviour`` the model itself is asked for marks too (``ask``).
    """

    def __init__(
        self, keyring: Keyring, cluster: str, prompt: str | None, carriers: Sequence[str], *, keep: bool = False
    ) -> None:
        self._keyring = keyring
        self._cluster = cluster
        self._prompt = prompt
        self._carriers = carriers
        self._writers: list[MarkWriter] = []
        self._asked = 0
        self._kept: list[KeptText] | None = [] if keep else None

    def ask(self, *, free: bool) -> str | None:
        """The text to add to the request, for the record as well; ``None`` where none is to be added.

        ``free``: the reply is free prose. The text is the same for every request to the cluster, so retries agree and
        the upstream's prompt cache holds.
        """
        if not free or BEHAVIOUR not in self._carriers or not markable(self._prompt):
            return None
        self._asked = 1
        return wish(self._keyring.newest, self._cluster)

    def __call__(self) -> MarkWriter | KeptText:
        """One more writer of this reply."""
        writer = make_writer(self._keyring, self._cluster, prompt=self._prompt, carriers=self._carriers)
        self._writers.append(writer)
        if self._kept is None:
            return writer
        self._kept.append(KeptText(writer))
        return self._kept[-1]

    def line(self, reply_id: str, **more: str | float | None) -> bytes:
        """The reply's line for the ledger of ``canary trace``; empty where none is kept or nothing was written."""
        text = "\n".join("".join(kept.pieces) for kept in self._kept or ())
        return ledger_line(reply_id, self._cluster, text, trace_key(self._keyring), **more) if text else b""

    def record(self) -> MarkRecord | None:
        """How many marks of each carrier were planted (``behaviour``: asked for); ``None`` where none was."""
        counts = Counter(mark.carrier for writer in self._writers for mark in writer.marks)
        counts.update({BEHAVIOUR: self._asked} if self._asked else {})
        if not counts:
            return None
        return MarkRecord(cluster=self._cluster, version=self._keyring.newest.version, marks=dict(counts))


class KeptText:
    """A writer whose text is kept until the reply's fingerprint is taken, and no longer."""

    __slots__ = ("_writer", "pieces")

    def __init__(self, writer: MarkWriter) -> None:
        self._writer = writer
        self.pieces: list[str] = []

    def feed(self, text: str) -> str:
        """As the writer's."""
        out = self._writer.feed(text)
        self.pieces.append(out)
        return out

    def finish(self) -> str:
        """As the writer's."""
        out = self._writer.finish()
        self.pieces.append(out)
        return out


class Marker:
    """Gives out writers for the replies of clusters whose key is promised. One event loop uses it."""

    def __init__(self, path: Path, clock: Clock, *, make: bool = False, ledger: Path | None = None) -> None:
        """Load the keyring at ``path``; with ``make`` a missing one is made. Fingerprints of replies are appended to
        ``ledger``, where it is given. Raises ConfigError.
        """
        self._path = path
        self._ledger = ledger
        if ledger is not None:
            ledger.parent.mkdir(parents=True, exist_ok=True)
        self._clock = clock
        if make and not path.exists():
            with locked(path):
                if not path.exists():
                    save_keyring(path, new_keyring(inventory=load_inventory().digest, now_s=clock.now()))
        self._keyring = load_keyring(path)
        if self._keyring.newest.inventory != load_inventory().digest:
            self._keyring = self._renewed()
        self._promised = self._committed(self._keyring)
        self._asked: set[str] = set()
        self._promises = ThreadPoolExecutor(max_workers=1, thread_name_prefix="distillguard-keyring")

    def _renewed(self) -> Keyring:
        """The keyring with a version for this release's inventory: what marks is what was promised."""
        digest = load_inventory().digest
        try:
            with locked(self._path):
                keyring = load_keyring(self._path)
                if keyring.newest.inventory != digest:
                    keyring = rotate(keyring, inventory=digest, now_s=self._clock.now())
                    save_keyring(self._path, keyring)
                    _log.info("keyring rotated for this release's inventory", extra={"version": keyring.newest.version})
        except OSError as error:
            raise ConfigError(
                f"{self._path}: got a keyring for another release's inventory that cannot be written ({error}), "
                "expected to add a version; make it writable"
            ) from error
        return keyring

    def for_reply(self, cluster: str, prompt: str | None, carriers: Sequence[str]) -> ReplyMarks | None:
        """Writers for a reply to ``cluster``; ``None`` while its key is still being promised."""
        if cluster in self._promised:
            return ReplyMarks(self._keyring, cluster, prompt, carriers, keep=self._ledger is not None)
        if cluster not in self._asked:
            self._asked.add(cluster)
            self._promises.submit(self.promise, cluster)
        return None

    def keep(self, marks: ReplyMarks, reply_id: str, *, account: str | None, at_s: float) -> None:
        """Append the fingerprint of a reply that is over to the ledger, where one is kept; does not wait."""
        if self._ledger is not None:
            self._promises.submit(self._append, self._ledger, marks, reply_id, account, at_s)

    @staticmethod
    def _append(ledger: Path, marks: ReplyMarks, reply_id: str, account: str | None, at_s: float) -> None:
        try:
            line = marks.line(reply_id, account=account, at=at_s)
            with ledger.open("ab", buffering=0) as file:  # one write: lines of several workers do not mix
                file.write(line)
        except OSError as error:
            _log.error("ledger cannot be written; a reply cannot be traced", extra={"error": str(error)})

    def holds_out(self, cluster: str, prompt: str | None, share: float) -> bool:
        """Whether this reply stays unmarked as a control: see ``Keyring.held_out``."""
        return self._keyring.held_out(cluster, prompt, share)

    @property
    def version(self) -> int:
        """The version of the keyring that marks."""
        return self._keyring.newest.version

    def promise(self, cluster: str) -> None:
        """Enter the cluster's key into the ledger, on disk; blocks. A failure is logged and tried again later."""
        try:
            with locked(self._path):
                before = load_keyring(self._path)
                keyring = before.commit(cluster, now_s=self._clock.now())
                if keyring is not before:
                    save_keyring(self._path, keyring)
        except (OSError, ConfigError) as error:
            _log.error("keyring cannot be written; replies stay unmarked", extra={"error": str(error)})
            self._asked.discard(cluster)
            return
        self._keyring = keyring
        self._promised = self._committed(keyring)

    def close(self) -> None:
        """Finish what is being promised."""
        self._promises.shutdown(wait=True)

    @staticmethod
    def _committed(keyring: Keyring) -> frozenset[str]:
        version = keyring.newest.version
        return frozenset(entry.cluster for entry in keyring.ledger if entry.version == version)
