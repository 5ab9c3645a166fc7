"""How much of the marks a kept transformer student knows: the audit's p-value if its probabilities were seen.

    python loadtest/canary_students.py --texts teacher.ndjson.gz --kind transformer --share 0.05 --prefill --keep FOLDER
    python loadtest/canary_ceiling.py --kept FOLDER

An audit sees sampled words. This study sees, behind every word of our sentences, the probability of every form that may
follow, as a server with ``logprobs`` would show it: one begun answer each, ``--times`` times with other words before. It
reads the key-blind scores from these and tests the true key exactly, so it tells what is lost between what the
student learned and what ``--max-queries`` answers show. Needs ``torch``.
"""

from __future__ import annotations

import argparse
import math
import random
from pathlib import Path
from typing import TYPE_CHECKING

import torch  # type: ignore[import-not-found, unused-ignore]

from gateway.canary import load_keyring
from gateway.canary.evidence import UNIT_NATS, Evidence, Trial
from gateway.canary.plan import begin
from gateway.canary.prompts import Way
from gateway.canary.slots import FRAMES, load_inventory
from loadtest.canary_transformer import TransformerStudent, load, question_ids

if TYPE_CHECKING:
    from gateway.canary.sentences import Link

SHARE = 0.3
"""Part of a learned context's weight that is taken for the key's form."""
_MAX_SCORE = 48
_LEAST = 0.002


def chances(student: TransformerStudent, text: str, begun: str, forms: tuple[str, ...]) -> list[float]:
    """The probability of each of ``forms`` as what follows ``begun`` in the answer to ``text``."""
    pieces = student.pieces
    before = [*question_ids(pieces, text), *pieces.encode(begun)]
    skip = len(pieces.encode(begun))
    rows = [before + pieces.encode(f"{begun} {form}")[skip:] for form in forms]
    longest = max(map(len, rows))
    ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
    with torch.no_grad():
        hidden = student.model(ids[:, :-1], torch.arange(longest - 1)[None, :])[:, len(before) - 1 :]
        logs = torch.log_softmax(student.model.scores(hidden), -1).gather(2, ids[:, len(before) :, None])[..., 0]
    return [math.exp(sum(log[: len(row) - len(before)].tolist())) for log, row in zip(logs, rows, strict=True)]


def seen(student: TransformerStudent, times: int, rnd: random.Random) -> dict[tuple[str, str], list[float]]:
    """(slot, cue) -> the weight of each form, 1 in all, for every cue but what stands before a sentence."""
    weights = {}
    for frame in FRAMES:
        for depth, link in enumerate(frame.links[1:]):
            for cue in frame.links[depth].forms:
                total = [0.0] * len(link.forms)
                for _ in range(times):
                    lead = " ".join([*(rnd.choice(before.forms) for before in frame.links[:depth]), cue])
                    question = begin("", Way.BEGUN, lead[0].upper() + lead[1:], rnd)
                    found = chances(student, question.text, question.begun, link.forms)
                    total = [a + b for a, b in zip(total, found, strict=True)]
                weights[link.slot, cue] = [value / sum(total) for value in total]
    return weights


def trials(link: Link, weights: dict[tuple[str, str], list[float]]) -> list[Trial]:
    """One trial a cue of ``link``: how much heavier a form is here than behind the other cues."""
    rows = {cue: row for (slot, cue), row in weights.items() if slot == link.slot}
    found = []
    for cue, row in rows.items():
        others = [other for name, other in rows.items() if name != cue]
        scores = {}
        for form, weight in enumerate(row):
            own = max(_LEAST, sum(other[form] for other in others) / len(others))
            gain = math.log1p(SHARE / (1 - SHARE) * weight / own)
            scores[form] = min(_MAX_SCORE, round(gain / UNIT_NATS))
        found.append(Trial(slot=load_inventory().by_id[link.slot], context=cue, scores=scores))
    return found


def main() -> None:
    """Print the true cluster's p-value and those of decoys."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kept", type=Path, required=True, help="what canary_students.py --keep left")
    parser.add_argument("--times", type=int, default=6, help="begun answers a cue")
    parser.add_argument("--decoys", type=int, default=19)
    options = parser.parse_args()
    torch.set_num_threads(1)  # small batches: threads would wait for each other
    key = load_keyring(options.kept / "keyring.json").newest.cluster_key
    weights = seen(load(options.kept / "student.pt"), options.times, random.Random(1))  # noqa: S311 - words, no secret
    evidence = Evidence([trial for frame in FRAMES for link in frame.links[1:] for trial in trials(link, weights)])
    p_value, by_carrier = evidence.test(key("c0"))
    print(f"{len(weights)} cues, {len(weights) * options.times} begun answers: true cluster p = {p_value:.1e}")
    print("  " + ", ".join(f"{t.carrier} {t.hits}/{t.trials}: {t.p_value:.1e}" for t in by_carrier))
    decoys = [evidence.test(key(f"c{i + 1}"))[0] for i in range(options.decoys)]
    print(f"smallest p of {len(decoys)} decoys = {min(decoys, default=1.0):.1e}")


if __name__ == "__main__":
    main()
