"""Every kind of campaign among every kind of customer, through the analysis; one table.

    python -m loadtest.scenario_lab [KIND ...] [--seeds 1] [--people 1000] [--days 8] [--json]
    python -m loadtest.scenario_lab KIND --write DIR    # the log and its labels, for ``distillguard replay``

Each scenario is made anew from its seed, with texts and identities of its own. The analysis runs as ``replay`` runs it, with the
shipped settings: a request is marked where its account stands in an enforced cluster or where it shows a
cluster's signature. Columns: ``leak`` extraction requests answered unmarked; ``first`` hours from the first extraction to the
first that was marked; ``contained`` hours until at most 5 % of the next day's are unmarked; ``recalled`` its accounts in
enforced clusters; ``purity`` of those clusters; ``touched`` benign accounts ever marked or placed in one.
"""

from __future__ import annotations

import argparse
import gzip
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, Final

import orjson

from gateway.analysis.analyzer import Analyzer
from gateway.analysis.config import AnalysisConfig
from gateway.analysis.signatures import Signatures
from gateway.analysis.traits import TraitExtractor
from gateway.dialects import facts_of, find_route
from gateway.types import Identity
from loadtest.scenario_bad_days import BAD_DAYS
from loadtest.scenario_campaigns import KINDS, recruit
from loadtest.scenario_people import DAY_S, START_S, Actor, Ask, World, populate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.types import Verdict

_KEY: Final = b"scenario lab" * 3
_EVERY: Final = (*KINDS, *BAD_DAYS)
_CONTAINED: Final = 0.05
_ENOUGH: Final = 20
"""Extraction requests that a day must hold to be called contained."""


@dataclass(slots=True, kw_only=True)
class Row:
    """One request of a made log, and what only its maker knows."""

    ts: float
    actor: Actor
    ip: str
    ask: Ask

    def path(self) -> str:
        """The API that the program speaks."""
        return (
            "/v1/messages" if self.ask.signature or self.actor.agent.startswith("Anthropic") else "/v1/chat/completions"
        )

    def headers(self) -> dict[str, str]:
        """Headers as a trusted proxy passes them on."""
        return {"user-agent": self.actor.agent, "x-ja4": self.actor.ja4}

    def body(self) -> dict[str, Any]:
        """The request's JSON in the dialect of the path."""
        ask = self.ask
        messages: list[dict[str, Any]] = [{"role": role, "content": text} for role, text in ask.messages]
        if ask.signature:
            turn = next(message for message in messages if message["role"] == "assistant")
            thought = {"type": "thinking", "thinking": "", "signature": ask.signature}
            turn["content"] = [thought, {"type": "text", "text": turn["content"]}]
        body: dict[str, Any] = {"model": ask.model or self.actor.model, "messages": messages, "max_tokens": 2_048}
        if ask.system and self.path() == "/v1/messages":
            body["system"] = ask.system
        elif ask.system:
            messages.insert(0, {"role": "system", "content": ask.system})
        return body


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """What became of one scenario; shares in percent, times in hours, ``None`` where it never happened."""

    kind: str
    seed: int
    campaign: str
    requests: int
    leak_percent: float | None
    first_h: float | None
    contained_h: float | None
    active: int
    recalled: int
    purity_percent: float | None
    touched: int
    benign: int
    touched_kinds: tuple[str, ...]
    seconds: float


def make(kind: str, seed: int, people: int, days: float) -> World:
    """The world of a scenario with everybody in it."""
    world = World(seed, days)
    populate(world, people)
    if kind in BAD_DAYS:
        BAD_DAYS[kind](world, round(60 * people / 1_000))
    for index, campaign in enumerate(KINDS.get(kind, ())):
        recruit(world, campaign, f"k{index + 1}")
    return world


def rows(world: World) -> Iterator[Row]:
    """The log in order of time; content is written when it is asked for."""
    due = sorted((at, index) for index, actor in enumerate(world.actors) for at in actor.times)
    for at, index in due:
        actor = world.actors[index]
        yield Row(ts=START_S + at, actor=actor, ip=actor.rng.choice(actor.addresses), ask=actor.ask(actor, at))


