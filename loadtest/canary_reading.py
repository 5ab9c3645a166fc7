"""Write a reading list: marked passages with every change shown, for a person to judge.

    python loadtest/canary_reading.py --page docs/canaries.md       # puts it in place of the list at the page's end
    python loadtest/canary_reading.py --texts replies.ndjson --count 100

Without ``--texts`` the passages are those of ``passages.ndjson``, which were written for this project; each is shown as
several clusters receive it.
"""

from __future__ import annotations

import argparse
from difflib import SequenceMatcher
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.canary import mark_reply, new_keyring
from gateway.files import read_ndjson, write_atomically

if TYPE_CHECKING:
    from collections.abc import Iterator

PASSAGES = Path(__file__).with_name("passages.ndjson")
HEADING = "## Marked passages to read\n"
CLUSTERS = 20
"""Rounds over the texts at most: a text that carries no mark in any of them is left out."""


def shown(before: str, after: str) -> str:
    """The marked text: what went is struck out, what came is bold."""
    a, b = before.split(), after.split()
    out: list[str] = []
    for kind, i, j, k, m in SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        if kind == "equal":
            out += a[i:j]
            continue
        out += [f"~~{' '.join(a[i:j])}~~"] if i < j else []
        out += [f"**{' '.join(b[k:m])}**"] if k < m else []
    return " ".join(out)


def passages(rows: list[tuple[str, str]], count: int) -> Iterator[str]:
    """Marked passages, round by round: in each another cluster asked."""
    ring = new_keyring(inventory="", now_s=0.0, secret=bytes(31) + b"r")
    number = 0
    for cluster in range(CLUSTERS):
        for prompt, reply in rows:
            marked = mark_reply(ring, f"cluster {cluster}", prompt, reply)
            if marked.marks and number < count:
                number += 1
                yield f"{number}. *{prompt}* {shown(reply, marked.reply)}"


def main() -> None:
    """Print the list, or put it into a page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=Path, default=PASSAGES, help='NDJSON of {"prompt","reply"}')
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument(
        "--page", type=Path, help="a Markdown page whose part with this heading is replaced, to its end"
    )
    options = parser.parse_args()
    rows = [(row.get("prompt", ""), row["reply"]) for _, row in read_ndjson(options.texts)]
    head = f"{HEADING}\nStruck out: what the model wrote. Bold: what a cluster received instead, or besides.\n\n"
    text = head + "\n\n".join(passages(rows, options.count)) + "\n"
    if options.page is None:
        print(text, end="")
    else:
        before = options.page.read_text().split(HEADING)[0]
        write_atomically(options.page, (before + text).encode(), mode=0o644)


if __name__ == "__main__":
    main()
