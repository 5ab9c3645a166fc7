"""What marking does to real replies: words changed, faults of grammar an edit, protected text, structure.

    python loadtest/canary_faults.py --texts replies.ndjson.gz --rows 20000

Counted are faults that the marked text has and the reply had not: *a* before a vowel's sound and *an* before a consonant's, a
word twice in a row, a small letter where a sentence begins, a fixed compound taken apart. Protected are fenced and inline
code, quotations, URLs, addresses, numbers, LaTeX, tables, headings, block quotes and HTML, found here by patterns of
their own; a block structure by markdown-it. It ends with 1 where a bar of the project is missed.
"""

from __future__ import annotations

import argparse
import random
import re
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from markdown_it import MarkdownIt

from gateway.canary import mark_reply, new_keyring
from gateway.files import read_ndjson

if TYPE_CHECKING:
    from gateway.canary import Mark

_A = re.compile(
    r"\ba (?!(?:uni|use|usu|util|u-|ut[eo]|eu|ewe|one|once|ubi|ura|uto)[a-z-]*|u\b|[aeiou][A-Z]|[A-Z]{2,})[aeiou][a-z]",
    re.IGNORECASE,
)
_AN = re.compile(r"\ban (?!(?:hour|honest|hono|heir|herb|historic|[a-z]\b|[A-Z]{2,}|x-))[bcdfghjklmnpqrstvwxyz][a-z]")
_TWICE = re.compile(r"\b(?!had |that |very |really |so |no |ha |bye |blah |many |long |far |more |again )([a-z]+) \1\b")
_SMALL = re.compile(r"[a-z]{3}[.!?] (?!e\.|i\.)[a-z]")
_COMPOUNDS = """
used to it|get used to|be used to it|is used to it|used car|used up|learning curve|show up|stay tuned|stay put|keep up|
cut off|cut down|cut back|larger than life|among other things|more often than not|as often as|every so often|about time|how about|
what about|many thanks|many happy|many times|how many|so far|so long|so much|again and again|time and again|
over and over|over again|at least one|last but not least|due date|due diligence|in order of|in order that|
out of order|first aid|first class|sort of|in kind|of course|as a matter of fact|parking lot|very own|very same|very much|
very first|very well|nothing but|anything but|all but|close to home|near miss|prior art|essential oil|essential oils|
vital signs|critical mass|vast majority|necessary and sufficient|type of data|data type|data types|blood type|blood types|
big data|primary key|primary school|primary care|main key|open source|once in a while|worth while|for a while|
also known as|as well as possible|like minded|in the first place|first of all|each other's|
as far as|make up|see to|learn by heart|learn from|that is|
less than ideal|more or less|no less than|not least|under way|at most|any more than|no more than|before long|
day before|the night before|until now|not until|up until|on the one hand|in front of|in terms of use|
use case|use cases|end user|using up|by using up|reduce to|reduce, reuse|reduced to tears|increase in|an increase in|
while loop|for loop|if then|zero sum|zero tolerance|half of it|half time|dozen eggs|twice as|twice the|quarter of an hour
"""
_STRANGE = re.compile(r"[^\x00-\x7f]")
COMPOUNDS = tuple(part.strip() for part in _COMPOUNDS.replace("\n", "").split("|"))
PROTECTED: dict[str, re.Pattern[str]] = {
    "fenced code": re.compile(r"^ {0,3}(```|~~~).*?(?:^ {0,3}\1|\Z)", re.DOTALL | re.MULTILINE),
    "inline code": re.compile(r"`[^`\n]+`"),
    "quotation": re.compile(
        r'(?<![\w"])"[^"]{2,600}"(?![\w"])|\u201c[^\u201d]{2,600}\u201d|\u00ab[^\u00bb]{2,600}\u00bb'
    ),
    "URL": re.compile(r"https?://\S+|www\.\S+"),
    "address": re.compile(r"\S+@\w+\.\w+"),
    "number": re.compile(r"\d[\d,.:/%]*"),
    "LaTeX": re.compile(r"\$\$.*?\$\$|\\\[.*?\\\]|\\\(.*?\\\)|(?<![\w$])\$[^\s$][^$\n]*\$", re.DOTALL),
    "table row": re.compile(r"^ *\|.*\|.*$|^[^|\n]+\|[^\n]+\n *:?-{2,}.*\|.*(?:\n[^|\n]+\|.*)*$", re.MULTILINE),
    "heading": re.compile(r"^ {0,3}#{1,6} .*$|^[^\n]+\n {0,3}(?:={3,}|-{3,}) *$", re.MULTILINE),
    "block quote": re.compile(r"^ {0,3}>.*$", re.MULTILINE),
    "HTML": re.compile(r"</?[a-zA-Z][^>\n]*>"),
    "bold": re.compile(r"\*\*[^*\n]+\*\*"),
    "JSON": re.compile(r"\{[^{}]*\}", re.DOTALL),
}


