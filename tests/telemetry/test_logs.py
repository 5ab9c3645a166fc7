from __future__ import annotations

import asyncio
import gc
import io
import json
import logging
import subprocess
import sys
import threading
import warnings
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel

from gateway.errors import ConfigError, StoreError
from gateway.telemetry import configure_logging
from gateway.telemetry.logs import MAX_CHARS, redact

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PROMPT = "my neighbour Wilhelmina was diagnosed"
KEY = "sk-live-4f9aQ7dkLm2"
LEAKS = ("Wilhelmina", "diagnosed", "4f9aQ7", "hunter2")


class Log:
    """What was logged so far."""

    def __init__(self) -> None:
        self.stream = io.StringIO()

    @property
    def text(self) -> str:
        return self.stream.getvalue()

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.splitlines()]

    def check(self, rows: int = 1) -> None:
        """Something was logged, and nothing of it is secret."""
        assert len(self.rows) == rows
        for leak in LEAKS:
            assert leak not in self.text


@pytest.fixture
def log() -> Iterator[Log]:
    """The logs as configured; everything is put back afterwards."""
    root = logging.getLogger()
    before = root.handlers[:], root.level, logging.raiseExceptions
    hooks = sys.excepthook, threading.excepthook, sys.unraisablehook
    levels = {
        name: logging.getLogger(name).level
        for name in ("uvicorn.access", "httpx", "httpcore", "hpack", "aiohttp.access")
    }
    made = Log()
    configure_logging("debug", made.stream)
    yield made
    root.handlers[:], logging.raiseExceptions = before[0], before[2]
    root.setLevel(before[1])
    logging.captureWarnings(capture=False)
    sys.excepthook, threading.excepthook, sys.unraisablehook = hooks
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


ours = logging.getLogger("gateway.pipeline")
theirs = logging.getLogger("aiohttp.client")


def test_a_line_is_one_object_with_the_events_name_and_fields(log: Log) -> None:
    ours.warning("store_away", extra={"store": "redis", "tries": 3, "ratio": 0.5, "ok": False, "none": None})
    (row,) = log.rows
    assert row.pop("ts").endswith("Z")
    assert row == {
        "level": "warning",
        "logger": "gateway.pipeline",
        "event": "store_away",
        "store": "redis",
        "tries": 3,
        "ratio": 0.5,
        "ok": False,
        "none": None,
    }


class Body(BaseModel):
    max_tokens: int


def validate() -> None:
    Body.model_validate({"max_tokens": PROMPT})


def parse() -> None:
    json.loads('{"prompt": "' + PROMPT)


def look_up() -> None:
    {}[PROMPT]  # type: ignore[index]


def decode() -> None:
    (PROMPT.encode() + b"\xff").decode()


def chained() -> None:
    try:
        look_up()
    except KeyError as error:
        raise RuntimeError(f"no {PROMPT} for {KEY}") from error


def grouped() -> None:
    raise ExceptionGroup(PROMPT, [ValueError(PROMPT), KeyError(KEY)])


def connect() -> None:
    raise ConnectionError(f"Error 111 connecting to redis://user:hunter2@host: {KEY}")


@pytest.mark.parametrize("fault", [validate, parse, look_up, decode, chained, grouped, connect])
def test_an_exception_shows_where_and_never_what_it_was_fed(log: Log, fault: Callable[[], None]) -> None:
    try:
        fault()
    except Exception:  # noqa: BLE001 - each fault raises its own kind
        ours.exception("request_failed")
    log.check()
    (row,) = log.rows
    assert row["exception"]["type"]
    assert any(frame.endswith(f" {fault.__name__}") for frame in row["exception"]["frames"])
    assert "message" not in row["exception"]


def test_causes_and_members_are_shown_by_type(log: Log) -> None:
    for fault in (chained, grouped):
        try:
            fault()
        except Exception:  # noqa: BLE001 - as above
            ours.exception("request_failed")
    first, second = log.rows
    assert first["exception"]["cause"]["type"] == "KeyError"
    assert [member["type"] for member in second["exception"]["members"]] == ["ValueError", "KeyError"]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ConfigError("workers: got 0, expected at least 1"), "workers: got 0, expected at least 1"),
        (StoreError("redis://app:hunter2@cache:6379 is away"), "redis://[redacted]cache:6379 is away"),
        (FileNotFoundError(2, "No such file or directory", PROMPT), "[Errno 2] No such file or directory"),
    ],
)
def test_words_written_for_operators_are_shown(log: Log, error: Exception, words: str) -> None:
    ours.error("not_started", exc_info=error)
    log.check()
    assert log.rows[0]["exception"]["message"] == words


@pytest.mark.parametrize(
    "extra",
    [
        {"body": {"messages": [{"content": PROMPT}]}},
        {"body": PROMPT},
        {"prompt": PROMPT},
        {"user_text": PROMPT},
        {"messages": [PROMPT]},
        {"content": PROMPT.encode()},
        {"headers": [(b"authorization", KEY.encode())]},
        {"Authorization": "Token hunter2"},
        {"api_key": "hunter2"},
        {"apikey": "hunter2"},
        {"admin_token": "hunter2"},
        {"client_secret": "hunter2"},
        {"anything": {"deep": PROMPT}},
        {"anything": ValueError(PROMPT)},
        {"reason": f"sent {KEY}"},
    ],
)
def test_fields_that_hold_bodies_headers_or_credentials_are_not_shown(log: Log, extra: dict[str, Any]) -> None:
    ours.warning("odd_request", extra=extra)
    log.check()


