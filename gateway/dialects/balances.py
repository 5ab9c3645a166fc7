"""Tell a caller in header fields what is left of its budgets.

``RateLimit`` and ``RateLimit-Policy`` follow draft-ietf-httpapi-ratelimit-headers-10 (sections 3 and 4): lists
of structured-field strings (RFC 9651) with the parameters ``q``, ``w``, ``qu`` and ``r``, ``t``. Its registry
knows the units requests, content-bytes and concurrent-requests; ours beyond those stand in ``dg-unit``
(other parameters are comments to a client that does not know them).

Invariant: only the caller's own budgets (account, organisation, address) are shown. A cluster's budget would
tell a campaign that it was found; a global or model budget would tell what other customers do; a shadow
budget is answered as if it were not there.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING

from gateway.types import Family, Subject, Unit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.types import Balance, Budget, Headers

SHOWN = frozenset({Subject.ACCOUNT, Subject.ORGANISATION, Subject.ADDRESS})
MAX_SF_INTEGER = 999_999_999_999_999
"""RFC 9651, section 3.3.1: at most 15 digits."""

_UNIT_PARAMETER = {
    Unit.REQUESTS: ';qu="requests"',
    Unit.CONCURRENCY: ';qu="concurrent-requests"',
    Unit.INPUT_TOKENS: ';dg-unit="input-tokens"',
    Unit.OUTPUT_TOKENS: ';dg-unit="output-tokens"',
    Unit.TOTAL_TOKENS: ';dg-unit="tokens"',
    Unit.COST: ';dg-unit="micro-usd"',
}
_ANTHROPIC_KINDS = {
    Unit.REQUESTS: b"anthropic-ratelimit-requests-",
    Unit.TOTAL_TOKENS: b"anthropic-ratelimit-tokens-",
    Unit.INPUT_TOKENS: b"anthropic-ratelimit-input-tokens-",
    Unit.OUTPUT_TOKENS: b"anthropic-ratelimit-output-tokens-",
}
_TOKENS = frozenset({Unit.INPUT_TOKENS, Unit.OUTPUT_TOKENS, Unit.TOTAL_TOKENS})
_OPENAI_REQUESTS = (b"x-ratelimit-limit-requests", b"x-ratelimit-remaining-requests", b"x-ratelimit-reset-requests")
_OPENAI_TOKENS = (b"x-ratelimit-limit-tokens", b"x-ratelimit-remaining-tokens", b"x-ratelimit-reset-tokens")
_MAX_RESET_S = 366 * 86_400.0


def budget_headers(family: Family, balances: Sequence[Balance], now_s: float) -> Headers:
    """The fields for ``balances`` (in their order), and for the one with the least left of each kind those
    that the SDKs of ``family`` know. ``now_s`` is the time of the balances; empty where nothing is shown.
    """
    shown = [one for one in balances if one.budget.subject in SHOWN and not one.budget.shadow]
    if not shown:
        return []
    policies: list[str] = []
    limits: list[str] = []
    for balance in shown:
        budget, remaining, reset_s = balance.budget, balance.remaining, balance.reset_s
        found = _kept.get(id(budget))
        if found is None or found[0] is not budget:
            found = _keep(budget)
        _, name, policy = found
        policies.append(policy)
        left = MAX_SF_INTEGER if remaining > MAX_SF_INTEGER else max(0, remaining)
        if budget.unit is Unit.CONCURRENCY:
            limits.append(f"{name};r={left}")
        else:
            whole_s = math.ceil(reset_s) if 0 < reset_s < _MAX_RESET_S else _whole(reset_s)
            limits.append(f"{name};r={left};t={whole_s}")
    own = _openai if family is Family.OPENAI else _anthropic
    return [
        (b"ratelimit-policy", ", ".join(policies).encode()),
        (b"ratelimit", ", ".join(limits).encode()),
        *own(shown, now_s),
    ]


_kept: dict[int, tuple[Budget, str, str]] = {}
"""By a budget's identity: it lives as long as its policy set."""
_MOST_KEPT = 4096