class Desk:
    """The analysis with its standing table, as the request path sees it."""

    def __init__(self, world: World, config: AnalysisConfig) -> None:
        self._extractor = TraitExtractor(_KEY)
        self.analyzer = Analyzer(config)
        self._verdicts: dict[str, Verdict] = {}
        self._standing: dict[str, float] = {}
        self._signatures = Signatures()
        for actor in world.actors:
            self.analyzer.know(actor.row["account"], self._extractor.account(actor.row))

    def decide(self, row: Row) -> bool:
        """Whether the request is marked; enters it."""
        account, ts = str(row.actor.row["account"]), row.ts
        if self.analyzer.due(ts):
            self._take(self.analyzer.tick(ts))
        headers = [(name.encode(), value.encode()) for name, value in row.headers().items()]
        route = find_route("POST", row.path(), headers)
        assert route is not None
        identity = Identity(account=account, address=row.ip, ja4=row.actor.ja4)
        traits = self._extractor.request(facts_of(route, row.body(), 0), identity, headers)
        marked = self._standing.get(account, 0.0) > ts or self._signatures.match(traits) is not None
        self.analyzer.observe(ts, account, traits)
        return marked

    def _take(self, verdicts: list[Verdict]) -> None:
        if not verdicts:
            return
        for verdict in verdicts:
            self._verdicts[verdict.cluster] = verdict
            for gone in verdict.replaces:
                self._verdicts.pop(gone, None)
        enforced = [verdict for verdict in self._verdicts.values() if verdict.signatures]
        self._signatures = Signatures(enforced)
        self._standing = {name: verdict.expires_at for verdict in enforced for name in verdict.members}


def run(kind: str, seed: int, people: int, days: float, config: AnalysisConfig | None = None) -> list[Score]:
    """Make and judge one scenario: a score for each of its campaigns (one of nobody where it has none)."""
    begun = time.process_time()
    world = make(kind, seed, people, days)
    desk = Desk(world, config or AnalysisConfig())
    attacks: dict[str, list[tuple[float, bool]]] = {}
    marked_accounts: set[str] = set()
    count = 0
    for row in rows(world):
        marked = desk.decide(row)
        count += 1
        if marked:
            marked_accounts.add(row.actor.row["account"])
        if row.ask.attack and row.actor.campaign:
            attacks.setdefault(row.actor.campaign, []).append((row.ts, marked))
    clusters = [set(one["members"]) for one in desk.analyzer.clusters() if one["first_enforced_at"] is not None]
    spent = time.process_time() - begun
    return [
        _judge(kind, world, name, attacks.get(name, []), clusters, marked_accounts, count, spent)
        for name in sorted(attacks) or [""]
    ]


def _judge(
    kind: str,
    world: World,
    name: str,
    attacks: list[tuple[float, bool]],
    clusters: list[set[str]],
    marked: set[str],
    count: int,
    spent: float,
) -> Score:
    active = {str(actor.row["account"]): actor for actor in world.actors if actor.times}
    mine = {account for account, actor in active.items() if actor.campaign == name}
    benign = {account for account, actor in active.items() if actor.campaign is None}
    own = [cluster for cluster in clusters if 2 * len(cluster & mine) > len(cluster)]
    placed: set[str] = set().union(*own)
    touched = benign & (marked | set().union(*clusters))
    first = min((ts for ts, _ in attacks), default=0.0)
    met = min((ts for ts, was in attacks if was), default=None)
    return Score(
        kind=kind,
        seed=world.seed,
        campaign=name,
        requests=count,
        leak_percent=100 * sum(not was for _, was in attacks) / len(attacks) if attacks else None,
        first_h=None if met is None else (met - first) / 3_600,
        contained_h=_contained(attacks),
        active=len(mine),
        recalled=len(mine & placed),
        purity_percent=100 * len(mine & placed) / len(placed) if placed else None,
        touched=len(touched),
        benign=len(benign),
        touched_kinds=tuple(sorted({active[account].archetype for account in touched})),
        seconds=round(spent, 1),
    )


