"""What a text shows at its beginning and its end: phrases (keyed hashes of runs of four words) and intents.

An injected instruction stands before or after the payload, fixed or put together from interchangeable
parts. Runs of four words survive the shuffling of parts, where a sketch of the whole text (MinHash) does
not: its similarity falls with the share of the payload. Numbers are masked, punctuation and case ignored,
scripts without spaces are read sign by sign.

Only hashes leave: a run of four words under a key that stays in the gateway. Texts that recur (system prompts,
templates) are looked at once; which texts those are is kept in memory by their two ends, a bounded number.
"""

from __future__ import annotations

import re
from array import array
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np

from gateway.analysis import intent
from gateway.analysis.hashing import BITS, keyed

RUN: Final = 4
"""Words in a phrase: three are often a turn of the language, five break too easily at a changed word."""
WINDOW_CHARS: Final = 320
"""Read from each end of a text: some fifty words, more than any published injected instruction's opening."""
KEPT_TEXTS: Final = 512
"""Texts whose looks are kept, some 2 kB each."""
_MAX_WORDS: Final = 100_000
_MAX_DIGITS: Final = 3
"""Longer numbers are too many to remember."""
_SMALL: Final = (
    bytes(
        byte if chr(byte).isdigit() or chr(byte).islower() else ord(chr(byte).lower()) if chr(byte).isupper() else 32
        for byte in range(128)
    )
    + bytes([32]) * 128
)
"""ASCII to small letters, digits and spaces."""
_SORTS: Final = bytes(48 if 48 <= byte < 58 else 97 if byte > 96 else 32 for byte in range(256))  # noqa: PLR2004 - ASCII
"""What ``_SMALL`` gives to ``0`` for a digit, ``a`` for a letter and a space."""
_SIGNS: Final = re.compile("[^\x00-\xa9\xab-\xb4\xb6-\xb9\xbb-\xbf\u2000-\u206f\u20a0-\u2bff\U0001f000-\U0001faff]")
"""What is a letter outside ASCII, or may be; typographic signs and emoji are none."""
_WORD: Final = re.compile(r"[぀-ヿ㐀-鿿가-힣]|[^\W\d_]+|\d+")
_PLAIN_WORD: Final = re.compile("[a-z]+|[0-9]+")
_HASH_BITS: Final = 56
_HASH: Final = np.uint64((1 << _HASH_BITS) - 1)
_MIX: Final = np.uint64(0x9E3779B97F4A7C15)
_POWERS: Final = np.array([pow(int(_MIX), power, 1 << 64) for power in (4, 3, 2, 1)], np.uint64)
_FOLD, _TOP = np.uint64(29), np.uint64(64 - BITS)


class Look(NamedTuple):
    """``phrases``: distinct, in the order of the text; not to be changed. ``wants``: bits of ``intent.KINDS``.

    They lie in one place of memory: a hundred numbers of their own took as long to be forgotten as to be made.
    """

    phrases: array[int]
    wants: int


class _Codes(dict[str, bytes]):
    """The code of each word, little-endian: 56 bits of its keyed hash, above them the flags that ``intent`` has for it.

    Every number has the same hash. Words are remembered up to a bound; long numbers are not.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key

    def __missing__(self, word: str) -> bytes:
        is_number = word[:1].isdigit()
        number = keyed(self._key, "word", "#" if is_number else word) >> (BITS - _HASH_BITS) | 1
        code = (number | intent.flags_of(word) << _HASH_BITS).to_bytes(8, "little")
        if not is_number or len(word) <= _MAX_DIGITS:
            if len(self) >= _MAX_WORDS:
                self.clear()
            self[word] = code
        return code


class PhraseHasher:
    """Looks at texts under one key; keeps bounded memories of words and of ``kept`` texts."""

    def __init__(self, key: bytes, kept: int = KEPT_TEXTS) -> None:
        self._codes = _Codes(key)
        self._look = lru_cache(maxsize=kept)(self._compute)

    def of(self, text: str, salt: str = "") -> Look:
        """The look of ``text``; without phrases where it has fewer than four words.

        ``salt`` separates segments: a phrase in a system prompt is not the phrase in a user's text.
        """
        if len(text) <= 2 * WINDOW_CHARS:
            return self._look(text, "", salt)
        return self._look(text[:WINDOW_CHARS], text[-WINDOW_CHARS:], salt)

    def _compute(self, head: str, tail: str, salt: str) -> Look:
        """Phrases of ``head`` and of ``tail``, none across; with a tail, the words at the cuts are not whole."""
        words = _words(head)
        cut = 0
        if tail:
            del words[-1:]
            cut = len(words)
            words += _words(tail)[1:]
        if not words:
            return Look(array("Q"), intent.tags(head) | intent.tags(tail))
        packed = b"".join(map(self._codes.__getitem__, words))
        wants = intent.wanted(words, packed[7::8]) | intent.tags(head) | intent.tags(tail)
        codes = np.frombuffer(packed, "<u8") & _HASH
        if salt:
            codes ^= np.frombuffer(self._codes[salt], "<u8") & _HASH
        runs = _runs(codes)
        if tail:
            del runs[max(cut - RUN + 1, 0) : cut]
        if len(set(runs)) < len(runs):
            runs = array("Q", dict.fromkeys(runs))
        return Look(runs, wants)


def _runs(codes: np.ndarray[tuple[int], np.dtype[np.uint64]]) -> array[int]:
    """Hashes of each run of four words, in ``BITS`` bits: a polynomial in ``_MIX`` modulo 2**64, then mixed."""
    if codes.size < RUN:
        return array("Q")
    runs = np.correlate(codes, _POWERS)
    runs ^= runs >> _FOLD
    runs *= _MIX
    runs >>= _TOP
    return array("Q", runs.tobytes())


def _words(text: str) -> list[str]:
    """Words, numbers and single signs of scripts without spaces, in small letters, without apostrophes."""
    if not text.isascii():
        text = text.replace("\u2019", "")
        if _SIGNS.search(text) is not None:
            return _WORD.findall(text.replace("'", "").lower())
    low = text.encode("ascii", "replace").translate(_SMALL, b"'")
    sorts = low.translate(_SORTS)
    if b"a0" in sorts or b"0a" in sorts:
        return _PLAIN_WORD.findall(low.decode())
    return low.decode().split()
