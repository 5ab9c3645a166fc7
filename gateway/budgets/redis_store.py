"""Buckets in Redis, shared by all workers and hosts: one script call a decision, on the server's clock.

Key layout (``T`` is empty, or with Redis Cluster ``{SUBJECT:VALUE}:`` so that a subject's keys share a slot):

    dg:Tb:BUCKET        a bucket's state (string; a sorted set for leases), expires when it counts for nothing
    dg:Tr:RESERVATION   record of a reservation, 24 h while open, 5 min once settled
    dg:Topen            index of open reservations by expiry
    dg:Tm:MOVE          a move that was done
    dg:workers          signs of life

With Redis Cluster the subjects of a request are charged in parallel, each atomically; where one refuses, the
others are refunded. For that moment they hold the amount: the error is a refusal too many, never one too few.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import orjson

from gateway.budgets.core import Decision, Line, Shapes, View
from gateway.budgets.scripts import Scripts, script_texts
from gateway.budgets.windows import Lease
from gateway.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.budgets.core import Move, Renewal
    from gateway.budgets.redis_link import Link

RENEWALS_PER_CALL = 200
REAPED_PER_CALL = 500
MOVE_REMEMBERED_S = 46 * 86_400
"""Longer than the longest window, so that nothing is carried twice while it counts."""
WORKER_ALIVE_S = 35


class RedisStore:
    """See the module for keys. Raises StoreError from every method when Redis cannot be asked."""

    name = "redis"
    in_process = False

    def __init__(self, link: Link, scripts: Scripts | None = None) -> None:
        self._link = link
        self._scripts = scripts or Scripts(script_texts())
        self._clustered = link.clustered
        self._shapes = Shapes()
        self._stale: set[str] = set()

    async def open(self) -> None:
        """Nothing: connections are made by the first call."""

    async def aclose(self) -> None:
        """Close the connections."""
        await self._link.aclose()

    async def ping(self) -> None:
        """Raise StoreError unless Redis answers and takes writes."""
        await self._link.ping()

    async def reserve(self, reservation: str, lines: Sequence[Line]) -> Decision:
        """One script over all lines; with Redis Cluster one per subject, in parallel."""
        if not self._clustered:
            return await self._reserve("", reservation, lines)
        groups = _groups(lines)
        answers = await asyncio.gather(
            *(self._reserve(tag, reservation, group) for tag, group in groups.items()), return_exceptions=True
        )
        failures = [answer for answer in answers if isinstance(answer, BaseException)]
        decisions = [answer for answer in answers if isinstance(answer, Decision)]
        granted = not failures and all(decision.granted for decision in decisions)
        if not granted:
            await self._give_back(reservation, groups, answers)
        if failures:
            raise StoreError(str(failures[0])) from failures[0]
        parts = dict(zip(groups, (iter(decision.views) for decision in decisions), strict=True))
        return Decision(granted, tuple(next(parts[line.tag]) for line in lines))

    async def settle(self, reservation: str, lines: Sequence[Line]) -> None:
        """One script over all lines; the lines as they were reserved, with what was really spent."""
        if not self._clustered:
            await self._settle("", reservation, lines)
            return
        groups = _groups(lines)
        await asyncio.gather(*(self._settle(tag, reservation, group) for tag, group in groups.items()))

    def send_settlement(self, reservation: str, lines: Sequence[Line]) -> asyncio.Future[Any] | None:
        """One script, on its way when this returns; not with Redis Cluster."""
        if self._clustered:
            return None
        keys = self._keys("", reservation, lines)
        return self._link.send(self._scripts.settle, keys, (reservation, _rows(lines)))

    async def renew(self, renewals: Sequence[Renewal]) -> None:
        """Heartbeat of open reservations, up to 200 in one call."""
        by_tag: dict[str, list[tuple[str, Sequence[Line]]]] = {}
        for renewal in renewals:
            groups = _groups(renewal.lines) if self._clustered else {"": renewal.lines}
            for tag, group in groups.items():
                by_tag.setdefault(tag, []).append((renewal.reservation, group))
        for tag, entries in by_tag.items():
            for start in range(0, len(entries), RENEWALS_PER_CALL):
                await self._renew(tag, entries[start : start + RENEWALS_PER_CALL])

    async def reap(self) -> int:
        """Abandon what nobody renewed. With Redis Cluster: for subjects whose last reservation met some."""
        tags = list(self._stale) if self._clustered else [""]
        self._stale.clear()
        count = 0
        for tag in tags:
            while True:
                args = (self._key(tag, "r:"), str(REAPED_PER_CALL))
                ids = await self._link.call(self._scripts.reap, [self._key(tag, "open")], args)
                count += len(ids)
                if len(ids) < REAPED_PER_CALL:
                    break
        return count

    async def peek(self, lines: Sequence[Line]) -> tuple[View, ...]:
        """Balances; changes nothing."""
        groups = _groups(lines) if self._clustered else {"": lines}
        answers = await asyncio.gather(*(self._peek(tag, group) for tag, group in groups.items()))
        parts = dict(zip(groups, map(iter, answers), strict=True))
        return tuple(next(parts[line.tag if self._clustered else ""]) for line in lines)

    async def move(self, move_id: str, moves: Sequence[Move]) -> bool:
        """Carry spending between buckets once per ``move_id``, in one script. With Redis Cluster source and
        target are in two slots: each half is done once, and what the source spends between them stays there.
        """
        if self._clustered:
            halves = [await self._move(f"{move_id}:{number}", move) for number, move in enumerate(moves)]
            return any(halves)
        keys = [self._key("", f"m:{move_id}")]
        rows = []
        for move in moves:
            source, target = self._shapes.line(move.source), self._shapes.line(move.target)
            deduct = self._shapes.line(move.deduct) if move.deduct is not None else None
            keys += [self._bucket(source), self._bucket(target), self._bucket(deduct or source)]
            rows.append(b"[%b,%b,%b,%d]" % (_row(source), _row(target), _row(deduct) if deduct else b"null", move.keep))
        done: int = await self._link.call(self._scripts.move, keys, (_array(rows), str(MOVE_REMEMBERED_S)))
        return done == 1

    async def _move(self, name: str, move: Move) -> bool:
        source, target = self._shapes.line(move.source), self._shapes.line(move.target)
        spent: list[list[bytes]] = await self._link.call(self._scripts.spent, [self._bucket(source)], (_row(source),))
        done = await self._spend(f"{name}:add", target, spent, "1")
        if move.deduct is not None:
            await self._spend(f"{name}:deduct", self._shapes.line(move.deduct), spent, "-1")
        if not move.keep:
            await self._spend(f"{name}:empty", source, spent, "-1")
        return done

    async def _spend(self, name: str, line: Line, spent: list[list[bytes]], sign: str) -> bool:
        keys = [self._key(line.tag, f"m:{name}"), self._bucket(line)]
        pairs = orjson.dumps([[each.decode() for each in pair] for pair in spent])
        args = (_row(line), pairs, sign, str(MOVE_REMEMBERED_S))
        done: int = await self._link.call(self._scripts.spend, keys, args)
        return done == 1

    async def workers(self, worker: str) -> int:
        """Sign of life of ``worker``; how many workers there are."""
        key = "dg:workers"
        count: int = await self._link.call(self._scripts.workers, [key], (worker, str(WORKER_ALIVE_S)))
        return count

    # -- one slot ------------------------------------------------------------------------------------------

    async def _reserve(self, tag: str, reservation: str, lines: Sequence[Line]) -> Decision:
        keys = self._keys(tag, reservation, lines)
        reply: list[int] = await self._link.call(self._scripts.reserve, keys, (reservation, _rows(lines)))
        if reply[1]:
            self._stale.add(tag)
        new = tuple.__new__
        views = tuple([new(View, reply[start : start + 3]) for start in range(2, len(reply), 3)])
        return Decision(reply[0] == 1, views)

    async def _settle(self, tag: str, reservation: str, lines: Sequence[Line]) -> None:
        keys = self._keys(tag, reservation, lines)
        await self._link.call(self._scripts.settle, keys, (reservation, _rows(lines)))

    async def _give_back(self, reservation: str, groups: dict[str, list[Line]], answers: Sequence[Any]) -> None:
        """Refund the subjects that were charged, or may have been: a refused request costs nothing."""
        refunds = [
            self._settle(tag, reservation, [line._replace(amount=0) for line in group])
            for (tag, group), answer in zip(groups.items(), answers, strict=True)
            if not isinstance(answer, Decision) or answer.granted
        ]
        await asyncio.gather(*refunds, return_exceptions=True)

    async def _renew(self, tag: str, entries: Sequence[tuple[str, Sequence[Line]]]) -> None:
        keys, rows = [self._key(tag, "open")], []
        for reservation, lines in entries:
            leases = [self._bucket(line) for line in lines if line.shape.code == Lease.CODE]
            keys += [self._key(tag, f"r:{reservation}"), *leases]
            rows.append([reservation, len(leases), [line.floor for line in lines]])
        await self._link.call(self._scripts.renew, keys, (orjson.dumps(rows),))

    async def _peek(self, tag: str, lines: Sequence[Line]) -> list[View]:
        keys = [self._bucket(line) for line in lines]
        reply: list[int] = await self._link.call(self._scripts.peek, keys, (_rows(lines),))
        return [View(reply[start], reply[start + 1]) for start in range(0, len(reply), 2)]

    def _key(self, tag: str, rest: str) -> str:
        return f"dg:{{{tag}}}:{rest}" if self._clustered else f"dg:{rest}"

    def _bucket(self, line: Line) -> str:
        return f"dg:{{{line.tag}}}:b:{line.key}" if self._clustered else f"dg:b:{line.key}"

    def _keys(self, tag: str, reservation: str, lines: Sequence[Line]) -> list[str]:
        if not self._clustered:
            return [f"dg:r:{reservation}", "dg:open", *["dg:b:" + line[0] for line in lines]]
        bucket = self._bucket
        return [self._key(tag, f"r:{reservation}"), self._key(tag, "open"), *(bucket(line) for line in lines)]


def _groups(lines: Sequence[Line]) -> dict[str, list[Line]]:
    """The lines by whose they are, in order."""
    groups: dict[str, list[Line]] = {}
    for line in lines:
        groups.setdefault(line.tag, []).append(line)
    return groups


def _row(line: Line) -> bytes:
    return line.shape.head + b"%d,%d]" % (line.amount, line.floor)


def _rows(lines: Sequence[Line]) -> bytes:
    return _array([line[1].head + b"%d,%d]" % (line[2], line[3]) for line in lines])


def _array(rows: Sequence[bytes]) -> bytes:
    return b"[%b]" % b",".join(rows)
