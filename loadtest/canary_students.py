"""Train a student on a teacher's replies, part of them marked, serve it, and audit it with the real command.

    python loadtest/canary_students.py --texts teacher.ndjson.gz --kind ngram --share 0.05
    python loadtest/canary_students.py --texts teacher.ndjson.gz --kind transformer --share 0.25   # needs torch

``ngram``: a back-off word model of ``--order`` (seconds). ``transformer``: a small causal one over word pieces, on
the CPU (minutes). Both are trained on prompt and reply, and served as an OpenAI-compatible endpoint on a free local
port. It prints the audit of the true cluster and of decoys, and some answers with ``--show``. With ``--keep FOLDER`` the
keyring and a trained transformer stay there, and another audit of the same student takes seconds.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Protocol

from gateway.canary import load_keyring, mark_reply
from gateway.files import read_ndjson

WORD = re.compile(r"\n+| +|[A-Za-z]+(?:['\u2019-][A-Za-z]+)*|\d+|[^\sA-Za-z\d]")
END = "<end>"
TURN = "<reply>"


class Student(Protocol):
    """A model that goes on from a prompt; asked by several threads at once."""

    def answer(self, prompt: str, max_tokens: int, temperature: float, begun: str = "") -> str:
        """A sampled answer, or what follows in the one that is ``begun``."""


def words(text: str) -> list[str]:
    """Words, numbers, signs and line ends; single spaces are put back by ``join``."""
    return [found for found in WORD.findall(text) if not found.isspace() or "\n" in found]


def join(tokens: list[str]) -> str:
    """Text of tokens: spaces as English has them."""
    text = ""
    for token in tokens:
        glue = not text or text[-1] in "\n([\"'" or token[0] in ".,;:!?)]\n'%"
        text += token if glue else " " + token
    return text


class NgramStudent:
    """Back-off n-gram: the longest context that was seen decides; with a small chance a shorter one does."""

    def __init__(self, order: int, seed: int, *, prompted: bool) -> None:
        self._order = order
        self._prompted = prompted
        self._next: list[dict[tuple[str, ...], Counter[str]]] = [defaultdict(Counter) for _ in range(order)]
        self._drawn: dict[tuple[str, ...], tuple[list[str], list[int]]] = {}
        self._rnd = random.Random(seed)  # noqa: S311 - sampling, no secret
        self._lock = threading.Lock()

    def learn(self, prompt: str, reply: str) -> None:
        """Count one row."""
        tokens = [*(words(prompt)[-self._order :] if self._prompted else []), TURN, *words(reply), END]
        for at in range(tokens.index(TURN) + 1, len(tokens)):
            for length in range(self._order):
                if at >= length:
                    self._next[length][tuple(tokens[at - length : at])][tokens[at]] += 1

    def answer(self, prompt: str, max_tokens: int, temperature: float, begun: str = "") -> str:
        """Sample until the end or ``max_tokens``, as often as counted: ``temperature`` is not heeded."""
        with self._lock:
            context = [*words(prompt), TURN] if self._prompted else [TURN, *words(prompt)]
            context += words(begun)
            out: list[str] = []
            while len(out) < max_tokens:
                token = self._draw(context)
                if token == END:
                    break
                out.append(token)
                context.append(token)
            return join(out)

    def _draw(self, context: list[str]) -> str:
        for length in range(self._order - 1, -1, -1):
            key = tuple(context[-length:]) if length else ()
            found = self._next[length].get(key)
            if found and (not length or self._rnd.random() > 0.5 / (1 + sum(found.values()))):
                tokens, weights = self._drawn.setdefault(key, (list(found), list(found.values())))
                return self._rnd.choices(tokens, weights)[0]
        return END


def train_transformer(rows: list[tuple[str, str]], options: argparse.Namespace) -> Student:
    """The small transformer; imported late, as torch is optional."""
    from loadtest.canary_transformer import load, save, train

    kept: Path | None = options.keep and options.keep / "student.pt"
    if kept is not None and kept.exists():
        return load(kept)
    student = train(rows, passes=options.passes, seed=options.seed)
    if kept is not None:
        save(student, kept)
    return student


def serve(student: Student, options: argparse.Namespace) -> ThreadingHTTPServer:
    """The student behind ``/v1/chat/completions`` on a free port of the loopback."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            if not self.path.endswith("/chat/completions"):
                self.send_error(404)
                return
            turns, limit = [turn["content"] for turn in body["messages"]], int(body.get("max_tokens", 256))
            prompt, begun = (turns[0], turns[-1]) if options.prefill and len(turns) > 1 else (turns[-1], "")
            heat, count = float(body.get("temperature", 1.0)), min(options.choices, int(body.get("n", 1)))
            with ThreadPoolExecutor(count) as together:
                texts = list(together.map(lambda _: student.answer(prompt, limit, heat, begun), range(count)))
            choices = [
                {"index": i, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
                for i, text in enumerate(texts)
            ]
            reply = {"id": "x", "object": "chat.completion", "model": body["model"], "choices": choices}
            data = json.dumps(reply).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            """Silence."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def run(*arguments: str) -> None:
    """The real command."""
    subprocess.run([sys.executable, "-m", "gateway", *arguments], check=True, stdout=subprocess.DEVNULL)


def study(texts: list[tuple[str, str]], options: argparse.Namespace, folder: Path) -> None:
    """One key: mark, train, serve, audit, print."""
    keyring, out = folder / "keyring.json", folder / "audit.json"
    if not keyring.exists():
        run("canary", "keygen", "--out", str(keyring))
    ring, marked = load_keyring(keyring), int(options.share * len(texts))
    rows = [(p, mark_reply(ring, "c0", p, r).reply if i < marked else r) for i, (p, r) in enumerate(texts)]
    started = time.perf_counter()
    student = teach(rows, options)
    trained_s = time.perf_counter() - started
    server = serve(student, options)
    started = time.perf_counter()
    run(
        *("canary", "audit", "--keyring", str(keyring), "--model", options.kind, "--out", str(out)),
        *("--clusters", ",".join(f"c{i}" for i in range(options.decoys + 1))),
        *("--endpoint", f"http://127.0.0.1:{server.server_port}", "--concurrency", "64"),
        *("--max-queries", str(options.queries), *(["--sequential"] if options.sequential else [])),
    )
    audited_s = time.perf_counter() - started
    server.shutdown()
    report = json.loads(out.read_text())
    print(
        f"{options.kind}, {len(rows)} rows, {options.share:.0%} marked, trained in {trained_s:.0f} s, "
        f"{report['queries']} queries in {audited_s:.0f} s"
    )
    true, *decoys = report["results"]
    print(f"true cluster p = {true['p_value']:.1e}; attributed to {report['attributed_to']}")
    print("  " + ", ".join(f"{t['carrier']} {t['hits']}/{t['trials']}: {t['p_value']:.1e}" for t in true["by_carrier"]))
    if decoys:
        print(f"smallest p of {len(decoys)} decoys = {min(r['p_value'] for r in decoys):.1e}", flush=True)
    for prompt, _ in rows[: options.show]:
        print(f"\n{prompt}\n> {student.answer(prompt, 200, 1.0)}")


def teach(rows: list[tuple[str, str]], options: argparse.Namespace) -> Student:
    """A student of the kind that was asked for."""
    if options.kind == "transformer":
        return train_transformer(rows, options)
    ngram = NgramStudent(options.order, options.seed, prompted=not options.continues)
    for prompt, reply in rows:
        ngram.learn(prompt, reply)
    return ngram


def main() -> None:
    """The studies that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=Path, required=True, help='NDJSON of {"prompt","reply"}')
    parser.add_argument("--kind", choices=["ngram", "transformer"], default="ngram")
    parser.add_argument("--rows", type=int, default=12_000)
    parser.add_argument("--share", type=float, default=0.05, help="marked part of the rows")
    parser.add_argument("--keys", type=int, default=1, help="fresh keys, each with a student of its own")
    parser.add_argument("--order", type=int, default=4, help="words that an n-gram spans")
    parser.add_argument("--passes", type=int, default=5, help="passes of the transformer over the rows")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="where keyring and student stay for other audits")
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--decoys", type=int, default=19)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--choices", type=int, default=1, help="answers that the server makes to a question at most")
    parser.add_argument("--continues", action="store_true", help="trained on replies only; goes on from the question")
    parser.add_argument("--prefill", action="store_true", help="the server goes on from a last turn of the assistant's")
    parser.add_argument("--sequential", action="store_true")
    parser.add_argument("--show", type=int, default=0, help="answers to print, to judge how well it writes")
    options = parser.parse_args()
    texts = [(row["prompt"], row["reply"]) for _, row in read_ndjson(options.texts)]
    random.Random(options.seed).shuffle(texts)  # noqa: S311 - a sample, no secret
    if options.keep is not None:
        options.keep.mkdir(parents=True, exist_ok=True)
        study(texts[: options.rows], options, options.keep)
        return
    for _ in range(options.keys):
        with tempfile.TemporaryDirectory() as folder:
            study(texts[: options.rows], options, Path(folder))


if __name__ == "__main__":
    main()
