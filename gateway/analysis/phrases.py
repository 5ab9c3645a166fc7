"""Phrases of a text: keyed hashes of runs of four words at its beginning and its end.

An injected instruction stands before or after the payload, fixed or put together from interchangeable
parts. Runs of four words survive the shuffling of parts, where a sketch of the whole text (MinHash) does
not: its similarity falls with the share of the payload. Numbers are masked, punctuation and case ignored,
scripts without spaces are read sign by sign.

Only hashes leave: a run of four words under a key that stays in the gateway. System prompts recur, so their
phrases are cached by their two ends.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

import numpy as np

from gateway.analysis.hashing import keyed

RUN: Final = 4
"""Words in a phrase: three are often a turn of the language, five break too easily at a changed word."""
WINDOW_CHARS: Final = 320
"""Read from each end of a text: some fifty words, more than any published injected instruction's opening."""
_WORD = re.compile(r"[぀-ヿ㐀-鿿가-힣]|[^\W\d_]+(?:['\u2019][^\W\d_]+)*|\d+")
_ASCII_WORD = re.compile(r"[a-z]+(?:'[a-z]+)*|[0-9]+")
"""The same for ASCII in small letters, twice as fast."""
_MAX_WORDS: Final = 100_000
_MAX_TEXTS: Final = 1_024
_MIX = tuple(np.uint64(value) for value in (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9))
_FOLD = np.uint64(29)
_TOP = np.uint64(4)


class PhraseHasher:
    """Turns texts into phrases under one key; keeps bounded caches of words and of long system prompts."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._words: dict[str, int] = {}
        self._of_long = lru_cache(maxsize=_MAX_TEXTS)(self._compute)

    def of(self, text: str, salt: str = "") -> list[int]:
        """Distinct phrases of the two ends of ``text``, in their order; empty where it has fewer than four words.

        ``salt`` separates segments: a phrase in a system prompt is not the phrase in a user's text. Only salted
        texts are cached: system prompts recur, users' texts do not.
        """
        if len(text) <= 2 * WINDOW_CHARS:
            return self._compute(text, "", salt)
        head, tail = text[:WINDOW_CHARS], text[-WINDOW_CHARS:]
        return self._of_long(head, tail, salt) if salt else self._compute(head, tail, salt)

    def _compute(self, head: str, tail: str, salt: str) -> list[int]:
        """Phrases of ``head`` and of ``tail``, none across; with a tail, the words at the cuts are not whole."""
        words = _words(head)
        if not tail:
            return list(dict.fromkeys(self._runs(words, salt)))
        words = words[:-1]
        cut = len(words)
        runs = self._runs(words + _words(tail)[1:], salt)
        del runs[max(cut - RUN + 1, 0) : cut]
        return list(dict.fromkeys(runs))

    def _runs(self, words: list[str], salt: str) -> list[int]:
        """Hashes of each run of four words."""
        if len(words) < RUN:
            return []
        known = list(map(self._words.get, words))
        if None in known:
            known = [code or self._learn(word) for code, word in zip(known, words, strict=True)]
        codes = np.array(known, np.uint64)
        if salt:
            codes ^= np.uint64(self._words.get(salt) or self._learn(salt))
        runs = codes[3:] + codes[2:-1] * _MIX[0] + codes[1:-2] * _MIX[1] + codes[:-3] * _MIX[2]
        runs ^= runs >> _FOLD
        runs *= _MIX[0]
        runs >>= _TOP
        hashes: list[int] = runs.tolist()
        return hashes

    def _learn(self, word: str) -> int:
        """Hash of a word, remembered; digits are all one word, and numbers are too many to remember."""
        if word[0].isdigit():
            word = "#"
            if word in self._words:
                return self._words[word]
        if len(self._words) >= _MAX_WORDS:
            self._words.clear()
        code = self._words[word] = keyed(self._key, "word", word) | 1
        return code


def _words(text: str) -> list[str]:
    """Words, numbers and single signs of scripts without spaces, in small letters."""
    low = text.lower()
    return (_ASCII_WORD if low.isascii() else _WORD).findall(low)
