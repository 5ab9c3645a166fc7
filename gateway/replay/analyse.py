"""The analysis of a log, which depends on the log alone: so it runs ahead of the decisions, in a process of its own.

It sees every request that has facts, in order, on the log's clock; a pass that is due gives its verdicts before the
request that made it due. Accounts that policies exempt from the analysis are told by name.
"""

from __future__ import annotations

import contextlib
import marshal
import pickle
from typing import TYPE_CHECKING, Any

from gateway.analysis.analyzer import Analyzer
from gateway.analysis.traits import TraitExtractor
from gateway.errors import ConfigError
from gateway.files import read_ndjson
from gateway.replay.checkpoint import Snapshots, load_analysis
from gateway.replay.pipes import Inbox, memory_bytes, settle_in
from gateway.replay.prepare import unpack
from gateway.types import Level

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from multiprocessing.connection import Connection
    from pathlib import Path

    from gateway.replay.source import AnalysisPlan, Source
    from gateway.types import JSON, Verdict


class Analyser:
    """The analysis beside a log: fed with ``observe``; ``due`` gives the verdicts that come before a request."""

    def __init__(self, plan: AnalysisPlan, accounts: Path, key: bytes) -> None:
        self._plan = plan
        self._rows = read_rows(accounts)
        self._known = self._rows.keys() | plan.exempt
        self._extractor = TraitExtractor(key)
        self._analyzer = Analyzer(plan.config)
        self._observed: dict[str, bool] = {}
        self._seen: dict[str, dict[str, Any]] = {}

    def due(self, now_s: float) -> list[Verdict]:
        """The verdicts of a pass, where one is due."""
        if not self._analyzer.due(now_s):
            return []
        verdicts = self._analyzer.tick(now_s)
        self._note(verdicts, now_s)
        return verdicts

    def observe(self, ts: float, account: str, traits: bytes | None) -> None:
        """Enter one request with its packed traits, unless its account is exempt or its body cannot be read."""
        observed = self._observed.get(account)
        if observed is None:
            exempt = account in self._plan.exempt if account in self._known else self._plan.exempt_unknown
            observed = self._observed[account] = not exempt
            if observed:
                self._analyzer.know(account, self._extractor.account(self._rows.get(account, {})))
        if observed and traits is not None:
            self._analyzer.observe(ts, account, unpack(traits))

    def dump(self) -> dict[str, Any]:
        """All that later verdicts depend on, for ``pickle``."""
        return {"analyzer": self._analyzer, "observed": self._observed, "seen": self._seen}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from ``dump``, in an analyser that has seen nothing yet."""
        self._analyzer, self._observed, self._seen = state["analyzer"], state["observed"], state["seen"]

    def _note(self, verdicts: Iterable[Verdict], now_s: float) -> None:
        """Remember clusters, so that one that is merged away later is still told."""
        for verdict in verdicts:
            told = self._seen.setdefault(verdict.cluster, {"cluster": verdict.cluster, "first_enforced_at": None})
            told |= {
                "members": list(verdict.members),
                "level": verdict.level.value,
                "evidence": list(verdict.evidence or verdict.reasons),
            }
            if told["first_enforced_at"] is None and verdict.level.rank >= Level.SUSPECT.rank:
                told["first_enforced_at"] = now_s

    def clusters(self) -> list[dict[str, Any]]:
        """Every cluster that ever existed, with its last membership: those that are, then those that were."""
        current = self._analyzer.clusters()
        names = {cluster["cluster"] for cluster in current}
        return [*current, *(told for name, told in self._seen.items() if name not in names)]


def read_rows(path: Path) -> dict[str, Mapping[str, JSON]]:
    """The account directory as the analysis sees it, row by row; of a table (CSV) the names alone.

    Raises FileErrors.
    """
    if ".csv" in path.suffixes:
        from gateway.identity import load_accounts  # seldom, and it costs 0.2 s to import

        return {name: {} for name in load_accounts(path)}
    return {row["account"]: row for _, row in read_ndjson(path)}


class Passes:
    """The analyser of a source, and its snapshots."""

    def __init__(self, source: Source) -> None:
        self._analyser = Analyser(source.analysis, source.accounts, source.key)
        if source.analysed is not None:
            self._analyser.load(load_analysis(source.analysed))
        self._snapshots = Snapshots(source.pace, source.skip)
        self.clusters = self._analyser.clusters

    def take(
        self, times: Sequence[float], accounts: Sequence[str], traits: Sequence[bytes | None]
    ) -> tuple[dict[int, list[Verdict]], Path | None]:
        """The verdicts that come before each of these requests, and the snapshot after them, where it is time."""
        verdicts = {}
        due, observe = self._analyser.due, self._analyser.observe
        for index, ts in enumerate(times):
            if found := due(ts):
                verdicts[index] = found
            observe(ts, accounts[index], traits[index])
        return verdicts, self._snapshots.after(len(times), self._analyser.dump)


def analyse(to_decide: Connection, source: Source, rows: Connection) -> None:
    """The second process: for each batch its verdicts and snapshot, or nothing; then the clusters and the memory."""
    settle_in()
    inbox = Inbox(rows, "replay-reader")
    with contextlib.suppress(BrokenPipeError, ConfigError, KeyboardInterrupt):
        passes = Passes(source)
        while data := inbox.next():
            verdicts, snapshot = passes.take(*marshal.loads(data))  # noqa: S302 - through a private pipe
            to_decide.send_bytes(pickle.dumps((verdicts, snapshot)) if verdicts or snapshot else b"")
        to_decide.send_bytes(pickle.dumps((passes.clusters(), memory_bytes())))