@pytest.mark.parametrize(
    "text",
    [
        f"got Authorization: Bearer {KEY}",
        "got authorization: Basic dXNlcjpodW50ZXIy hunter2",
        "{'authorization': 'hunter2', 'x': 1}",
        "x-api-key: hunter2",
        "'api-key': 'hunter2'",
        "api_key=hunter2&x=1",
        '{"password": "hunter2"}',
        "Cookie: session=hunter2",
        f"key {KEY} unknown",
        "bearer hunter2",
        "https://user:hunter2@example.org/x",
        "redis://:hunter2@cache",
        "dg1_abcdefghjk_hunter2hunter2",
        "AKIAhunter2hunter2AB",
        "eyJhbGciOi.hunter2.sig",
        "ghp_hunter2hunter2",
        "random Zm9vYmFyaHVudGVyMg4f9aQ7xx",
        "hex 4f9aQ700aa11bb22cc33dd44ee55ff66",
    ],
)
def test_what_looks_like_a_credential_is_taken_out_of_texts(text: str) -> None:
    shown = redact(text)
    assert "[redacted]" in shown
    for leak in (*LEAKS, "dXNl"):
        assert leak not in shown


@pytest.mark.parametrize(
    "text",
    [
        "Uvicorn running on http://127.0.0.1:8080 (Press CTRL+C to quit)",
        "policies/plans.yaml:12:3: got 'requets', expected 'requests'",
        "/home/app/.distillguard/events/events-20260221T000000-7.ndjson: No space left on device",
        "ConnectionError: Error 111 connecting to 127.0.0.1:6379. Connection refused.",
        "budget free-day refused account anon-7k2mq4xw",
    ],
)
def test_ordinary_words_are_left_alone(text: str) -> None:
    assert redact(text) == text


def test_long_random_ids_are_shown_where_they_are_ids(log: Log) -> None:
    ours.info("done", extra={"request_id": "0123456789abcdef0123456789abcdef"})
    assert log.rows[0]["request_id"] == "0123456789abcdef0123456789abcdef"


def test_long_texts_are_cut(log: Log) -> None:
    ours.info("done", extra={"reason": "ab " * 1000})
    assert len(log.rows[0]["reason"]) == MAX_CHARS + 1


@pytest.mark.parametrize("logger", ["uvicorn.error", "asyncio", "aiohttp.server", "redis.asyncio"])
def test_other_libraries_give_their_first_line_without_secrets(log: Log, logger: str) -> None:
    logging.getLogger(logger).error("request failed\n%s\nfuture: %s", PROMPT, KEY, exc_info=ValueError(PROMPT))
    log.check()
    assert log.rows[0]["event"] == "request failed"


def test_arguments_that_do_not_fit_their_template_are_not_shown(log: Log) -> None:
    theirs.error("status %d for %s", PROMPT, KEY, KEY)
    log.check()
    assert log.rows[0]["event"] == "status %d for %s"


def test_a_value_that_json_cannot_say_costs_the_line_its_values_only(log: Log) -> None:
    ours.error("odd", extra={"count": 2**70, "lone": "\ud800"})
    log.check()


@pytest.mark.parametrize("name", ["uvicorn.access", "httpx", "httpcore.connection"])
def test_paths_and_queries_of_single_requests_are_not_logged(log: Log, name: str) -> None:
    logging.getLogger(name).info('%s - "GET /v1/models?q=%s"', "10.0.0.1", PROMPT)
    assert log.text == ""


def test_handlers_that_others_installed_are_taken_over() -> None:
    program = (
        "import logging, uvicorn\n"
        "uvicorn.Config('x:y')\n"
        "from gateway.telemetry import configure_logging\n"
        "configure_logging('info')\n"
        "logging.getLogger('uvicorn.error').info('Started')\n"
        "logging.getLogger('uvicorn.access').info('GET /?q=Wilhelmina')\n"
        "raise ValueError('Wilhelmina')"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    rows = [json.loads(line) for line in run.stderr.splitlines()]
    assert [row["event"] for row in rows] == ["Started", "uncaught_exception"]
    assert rows[1]["exception"]["type"] == "ValueError"
    assert "Wilhelmina" not in run.stderr + run.stdout
    assert run.returncode == 1


def test_an_exception_in_a_thread_does_not_print_its_words(log: Log) -> None:
    thread = threading.Thread(target=look_up, name="worker")
    thread.start()
    thread.join()
    log.check()
    assert log.rows[0]["event"] == "uncaught_exception_in_thread"


def test_an_exception_in_a_finaliser_does_not_print_its_words(log: Log) -> None:
    class Bad:
        def __del__(self) -> None:
            look_up()

    Bad()
    gc.collect()
    log.check()
    assert log.rows[0]["event"] == "exception_not_raised"


def test_a_task_that_failed_unseen_does_not_print_its_words(log: Log) -> None:
    async def fail() -> None:
        raise ValueError(PROMPT)

    async def forget() -> None:
        task = asyncio.create_task(fail())
        await asyncio.sleep(0)
        del task
        gc.collect()

    asyncio.run(forget())
    log.check(rows=len(log.rows))
    assert any(row["event"] == "Task exception was never retrieved" for row in log.rows)


def test_warnings_do_not_show_their_words_below_the_first_line(log: Log) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=True)
        warnings.warn(f"careful\n{PROMPT}", UserWarning, stacklevel=1)
    assert "Wilhelmina" not in log.text


def test_an_unknown_level_is_an_error() -> None:
    with pytest.raises(ValueError, match="Unknown level"):
        configure_logging("loud", io.StringIO())
