"""What a replay's decisions come to, for the operator: counts by plan, model, level and rule, over time, by account.

Memory is bounded by accounts, hours of the log and ``_NAMES`` other names, not by requests. How many replies
were open together is modelled: each answered request lasts as long as the log tells (``duration_s``), else 0.5 s
and a fiftieth of a second for each output token.
"""

from __future__ import annotations

import heapq
from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gateway.replay.engine import Decision
    from gateway.replay.prepare import Prepared

ACTIONS = ("allow", "mark", "throttle", "refuse")
OTHER = "(other)"
_NAMES = 200
"""Models, rules and budgets counted by name; callers can invent models, so the rest counts together."""
_TOP = 10
_HOUR_S = 3600


class Group:
    """Counts by action for each of a bounded set of names."""

    def __init__(self) -> None:
        self._counts: dict[str, list[int]] = {}

    def add(self, name: str, action: int) -> None:
        """Count one request."""
        counts = self._counts.get(name)
        if counts is None:
            if len(self._counts) >= _NAMES:
                name = OTHER
            counts = self._counts.setdefault(name, [0] * len(ACTIONS))
        counts[action] += 1

    def told(self) -> dict[str, dict[str, int]]:
        """By name, the largest first."""
        rows = sorted(self._counts.items(), key=lambda item: (-sum(item[1]), item[0]))
        return {name: dict(zip(ACTIONS, counts, strict=True)) for name, counts in rows}


class _Open:
    """Replies that are open together, in all and by plan, and the most there ever were."""

    def __init__(self) -> None:
        self._ends: list[tuple[float, str, str]] = []
        self._plans: Counter[str] = Counter()
        self._accounts: Counter[str] = Counter()
        self.peak, self.peak_at = 0, 0.0
        self.by_plan: dict[str, int] = {}
        self.by_account: dict[str, int] = {}

    def add(self, ts: float, duration_s: float, plan: str, account: str) -> int:
        """Enter a reply; returns how many are open with it."""
        ends, plans, accounts = self._ends, self._plans, self._accounts
        while ends and ends[0][0] <= ts:
            _, over, whose = heapq.heappop(ends)
            plans[over] -= 1
            if accounts[whose] == 1:
                del accounts[whose]
            else:
                accounts[whose] -= 1
        heapq.heappush(ends, (ts + duration_s, plan, account))
        plans[plan] += 1
        accounts[account] += 1
        if plans[plan] > self.by_plan.get(plan, 0):
            self.by_plan[plan] = plans[plan]
        if accounts[account] > self.by_account.get(account, 0):
            self.by_account[account] = accounts[account]
        if len(ends) > self.peak:
            self.peak, self.peak_at = len(ends), ts
        return len(ends)


class Tally:
    """Fed with every decision; ``told`` gives the summary's part."""

    def __init__(self) -> None:
        self.requests = 0
        self.actions = [0] * len(ACTIONS)
        self._plans, self._models, self._levels = Group(), Group(), Group()
        self._rules, self._shadow = Group(), Counter[str]()
        self._accounts: dict[str, list[int]] = {}
        self._plan_of: dict[str, str] = {}
        self._hours: dict[int, list[int]] = {}
        self._open = _Open()
        self._first_ts = self._last_ts = 0.0

    def add(self, decision: Decision, request: Prepared) -> None:
        """Count one request."""
        action = _INDEX[decision.action]
        ts, account, plan = request.ts, request.account, decision.plan
        self._first_ts = self._first_ts or ts
        self._last_ts = ts
        self.requests += 1
        self.actions[action] += 1
        self._plans.add(plan, action)
        self._models.add(decision.model or "(none)", action)
        self._levels.add(decision.level, action)
        if action >= _THROTTLE:
            self._rules.add(decision.rule or "(none)", action)
        for name in decision.shadowed:
            self._shadow[name if name in self._shadow or len(self._shadow) < _NAMES else OTHER] += 1
        counts = self._accounts.get(account)
        if counts is None:
            counts = self._accounts[account] = [0] * 5
        counts[action] += 1
        self._plan_of[account] = plan
        hour = self._hours.get(int(ts) // _HOUR_S)
        if hour is None:
            hour = self._hours[int(ts) // _HOUR_S] = [0] * 5
        hour[action] += 1
        if action < _THROTTLE:
            counts[4] += request.output_tokens
            hour[4] = max(hour[4], self._open.add(ts, request.duration_s, plan, account))

    def told(self) -> dict[str, Any]:
        """The counts, as the summary has them."""
        return {
            "requests": self.requests,
            "accounts": len(self._accounts),
            "first_ts": self._first_ts,
            "last_ts": self._last_ts,
            "actions": dict(zip(ACTIONS, self.actions, strict=True)),
            "accounts_hit": self._hit(),
            "by_plan": self._plans.told(),
            "by_model": self._models.told(),
            "by_level": self._levels.told(),
            "by_rule": self._rules.told(),
            "shadow_refusals": dict(self._shadow.most_common()),
            "peak_concurrency": {
                "all": self._open.peak,
                "at": self._open.peak_at,
                "by_plan": dict(sorted(self._open.by_plan.items())),
                "top_accounts": self._busiest(),
            },
            "top_accounts": {
                "requests": self._top(lambda counts: sum(counts[:4])),
                "output_tokens": self._top(lambda counts: counts[4]),
                "throttled_or_refused": self._top(lambda counts: counts[2] + counts[3]),
            },
            "hours": {
                "start": [hour * _HOUR_S for hour in self._hours],
                **{
                    name: [counts[index] for counts in self._hours.values()]
                    for index, name in enumerate((*ACTIONS, "concurrency"))
                },
            },
        }

    def _hit(self) -> dict[str, int]:
        """How many accounts ever met each action."""
        rows = self._accounts.values()
        return {name: sum(counts[index] > 0 for counts in rows) for index, name in enumerate(ACTIONS)}

    def _top(self, value: Any) -> list[dict[str, Any]]:
        found = heapq.nlargest(_TOP, self._accounts.items(), key=lambda item: (value(item[1]), item[0]))
        return [
            {
                "account": account,
                "plan": self._plan_of[account],
                **dict(zip((*ACTIONS, "output_tokens"), counts, strict=True)),
            }
            for account, counts in found
            if value(counts) > 0
        ]

    def _busiest(self) -> list[dict[str, Any]]:
        found = heapq.nlargest(_TOP, self._open.by_account.items(), key=lambda item: (item[1], item[0]))
        return [{"account": account, "plan": self._plan_of[account], "open": count} for account, count in found]


_INDEX = {name: index for index, name in enumerate(ACTIONS)}
_THROTTLE = _INDEX["throttle"]
