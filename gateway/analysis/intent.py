"""What a request wants besides its answer: written-out reasoning, judgements, probes, cleaning.

Found in word patterns of general English; other languages show nothing, which only makes the family silent. They
never decide alone: an ordinary customer may want any of these.

Each word has flags (``flags_of``, which callers keep), so that a text is a string of bytes in which "a word of saying,
at most six words on, a word of thinking" is a regular expression of three signs: no pattern looks at letters.
"""

from __future__ import annotations

import re
from typing import Final

KINDS: Final = ("elicit", "judge", "probe", "clean")
_ELICIT, _JUDGE, _PROBE, _CLEAN = (1 << place for place in range(len(KINDS)))

_SAY, _THOUGHT, _RATE, _SCALE, _RUBRIC, _TIDY, _CORPUS, _FIXED = (1 << place for place in range(8))
_STEMS: Final = ("writ", "show", "list", "explain", "lay", "spell", "record", "narrat", "walk", "describ", "give",
                 "stat", "detail", "verbalis", "verbaliz", "print", "output", "reveal", "expos", "includ", "present",
                 "translat", "document")  # fmt: skip
"""Of words of saying: any ending will do."""
_WORDS: Final = {
    _SAY: "go goes going",
    _THOUGHT: "reasoning step steps thinking thought thoughts working workings work derivation logic inference "
    "inferences considerations deliberation rationale",
    _RATE: "rate score grade grading judge rank evaluate assess",
    _SCALE: "1 0 one zero rubric criteria criterion scale response responses answer answers better best points",
    _RUBRIC: "rubric",
    _TIDY: "clean rewrite deduplicate filter normalise normalize reformat convert",
    _CORPUS: "dataset training sample samples corpus jsonl pair pairs conversation conversations",
    _FIXED: "by chain how ignore prompt hidden verbatim which",
}
"""Whole words. ``_FIXED`` are those of the expressions below that are seldom."""
_FLAGS: Final = {
    word: sum(flag for flag, words in _WORDS.items() if word in words.split())
    for words in _WORDS.values()
    for word in words.split()
}
_STEPWISE: Final = ("step by step", "chain of thought")
_ARRIVAL: Final = ("how you get", "how you got", "how you arrive")
_CHOICE: Final = ("which response is better", "which answer is better")
_PROBES: Final = ("system prompt", "hidden instructions", "verbatim above")
_IGNORE: Final = re.compile("ignore (?:all|the|your|any) (?:previous|prior|above)")
_TAGS: Final = re.compile(r"<(?:think|thinking|reasoning|scratchpad)>", re.IGNORECASE)


def _near(first: int, most: int, second: int) -> re.Pattern[bytes]:
    """A word with the flag ``first``, and at most ``most`` others before one with ``second``."""
    one, two = (b"".join(re.escape(bytes((byte,))) for byte in range(256) if byte & flag) for flag in (first, second))
    return re.compile(b"[%b][^%b]{0,%d}+[%b]" % (one, two, most, two))


_PATTERNS: Final = (
    (_SAY | _THOUGHT, _ELICIT, _near(_SAY, 6, _THOUGHT)),
    (_RATE | _SCALE, _JUDGE, _near(_RATE, 10, _SCALE)),
    (_TIDY | _CORPUS, _CLEAN, _near(_TIDY, 8, _CORPUS)),
)


def flags_of(word: str) -> int:
    """What a word in small letters, without apostrophes, may be part of; one byte."""
    return _FLAGS.get(word, 0) | (_SAY if word.startswith(_STEMS) else 0)


def wanted(words: list[str], flags: bytes) -> int:
    """A bit for each of ``KINDS`` that shows in the words of a text; ``flags`` are theirs, one byte a word."""
    shown = 0
    for byte in set(flags):
        shown |= byte
    found = _JUDGE if shown & _RUBRIC else 0
    for needed, bit, pattern in _PATTERNS:
        if shown & needed == needed and pattern.search(flags):
            found |= bit
    if shown & _FIXED:
        found |= _expressions(" ".join(words), shown)
    return found


def _expressions(text: str, shown: int) -> int:
    """Bits of the fixed expressions."""
    found = 0
    if _holds(text, _PROBES) or ("ignore " in text and _IGNORE.search(text)):
        found |= _PROBE
    if _holds(text, _STEPWISE) or (shown & _SAY and "how you " in text and _holds(text, _ARRIVAL)):
        found |= _ELICIT
    if "is better" in text and _holds(text, _CHOICE):
        found |= _JUDGE
    return found


def _holds(text: str, expressions: tuple[str, ...]) -> bool:
    for words in expressions:  # noqa: SIM110 - any() would make a generator a call
        if words in text:
            return True
    return False


def tags(text: str) -> int:
    """The bit of written-out reasoning where a text holds a tag for it, such as ``<think>``."""
    return _ELICIT if "<" in text and _TAGS.search(text) else 0
