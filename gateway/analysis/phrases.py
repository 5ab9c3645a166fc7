"""Phrases of a text: keyed hashes of runs of four words at its beginning and its end.

An injected instruction stands before or after the payload, fixed or put together from interchangeable
parts. Runs of four words survive the shuffling of parts, where a sketch of the whole text (MinHash) does
not: its similarity falls with the share of the payload. Numbers are masked, punctuation and case ignored,
scripts without spaces are read sign by sign.

Only hashes leave: a run of four words under a key that stays in the gateway. Texts that recur (system
prompts) are computed once and cached by their own hash.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import numpy as np

from gateway.analysis.hashing import keyed

if TYPE_CHECKING:
    from numpy.typing import NDArray

RUN: Final = 4
"""Words in a phrase: three are often a turn of the language, five break too easily at a changed word."""
WINDOW_CHARS: Final = 320
"""Read from each end of a text: some fifty words, more than any published injected instruction's opening."""
_WORD = re.compile(r"[぀-ヿ㐀-鿿가-힣]|[^\W\d_]+(?:['’][^\W\d_]+)*|\d+")
_MAX_WORDS: Final = 100_000
_MAX_TEXTS: Final = 4_096
_CACHED_FROM_CHARS: Final = 600
_MIX = tuple(np.uint64(value) for value in (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9))
_TOP = np.uint64(4)


class PhraseHasher:
    """Turns texts into phrases under one key; keeps bounded caches of words and of long texts."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._words: dict[str, int] = {}
        self._texts: dict[str, list[int]] = {}

    def of(self, text: str, salt: str = "") -> list[int]:
        """Distinct phrases of the two ends of ``text``; empty where it has fewer than four words.

        ``salt`` separates segments: a phrase in a system prompt is not the phrase in a user's text.
        """
        if len(text) < _CACHED_FROM_CHARS:
            return self._compute(text, salt)
        cached = self._texts.get(text)
        if cached is None:
            if len(self._texts) >= _MAX_TEXTS:
                self._texts.clear()
            cached = self._texts[text] = self._compute(text, salt)
        return cached

    def _compute(self, text: str, salt: str) -> list[int]:
        if len(text) <= 2 * WINDOW_CHARS:
            return self._runs(_WORD.findall(text.lower()), salt).tolist()
        head = _WORD.findall(text[:WINDOW_CHARS].lower())[:-1]
        tail = _WORD.findall(text[-WINDOW_CHARS:].lower())[1:]
        return list({*self._runs(head, salt).tolist(), *self._runs(tail, salt).tolist()})

    def _runs(self, words: list[str], salt: str) -> NDArray[np.uint64]:
        """Hashes of each run of four words, without duplicates."""
        if len(words) < RUN:
            return np.empty(0, np.uint64)
        known = self._words
        codes = np.array([known.get(word) or self._learn(word) for word in words], np.uint64)
        if salt:
            codes ^= np.uint64(self._words.get(salt) or self._learn(salt))
        runs = codes[3:] + codes[2:-1] * _MIX[0] + codes[1:-2] * _MIX[1] + codes[:-3] * _MIX[2]
        runs ^= runs >> np.uint64(29)
        runs *= _MIX[0]
        return np.unique(runs >> _TOP)

    def _learn(self, word: str) -> int:
        """Hash of a word, remembered; digits are all one word."""
        if len(self._words) >= _MAX_WORDS:
            self._words.clear()
        code = keyed(self._key, "word", "#" if word[0].isdigit() else word) | 1
        self._words[word] = code
        return code
