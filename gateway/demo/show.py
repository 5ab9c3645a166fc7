"""What the demo shows: a live table while it runs, a summary when it is done."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

import orjson
from rich.console import Group
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import RenderableType

    from gateway.demo.population import Answer
    from gateway.types import Event

_REFUSED_FROM = 400


class LiveView:
    """Counts answers as they come; ``render`` draws them."""

    def __init__(self, expected: int) -> None:
        self.answers: list[Answer] = []
        self._progress = Progress(
            TextColumn("[bold]requests"), BarColumn(bar_width=40), MofNCompleteColumn(), TimeElapsedColumn()
        )
        self._task = self._progress.add_task("requests", total=expected)

    def add(self, answer: Answer) -> None:
        """One more answer."""
        self.answers.append(answer)
        self._progress.advance(self._task)

    def render(self) -> RenderableType:
        """The progress bar over a table by kind of customer."""
        return Group(self._progress, by_kind(self.answers))


def by_kind(answers: Iterable[Answer]) -> Table:
    """A row for each kind of customer: answered, refused, left, and how long the first byte took."""
    rows: dict[tuple[str, str], list[Answer]] = defaultdict(list)
    for answer in answers:
        rows[answer.customer.plan, answer.customer.kind].append(answer)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("plan", "customers"):
        table.add_column(name)
    for name in ("answered", "streamed", "refused", "left", "first byte p50", "p99"):
        table.add_column(name, justify="right")
    for (plan, kind), found in sorted(rows.items()):
        answered = [answer for answer in found if 0 < answer.status < _REFUSED_FROM]
        refused = sum(answer.status >= _REFUSED_FROM for answer in found)
        first = sorted(answer.first_byte_s for answer in answered)
        table.add_row(
            plan,
            kind,
            str(len(answered)),
            str(sum(answer.streamed for answer in answered)),
            Text(str(refused), style="red" if refused else "dim"),
            str(sum(answer.status == 0 for answer in found)),
            _ms(quantile(first, 0.5)),
            _ms(quantile(first, 0.99)),
        )
    return table


def refusals(answers: Sequence[Answer], events: Sequence[Event]) -> Table:
    """Why requests were refused: what the caller was told, and the rule that only the operator sees."""
    rules = Counter(
        (event.account or "-", event.status, event.rule) for event in events if event.status >= _REFUSED_FROM
    )
    told = {
        (answer.customer.account, answer.status): _message(answer.error)
        for answer in answers
        if answer.status >= _REFUSED_FROM
    }
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("status", "account", "times", "rule (operator only)", "what the caller was told"):
        table.add_column(name, justify="right" if name == "times" else "left", overflow="fold")
    for (account, status, rule), times in sorted(rules.items(), key=str):
        message = told.get((account if account != "-" else "stranger", status), "")
        table.add_row(str(status), account, str(times), rule or "-", message)
    return table


def totals(answers: Sequence[Answer], events: Sequence[Event], seconds: float) -> Table:
    """Requests, tokens, cost and rate, from the events that the gateway wrote."""
    usage = [event.usage for event in events if event.usage is not None]
    table = Table.grid(padding=(0, 2))
    cost = sum(event.cost_microusd for event in events) / 1e6
    rows = {
        "requests": f"{len(answers)} sent in {seconds:.1f} s, {len(events)} events written",
        "tokens": f"{sum(u.input_tokens for u in usage):,} in, {sum(u.output_tokens for u in usage):,} out"
        f" ({sum(u.reported for u in usage)} replies with reported usage, the rest counted as it flowed)",
        "cost": f"${cost:.4f} at the policies' prices",
    }
    for name, text in rows.items():
        table.add_row(Text(name, style="bold"), text)
    return table


def quantile(ordered: Sequence[float], share: float) -> float | None:
    """The ``share`` quantile (nearest rank) of ordered values; of none, none."""
    if not ordered:
        return None
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:.1f} ms"


def _message(error: str | None) -> str:
    try:
        found = orjson.loads(error or "")
        return str(found["error"]["message"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return error or ""
