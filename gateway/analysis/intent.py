"""What a request wants besides its answer: written-out reasoning, judgements, probes, cleaning.

Scores are small whole numbers from word patterns in general English; other languages score 0, which only
makes the family silent. They never decide alone: an ordinary customer may want any of these.
"""

from __future__ import annotations

import re
from typing import Final

KINDS: Final = ("elicit", "judge", "probe", "clean")
_WINDOW_CHARS: Final = 400
_SAY = r"(?:writ|show|list|explain|lay|spell|record|narrat|go|walk|describ|give|stat|detail|verbali[sz]|print|output|reveal|expos|includ|present|translat|document)\w*"
_THOUGHT = (
    r"(?:reasoning|steps?|thinking|thoughts?|workings?|work|derivation|logic|inferences?|considerations"
    r"|chain of thought|deliberation|line of thought|rationale|working memory|how you (?:get|got|arrive))"
)
_PATTERNS: Final = (
    re.compile(
        rf"\b{_SAY}\b(?:\W+\w+){{0,6}}?\W+{_THOUGHT}\b|step[- ]by[- ]step|chain[- ]of[- ]thought"
        r"|<(?:think|thinking|reasoning|scratchpad)>"
    ),
    re.compile(
        r"\b(?:rate|score|grade|grading|judge|rank|evaluate|assess)\b(?:\W+\w+){0,10}?\W+"
        r"(?:1|0|one|zero|rubric|criteria|criterion|scale|responses?|answers?|better|best|points)\b"
        r"|\brubric\b|which (?:response|answer) is better"
    ),
    re.compile(
        r"ignore (?:all|the|your|any) (?:previous|prior|above)|system prompt|hidden instructions|verbatim above"
    ),
    re.compile(
        r"\b(?:clean|rewrite|deduplicate|filter|normali[sz]e|reformat|convert)\b(?:\W+\w+){0,8}?\W+"
        r"(?:dataset|training|samples?|corpus|jsonl|pairs?|conversations?)\b"
    ),
)

_NEEDLES: Final = (
    ("reasoning", "step", "think", "thought", "work", "derivation", "logic", "inference", "consideration",
     "deliberation", "rationale", "how you", "scratchpad"),
    ("rate", "score", "grad", "judge", "rank", "evaluate", "assess", "rubric", "which response", "which answer"),
    ("ignore", "system prompt", "hidden instructions", "verbatim above"),
    ("clean", "rewrite", "deduplicate", "filter", "normali", "reformat", "convert"),
)  # fmt: skip
"""What a match of each pattern must hold. Looking for these first is twenty times faster than the patterns."""
_LOOKS: Final = tuple((1 << index, *pair) for index, pair in enumerate(zip(_NEEDLES, _PATTERNS, strict=True)))


def bits(text: str) -> int:
    """A bit for each of ``KINDS`` that shows in the two ends of a user's text."""
    low = (text if len(text) <= 2 * _WINDOW_CHARS else text[:_WINDOW_CHARS] + "\n" + text[-_WINDOW_CHARS:]).lower()
    found = 0
    for bit, needles, pattern in _LOOKS:
        for needle in needles:
            if needle in low:
                found |= bit if pattern.search(low) else 0
                break
    return found
