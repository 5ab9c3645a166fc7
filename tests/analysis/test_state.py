from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.analysis.analyzer import Analyzer
from gateway.analysis.state import restore, snapshot
from gateway.analysis.traits import TraitExtractor
from gateway.errors import ConfigError
from tests.analysis.population import KEY, SMALL, Population, pass_round


@pytest.mark.parametrize("cut", [0.0, 0.62, 0.9])
def test_a_worker_that_takes_over_from_a_snapshot_gives_the_same_verdicts(cut: float) -> None:
    people = Population(seed=21, days=4)
    people.benign(150)
    campaign = people.campaign(70, day=2.0)
    events = pass_round(people, campaign, codes=40)
    extractor, first = TraitExtractor(KEY), Analyzer(SMALL)
    known = {one.name: extractor.account(one.row) for one in people.customers}
    second, told = first, {id(first): [], -1: []}  # type: ignore[var-annotated]
    for name, traits in known.items():
        first.know(name, traits)
    for place, (ts, account, traits) in enumerate(events):
        if place == int(cut * len(events)):
            second = restore(snapshot(first), SMALL)
            for name, row in known.items():
                second.know(name, row)
        for key, analyzer in ((id(first), first), (-1, second)):
            if (key == -1) == (second is not first) or key != -1:
                if analyzer.due(ts):
                    told[key].append(analyzer.tick(ts))
                analyzer.observe(ts, account, traits)
    assert any(verdict.signatures for verdicts in told[id(first)] for verdict in verdicts)
    assert told[-1] == told[id(first)][-len(told[-1]) :]
    assert second.clusters() == first.clusters()


@pytest.mark.parametrize("data", [b"", b"nonsense", b"PK\x03\x04broken"])
def test_bytes_that_are_no_snapshot_are_refused(data: bytes) -> None:
    with pytest.raises(ConfigError, match="expected one made by this program"):
        restore(data, SMALL)


def test_a_snapshot_of_another_size_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"got format 3 with 2\*\*18 slots, expected format 3 with 2\*\*17"):
        restore(snapshot(Analyzer(SMALL)), replace(SMALL, phrase_slots_log2=17))
