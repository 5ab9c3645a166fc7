"""Write a reading list: marked passages with every change shown, for a person to judge.

    python loadtest/canary_reading.py --count 100 > docs/canary-reading.md
    python loadtest/canary_reading.py --texts replies.ndjson --count 100

Without ``--texts`` the passages are made from the templates of the tests.
"""

from __future__ import annotations

import argparse
from difflib import SequenceMatcher
from pathlib import Path

from gateway.canary import mark_reply, new_keyring
from gateway.files import read_ndjson
from tests.canary.helpers import make_rows


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


def main() -> None:
    """Print the list."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=Path, help='NDJSON of {"prompt","reply"}')
    parser.add_argument("--count", type=int, default=100)
    options = parser.parse_args()
    rows = make_rows(4 * options.count, seed=77, sentences=4)
    if options.texts:
        rows = [(row.get("prompt", ""), row["reply"]) for _, row in read_ndjson(options.texts)]
    print("# Marked passages to read\n\nStruck out: what the model wrote. Bold: what the cluster received.\n")
    ring = new_keyring(inventory="", now_s=0.0, secret=bytes(31) + b"r")
    number = 0
    for prompt, reply in rows:
        marked = mark_reply(ring, f"cluster {number % 10}", prompt, reply)
        if marked.marks and number < options.count:
            number += 1
            print(f"{number}. {shown(reply, marked.reply)}\n")


if __name__ == "__main__":
    main()
