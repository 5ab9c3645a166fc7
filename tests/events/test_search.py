"""One event by its id: the newest first, bounded, and never a half one."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.clock import ManualClock
from gateway.errors import StoreError
from gateway.events import FileSink
from gateway.events import search as search_module
from gateway.events.redis_sink import RedisSink
from gateway.events.search import find_event, find_in_stream
from gateway.types import Event, Outcome
from tests.redis_server import free_port

NOW = 1_800_000_000.0


def event(name: str, **more: object) -> Event:
    fields = {"ts": NOW, "outcome": Outcome.ANSWERED, "family": "openai", "route": "r", "status": 200}
    return Event(id=name, **{**fields, **more})  # type: ignore[arg-type]


async def test_an_event_is_found_in_any_segment_and_a_torn_line_is_none(tmp_path: Path) -> None:
    for number in range(3):
        sink = FileSink(tmp_path, ManualClock(NOW + number))
        sink.append(event(f"e{number}"))
        await sink.aclose()
    torn = b'{"v":1,"id":"torn","ts":1,"outcome":"answered","family":"openai","route":"r","status":200}'
    (tmp_path / "events-20990101T000000-1.ndjson").write_bytes(torn)
    for number in range(3):
        found = find_event(tmp_path, f"e{number}")
        assert found is not None
        assert found.id == f"e{number}"
    assert find_event(tmp_path, "torn") is None
    assert find_event(tmp_path, "e") is None
    assert find_event(tmp_path / "not there", "e1") is None


async def test_an_id_that_another_event_holds_in_a_text_is_not_that_event(tmp_path: Path) -> None:
    sink = FileSink(tmp_path, ManualClock(NOW))
    sink.append(event("one", traits={"id": "two"}))
    await sink.aclose()
    assert find_event(tmp_path, "two") is None


@pytest.mark.parametrize(("number", "found"), [(0, False), (1, True), (4, True)])
async def test_a_search_of_the_stream_reads_the_newest_pages_and_no_more(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, number: int, found: bool
) -> None:
    monkeypatch.setattr(search_module, "_PAGE", 2)
    sink = RedisSink(redis_url)
    for index in range(5):
        sink.append(event(f"e{index}"))
    await sink.aclose()
    assert (await find_in_stream(redis_url, f"e{number}", most=4) is not None) == found
    assert await find_in_stream(redis_url, f"e{number}", most=6) is not None
    assert await find_in_stream(redis_url, f"e{number}", 0.0, most=6) is not None
    assert await find_in_stream(redis_url, f"e{number}", 9e10) is None


async def test_a_redis_that_is_not_there_is_a_store_error() -> None:
    with pytest.raises(StoreError):
        await find_in_stream(f"redis://127.0.0.1:{free_port()}", "e1")
