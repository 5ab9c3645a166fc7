"""Takes requests off the request path and writes them down beside it.

``record`` puts a request into a bounded buffer and returns; a thread makes lines of what is there. Invariants: no
request waits for a recording; what does not fit is counted as dropped; no credential and none of the headers
outside ``_HEADERS`` is ever written; texts are written only where the policy in force says so, and then sealed;
what is older than the policy's retention is removed while the gateway runs, whether there is traffic or not.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from gateway.errors import ConfigError
from gateway.recording.samples import Sealer
from gateway.recording.segments import LATE_S, REQUESTS, SAMPLES, Segment, add_accounts, close_left_over, forget_old
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
TIDY_EVERY_S = 60.0
_WRITE_EVERY_S = 0.25
_HEADERS = frozenset((b"user-agent", b"x-ja4", b"anthropic-version", b"anthropic-beta", b"openai-beta"))
_HOUR_S = 3600.0
_HEADER_PREFIX = b"x-stainless-"
_log = logging.getLogger(__name__)


class _Waiting(NamedTuple):
    exchange: Exchange
    duration_s: float
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
        self._sealer: Sealer | None = None
        self._sealer_of = ""
        self._waiting: deque[_Waiting] = deque()
        self._waiting_bytes = 0
        self._lock = threading.Lock()
        self._wake, self._closing = threading.Event(), threading.Event()
        self._accounts: dict[str, dict[str, Any]] = {}
        self._tidied_s = clock.now()
        self._floors = {REQUESTS: 0.0, SAMPLES: 0.0}
        self._segments: dict[str, Segment] = {}
        self._error: str | None = None
        self.recorded = self.sampled = self.dropped = 0
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            close_left_over(folder)
            self._segments[REQUESTS] = Segment(folder, clock.now(), 0.0)
            self._forget()
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
        duration_s = exchange.ended_s - exchange.started_s
        self._waiting.append(_Waiting(exchange, duration_s, size))
        self._wake.set()

    def status(self) -> dict[str, Any]:
        """For ``/api/status`` and metrics."""
        return {
            "ok": self._error is None,
            "error": self._error,
            "recorded": self.recorded,
            "dropped": self.dropped,
            "waiting": len(self._waiting),
            "sampled": self.sampled,
            "samples": self._policy().samples is not None,
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
            self._close_files(float("inf"))
            self._keep_accounts()
            self._forget()

    def tidy(self) -> None:
        """Close full files, take over what dead processes left, forget what is old; blocks."""
        with self._lock:
            self._tidied_s = self._clock.now()
            self._close_files(self._clock.now() - LATE_S)
            self._keep_accounts()
            try:
                close_left_over(self.folder)
            except OSError as error:
                self._fail(error, 0)
            self._forget()

    def _write_always(self) -> None:
        while not self._closing.is_set():
            self._wake.wait(TIDY_EVERY_S)
            self._closing.wait(_WRITE_EVERY_S)
            self._wake.clear()
            with self._lock:
                self._write()
            full = any(segment.size > SEGMENT_BYTES for segment in self._segments.values())
            if full or self._clock.now() - self._tidied_s > TIDY_EVERY_S:
                self.tidy()

    def _write(self) -> None:
        """Make lines of what waits."""
        lines: dict[str, list[bytes]] = {REQUESTS: [], SAMPLES: []}
        while self._waiting:
            waiting = self._waiting.popleft()
            self._waiting_bytes -= waiting.size
            try:
                for kind, line in self._lines(waiting).items():
                    lines[kind].append(line)
            except Exception as error:  # noqa: BLE001 - nothing in a request may stop the recording of others
                self.dropped += 1
                _log.warning("request_not_recorded", extra={"id": waiting.exchange.id, "reason": type(error).__name__})
        self.recorded += self._append(REQUESTS, lines[REQUESTS])
        self.sampled += self._append(SAMPLES, lines[SAMPLES])

    def _append(self, kind: str, lines: list[bytes]) -> int:
        """Append to the open file of a kind; how many lines are in it now."""
        if not lines:
            return 0
        try:
            if kind not in self._segments:
                self._segments[kind] = Segment(self.folder, self._clock.now(), self._floors[kind], kind)
            self._segments[kind].write(b"".join(lines))
        except OSError as error:
            self._fail(error, len(lines))
            return 0
        self._error = None
        return len(lines)

    def _close_files(self, cut_ts: float) -> None:
        """Close the files that are full or old, begin the next with what is too young to be sorted in."""
        for kind, segment in list(self._segments.items()):
            age_s = min(SEGMENT_AGE_S, self._retention_s(kind) / 4)
            young = segment.size <= SEGMENT_BYTES and self._clock.now() - segment.began_s <= age_s
            if young and not self._closing.is_set():
                continue
            try:
                rest, self._floors[kind] = segment.close(cut_ts)
                del self._segments[kind]
                if not self._closing.is_set():
                    self._append(kind, [line + b"\n" for line in rest])
            except OSError as error:
                self._fail(error, 0)

    def _retention_s(self, kind: str) -> float:
        """How long files of a kind are kept; samples of which no policy speaks any more, as long as all others."""
        policy = self._policy()
        samples = policy.samples if kind == SAMPLES else None
        return policy.retention_s if samples is None else samples.retention_s

    def _forget(self) -> None:
        try:
            for kind in (REQUESTS, SAMPLES):
                forget_old(self.folder, kind, self._retention_s(kind), self._clock.now())
        except OSError as error:
            self._fail(error, 0)

    def _keep_accounts(self) -> None:
        """Write the accounts that were seen since the last time."""
        try:
            now_s = self._clock.now()
            add_accounts(self.folder, self._accounts, now_s - self._policy().retention_s)
        except (OSError, ValueError) as error:  # ValueError: somebody else's lines in accounts.ndjson
            self._fail(error, 0)
        else:
            self._accounts.clear()

    def _fail(self, error: OSError | ValueError, lost: int) -> None:
        self.dropped += lost
        reason = f"{getattr(error, 'strerror', None) or error} ({self.folder})"
        if self._error is None:
            _log.error("recording_not_written", extra={"reason": reason})
        self._error = reason

    def _lines(self, waiting: _Waiting) -> dict[str, bytes]:
        """The lines that one request makes, by kind of file."""
        exchange = waiting.exchange
        body = dict(exchange.facts.body) if exchange.facts is not None else {}
        row = self._row(waiting)
        lines = {REQUESTS: orjson.dumps({**row, "body": self._sketcher.body(body)}, list, _OPTIONS)}
        sealer = self._sealer_now()
        if sealer is not None and exchange.plan is not None and exchange.plan.sample and exchange.facts is not None:
            standing = exchange.standing
            sealed = sealer.seal(
                {**row, "body": body, "traits": None}, cluster=standing.cluster, level=standing.level.value
            )
            lines[SAMPLES] = orjson.dumps(sealed, option=_OPTIONS)
        return lines

    def _sealer_now(self) -> Sealer | None:
        """What samples are sealed with under the policy in force."""
        samples = self._policy().samples
        if samples is None:
            return None
        if self._sealer is None or self._sealer_of != samples.key:
            self._sealer, self._sealer_of = Sealer(samples.key), samples.key
        return self._sealer

    def _row(self, waiting: _Waiting) -> dict[str, Any]:
        """A line of a log but for its body. A refusal of ours has no status: another policy might have answered."""
        exchange = waiting.exchange
        identity, facts, usage = exchange.identity, exchange.facts, exchange.usage
        assert identity is not None
        seen_at = exchange.started_at // _HOUR_S * _HOUR_S
        self._accounts[identity.account] = {**_account(identity), "seen_at": seen_at}
        row: dict[str, Any] = {
            "id": exchange.id,
            "ts": exchange.started_at,
            "account": identity.account,
            "ip": identity.address,
            "headers": _headers(exchange.headers, identity),
            "method": exchange.method,
            "path": exchange.path,
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
