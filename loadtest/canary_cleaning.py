"""What cleaning leaves of the marks: a leaked training set, part of it marked, cleaned in every usual way, audited.

    python loadtest/canary_cleaning.py --texts teacher.ndjson.gz --out docs/canary-study.md

Per attack it prints the combined p-value of the true cluster, the carriers that are still alive (p < 0.01) and the
smallest p-value of decoys. The synonym attack replaces words by random words of the same inventory class or of a
small list of everyday synonyms; the paraphrase swaps clauses, contracts, expands and substitutes.
"""

from __future__ import annotations

import argparse
import random
import re
import time
import unicodedata
from collections import Counter
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.canary import mark_reply, new_keyring
from gateway.canary.evidence import Evidence, make_trials, read_texts
from gateway.canary.slots import load_inventory
from gateway.files import read_ndjson

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.canary.keyring import KeyVersion

_SENTENCE = re.compile(r"(?<=[.!?])\s+")
_WORD = re.compile(r"[A-Za-z]+(?:'[A-Za-z]+)?")
_EVERYDAY = """
big large great huge|small little tiny|good fine nice decent|bad poor|help aid assist|show display present|make create
produce|use employ apply|get obtain gain|give provide offer supply|start begin commence|end finish conclude|important
key vital crucial|new fresh modern novel|fast quick rapid|easy simple plain|hard difficult tough|many numerous
several|often frequently regularly|also too besides|but yet however|because since as|clear plain evident|useful helpful
handy|full complete whole|strong solid firm|broad wide general|short brief|careful cautious|idea thought notion|view
opinion perspective|answer reply response|summary overview outline|start beginning|picture image|guide manual|people
persons individuals|need require|think believe consider|keep retain hold|improve enhance better|reduce lower cut|allow
permit enable|ensure guarantee secure|increase raise boost|problem issue trouble|way method manner|part piece section
"""


def fold(text: str, _rnd: random.Random) -> str:
    """NFKC and ASCII."""
    for curly, plain in (
        ("\u2019", "'"),
        ("\u2018", "'"),
        ("\u201c", '"'),
        ("\u201d", '"'),
        ("\u2014", "-"),
        ("\u2013", "-"),
    ):
        text = text.replace(curly, plain)
    return unicodedata.normalize("NFKC", text).encode("ascii", "ignore").decode()


def lower(text: str, _rnd: random.Random) -> str:
    """Lower case."""
    return text.lower()


def strip_markdown(text: str, _rnd: random.Random) -> str:
    """No headings, markers, emphasis, code signs or links; one paragraph."""
    text = re.sub(r"^\s*(?:#+|[-*+]|\d+[.)]|>)\s+", "", text, flags=re.MULTILINE)
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
    return " ".join(re.sub(r"[*_`~|]+", "", text).split())


def shuffle(text: str, rnd: random.Random) -> str:
    """Sentences in random order."""
    sentences = _SENTENCE.split(text)
    rnd.shuffle(sentences)
    return " ".join(sentences)


def truncate(text: str, _rnd: random.Random) -> str:
    """The first 200 words."""
    return " ".join(text.split()[:200])


def shorten(text: str, _rnd: random.Random) -> str:
    """The first 100 words: what a student with a short context is trained on."""
    return " ".join(text.split()[:100])


def behead(text: str, _rnd: random.Random) -> str:
    """Without the last sentence, where there are several: closings are gone."""
    sentences = _SENTENCE.split(text.rstrip())
    return " ".join(sentences[:-1]) if len(sentences) > 1 else text


@cache
def _synonyms() -> dict[str, list[str]]:
    """Word -> words that an attacker might put for it: everyday groups and this inventory's own single words."""
    groups = [group.split() for group in _EVERYDAY.replace("\n", " ").split("|")]
    groups += [[f for f in slot.forms if f.isalpha()] for slot in load_inventory().slots if slot.carrier == "synonym"]
    table: dict[str, list[str]] = {}
    for group in groups:
        for word in group:
            table.setdefault(word, []).extend(other for other in group if other != word)
    return {word: others for word, others in table.items() if others}


def synonyms(text: str, rnd: random.Random, share: float = 0.3) -> str:
    """``share`` of all words: by a synonym where one is known, else (three times in four) by an unrelated word."""
    table = _synonyms()

    def put(found: re.Match[str]) -> str:
        word = found[0]
        if rnd.random() >= share:
            return word
        others = table.get(word.lower())
        if others:
            new = rnd.choice(others)
            return new.capitalize() if word[0].isupper() else new
        return word if len(word) <= _FUNCTION_WORD or rnd.random() < _KEPT else rnd.choice(_FILLERS)

    return _WORD.sub(put, text)


_FUNCTION_WORD = 4
_KEPT = 0.25
_SWAPPED = 0.25
_SHORTENED = 0.5
ALIVE = 0.01
DECOYS = 19
_FILLERS = ["item", "point", "matter", "factor", "aspect", "element", "feature", "detail"]


