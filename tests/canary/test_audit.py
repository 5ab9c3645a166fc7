from __future__ import annotations

import hashlib
import random

import pytest
from scipy.stats import combine_pvalues

from gateway.canary.audit import AuditReport, holm, judge
from gateway.canary.evidence import Collector, Evidence, fisher, make_trials, read_texts
from gateway.canary.keyring import Keyring, new_keyring, rotate
from gateway.canary.marking import mark_reply
from gateway.canary.report import as_json, as_text
from gateway.canary.report_page import as_html
from gateway.canary.slots import load_inventory
from tests.canary.helpers import make_rows, ring_secret

RING = new_keyring(inventory=load_inventory().digest, now_s=1000.0, secret=ring_secret(7))
ROWS = make_rows(1200, seed=21)
PLAIN = [reply for _, reply in ROWS]


def leak(shares: dict[str, float], ring: Keyring = RING) -> list[str]:
    """A collection in which each cluster's share of the rows was marked."""
    texts, at = list(PLAIN), 0
    for cluster, share in shares.items():
        for index in range(at, at := at + int(share * len(ROWS))):
            texts[index] = mark_reply(ring, cluster, *ROWS[index]).reply
    return texts


def audit(texts: list[str], clusters: list[str], ring: Keyring = RING) -> AuditReport:
    return judge(read_texts(texts), ring, clusters, suspect="s")


def random_keys(count: int, seed: str) -> list[bytes]:
    return [hashlib.sha256(f"{seed}{i}".encode()).digest() for i in range(count)]


def test_a_leaked_set_names_its_cluster_and_no_decoy() -> None:
    report = audit(leak({"c1": 0.1}), ["c1", *(f"d{i}" for i in range(19))])
    assert report.attributed_to == ("c1",)
    assert report.results[0].p_value < 1e-20
    assert report.results[0].rank == 1
    assert all(result.p_value > 1e-5 for result in report.results[1:])


def test_three_clusters_in_one_set_are_all_named() -> None:
    shares = {"a": 0.1, "b": 0.1, "c": 0.1}
    assert set(audit(leak(shares), ["a", "b", "c", "d", "e"]).attributed_to) == set(shares)


def test_p_values_of_unmarked_texts_are_valid_for_every_carrier() -> None:
    evidence = Evidence(make_trials(read_texts(PLAIN)))
    found: dict[str, list[float]] = {}
    for key in random_keys(1000, "null"):
        p_value, tests = evidence.test(key)
        found.setdefault("combined", []).append(p_value)
        for test in tests:
            found.setdefault(test.carrier, []).append(test.p_value)
    assert len(found) > 5
    for carrier, values in found.items():
        for level in (0.1, 0.01):
            share = sum(value <= level for value in values) / len(values)
            assert share <= level + 4 * (level * (1 - level) / len(values)) ** 0.5, (carrier, level, share)
        assert min(values) > 1e-6
    combined = sum(value <= 0.1 for value in found["combined"]) / 1000
    assert combined > 0.05  # valid, and not by never saying anything


def test_an_author_whose_habits_are_extreme_is_no_hit() -> None:
    """Synonyms tested as a fair coin would call every consistent British author marked by half of all keys."""
    british = [
        text.replace("organized", "organised")
        .replace("while", "whilst")
        .replace("color", "colour")
        .replace("also", "additionally")
        for text in PLAIN
    ]
    evidence = Evidence(make_trials(read_texts(british)))
    values = [evidence.test(key)[0] for key in random_keys(600, "habit")]
    assert sum(value <= 0.01 for value in values) <= 6 + 4 * 6**0.5
    assert min(values) > 1e-6


def test_repeated_rows_are_one_trial() -> None:
    texts = leak({"c1": 0.05})
    once, often = Collector(), Collector()
    for text in texts:
        once.read(text)
    for text in texts * 5:
        often.read(text.upper() if text in texts[:3] else text + "  ")
    assert often.counts == once.counts
    assert often.rows == once.rows
    assert often.repeated == 5 * len(texts) - once.rows


