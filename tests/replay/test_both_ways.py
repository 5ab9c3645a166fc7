"""One log sent both ways: through the guard of ``serve`` and through ``replay``, on one clock, to the same decisions.

The log has every plan and budget kind, refusals of each sort, standings that come, change and expire, plain and streamed
replies, a rollout, shadows, conditions and addresses. After it every bucket holds the same on both sides.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import orjson
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from gateway.clock import ManualClock
from gateway.guard import Guard
from gateway.identity import load_accounts
from gateway.pipeline import Exchange
from gateway.policy import PolicySet, load_policies
from gateway.replay.engine import Decision, Replay
from gateway.replay.log import read_requests
from gateway.replay.prepare import Preparer
from gateway.replay.source import KEY
from gateway.rooms import Rooms
from gateway.settings import Settings
from gateway.types import Charge, Level, Outcome, Verdict
from tests.replay.logs import START_S, write_rows

if TYPE_CHECKING:
    from starlette.requests import Request

REQUESTS = 300
SEEDS = (7, 8, 9)
POLICY = """\
version: 1
default_plan: free
default_output_tokens: 300
plans:
  free:
    models: ["m-*", "beta-*", "opus-*"]
    max_output_tokens: 400
    budgets: [{limit: 25/day}, {limit: 2/minute, window: bucket, burst: 1}, {limit: 700 output_tokens/hour}]
  pro:
    budgets:
      - {limit: 9/calendar day}
      - {limit: 2600 total_tokens/day}
      - {limit: $0.009/day}
      - {limit: 3/hour, name: trial, shadow: true}
      - {limit: 24/day, subject: organisation}
  free-of-charge: {budgets: [{limit: 1000/day}]}
budgets:
  - {limit: 200/day, subject: global}
  - {limit: 25/hour, subject: address}
prices: {"m-*": {input: 2, output: 10}, "*": {input: 1, output: 2}}
access: {deny_countries: [KP], verified_only: ["beta-9*"], kill: ["dead-*"]}
rules:
  - {name: no-opus, match: {plan: free, model: "opus*"}, then: {refuse: true}}
  - {name: rollout, share: 50%, match: {model: "beta-*"}, then: {refuse: {message: Not yet.}}}
  - {name: tried, shadow: true, match: {plan: pro, model: "m-large"}, then: {refuse: true}}
  - {name: streams, if: "stream && max_output_tokens > 200", then: {max_output_tokens: 150}}
  - {name: large, if: input_chars > 700 || body_bytes > 1500, then: {refuse: true}}
  - {name: night, if: hour < 4, match: {plan: pro}, then: {budgets: [{limit: 2/hour}]}}
  - {name: office, match: {address: 198.51.100.0/24}, then: {plan: free-of-charge, allow: true}}
  - {name: mail, match: {route: anthropic.messages}, then: {max_choices: 1, drop_logprobs: true}}
standings:
  watch: {}
  suspect: {mark: true, cluster_plan: free, cluster_budgets: [{limit: 4000 output_tokens/day}], max_output_tokens: 100}
  confirmed: {refuse: true}
