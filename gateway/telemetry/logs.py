"""Logs: one JSON object a line on standard error, with nothing in it that a log must not have.

What is let through is stated, not what is kept out:

* The package's own loggers give an event's name and fields with ``extra``: scalars under names that are not
  those of bodies, headers or credentials, cut to ``MAX_CHARS`` and searched for credentials.
* Other loggers (the server's, asyncio's) give the first line of their message, the same way.
* Exceptions give their types and frames (file, line, function). Their words are shown for this package's own
  errors, which are written for operators, and for errors of the operating system, never for others: a
  parser's or validator's words quote what it was fed.

Leaves out: which events are logged. What a request did is an ``Event``, not a line of log.
"""

from __future__ import annotations

import logging
import re
import sys
import threading
import time
from typing import IO, TYPE_CHECKING, Any

import orjson

from gateway.errors import DistillguardError

if TYPE_CHECKING:
    from types import TracebackType

MAX_CHARS = 300
MAX_FRAMES = 20
REDACTED = "[redacted]"
_OWN = "gateway"
_QUIET = ("uvicorn.access", "httpx", "httpcore", "hpack", "aiohttp.access")
"""Loggers of single requests: events tell that, without paths and queries as received."""
_STANDARD = {*vars(logging.makeLogRecord({})), "message", "asctime", "color_message", "taskName"}
_PRIVATE_NAMES = re.compile(
    r"(?i)body|prompt|messages|text|content|reply|header|authori|credential|secret|passw|cookie|api_?key|token$|^key$"
)
_IDS = {"request_id", "event_id", "policy", "cluster", "reservation"}
"""Fields whose values are long and random by design and prove nothing."""
_SECRETS = re.compile(
    r"""(?ix)
      (?:proxy-)?authorization\b .*            # the rest of the line: schemes and values
    | \b(?:x-api-key|api[-_]?key|cookie|set-cookie|password|passwd|secret|token)\b["']?\s*[:=]\s* .*
    | \b(?:bearer|basic)\s+\S+
    | (?<=://)[^/\s@]*@                        # user and password of a URL
    | \b(?:sk|pk|rk|dg\d*|hf|xox[abprs]|gh[opsur]|github_pat|glpat|aiza|akia|asia)[-_][\w.+/=-]{6,}
    | \b(?:AIza|AKIA|ASIA)\w{12,}
    | \beyJ[\w-]{6,}(?:\.[\w-]*)*              # a JSON web token
    | (?<![\w/-])(?=[\w+=-]*\d)(?=[\w+=-]*[a-z])[\w+=-]{24,}   # long, letters and digits: random
    """
)


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON. Never raises: a bad record is shown without its values."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its newline."""
        row: dict[str, Any] = {
            "ts": _timestamp(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": _message(record),
        }
        for name, value in vars(record).items():
            if name not in _STANDARD and not name.startswith("_"):
                row.setdefault(name, _field(name, value))
        if record.exc_info and record.exc_info[1] is not None:
            row["exception"] = describe(record.exc_info[1])
        try:
            return orjson.dumps(row).decode()
        except (TypeError, ValueError):
            return orjson.dumps({"ts": row["ts"], "level": row["level"], "event": "log_record_unusable"}).decode()


def configure_logging(level: str = "info", stream: IO[str] | None = None) -> None:
    """Send every logger's records of ``level`` and above to ``stream`` (standard error) as JSON.

    Takes over the handlers of other libraries, warnings, and exceptions that nobody caught in the main
    thread, in threads and in finalisers. Start uvicorn with ``log_config=None`` so that it stays so.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.raiseExceptions = False  # the library would print the record's arguments
    logging.captureWarnings(capture=True)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name, logger in list(logging.Logger.manager.loggerDict.items()):
        if isinstance(logger, logging.Logger):
            logger.handlers[:] = []
            logger.propagate = True
            if name.startswith("uvicorn"):
                logger.setLevel(logging.NOTSET)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    _catch_uncaught()


def redact(text: str) -> str:
    """``text`` without what looks like a credential, cut to ``MAX_CHARS``."""
    cut = text if len(text) <= MAX_CHARS else text[:MAX_CHARS] + "…"
    return _SECRETS.sub(REDACTED, cut)


def describe(error: BaseException) -> dict[str, Any]:
    """An exception, its causes and members as types and frames; words only where they are ours."""
    row: dict[str, Any] = {"type": type(error).__qualname__, "frames": _frames(error.__traceback__)}
    if isinstance(error, DistillguardError):
        row["message"] = redact(str(error))
    elif isinstance(error, OSError) and error.errno is not None:
        row["message"] = redact(f"[Errno {error.errno}] {error.strerror}")
    if isinstance(error, BaseExceptionGroup):
        row["members"] = [describe(member) for member in error.exceptions[:5]]
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None:
        row["cause"] = describe(cause)
    return row


def _message(record: logging.LogRecord) -> str:
    """The event's name, or the first line of another library's words."""
    try:
        text = record.getMessage()
    except Exception:  # noqa: BLE001 - arguments that do not fit their template must not be shown or raised
        text = str(record.msg)
    own = record.name == _OWN or record.name.startswith(_OWN + ".")
    return redact(text if own else text.partition("\n")[0])


def _field(name: str, value: Any) -> Any:
    """The value of an extra field: numbers as they are, texts searched, anything else by its type."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if _PRIVATE_NAMES.search(name) or not isinstance(value, str):
        return REDACTED if isinstance(value, str | bytes) else f"[{type(value).__name__}]"
    return value[:MAX_CHARS] if name in _IDS else redact(value)


def _frames(trace: TracebackType | None) -> list[str]:
    """``file:line function``, innermost last, without source lines or values."""
    frames = []
    while trace is not None:
        code = trace.tb_frame.f_code
        frames.append(f"{code.co_filename}:{trace.tb_lineno} {code.co_qualname}")
        trace = trace.tb_next
    return frames[-MAX_FRAMES:]


def _timestamp(created_s: float) -> str:
    """RFC 3339 with milliseconds, UTC."""
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(created_s))}.{int(created_s % 1 * 1000):03d}Z"


def _catch_uncaught() -> None:
    """Log what nobody caught instead of letting the interpreter print its words."""
    log = logging.getLogger(_OWN)

    def main(_kind: type[BaseException], error: BaseException, _trace: TracebackType | None) -> None:
        if not isinstance(error, KeyboardInterrupt):
            log.critical("uncaught_exception", exc_info=error)

    def thread(caught: threading.ExceptHookArgs) -> None:
        name = caught.thread.name if caught.thread else None
        log.critical("uncaught_exception_in_thread", exc_info=caught.exc_value, extra={"in_thread": name})

    def finaliser(caught: sys.UnraisableHookArgs) -> None:
        log.error("exception_not_raised", exc_info=caught.exc_value)

    sys.excepthook, threading.excepthook, sys.unraisablehook = main, thread, finaliser