def changed_words(marks: list[Mark]) -> int:
    """Words that slots changed and sentences added."""
    total = 0
    for mark in marks:
        if mark.before:
            total += max(mark.before.count(" "), mark.after.count(" ")) + 1 if mark.carrier != "structure" else 0
        else:
            total += mark.after.count(" ") + 1
    return total


def faults(before: str, after: str) -> list[str]:
    """Kinds of fault that ``after`` has and ``before`` had not."""
    found = [
        name
        for name, pattern in (
            ("a before a vowel", _A),
            ("an before a consonant", _AN),
            ("a word twice", _TWICE),
            ("small letter", _SMALL),
        )
        if len(pattern.findall(after)) > len(pattern.findall(before))
    ]
    low_before, low_after = before.lower(), after.lower()
    found += [f"compound: {c}" for c in COMPOUNDS if low_before.count(c) > low_after.count(c)]
    return found


def shape(parser: MarkdownIt, text: str) -> list[tuple[str, int, str, list[str]]]:
    """The syntax tree without its words: kind, depth and tag of every block, kinds of all that stands in it."""
    return [
        (token.type, token.level, token.tag, [child.type for child in token.children or ()])
        for token in parser.parse(text)
    ]


def main() -> int:
    """Mark, count, print; 0 when every bar is kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=Path, required=True, help='NDJSON of {"prompt","reply"}')
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--show", type=int, default=10, help="examples of each fault")
    options = parser.parse_args()
    rows = [(row.get("prompt"), row["reply"]) for _, row in read_ndjson(options.texts)]
    random.Random(options.seed).shuffle(rows)  # noqa: S311 - a sample, no secret
    ring = new_keyring(inventory="", now_s=0.0, secret=bytes([options.seed]) * 32)
    markdown = MarkdownIt("commonmark").enable("table")
    counts, shown = Counter[str](), Counter[str]()
    kinds, spans = Counter[str](), Counter[str]()
    started = time.process_time()
    for number, (prompt, reply) in enumerate(rows[: options.rows]):
        marked = mark_reply(ring, f"c{number % 50}", prompt, reply)
        counts["words"] += len(reply.split())
        if not marked.marks:
            continue
        counts["edits"] += len({(m.at, m.slot.split()[0] if not m.before else m.slot) for m in marked.marks})
        counts["changed"] += changed_words(list(marked.marks))
        found = faults(reply, marked.reply)
        for name, pattern in PROTECTED.items():
            was, now = (
                Counter(m[0] for m in pattern.finditer(reply)),
                Counter(m[0] for m in pattern.finditer(marked.reply)),
            )
            spans[name] += sum(was.values())
            found += [f"protected: {name}: {span[:60]!r}" for span in (was - now)]
        if shape(markdown, reply) != shape(markdown, marked.reply):
            found.append("structure")
        if Counter(_STRANGE.findall(marked.reply)) - Counter(_STRANGE.findall(reply)):
            found.append("not ASCII")
        for fault in found:
            kind = ": ".join(fault.split(": ")[:2]) if fault.startswith("protected") else fault.split(":")[0]
            kinds[kind] += 1
            shown[kind] += 1
            if shown[kind] <= options.show:
                twice = _TWICE.search(marked.reply)
                print(
                    twice and marked.reply[max(0, twice.start() - 30) : twice.end() + 20]
                    if fault == "a word twice"
                    else ""
                )
                print(f"{fault} | {prompt!r:.80} | {[(m.before, m.after) for m in marked.marks if m.before]!r:.200}")
    faulty = sum(count for kind, count in kinds.items() if not kind.startswith(("protected", "structure", "not ASCII")))
    share, rate = counts["changed"] / counts["words"], faulty / max(1, counts["edits"])
    print(f"{min(options.rows, len(rows))} replies, {counts['words']} words, {counts['edits']} edits")
    print(f"words changed {share:.2%} (bar 3 %); faults {faulty}, {rate:.3%} of edits (bar 0.2 %): {dict(kinds)}")
    print(f"protected spans in marked replies: {dict(spans)}")
    print(f"{time.process_time() - started:.0f} s CPU")
    hard = [kind for kind in kinds if kind.startswith(("protected", "structure", "not ASCII"))]
    return int(bool(hard) or share > 0.03 or rate > 0.002)  # noqa: PLR2004 - the bars of the project


if __name__ == "__main__":
    sys.exit(main())