exempt: [{name: licensed, match: {declared_use: evaluation}, from: [marks, budgets, refusal]}]
"""
ACCOUNTS: list[dict[str, Any]] = [
    {"account": "f1", "plan": "free"},
    {"account": "f2", "plan": "free", "country": "FR"},
    {"account": "f3", "plan": "nonsense"},
    {"account": "f4", "plan": "free", "declared_use": "evaluation"},
    {"account": "p1", "plan": "pro", "org": "o1"},
    {"account": "p2", "plan": "pro", "org": "o1", "verified": True},
    {"account": "p3", "plan": "pro"},
    {"account": "kp", "plan": "pro", "country": "KP"},
]
NAMES = [str(row["account"]) for row in ACCOUNTS]
MODELS = [*["m-small"] * 14, "m-large", "m-large", "beta-1", "beta-1", "beta-9", "opus-1", "dead-1", "other"]


def log(rng: random.Random) -> list[dict[str, Any]]:
    """Requests of three days, bursts and quiet hours, of both dialects, plain and streamed, some of them wrong."""
    rows, now_s = [], START_S
    for number in range(REQUESTS):
        now_s += rng.choice([0.0, 0.5, 5.0, 20.0, 61.0, 300.0, 900.0])
        anthropic = rng.random() < 0.3
        body: dict[str, Any] = {
            "model": rng.choice(MODELS),
            "messages": [{"role": "user", "content": f"{number} " + "word " * rng.choice([1, 1, 10, 10, 60, 60, 200])}],
        }
        if anthropic or rng.random() < 0.7:
            body["max_tokens"] = rng.choice([10, 150, 250, 1_000])
        if rng.random() < 0.4:
            body["stream"] = True
        if not anthropic and rng.random() < 0.1:
            body["n"] = 2
        if rng.random() < 0.03:
            body["max_tokens"] = "many"
        path = "/v1/messages" if anthropic else "/v1/chat/completions"
        rows.append({
            "id": f"r{number}", "ts": now_s, "account": rng.choice(NAMES),
            "ip": rng.choice([*["203.0.113.1", "203.0.113.2"] * 6, "198.51.100.7"]),
            "headers": {"user-agent": "tests"}, "path": "/v1/nothing" if rng.random() < 0.02 else path, "body": body,
            "usage": {"input_tokens": rng.randint(3, 120), "output_tokens": rng.randint(1, 150)}, "status": 200,
        })  # fmt: skip
    return rows


def verdicts(rows: list[dict[str, Any]]) -> dict[int, list[Verdict]]:
    """What the analysis says before which request: watched, suspected, confirmed, let go, and one that expires."""
    at_s = [row["ts"] for row in rows]

    def verdict(
        version: int, before: int, level: Level, lasts: int, members: tuple[str, ...] = ("f1", "p1", "f4")
    ) -> Verdict:
        until_s = at_s[min(before + lasts, REQUESTS - 1)]
        return Verdict(
            cluster="c1" if "f1" in members else "c2", level=level, members=members, version=version,
            decided_at=at_s[before], expires_at=until_s,
        )  # fmt: skip

    return {
        50: [verdict(1, 50, Level.WATCH, 300)],
        90: [verdict(2, 90, Level.SUSPECT, 300), verdict(1, 90, Level.SUSPECT, 60, ("p3", "f2"))],
        190: [verdict(3, 190, Level.CONFIRMED, 300)],
        240: [verdict(4, 240, Level.NONE, 300)],
    }


class Watched(Rooms):
    """The rooms of a gateway that remember how each exchange ended."""

    seen: list[Exchange]

    async def end(self, exchange: Exchange) -> None:
        self.seen.append(exchange)
        await super().end(exchange)


class Model:
    """A model server in the same process that spends what the log says."""

    usage: dict[str, Any]

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/v1/chat/completions", self.chat, methods=["POST"]),
                Route("/v1/messages", self.messages, methods=["POST"]),
            ]
        )

    async def chat(self, request: Request) -> Response:
        body = await request.json()
        given, taken = self.usage["input_tokens"], self.usage["output_tokens"]
        usage = {"prompt_tokens": given, "completion_tokens": taken, "total_tokens": given + taken}
        if not body.get("stream"):
            choice = {"index": 0, "message": {"role": "assistant", "content": "Yeast."}, "finish_reason": "stop"}
            return JSONResponse({"object": "chat.completion", "choices": [choice], "usage": usage})
        assert body["stream_options"]["include_usage"]
        delta = {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": "Yeast."}}]}
        last = {"object": "chat.completion.chunk", "choices": [], "usage": usage}
        return _events([(None, delta), (None, last), (None, b"[DONE]")])

    async def messages(self, request: Request) -> Response:
        body = await request.json()
        usage: dict[str, Any] = {**self.usage}
        whole: dict[str, Any] = {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "text", "text": "Yeast."}],
            "usage": usage,
        }
        if not body.get("stream"):
            return JSONResponse(whole)
        start = {"type": "message_start", "message": {**whole, "content": [], "usage": {**usage, "output_tokens": 1}}}
        text = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Yeast."}}
        delta = {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn"},
            "usage": {"output_tokens": usage["output_tokens"]},
        }
        return _events(
            [("message_start", start), ("content_block_start", {"type": "content_block_start", "index": 0,
              "content_block": {"type": "text", "text": ""}}), ("content_block_delta", text),
             ("message_delta", delta), ("message_stop", {"type": "message_stop"})]
        )  # fmt: skip


def _events(events: Iterable[tuple[str | None, Any]]) -> Response:
    async def send() -> Any:
        for name, data in events:
            head = f"event: {name}\n".encode() if name else b""
            yield head + b"data: " + (data if isinstance(data, bytes) else orjson.dumps(data)) + b"\n\n"

    return StreamingResponse(send(), media_type="text/event-stream")


async def served(
    folder: Path, rows: list[dict[str, Any]], told: dict[int, list[Verdict]], charges: list[Charge]
) -> tuple[list[Decision], list[int]]:
    """The decisions of the guard, and what is left of ``charges``."""
    clock, model = ManualClock(START_S), Model()
    loaded = Settings.load(
        {},
        policies=folder / "policy.yaml",
        accounts=folder / "accounts.ndjson",
        state_dir=folder / "state",
        analysis=False,
    )
    rooms = Watched(loaded, clock=clock)
    rooms.seen = []
    guard = Guard(model.app(), rooms=rooms)
    await rooms.start()
    for number, row in enumerate(rows):
        clock.move_to(row["ts"])
        rooms.standing.apply(told.get(number, ()))
        model.usage = row["usage"]
        transport = httpx.ASGITransport(guard, client=(row["ip"], 40_000))
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
            key = {"authorization": f"Bearer key-{row['account']}"}
            answer = await client.post(row["path"], json=row["body"], headers=key)
        assert answer.status_code in {200, 400, 403, 404, 429}, answer.text
    left = [balance.remaining for balance in await rooms.budgets.peek(charges)]
    await rooms.stop()
    return [decided(row["id"], exchange, rooms) for row, exchange in zip(rows, rooms.seen, strict=True)], left


def decided(name: str, exchange: Exchange, rooms: Rooms) -> Decision:
    """What the guard did, as a replay tells it."""
    refusal, plan = exchange.refusal, exchange.plan
    identity, grant = exchange.identity, exchange.grant
    if refusal is not None:
        action = (
            "throttle"
            if exchange.refusal is not None and refusal.kind.value in {"rate_limit_exceeded", "insufficient_quota"}
            else "refuse"
        )
        rule = refusal.rule or {"not_found": "unknown_route", "invalid_request": "invalid_request"}.get(
            refusal.kind.value
        )
    else:
        assert exchange.outcome is Outcome.ANSWERED
        assert plan is not None
        action, rule = ("mark" if plan.mark else "allow"), plan.rule
    policies = rooms.policies.current
    return Decision(
        name, action, rule,  # type: ignore[arg-type]
        exchange.standing.cluster or exchange.signature,
        plan.plan if plan is not None else policies.plan_name(identity) if identity is not None else "",
        exchange.standing.level.value,
        exchange.facts.model if exchange.facts is not None else "",
        identity.org if identity is not None else None,
        (*(plan.shadowed if plan is not None else ()), *(grant.shadowed if grant is not None else ())),
    )  # fmt: skip


async def replayed(
    folder: Path, policies: PolicySet, told: dict[int, list[Verdict]], charges: list[Charge]
) -> tuple[list[Decision], list[int]]:
    """The decisions of a replay of the same log, and what is left of ``charges``."""
    accounts = load_accounts(folder / "accounts.ndjson")
    replay, preparer = Replay(policies, accounts), Preparer(KEY, body_bytes=True)
    found = []
    for number, recorded in enumerate(read_requests(folder / "requests.ndjson")):
        replay.apply(told.get(number, ()))
        found.append(await replay.step(preparer.prepare(recorded)))
    left = [balance.remaining for balance in await replay._decider.budgets.peek(charges)]
    return found, left


def every_charge(policies: PolicySet) -> list[Charge]:
    """Every bucket that the log can have touched."""
    values = {
        "account": NAMES, "organisation": ["o1"], "cluster": ["c1", "c2"], "global": ["all"],
        "address": ["203.0.113.1", "203.0.113.2", "198.51.100.7"], "model": [],
    }  # fmt: skip
    return [Charge(budget=budget, value=value) for budget in policies.budgets for value in values[budget.subject.value]]


async def test_one_log_gives_the_same_decisions_and_balances_both_ways(tmp_path: Path) -> None:
    met: list[tuple[dict[str, Any], Decision]] = []
    for seed in SEEDS:
        folder = tmp_path / str(seed)
        folder.mkdir()
        (folder / "policy.yaml").write_text(POLICY)
        write_rows(folder / "accounts.ndjson", [{**row, "api_key": f"key-{row['account']}"} for row in ACCOUNTS])
        rows = log(random.Random(seed))
        write_rows(folder / "requests.ndjson", rows)
        policies, told = load_policies(folder / "policy.yaml", environ={}), verdicts(rows)
        charges = every_charge(policies)
        live, live_left = await served(folder, rows, told, charges)
        again, again_left = await replayed(folder, policies, told, charges)
        for one, two in zip(live, again, strict=True):
            if one.rule == "unknown_route":  # nobody is asked for a name on a path that is not served
                assert (two.action, two.rule) == (one.action, one.rule)
            else:
                assert two == one
        assert again_left == live_left
        met += zip(rows, live, strict=True)
    covered(met)


def covered(met: list[tuple[dict[str, Any], Decision]]) -> None:
    """The logs met what they are there to meet; ones that meet nothing show nothing."""
    found = [decision for _, decision in met]
    assert {"allow", "mark", "throttle", "refuse"} <= {decision.action for decision in found}
    assert {decision.level for decision in found} == {"none", "watch", "suspect", "confirmed"}
    assert {decision.plan for decision in found} >= {"free", "pro", "free-of-charge"}
    rules = Counter(decision.rule for decision in found)
    assert {
        "access/kill", "access/deny_countries", "no-opus", "rollout", "large", "plans/free/models", "standings/confirmed",
        "standings/suspect", "unknown_route", "invalid_request", "free/requests-per-day", "free/requests-per-minute",
        "free/output-tokens-per-hour", "pro/requests-per-calendar-day", "pro/total-tokens-per-day", "pro/usd-per-day",
    } <= rules.keys(), rules  # fmt: skip
    assert any(str(rule).startswith("cluster/") for rule in rules), rules
    assert {"tried", "pro/trial"} <= {name for decision in found for name in decision.shadowed}
    answered = [row["body"] for row, decision in met if decision.action in {"allow", "mark"}]
    assert min(Counter(bool(body.get("stream")) for body in answered).values()) > 20
    rollout = {row["account"] for row, decision in met if decision.rule == "rollout"}
    assert 0 < len(rollout) < len(NAMES)
