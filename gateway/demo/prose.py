"""Text that a model might write: a small grammar of harmless household advice, made for this project.

Pure and seeded: the same seed gives the same text. It holds what a gateway must leave alone as well as free
prose: lists, code fences, JSON, numbers, links. It leaves out any claim of sense.
"""

from __future__ import annotations

import json
import math
import random
import re
from typing import Any

_TOKEN = re.compile(r" ?\w{1,6}|\s+|[^\w\s]")

_SUBJECTS = (
    ("a small kitchen garden", "the seedlings", "a watering can", "the soil"),
    ("a week of simple suppers", "the vegetables", "a heavy pan", "the stock"),
    ("a long walk in the hills", "the map", "a light rucksack", "the weather"),
    ("a tidy workshop", "the hand tools", "a sturdy bench", "the timber"),
    ("a first script for the command line", "the tests", "a clear name", "the input file"),
    ("a reading group", "the chapters", "a shared notebook", "the questions"),
    ("an old bicycle", "the bearings", "a tin of grease", "the chain"),
    ("a calm morning routine", "the alarm", "a glass of water", "the first hour"),
)
_OPENERS = (
    "Here is how I would approach {0}.",
    "Good question. With {0}, it helps to begin small and to look often.",
    "There are several ways to think about {0}, and most of them are simpler than they seem.",
    "The short answer is that {0} rewards patience more than effort.",
    "Let us take {0} step by step, because the order matters.",
)
_SENTENCES = (
    "Start by setting out {1} where you can see all of them at once.",
    "Many people buy {2} too early, but it is usually better to borrow one first.",
    "Check {3} before you begin, since a large part of the trouble comes from there.",
    "If something goes wrong, stop, go back one step and try the simplest change.",
    "It is often helpful to keep a short list of what you did and what happened next.",
    "You may find that {1} need less attention than you expected.",
    "In general, quick checks made every day show more than a thorough one made every month.",
    "Once {3} is in good order, the remaining work is mostly a matter of habit.",
    "A friend who has done this before can answer in a minute what would otherwise take an evening.",
    "However, do not rush: {2} lasts for many years when it is looked after.",
    "For example, set aside about {number} minutes on two evenings and see how far you get.",
    "Next, choose one thing to improve and leave everything else as it is.",
    "This usually works well, although cold or wet days need a little more care.",
    "Therefore it makes sense to begin with {1} and to end with {3}.",
    "Perhaps the main thing is to make it easy to begin again after a break.",
    "You can also ask whether {0} is really what you want, or only the first idea that came up.",
    "When you are finished, clean {2} and put it back where you will look for it.",
    "Small mistakes are normal here, and nearly all of them can be put right.",
)
_CLOSERS = (
    "I hope this helps; tell me more about your situation and I can be more specific.",
    "If you let me know how much time you have, I can suggest a plan.",
    "In short: begin small, look often, and change one thing at a time.",
    "Overall, a steady pace is more important than the right equipment.",
)
_STEPS = (
    "Collect {1} in one place",
    "Look over {3} and note what is missing",
    "Find or borrow {2}",
    "Work for {number} minutes, then pause",
    "Write down what you would do differently",
)
_CODE = (
    "```python\ndef total(values: list[int]) -> int:\n    return sum(value for value in values if value > {number})\n```",
    "```sh\nsort notes.txt | uniq -c | sort -rn | head -n {number}\n```",
    '```json\n{{"minutes": {number}, "ready": true, "steps": ["collect", "check", "begin"]}}\n```',
)
_LINK = "There is a longer description at https://example.org/guides/{number} if you need one."


def write(seed: int, *, tokens: int | None = None) -> str:
    """About ``tokens`` tokens of prose (``None``: some 90 to 400, by the seed), whole paragraphs; deterministic."""
    rng = random.Random(seed)  # noqa: S311 - the same request must get the same text
    wanted = tokens if tokens is not None else int(60 * math.exp(rng.random() * 1.8))
    subject = rng.choice(_SUBJECTS)
    parts = [_fill(rng, subject, rng.choice(_OPENERS))]
    used: list[str] = []
    while len(tokenise("\n\n".join(parts))) < wanted:
        parts.append(_paragraph(rng, subject, used))
    parts.append(_fill(rng, subject, rng.choice(_CLOSERS)))
    return "\n\n".join(parts)


def write_json(seed: int) -> str:
    """A JSON object, as a model in JSON mode writes it."""
    rng = random.Random(seed)  # noqa: S311 - the same request must get the same text
    subject = rng.choice(_SUBJECTS)
    return json.dumps(
        {
            "topic": subject[0],
            "minutes": rng.randint(5, 90),
            "steps": [_fill(rng, subject, step) for step in _STEPS[:3]],
        }
    )


def arguments_for(schema: Any, seed: int) -> dict[str, Any]:
    """Arguments that fit the ``properties`` of a tool's JSON Schema; required ones always, others mostly."""
    rng = random.Random(seed)  # noqa: S311 - the same request must get the same text
    properties = schema.get("properties") if isinstance(schema, dict) else None
    if not isinstance(properties, dict):
        return {}
    required = schema.get("required") or []
    return {
        name: _value(rng, name, spec)
        for name, spec in properties.items()
        if name in required or rng.random() < 0.7  # noqa: PLR2004 - most optional arguments are given
    }


def tokenise(text: str) -> list[str]:
    """``text`` cut into the pieces that are streamed and counted; joined they are ``text`` again."""
    return _TOKEN.findall(text)


def _paragraph(rng: random.Random, subject: tuple[str, ...], used: list[str]) -> str:
    """A paragraph, a list, or, seldom, a code block or a link."""
    kind = rng.random()
    if kind < 0.12:  # noqa: PLR2004 - shares of the kinds
        return "\n".join(f"{n}. {_fill(rng, subject, step)}" for n, step in enumerate(_STEPS, 1))
    if kind < 0.2:  # noqa: PLR2004 - shares of the kinds
        return "\n".join(f"- {_fill(rng, subject, step)}" for step in rng.sample(_STEPS, 3))
    if kind < 0.27:  # noqa: PLR2004 - shares of the kinds
        return _fill(rng, subject, rng.choice(_CODE))
    sentences = []
    for _ in range(rng.randint(2, 5)):
        fresh = [sentence for sentence in _SENTENCES if sentence not in used[-12:]]
        used.append(rng.choice(fresh))
        sentences.append(_fill(rng, subject, used[-1]))
    if rng.random() < 0.1:  # noqa: PLR2004 - shares of the kinds
        sentences.append(_fill(rng, subject, _LINK))
    return " ".join(sentences)


def _fill(rng: random.Random, subject: tuple[str, ...], template: str) -> str:
    """A template with its slots filled."""
    return template.format(*subject, number=rng.randint(5, 90))


def _value(rng: random.Random, name: str, spec: Any) -> Any:
    """A value of the type that ``spec`` asks for."""
    spec = spec if isinstance(spec, dict) else {}
    if spec.get("enum"):
        return rng.choice(spec["enum"])
    kind = spec.get("type", "string")
    if kind == "object":
        return arguments_for(spec, rng.getrandbits(32))
    if kind == "array":
        return [_value(rng, name, spec.get("items")) for _ in range(2)]
    simple = {"integer": rng.randint(1, 40), "number": rng.randint(10, 400) / 10, "boolean": True, "null": None}
    return simple.get(str(kind), f"{name} {rng.randint(1, 99)}")
