from __future__ import annotations

import random

import orjson
import pytest

from gateway.canary.keyring import new_keyring, rotate
from gateway.canary.trace import GROUP_WORDS, WINDOW, Ledger, fingerprint, ledger_line, trace_key, trace_report
from tests.canary.helpers import make_rows, ring_secret

RING = new_keyring(inventory="", now_s=0.0, secret=ring_secret(6))
KEY = trace_key(RING)
OWN = "one two three four five six seven eight nine ten eleven twelve"


def letters(count: int, seed: int) -> str:
    """Words that are nobody's: so that texts share none by chance."""
    rnd = random.Random(seed)
    return " ".join("".join(rnd.choices("abcdefghij", k=6)) for _ in range(count))


def ledger(texts: list[str]) -> Ledger:
    rows = (orjson.loads(ledger_line(f"r{i}", f"c{i % 3}", text, KEY)) for i, text in enumerate(texts))
    return Ledger(rows)


def test_a_leaked_reply_is_found_verbatim_and_edited() -> None:
    texts = [letters(80, i) for i in range(60)]
    book = ledger(texts)
    for i, text in enumerate(texts):
        words = text.split()
        edited = " ".join("changed" if at % 12 == 0 else word for at, word in enumerate(words))
        for leaked in (
            text,
            text.upper(),
            f"**{text}**!",
            " ".join(words[:40]),
            edited,
            "Some words before it. " + text,
        ):
            match = book.find(i, leaked, KEY)
            assert match is not None
            assert (match.reply, match.cluster) == (f"r{i}", f"c{i % 3}")


def test_texts_that_nobody_took_are_not_found() -> None:
    book = ledger([letters(80, i) for i in range(60)])
    assert all(book.find(i, letters(80, 1000 + i), KEY) is None for i in range(200))
    assert book.find(0, "", KEY) is None


def test_turns_of_phrase_that_everybody_uses_find_nothing() -> None:
    same = "let me know if there is anything else that you would like to know about it"
    book = ledger([f"{letters(30, i)} {same}" for i in range(100)])
    assert book.find(0, same, KEY) is None


@pytest.mark.parametrize("count", [0, 1, GROUP_WORDS - 1, GROUP_WORDS, GROUP_WORDS + 1, GROUP_WORDS + WINDOW])
def test_short_texts_have_a_fingerprint_from_the_first_group_on(count: int) -> None:
    prints = fingerprint(" ".join(OWN.split()[:count]), KEY)
    assert bool(prints) == (count >= GROUP_WORDS)


def test_any_shared_run_of_the_guaranteed_length_shares_a_hash() -> None:
    """Winnowing's guarantee (Schleimer et al. 2003, section 4)."""
    length = GROUP_WORDS + WINDOW - 1
    run = letters(length, 7)
    for seed in range(100):
        a = set(fingerprint(f"{letters(20, seed)} {run} {letters(15, seed + 500)}", KEY))
        b = set(fingerprint(f"{letters(9, seed + 900)} {run} {letters(11, seed + 700)}", KEY))
        assert a & b


def test_the_ledger_keeps_no_text_and_needs_its_key() -> None:
    line = ledger_line("r1", "c1", OWN, KEY, account="a1")
    assert b"seven" not in line
    assert orjson.loads(line)["account"] == "a1"
    other = trace_key(new_keyring(inventory="", now_s=0.0, secret=ring_secret(60)))
    assert not set(fingerprint(OWN, other)) & set(fingerprint(OWN, KEY))
    assert trace_key(rotate(RING, inventory="", now_s=1.0)) == KEY


def test_a_report_counts_rows_by_cluster() -> None:
    texts = [r for _, r in make_rows(6, seed=3)]
    book = ledger([letters(50, i) for i in range(4)])
    matches = [m for i in range(4) if (m := book.find(i, letters(50, i), KEY))]
    report = trace_report("leak", 4 + len(texts), matches)
    assert report["matched"] == 4
    assert report["clusters"][0] == {"cluster": "c0", "rows": 2}