def _contained(attacks: list[tuple[float, bool]]) -> float | None:
    """Hours to the first full hour from which at most 5 % of the next day's extraction requests are unmarked."""
    if not attacks:
        return None
    first, last = attacks[0][0], attacks[-1][0]
    for hour in range(int((last - first) // 3_600)):
        since = first + hour * 3_600
        day = [was for ts, was in attacks if since <= ts < since + DAY_S]
        if len(day) >= _ENOUGH and sum(not was for was in day) <= _CONTAINED * len(day):
            return float(hour)
    return None


def write(world: World, folder: Path) -> int:
    """The log in the formats of ``distillguard replay``, with labels; how many requests."""
    folder.mkdir(parents=True, exist_ok=True)
    with (
        gzip.open(folder / "accounts.ndjson.gz", "wb", 1) as out,
        gzip.open(folder / "labels.ndjson.gz", "wb", 1) as labels,
    ):
        for actor in world.actors:
            out.write(orjson.dumps(actor.row) + b"\n")
            label = {"account": actor.row["account"], "archetype": actor.archetype, "campaign": actor.campaign}
            labels.write(orjson.dumps(label) + b"\n")
    lengths, count = Random(world.seed), 0  # noqa: S311 - lengths of replies
    with (
        gzip.open(folder / "requests.ndjson.gz", "wb", 1) as out,
        gzip.open(folder / "attack_requests.txt.gz", "wt") as attacks,
    ):
        for count, row in enumerate(rows(world), 1):
            usage = {
                "input_tokens": sum(len(text) for _, text in row.ask.messages) // 4 + 3,
                "output_tokens": 1 + int(lengths.expovariate(1 / 300)),
            }
            line = {"id": f"r{count}", "ts": round(row.ts, 3), "account": row.actor.row["account"], "ip": row.ip, "headers": row.headers(),
                    "path": row.path(), "body": row.body(), "usage": usage, "status": 200}  # fmt: skip
            out.write(orjson.dumps(line) + b"\n")
            if row.ask.attack:
                attacks.write(f"r{count}\n")
    return count


def _cell(value: float | None, pattern: str = "{:.1f}") -> str:
    return "-" if value is None else pattern.format(value)


def table_row(score: Score) -> str:
    """One line of the table."""
    return (
        f"| {score.kind} {score.campaign} | {score.seed} | {_cell(score.leak_percent, '{:.2f}')} | {_cell(score.first_h)} | {_cell(score.contained_h, '{:.0f}')} | "
        f"{score.recalled} of {score.active} | {_cell(score.purity_percent)} | {score.touched} of {score.benign} {' '.join(score.touched_kinds)} |"
    )


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", choices=[[], *_EVERY], metavar="KIND", help=", ".join(_EVERY))
    parser.add_argument("--seeds", type=int, default=1, help="how many worlds of each kind")
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--people", type=int, default=1_000)
    parser.add_argument("--days", type=float, default=8.0)
    parser.add_argument("--write", type=Path, help="write the log of one kind instead")
    parser.add_argument("--json", action="store_true", dest="as_json")
    given = parser.parse_args()
    if given.write:
        print(
            f"{write(make(given.kinds[0], given.first_seed, given.people, given.days), given.write):,} requests in {given.write}"
        )
        return
    if not given.as_json:
        print(
            "| scenario | seed | leak % | first h | contained h | recalled | purity % | benign touched |\n|---|---|---|---|---|---|---|---|"
        )
    for kind in given.kinds or _EVERY:
        for seed in range(given.first_seed, given.first_seed + given.seeds):
            for score in run(kind, seed, given.people, given.days):
                print(json.dumps(asdict(score)) if given.as_json else table_row(score), flush=True)


if __name__ == "__main__":
    main()
