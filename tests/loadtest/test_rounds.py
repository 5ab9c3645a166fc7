"""What a bench makes of its rounds, and the figures that it takes from a server's metrics and samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from xml.etree import ElementTree as ET

import pytest

from loadtest.flame import WIDTH, draw, read_folded
from loadtest.processes import summed
from loadtest.rounds import MAX_REPEATS, CollapsedError, Rounds


def giving(*values: float | None) -> Callable[[], Mapping[str, float]]:
    """A measure with these results one after the other; ``None``: it collapses."""
    left = list(values)

    def measure() -> Mapping[str, float]:
        value = left.pop(0)
        if value is None:
            raise CollapsedError("starved")
        return {"cpu_us": value}

    return measure


def test_rounds_alternate_and_the_median_is_told() -> None:
    rounds, order = Rounds(), []

    def noting(name: str, value: float) -> Callable[[], Mapping[str, float]]:
        def measure() -> Mapping[str, float]:
            order.append(name)
            return {"cpu_us": value + len(order)}

        return measure

    rounds.take(3, {"a": noting("a", 100), "b": noting("b", 10)})
    assert order == ["a", "b"] * 3
    assert (rounds.median("a", "cpu_us"), rounds.median("b", "cpu_us")) == (103, 14)
    assert rounds.ratio("a", "b", "cpu_us") == pytest.approx(103 / 14)


def test_a_collapsed_round_is_repeated_and_never_counted() -> None:
    rounds = Rounds()
    rounds.take(2, {"a": giving(None, 5.0, None, None, 7.0)})
    assert rounds.figures == {"a": {"cpu_us": [5.0, 7.0]}}
    assert rounds.rejected == ["a: starved"] * 3


def test_a_server_that_always_collapses_has_no_figure() -> None:
    rounds = Rounds()
    rounds.take(1, {"a": giving(*[None] * MAX_REPEATS), "b": giving(1.0)})
    assert rounds.median("a", "cpu_us") is None
    assert rounds.ratio("a", "b", "cpu_us") is None
    assert rounds.as_json()["medians"] == {"b": {"cpu_us": 1.0}}


def test_a_flame_graph_is_as_wide_as_its_samples_and_leaves_the_small_out() -> None:
    folded = "main;serve (a.py:1);read <x> (b.py:2) 60\nmain;serve (a.py:1) 39\nmain;rare (c.py:3) 0\nmain 101\n"
    svg = ET.fromstring(draw(read_folded(folded)))
    boxes = {group[0].text: group[1].attrib for group in svg}
    assert list(boxes) == ["all 100.0%", "main 100.0%", "serve (a.py:1) 49.5%", "read <x> (b.py:2) 30.0%"]
    assert float(boxes["serve (a.py:1) 49.5%"]["width"]) == pytest.approx(WIDTH * 99 / 200, abs=0.1)
    assert [int(box["y"]) for box in boxes.values()] == sorted(int(box["y"]) for box in boxes.values())


def test_no_samples_make_an_empty_picture() -> None:
    assert ET.fromstring(draw(read_folded(""))).tag.endswith("svg")


def test_a_metric_is_summed_over_its_labels_and_no_other_is_taken_for_it() -> None:
    page = (
        "# HELP r_total Requests.\n# TYPE r_total counter\n"
        'r_total{route="a b",status="2xx"} 3.0\nr_total{route="c",status="4xx"} 1e+01\n'
        'r_totals{route="c"} 100.0\nr_total_created 5.0\nplain_total 7.0\n'
    )
    assert summed(page, "r_total") == 13
    assert summed(page, "plain_total") == 7
    assert summed(page, "absent_total") == 0