def paraphrase(text: str, rnd: random.Random) -> str:
    """Light: clauses around a comma change places, contractions are undone or made, a tenth of words replaced."""
    sentences = []
    for sentence in _SENTENCE.split(text):
        clauses = sentence.rstrip(".").split(", ", 1)
        if len(clauses) > 1 and rnd.random() < _SWAPPED and "\n" not in sentence:
            first, rest = clauses
            sentences.append(f"{rest[:1].upper()}{rest[1:]}, {first[:1].lower()}{first[1:]}.")
        else:
            sentences.append(sentence)
    text = " ".join(sentences)
    for long, short in (("do not", "don't"), ("it is", "it's"), ("they are", "they're"), ("cannot", "can't")):
        text = text.replace(long, short) if rnd.random() < _SHORTENED else text.replace(short, long)
    return synonyms(text, rnd, 0.1)


def drop_rare(texts: Sequence[str], at_most: int = 3) -> list[str]:
    """Without sentences that hold a word seen at most ``at_most`` times in the whole set."""
    counts = Counter(word for text in texts for word in set(_WORD.findall(text.lower())))
    return [
        " ".join(s for s in _SENTENCE.split(t) if all(counts[w] > at_most for w in _WORD.findall(s.lower())))
        for t in texts
    ]


def deduplicate(texts: Sequence[str]) -> list[str]:
    """Without sentences that came before, letters compared."""
    seen: set[str] = set()
    out = []
    for text in texts:
        kept = []
        for sentence in _SENTENCE.split(text):
            letters = " ".join(_WORD.findall(sentence.lower()))
            if letters not in seen:
                seen.add(letters)
                kept.append(sentence)
        out.append(" ".join(kept))
    return out


ROW_ATTACKS: dict[str, Callable[[str, random.Random], str]] = {
    "NFKC and ASCII folding": fold,
    "lower case": lower,
    "Markdown stripped": strip_markdown,
    "sentences shuffled": shuffle,
    "cut to 200 words": truncate,
    "cut to 100 words": shorten,
    "last sentences dropped": behead,
    "30 % random synonyms": synonyms,
    "light paraphrase": paraphrase,
}
SET_ATTACKS: dict[str, Callable[[Sequence[str]], list[str]]] = {
    "sentences with rare words dropped": drop_rare,
    "repeated sentences dropped": deduplicate,
}


def attack(name: str, texts: list[str], seed: int) -> list[str]:
    """The set after one attack, or after all in a row."""
    rnd = random.Random(seed)  # noqa: S311 - a study, no secret
    if name == "as it is":
        return texts
    if name == "all in a row":
        for one in (
            "NFKC and ASCII folding",
            "Markdown stripped",
            "sentences shuffled",
            "cut to 200 words",
            "repeated sentences dropped",
            "sentences with rare words dropped",
            "light paraphrase",
            "30 % random synonyms",
            "lower case",
        ):
            texts = attack(one, texts, seed)
        return texts
    if name in SET_ATTACKS:
        return SET_ATTACKS[name](texts)
    return [ROW_ATTACKS[name](text, rnd) for text in texts]


def _leak(rows: list[tuple[str | None, str]], size: int, share: float, seed: int) -> tuple[KeyVersion, list[str]]:
    """A sample of ``size`` rows of which the first ``share`` were marked for cluster ``c0``, and its key's version."""
    ring = new_keyring(inventory="", now_s=0.0, secret=bytes([seed + 1]) * 32)
    sample = random.Random(seed).sample(rows, size)  # noqa: S311 - a sample, no secret
    marked = int(share * size)
    return ring.newest, [mark_reply(ring, "c0", p, r).reply if i < marked else r for i, (p, r) in enumerate(sample)]


def main() -> None:
    """Run the study and print (or write) a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=Path, required=True, help='NDJSON of {"prompt","reply"}')
    parser.add_argument("--rows", type=int, default=4000)
    parser.add_argument("--share", type=float, default=0.1)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    rows = [(row.get("prompt"), row["reply"]) for _, row in read_ndjson(options.texts)]
    lines = [
        f"{options.rows} rows, {options.share:.0%} marked, {options.seeds} samples and keys; the worst p of them.",
        "",
        "| cleaning | p combined | alive in every sample (p < 0.01) | smallest p of decoys |",
        "| --- | --- | --- | --- |",
    ]
    started = time.perf_counter()
    leaks = [_leak(rows, options.rows, options.share, seed) for seed in range(options.seeds)]
    for name in ("as it is", *ROW_ATTACKS, *SET_ATTACKS, "all in a row"):
        worst, decoy, alive = 0.0, 1.0, Counter[str]()
        for seed, (version, texts) in enumerate(leaks):
            evidence = Evidence(make_trials(read_texts(attack(name, texts, seed))))
            p_value, tests = evidence.test(version.cluster_key("c0"))
            worst = max(worst, p_value)
            alive.update(test.carrier for test in tests if test.p_value < ALIVE)
            decoy = min(decoy, *(evidence.test(version.cluster_key(f"d{i}"))[0] for i in range(DECOYS)))
        still = [carrier for carrier, count in alive.items() if count == options.seeds]
        lines.append(f"| {name} | {worst:.1e} | {', '.join(sorted(still)) or '-'} | {decoy:.1e} |")
        print(lines[-1], flush=True)
    lines += ["", f"{time.perf_counter() - started:.0f} s."]
    if options.out:
        options.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
