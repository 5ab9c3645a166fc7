"""What every store of standings does: the fake, the files and Redis."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest

from gateway.standing import Override, SubjectKind, Verb
from gateway.types import Level

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from gateway.standing import StandingStore
    from gateway.standing.store import Changes
    from gateway.types import Verdict

    NewStore = Callable[[], StandingStore]
    MakeVerdict = Callable[..., Verdict]

NOW_S = 1_800_000_000.0


def said(number: int = 0) -> Override:
    return Override(
        verb=Verb.EXEMPT,
        kind=SubjectKind.CLUSTER,
        subject="c1",
        who="Zoë",
        why="licensed: “evaluation”\n",
        at=NOW_S + number,
        until=NOW_S + 99,
        members=("a1", "ä2"),
        id=f"id{number}",
    )


async def until(stream: AsyncIterator[Changes], holds: Callable[[Changes], bool]) -> Changes:
    """The first changes of which ``holds`` is true; a change may come late but must come."""
    async with asyncio.timeout(10):
        async for changes in stream:
            if holds(changes):
                return changes
    raise AssertionError("the stream ended")


async def test_nothing_was_said_yet(new_store: NewStore) -> None:
    held = await new_store().read()
    assert (held.verdicts, held.overrides, held.whole) == ((), (), True)


async def test_another_reader_finds_all_of_a_verdict_and_an_override(new_store: NewStore, verdict: MakeVerdict) -> None:
    full = verdict(
        level=Level.CONFIRMED,
        version=7,
        replaces=("c0",),
        reasons=("ein Grund: “quoted”",),
        evidence=({"family": "content", "e_value": 1e9, "words": "same template"},),
        signatures={"templates": ["9f", "é"]},
    )
    writer = new_store()
    await writer.save([full, verdict("c2", "")])
    await writer.record(said())
    held = await new_store().read()
    assert {one.cluster: one for one in held.verdicts} == {"c1": full, "c2": verdict("c2", "")}
    assert held.overrides == (said(),)


@pytest.mark.parametrize(
    ("versions", "decided", "kept"),
    [((1, 2), (0, 0), 1), ((2, 1), (0, 0), 0), ((1, 1), (0, 0.25), 1), ((1, 1), (0.25, 0), 0), ((9, 10), (5, 0), 1)],
)
async def test_a_late_old_verdict_does_not_overwrite_a_newer_one(
    new_store: NewStore,
    verdict: MakeVerdict,
    versions: tuple[int, int],
    decided: tuple[float, float],
    kept: int,
) -> None:
    both = [
        verdict(version=version, decided_at=NOW_S + after, members=f"a{number}")
        for number, (version, after) in enumerate(zip(versions, decided, strict=True))
    ]
    for one in both:
        await new_store().save([one])
    assert (await new_store().read()).verdicts == (both[kept],)


async def test_the_log_of_overrides_keeps_every_one_in_order(new_store: NewStore) -> None:
    store = new_store()
    for number in range(5):
        await store.record(said(number))
    assert (await new_store().read()).overrides == tuple(said(number) for number in range(5))


async def test_a_follower_hears_first_the_whole_then_what_is_added(new_store: NewStore, verdict: MakeVerdict) -> None:
    writer = new_store()
    await writer.save([verdict()])
    async with contextlib.aclosing(new_store().follow()) as stream:  # type: ignore[type-var]
        first = await anext(stream)
        assert (first.verdicts, first.whole) == ((verdict(),), True)
        await writer.save([verdict(version=2, level=Level.CONFIRMED)])
        await until(stream, lambda changes: any(one.version == 2 for one in changes.verdicts))
        await writer.record(said())
        await until(stream, lambda changes: said() in changes.overrides)
        await writer.save([verdict("c2", "a9")])
        await until(stream, lambda changes: any(one.cluster == "c2" for one in changes.verdicts))


async def test_forgotten_verdicts_are_gone_and_the_rest_stays(new_store: NewStore, verdict: MakeVerdict) -> None:
    store = new_store()
    await store.save([verdict("c1"), verdict("c2"), verdict("c3")])
    await store.record(said())
    await store.forget(["c1", "c3", "c9"])
    await store.forget([])
    held = await new_store().read()
    assert [one.cluster for one in held.verdicts] == ["c2"]
    assert held.overrides == (said(),)
