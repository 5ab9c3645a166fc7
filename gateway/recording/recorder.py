"""Takes requests off the request path and writes them down beside it.

``record`` puts a request into a bounded buffer and returns; a thread makes lines of what is there. Invariants: no
request waits for a recording; what does not fit is counted as dropped; no credential and none of the headers
outside ``_HEADERS`` is ever written; texts are written only where the policy in force says so.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from gateway.errors import ConfigError
from gateway.recording.segments import LATE_S, Segment, add_accounts, forget_old, seal_left_over
from gateway.recording.sketch import Sketcher

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gateway.clock import Clock
    from gateway.pipeline import Exchange
    from gateway.policy import RecordingPolicy
    from gateway.types import Headers, Identity

MAX_WAITING = 4096
MAX_WAITING_BYTES = 64 * 1024 * 1024
SEGMENT_BYTES = 64 * 1024 * 1024
SEGMENT_AGE_S = 3600.0
ACCOUNTS_EVERY_S = 60.0
_WRITE_EVERY_S = 0.25
_HEADERS = frozenset((b"user-agent", b"x-ja4", b"anthropic-version", b"anthropic-beta", b"openai-beta"))
_HEADER_PREFIX = b"x-stainless-"
_log = logging.getLogger(__name__)


class _Waiting(NamedTuple):
    exchange: Exchange
    duration_s: float
    full: bool
    size: int


class Recorder:
    """Writes into ``folder`` until ``close``. ``policy`` tells what is kept now; ``key`` is the gateway's hash key.

    Raises ConfigError where the folder cannot be written.
    """

    def __init__(self, folder: Path, key: bytes, clock: Clock, policy: Callable[[], RecordingPolicy]) -> None:
        self.folder = folder
        self._clock = clock
        self._policy = policy
        self._sketcher = Sketcher(key)
        self._waiting: deque[_Waiting] = deque()
        self._waiting_bytes = 0
        self._lock = threading.Lock()
        self._wake, self._closing = threading.Event(), threading.Event()
        self._accounts: dict[str, dict[str, Any]] = {}
        self._accounts_s = clock.now()
        self._floor_ts = 0.0
        self._error: str | None = None
        self.recorded = self.dropped = 0
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            seal_left_over(folder)
            self._segment = Segment(folder, clock.now(), self._floor_ts)
        except OSError as error:
            reason = error.strerror or error
            raise ConfigError(f"record: cannot write to {folder} ({reason}), expected a folder of our own") from None
        self._thread = threading.Thread(target=self._write_always, name="recording", daemon=True)
        self._thread.start()

    def record(self, exchange: Exchange) -> None:
        """Take a request that is over; a few microseconds. One without an account says nothing to replay."""
        if exchange.identity is None:
            return
        size = exchange.facts.body_bytes if exchange.facts is not None else 0
        if (
            len(self._waiting) >= MAX_WAITING
            or self._waiting_bytes + size > MAX_WAITING_BYTES
            or self._closing.is_set()
        ):
            self.dropped += 1
            return
        self._waiting_bytes += size
        duration_s = self._clock.monotonic() - exchange.started_s
        self._waiting.append(_Waiting(exchange, duration_s, self._policy().full, size))
        self._wake.set()

    def status(self) -> dict[str, Any]:
        """For ``/api/status`` and metrics."""
        return {
            "ok": self._error is None,
            "error": self._error,
            "recorded": self.recorded,
            "dropped": self.dropped,
            "waiting": len(self._waiting),
            "bodies": "full" if self._policy().full else "sketch",
        }

    def flush(self) -> None:
        """Write what waits; blocks."""
        with self._lock:
            self._write()

    def close(self) -> None:
        """Write what waits, seal the file and end the thread; blocks."""
        if self._closing.is_set():
            return
        self._closing.set()
        self._wake.set()
        self._thread.join()
        with self._lock:
            self._write()
            self._seal(float("inf"))

    def _write_always(self) -> None:
        while not self._closing.is_set():
            self._wake.wait()
            self._closing.wait(_WRITE_EVERY_S)
            self._wake.clear()
            with self._lock:
                self._write()
                if self._is_full():
                    self._seal(self._clock.now() - LATE_S)
                elif self._clock.now() - self._accounts_s > ACCOUNTS_EVERY_S:
                    self._keep_accounts()

    def _is_full(self) -> bool:
        segment = self._segment
        return segment.size > SEGMENT_BYTES or self._clock.now() - segment.began_s > SEGMENT_AGE_S

    def _write(self) -> None:
        lines = []
        while self._waiting:
            waiting = self._waiting.popleft()
            self._waiting_bytes -= waiting.size
            try:
                lines.append(orjson.dumps(self._row(waiting), option=_OPTIONS))
            except Exception as error:  # noqa: BLE001 - nothing in a request may stop the recording of others
                self.dropped += 1
                _log.warning("request_not_recorded", extra={"id": waiting.exchange.id, "reason": type(error).__name__})
        if not lines:
            return
        try:
            self._segment.write(b"".join(lines))
        except OSError as error:
            self._fail(error, len(lines))
        else:
            self._error = None
            self.recorded += len(lines)

    def _seal(self, cut_ts: float) -> None:
        """Seal the file, forget old ones, begin the next with what is too young to be sorted in."""
        try:
            rest, self._floor_ts = self._segment.seal(cut_ts)
            self._keep_accounts()
            forget_old(self.folder, self._policy().retention_s, self._clock.now())
            if not self._closing.is_set():
                self._segment = Segment(self.folder, self._clock.now(), self._floor_ts)
                self._segment.write(b"".join(line + b"\n" for line in rest))
        except OSError as error:
            self._fail(error, 0)

    def _keep_accounts(self) -> None:
        """Write the accounts that were seen since the last time."""
        try:
            add_accounts(self.folder, self._accounts)
        except (OSError, ValueError) as error:  # ValueError: somebody else's lines in accounts.ndjson
            self._fail(error, 0)
        else:
            self._accounts.clear()
            self._accounts_s = self._clock.now()

    def _fail(self, error: OSError | ValueError, lost: int) -> None:
        self.dropped += lost
        reason = f"{getattr(error, 'strerror', None) or error} ({self.folder})"
        if self._error is None:
            _log.error("recording_not_written", extra={"reason": reason})
        self._error = reason

    def _row(self, waiting: _Waiting) -> dict[str, Any]:
        """One line of a log. A refusal of ours has no status: another policy might have answered."""
        exchange = waiting.exchange
        identity, facts, usage = exchange.identity, exchange.facts, exchange.usage
        assert identity is not None
        self._accounts[identity.account] = _account(identity)
        body = dict(facts.body) if facts is not None else {}
        row: dict[str, Any] = {
            "id": exchange.id,
            "ts": exchange.started_at,
            "account": identity.account,
            "ip": identity.address,
            "headers": _headers(exchange.headers, identity),
            "method": exchange.method,
            "path": exchange.path,
            "body": body if waiting.full else self._sketcher.body(body),
            "body_bytes": facts.body_bytes if facts is not None else 0,
            "traits": exchange.traits,
            "country": identity.country,
            "duration_s": round(waiting.duration_s, 3),
        }
        if usage is not None:
            row["usage"] = {"input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens}
        if exchange.sent_upstream:
            row["status"] = exchange.status
        return row


_OPTIONS = orjson.OPT_APPEND_NEWLINE | orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS


def _headers(headers: Headers, identity: Identity) -> dict[str, str]:
    """The headers that say which program called; never a credential or a cookie."""
    kept = {
        name.decode("latin-1"): value.decode("latin-1")
        for name, value in headers
        if name in _HEADERS or name.startswith(_HEADER_PREFIX)
    }
    return kept | {"x-ja4": identity.ja4} if identity.ja4 else kept


def _account(identity: Identity) -> dict[str, Any]:
    """A line of the account directory, as far as the gateway knows the account."""
    return {
        "account": identity.account,
        "created_at": identity.created_at,
        "plan": identity.plan,
        "org": identity.org,
        "country": identity.home_country or identity.country,
        "verified": identity.verified,
        "declared_use": identity.declared_use,
    }
