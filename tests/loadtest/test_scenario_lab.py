from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from loadtest.scenario_campaigns import KINDS
from loadtest.scenario_lab import _contained, make, rows, write
from loadtest.scenario_people import DAY_S


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_scenario_has_its_campaigns_and_nobody_else_attacks(kind: str) -> None:
    world = make(kind, 1, people=20, days=3.0)
    names = {actor.campaign for actor in world.actors} - {None}
    assert names == {f"k{index + 1}" for index in range(len(KINDS[kind]))}
    assert {actor.campaign for actor in world.actors if actor.archetype != "campaign"} == {None}


def test_a_scenario_is_made_again_from_its_seed_and_in_order_of_time() -> None:
    first, again = (
        [(row.ts, row.actor.row["account"], row.body()) for row in rows(make("signatures", 3, people=10, days=3.0))]
        for _ in range(2)
    )
    assert first == again
    assert [row[0] for row in first] == sorted(row[0] for row in first)


def test_a_fixed_prompt_is_fixed_and_a_paraphrased_one_is_not() -> None:
    openings = {}
    for kind in ("fixed", "low_and_slow"):
        attacks = [row.ask.messages[-1][1] for row in rows(make(kind, 2, people=10, days=3.0)) if row.ask.attack]
        openings[kind] = len({text.split("\n\n")[0] for text in attacks}) / len(attacks)
    assert openings["fixed"] < 0.01
    assert openings["low_and_slow"] > 0.5


def test_aged_accounts_share_neither_the_hour_of_sign_up_nor_telephones() -> None:
    members = [actor.row for actor in make("aged", 2, people=100, days=3.0).actors if actor.campaign]
    assert len({int(row["created_at"] // 86_400) for row in members}) > len(members) / 2
    assert not [row for row in members if row["phone_country"]]


def _text(path: Path) -> str:
    return gzip.decompress(path.read_bytes()).decode()


def test_what_is_written_can_be_replayed_and_scored(tmp_path: Path) -> None:
    count = write(make("fixed", 1, people=20, days=3.0), tmp_path)
    lines = [json.loads(line) for line in _text(tmp_path / "requests.ndjson.gz").splitlines()]
    attacks = set(_text(tmp_path / "attack_requests.txt.gz").split())
    labels = {
        one["account"]: one["campaign"] for one in map(json.loads, _text(tmp_path / "labels.ndjson.gz").splitlines())
    }
    assert len(lines) == count
    assert attacks
    assert all(labels[line["account"]] == "k1" for line in lines if line["id"] in attacks)


@pytest.mark.parametrize(("marked_from", "hours"), [(0, 0.0), (25, 25.0), (1_000, None)])
def test_contained_from_the_hour_on_which_a_day_is_nearly_all_marked(marked_from: int, hours: float | None) -> None:
    attacks = [(3_600.0 * hour + minute, hour >= marked_from) for hour in range(72) for minute in range(1)]
    found = _contained(attacks)
    assert (found is None) == (hours is None)
    if hours is not None and found is not None:
        assert hours - 2 <= found <= hours
    assert _contained([]) is None
    assert _contained([(0.0, True), (DAY_S, True)]) is None