def _keep(budget: Budget) -> tuple[Budget, str, str]:
    """``_policy`` of a budget, for the next time."""
    if len(_kept) >= _MOST_KEPT:
        _kept.clear()
    made = (budget, *_policy(budget.name, budget.limit, budget.unit, budget.window.length_s))
    _kept[id(budget)] = made
    return made


def _policy(name: str, limit: int, unit: Unit, length_s: int) -> tuple[str, str]:
    """The quoted name and the ``RateLimit-Policy`` item of a budget."""
    quoted = _quoted(name)
    window = f";w={length_s}" if length_s > 0 else ""
    return quoted, f"{quoted};q={min(max(limit, 0), MAX_SF_INTEGER)}{window}{_UNIT_PARAMETER[unit]}"


def _quoted(name: str) -> str:
    """A structured-field string (RFC 9651, section 3.3.3): printable ASCII; anything else becomes ``?``."""
    safe = "".join(c if " " <= c <= "~" else "?" for c in name)
    return '"' + safe.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _reset_s(balance: Balance) -> float:
    reset_s = balance.reset_s
    return min(_MAX_RESET_S, reset_s) if reset_s > 0 else 0.0


def _whole(seconds: float) -> int:
    """Whole seconds, not less than ``seconds``, within what is told."""
    return math.ceil(min(_MAX_RESET_S, seconds)) if seconds > 0 else 0


def _openai(shown: Sequence[Balance], now_s: float) -> Headers:  # noqa: ARG001 - both dialects are called alike
    requests: Balance | None = None
    tokens: Balance | None = None
    for balance in shown:
        unit = balance.budget.unit
        if unit is Unit.REQUESTS:
            if requests is None or balance.remaining < requests.remaining:
                requests = balance
        elif unit in _TOKENS and (tokens is None or balance.remaining < tokens.remaining):
            tokens = balance
    headers: Headers = []
    for (limit, remaining, reset), tightest in ((_OPENAI_REQUESTS, requests), (_OPENAI_TOKENS, tokens)):
        if tightest is not None:
            headers += (
                (limit, b"%d" % tightest.budget.limit),
                (remaining, b"%d" % max(tightest.remaining, 0)),
                (reset, duration(_reset_s(tightest))),
            )
    return headers


def _anthropic(shown: Sequence[Balance], now_s: float) -> Headers:
    headers: Headers = []
    tightest: dict[Unit, Balance] = {}
    for balance in shown:
        unit = balance.budget.unit
        if unit in _ANTHROPIC_KINDS and (unit not in tightest or balance.remaining < tightest[unit].remaining):
            tightest[unit] = balance
    for unit, balance in tightest.items():
        prefix = _ANTHROPIC_KINDS[unit]
        headers += (
            (prefix + b"limit", b"%d" % balance.budget.limit),
            (prefix + b"remaining", b"%d" % max(balance.remaining, 0)),
            (prefix + b"reset", rfc3339(math.ceil(now_s + _reset_s(balance)))),
        )
    return headers


def duration(seconds: float) -> bytes:
    """A duration as OpenAI writes it: ``20ms``, ``1.5s``, ``6m0s``, ``23h59m59s``."""
    if seconds < 1:
        return b"%dms" % math.ceil(seconds * 1000)
    whole = math.ceil(seconds)
    if seconds < 60:  # noqa: PLR2004 - a minute
        tenths = math.ceil(seconds * 10)
        return b"%ds" % (tenths // 10) if tenths % 10 == 0 else b"%d.%ds" % divmod(tenths, 10)
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return b"%dh%dm%ds" % (hours, minutes, rest) if hours else b"%dm%ds" % (minutes, rest)


@lru_cache(maxsize=1024)
def rfc3339(at_s: int) -> bytes:
    """Whole seconds since the epoch as RFC 3339, in UTC."""
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ").encode()