def test_a_sentence_repeated_in_many_rows_gains_little() -> None:
    """The same marked sentence in 200 otherwise different rows is the evidence of a few contexts."""
    sentence = mark_reply(RING, "c1", *ROWS[0]).reply.split(". ")[0] + "."
    evidence = Evidence(make_trials(read_texts([f"{sentence} Number {i}." for i in range(200)])))
    assert len(evidence.trials) < 10
    assert evidence.test(RING.newest.cluster_key("c1"))[0] > 1e-4


def test_evidence_does_not_depend_on_the_order_of_rows() -> None:
    texts = leak({"c1": 0.05})
    shuffled = list(texts)
    random.Random(1).shuffle(shuffled)
    assert audit(texts, ["c1"]).results == audit(shuffled, ["c1"]).results


def test_marks_of_an_older_version_are_found_after_rotation() -> None:
    texts = leak({"c1": 0.1})
    ring = rotate(RING, inventory=load_inventory().digest, now_s=2000.0, secret=ring_secret(8))
    result = audit(texts, ["c1"], ring).results[0]
    assert result.version == 1
    assert result.p_value == pytest.approx(2 * audit(texts, ["c1"]).results[0].p_value)


def test_e_values_of_unmarked_texts_are_small_on_average() -> None:
    """Markov's inequality: at most one in e of the random keys reaches e."""
    evidence = Evidence(make_trials(read_texts(PLAIN[:300])))
    values = [evidence.e_value(key) for key in random_keys(1000, "e")]
    assert sum(value >= 20 for value in values) <= 1000 / 20
    assert evidence.e_value(RING.newest.cluster_key("c1")) < 1e6
    marked = Evidence(make_trials(read_texts(leak({"c1": 0.1}))))
    assert marked.e_value(RING.newest.cluster_key("c1")) > 1e9


def test_nothing_read_is_no_evidence() -> None:
    report = audit([], ["c1", "c2"])
    assert [result.p_value for result in report.results] == [1.0, 1.0]
    assert report.attributed_to == ()


@pytest.mark.parametrize("values", [[0.5], [0.01, 0.5], [1e-20, 0.3], [1.0, 1.0], [0.04, 0.04]])
def test_fishers_method_is_the_textbooks(values: list[float]) -> None:
    assert fisher(values) == pytest.approx(float(combine_pvalues(values, method="fisher").pvalue), rel=1e-9)


def test_fishers_method_at_its_ends() -> None:
    assert fisher([]) == 1.0
    assert fisher([0.0, 0.5]) == 0.0


def test_holm_adjusts_step_by_step() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9]) == [0.9]
    assert holm([]) == []
    assert holm([0.6, 0.7]) == [1.0, 1.0]


def test_reports_say_what_was_found_and_how_far_it_goes() -> None:
    report = audit(leak({"c1": 0.1}), ["c1", "<d>"])
    body, text, page = as_json(report), as_text(report), as_html(report)
    assert body["attributed_to"] == ["c1"]
    assert {"cluster", "p_value", "p_adjusted", "by_carrier"} <= set(body["results"][0])
    assert {"carrier", "p_value", "trials", "hits", "test"} == set(body["results"][0]["by_carrier"][0])
    assert body["queries"] == 0
    assert "attributed   c1" in text
    for part in (
        RING.newest.commitment,
        "1970-01-01 00:16:40",
        "does not say who trained",
        "&lt;d&gt;",
        "throws of dice",
    ):
        assert part in page
    assert "<d>" not in page
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "")


def test_a_keyring_for_another_inventory_is_pointed_out() -> None:
    ring = new_keyring(inventory="other", now_s=0.0, secret=ring_secret(9))
    assert "was made for inventory other" in audit(PLAIN[:5], ["c1"], ring).notes[0]
