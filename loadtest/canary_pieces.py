"""Word pieces of the transformer student: frequent words whole, the others in frequent parts, so nothing is lost.

A word that follows a space and the same word without one are the same piece; spaces are put back as English has
them. Parts after a word's first begin with ``+``.
"""

from __future__ import annotations

import re
from collections import Counter

SPECIAL = ("<pad>", "<reply>", "<end>")
_WORD = re.compile(r"\n+|[A-Za-z]+(?:['\u2019-][A-Za-z]+)*|\d|[^\sA-Za-z\d]")
_LONGEST_PART = 5
_PARTS_OF = 8
"""One in so many pieces is a part of words."""


class Pieces:
    """Pieces by their ``names``, in the order of their ids."""

    def __init__(self, names: list[str]) -> None:
        self.names = names
        self._ids = {name: index for index, name in enumerate(names)}
        self._known: dict[str, list[int]] = {}

    @classmethod
    def learned(cls, counts: Counter[str], size: int) -> Pieces:
        """``size`` pieces, from how often words were seen. Raises ValueError where ``size`` is too small."""
        signs = sorted({sign for word in counts for sign in word})
        wanted = size - len(SPECIAL) - 2 * len(signs)
        if wanted < _PARTS_OF:
            raise ValueError(f"size: got {size}, expected more than {size - wanted} for {len(signs)} different signs")
        whole = [word for word, _ in counts.most_common() if len(word) > 1][: wanted - wanted // _PARTS_OF]
        kept = set(whole)
        parts: Counter[str] = Counter()
        for word, count in counts.items():
            if word not in kept:
                for start in range(1, len(word)):
                    for end in range(start + 2, min(len(word), start + _LONGEST_PART) + 1):
                        parts[word[start:end]] += count
        frequent = [part for part, _ in parts.most_common(wanted - len(whole))]
        return cls([*SPECIAL, *signs, *(f"+{s}" for s in signs), *whole, *(f"+{p}" for p in frequent)])

    @staticmethod
    def words(text: str) -> list[str]:
        """Words, digits, signs and line ends."""
        return _WORD.findall(text)

    def encode(self, text: str) -> list[int]:
        """Ids of a text; signs that were never seen are left out."""
        ids = []
        for word in self.words(text):
            found = self._known.get(word)
            if found is None:
                found = self._known[word] = self._split(word)
            ids += found
        return ids

    def _split(self, word: str) -> list[int]:
        """The longest known beginning, then the longest known parts."""
        if word in self._ids:
            return [self._ids[word]]
        ids, at = [], 0
        while at < len(word):
            head = "+" if at else ""
            for end in range(len(word), at, -1):
                found = self._ids.get(head + word[at:end])
                if found is not None:
                    ids.append(found)
                    break
            at = end
        return ids

    def decode(self, ids: list[int]) -> str:
        """Text of ids."""
        text = ""
        for name in (self.names[i] for i in ids if i >= len(SPECIAL)):
            if len(name) > 1 and name[0] == "+":
                text += name[1:]
            elif not text or text[-1] in "\n([" or name[0] in ".,;:!?)]\n'%" or (name.isdigit() and text[-1].isdigit()):
                text += name
            else:
                text += " " + name
        return text
