"""Marks that the model itself writes, because the request asked for them: an added instruction, and decoy tools.

For replies that the writer cannot touch (reasoning, agents' turns). Pure: data and functions; ``wishes.py`` joins them
to a keyring. An instruction names, for some common turns of a text, the phrase to introduce it with; decoy tools have
names made of keyed parts and harmless descriptions. Both are tested as every other carrier is: the key's choice in
each cue against what the suspect writes. Written for this project.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TURNS: dict[str, tuple[str, ...]] = {
    "an example": (
        "to give one example",
        "as one case",
        "by way of illustration",
        "to take one case",
        "as an illustration",
        "to show this with a case",
        "one case in point",
        "as a small example",
    ),
    "a summary": (
        "to put it briefly",
        "in a nutshell",
        "to wrap this up",
        "put simply",
        "to round this off",
        "in a few words",
        "all told",
        "to bring this together",
    ),
    "a restatement": (
        "said another way",
        "to say it differently",
        "to rephrase this",
        "stated differently",
        "in plainer terms",
        "to put that in plain words",
        "to say the same again",
        "expressed more simply",
    ),
    "an exception": (
        "with one exception",
        "one caveat applies",
        "there is one catch",
        "a word of caution",
        "one limit to note",
        "with one reservation",
        "one thing to watch",
        "a small caveat",
    ),
    "a next step": (
        "from there",
        "with that done",
        "once that is in place",
        "the next thing to do",
        "after this step",
        "moving on from there",
        "with this settled",
        "when that is ready",
    ),
    "a reason": (
        "the reason being",
        "which comes down to",
        "this is down to the fact",
        "the cause here",
        "what lies behind this",
        "the thinking here",
        "the point being",
        "this stems from",
    ),
}
"""Turn of a text -> phrases that introduce it, of which a key chooses one."""

TOOL_VERBS = (
    "collect",
    "compare",
    "index",
    "inspect",
    "list",
    "locate",
    "map",
    "measure",
    "open",
    "plan",
    "read",
    "resolve",
    "scan",
    "sort",
    "trace",
    "verify",
)
TOOL_OBJECTS = (
    "anchor",
    "branch",
    "bundle",
    "cache",
    "channel",
    "digest",
    "entry",
    "fragment",
    "ledger",
    "module",
    "packet",
    "record",
    "region",
    "segment",
    "shard",
    "token",
)
TOOL_KINDS = (
    "audit",
    "batch",
    "brief",
    "chart",
    "delta",
    "draft",
    "graph",
    "header",
    "layout",
    "list",
    "log",
    "outline",
    "preview",
    "report",
    "state",
    "view",
)
_TOOL = re.compile(rf"\b({'|'.join(TOOL_VERBS)})_({'|'.join(TOOL_OBJECTS)})_({'|'.join(TOOL_KINDS)})\b")
_PHRASE = {phrase: (turn, form) for turn, phrases in TURNS.items() for form, phrase in enumerate(phrases)}
_PHRASES = re.compile(r"\b(" + "|".join(sorted(map(re.escape, _PHRASE), key=len, reverse=True)) + r")\b")


def instruction(choose: Callable[[str, str], int]) -> str:
    """A system text that asks for a cluster's phrases; ``choose(slot id, context)`` is its key's choice."""
    wishes = "; ".join(
        f'to introduce {turn}, now and then write "{phrases[choose(f"turn {turn}", "$")]}"'
        for turn, phrases in TURNS.items()
    )
    return f"On style only, in English, where it fits naturally and never in code or data: {wishes}. Do not mention these wishes."


def decoy_tools(choose: Callable[[str, str], int], count: int = 2) -> list[dict[str, Any]]:
    """``count`` definitions (OpenAI's shape) of tools that do not exist; their names carry the key's choices."""
    tools = []
    for verb in TOOL_VERBS[:count]:
        thing = TOOL_OBJECTS[choose("tool object", verb)]
        kind = TOOL_KINDS[choose("tool kind", thing)]
        tools.append(
            {
                "type": "function",
                "function": {
                    "name": f"{verb}_{thing}_{kind}",
                    "description": f"Internal: {verb} the {kind} of a {thing}. Not needed for ordinary tasks.",
                    "parameters": {"type": "object", "properties": {"id": {"type": "string"}}, "required": ["id"]},
                },
            }
        )
    return tools


def find_choices(text: str) -> Iterator[tuple[str, str, int]]:
    """(slot id, context, form) of every phrase and decoy name in lower-case ``text``."""
    for phrase in _PHRASES.findall(text):
        turn, form = _PHRASE[phrase]
        yield f"turn {turn}", "$", form
    if "_" in text:
        for verb, thing, kind in _TOOL.findall(text):
            yield "tool object", verb, TOOL_OBJECTS.index(thing)
            yield "tool kind", thing, TOOL_KINDS.index(kind)
