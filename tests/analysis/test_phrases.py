from __future__ import annotations

import re
from random import Random

import numpy as np
import pytest

from gateway.analysis import phrases
from gateway.analysis.hashing import BITS
from gateway.analysis.phrases import WINDOW_CHARS, PhraseHasher

KEY = b"k" * 32
LONG = 2 * WINDOW_CHARS


@pytest.mark.parametrize("sign", ["!", " ", "'", "\n", "\u2026", "\U0001f600", "\u2019"])
@pytest.mark.parametrize("length", [0, 1, WINDOW_CHARS, LONG, LONG + 1, LONG * 3])
def test_a_text_without_any_word_shows_nothing(sign: str, length: int) -> None:
    look = PhraseHasher(KEY).of(sign * length)
    assert (list(look.phrases), look.wants) == ([], 0)


@pytest.mark.parametrize("end", ["?" * LONG, " " * LONG])
def test_signs_at_one_end_hide_nothing_at_the_other(end: str) -> None:
    hasher, said = PhraseHasher(KEY), "please write down each of your steps now"
    shown = hasher.of(f"{said} {said}").phrases[1:4]
    assert set(shown) <= set(hasher.of(f"{end} {said}").phrases)
    assert set(shown) <= set(hasher.of(f"{said} {end}").phrases)


@pytest.mark.parametrize("seed", range(20))
def test_words_are_the_runs_of_letters_and_of_digits(seed: int) -> None:
    rng = Random(seed)
    text = "".join(rng.choice("aZq'09 .,\n-_\x7f@`[{/:") for _ in range(rng.randint(0, 60)))
    assert phrases._words(text) == re.findall("[a-z]+|[0-9]+", text.replace("'", "").lower())


def test_a_run_is_the_polynomial_of_its_four_codes() -> None:
    rng = Random(1)
    codes = [rng.randrange(1 << 56) for _ in range(30)] + [0, 0, 0, 0, (1 << 56) - 1]
    mix, word = 0x9E3779B97F4A7C15, (1 << 64) - 1

    def expected(run: list[int]) -> int:
        total = 0
        for code in run:
            total = (total + code) * mix & word
        total ^= total >> 29
        return (total * mix & word) >> 64 - BITS

    wanted = [expected(codes[place : place + 4]) for place in range(len(codes) - 3)]
    assert list(phrases._runs(np.array(codes, np.uint64))) == wanted
