"""A flame graph of the gateway under plain requests: where the time goes, as a small SVG.

    python -m loadtest.flame OUT.svg [--seconds 12] [--redis]

Samples with ``py-spy`` (in the development environment; it needs the right to trace a process of its own user) while wrk sends the
requests of ``bench``. A box is a function, as wide as its share of the samples; below it stands what it called.
Functions under half a percent are left out, so that the picture can be read and kept.
"""

from __future__ import annotations

import argparse
import html
import subprocess
import sys
import tempfile
import threading
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from loadtest.load import write_requests, wrk
from loadtest.scenarios import PROMPT_CHARS
from loadtest.servers import gateway, redis_server, static_upstream

WIDTH, ROW, CHAR = 1200, 16, 6.2
SMALLEST = 0.005
_RATE = 200


@dataclass(slots=True)
class Box:
    """A function in its place in the calls."""

    name: str
    samples: int = 0
    below: dict[str, Box] = field(default_factory=dict)


def read_folded(text: str) -> Box:
    """The tree of ``a;b;c COUNT`` lines, as py-spy writes them with ``--format raw``."""
    root = Box("all")
    for line in text.splitlines():
        stack, _, count = line.rpartition(" ")
        root.samples += int(count)
        box = root
        for name in stack.split(";"):
            box = box.below.setdefault(name, Box(name))
            box.samples += int(count)
    return root


def draw(root: Box) -> str:
    """The tree as SVG, the root on top; empty where nothing was sampled."""
    boxes: list[str] = []
    deepest = _draw(root, root, 0.0, 0, boxes)
    height = (deepest + 1) * ROW
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" font-family="monospace" font-size="10">'
    return "\n".join([head, *boxes, "</svg>", ""])


def _draw(root: Box, box: Box, left: float, depth: int, boxes: list[str]) -> int:
    """Draw a box and those below it; the lowest row that was used."""
    share = box.samples / max(1, root.samples)
    if share < SMALLEST:
        return depth - 1
    width = share * WIDTH
    shown = box.name[: max(0, int(width / CHAR) - 1)]
    shade = f"hsl({sum(map(ord, _room(box.name))) % 60},70%,70%)"
    boxes.append(
        f'<g><title>{html.escape(box.name)} {share:.1%}</title><rect x="{left:.1f}" y="{depth * ROW}" width="{width:.1f}" '
        f'height="{ROW - 1}" fill="{shade}"/><text x="{left + 2:.1f}" y="{depth * ROW + 11}">{html.escape(shown)}</text></g>'
    )
    deepest = depth
    for child in sorted(box.below.values(), key=lambda each: -each.samples):
        deepest = max(deepest, _draw(root, child, left, depth + 1, boxes))
        left += child.samples / max(1, root.samples) * WIDTH
    return deepest


def _room(name: str) -> str:
    """The file of ``function (file:line)``: boxes of one file have one colour."""
    return name.partition("(")[2].partition(":")[0]


def main() -> None:
    """Sample and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seconds", type=int, default=12)
    parser.add_argument("--redis", action="store_true", help="budgets and events in Redis")
    given = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="distillguard-flame-")))
        upstream = stack.enter_context(static_upstream(folder))
        redis = stack.enter_context(redis_server(folder)) if given.redis else None
        server = stack.enter_context(gateway(folder, upstream, redis))
        requests = write_requests(folder / "plain", count=4_000, chars=PROMPT_CHARS)
        wrk(server, requests, seconds=2)
        load = threading.Thread(target=wrk, args=(server, requests), kwargs={"seconds": given.seconds + 2})
        load.start()
        raw = folder / "folded"
        command = [str(Path(sys.executable).with_name("py-spy")), "record", "--format", "raw", "--nonblocking"]
        command += ["--rate", str(_RATE), "--duration", str(given.seconds), "--function", "--output", str(raw)]
        subprocess.run([*command, "--pid", str(server.process.pid)], check=True)
        load.join()
        given.out.write_text(draw(read_folded(raw.read_text())))


if __name__ == "__main__":
    main()
