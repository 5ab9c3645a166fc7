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
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

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
    Unit.REQUESTS: b"anthropic-ratelimit-requests-%b",
    Unit.TOTAL_TOKENS: b"anthropic-ratelimit-tokens-%b",
    Unit.INPUT_TOKENS: b"anthropic-ratelimit-input-tokens-%b",
    Unit.OUTPUT_TOKENS: b"anthropic-ratelimit-output-tokens-%b",
}
_OPENAI_KINDS = {
    Unit.REQUESTS: b"x-ratelimit-%b-requests",
    Unit.INPUT_TOKENS: b"x-ratelimit-%b-tokens",
    Unit.OUTPUT_TOKENS: b"x-ratelimit-%b-tokens",
    Unit.TOTAL_TOKENS: b"x-ratelimit-%b-tokens",
}
_MAX_RESET_S = 366 * 86_400.0


class _Shown(NamedTuple):
    """What the fields of one set of budgets have in common, whatever is left of them."""

    budgets: tuple[Budget, ...]
    """All of the set, kept alive here, so that their identities are theirs alone."""
    policy: bytes
    lines: tuple[tuple[int, str, bool], ...]
    """Of each budget that is shown: its place, what stands before its number, whether it is a lease."""
    kinds: tuple[tuple[bytes, bytes, bytes, tuple[int, ...]], ...]
    """Of each kind that the SDKs know: the names of its three fields, and the places of its budgets."""


def budget_headers(family: Family, balances: Sequence[Balance], now_s: float) -> Headers:
    """The fields for ``balances`` (in their order), and for the one with the least left of each kind those
    that the SDKs of ``family`` know. ``now_s`` is the time of the balances; empty where nothing is shown.
    """
    key: _Key = (family, *[id(budget) for budget, _, _ in balances])
    _, policy, lines, kinds = _kept.get(key) or _keep(key, family, balances)
    if not lines:
        return []
    limits: list[str] = []
    for place, head, is_lease in lines:
        _, remaining, reset_s = balances[place]
        left = remaining if 0 <= remaining <= MAX_SF_INTEGER else min(max(remaining, 0), MAX_SF_INTEGER)
        if is_lease:
            limits.append(f"{head}{left}")
        else:
            whole_s = math.ceil(reset_s) if 0 < reset_s < _MAX_RESET_S else _whole(reset_s)
            limits.append(f"{head}{left};t={whole_s}")
    headers = [(b"ratelimit-policy", policy), (b"ratelimit", ", ".join(limits).encode())]
    for limit_name, remaining_name, reset_name, places in kinds:
        budget, remaining, reset_s = balances[places[0]]
        for place in places[1:]:
            if balances[place][1] < remaining:
                budget, remaining, reset_s = balances[place]
        reset_s = min(_MAX_RESET_S, reset_s) if reset_s > 0 else 0.0
        headers += (
            (limit_name, b"%d" % budget.limit),
            (remaining_name, b"%d" % max(remaining, 0)),
            (reset_name, duration(reset_s) if family is Family.OPENAI else rfc3339(math.ceil(now_s + reset_s))),
        )
    return headers


_Key: TypeAlias = tuple[Family | int, ...]
_kept: dict[_Key, _Shown] = {}
"""By the identities of a request's budgets: they live as long as their policy set."""
_MOST_KEPT = 4096


def _keep(key: _Key, family: Family, balances: Sequence[Balance]) -> _Shown:
    """``_Shown`` of a set of budgets, for the next time."""
    budgets = tuple([one.budget for one in balances])
    policies: list[str] = []
    lines: list[tuple[int, str, bool]] = []
    kinds: dict[bytes, list[int]] = {}
    names = _OPENAI_KINDS if family is Family.OPENAI else _ANTHROPIC_KINDS
    for place, budget in enumerate(budgets):
        if budget.subject not in SHOWN or budget.shadow:
            continue
        quoted, policy = _policy(budget.name, budget.limit, budget.unit, budget.window.length_s)
        policies.append(policy)
        lines.append((place, f"{quoted};r=", budget.unit is Unit.CONCURRENCY))
        if budget.unit in names:
            kinds.setdefault(names[budget.unit], []).append(place)
    made = _Shown(
        budgets,
        ", ".join(policies).encode(),
        tuple(lines),
        tuple(
            [(form % b"limit", form % b"remaining", form % b"reset", tuple(at)) for form, at in sorted(kinds.items())]
        ),
    )
    if len(_kept) >= _MOST_KEPT:
        _kept.clear()
    _kept[key] = made
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


def _whole(seconds: float) -> int:
    """Whole seconds, not less than ``seconds``, within what is told."""
    return math.ceil(min(_MAX_RESET_S, seconds)) if seconds > 0 else 0


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
