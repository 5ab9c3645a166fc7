"""Calibrate the audit's p-values on unmarked texts: many suspects, many keys, nobody marked.

    python loadtest/canary_null.py --texts models.ndjson.gz --by model --audits 18000

Every audit is one suspect (the rows with one value of ``--by``, or samples of ``--rows`` rows) against one fresh key. For each
carrier and for the combination it prints the share of p-values at most 0.1, 0.01 and 0.001, and the smallest.
Valid means: no share is above its level by more than four standard errors, and none is below 1e-6.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import sys
import time
from collections import defaultdict
from pathlib import Path

from gateway.canary.evidence import Collector, Evidence, make_trials
from gateway.files import read_ndjson

LEVELS = (0.1, 0.01, 0.001)
FLOOR = 1e-6


def read_suspects(path: Path, field: str | None, rows: int, seed: int) -> dict[str, list[str]]:
    """Texts by suspect: by a field's value, or random samples where there is no field."""
    groups: dict[str, list[str]] = defaultdict(list)
    for _, row in read_ndjson(path):
        groups[str(row.get(field)) if field else ""].append(row["reply"])
    if field:
        return dict(groups)
    texts = groups[""]
    rnd = random.Random(seed)  # noqa: S311 - samples, no secret
    rnd.shuffle(texts)
    return {f"sample {i}": texts[i * rows : (i + 1) * rows] for i in range(max(1, len(texts) // rows))}


def main() -> int:
    """Run the calibration; 0 when the p-values are valid."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=Path, required=True, help='NDJSON of {"reply"}; .gz and .zst too')
    parser.add_argument("--by", help="field that names the suspect; without it random samples are suspects")
    parser.add_argument("--rows", type=int, default=1000, help="rows of a sample (without --by)")
    parser.add_argument("--audits", type=int, default=18_000)
    parser.add_argument("--seed", default="1")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    started = time.perf_counter()
    suspects = read_suspects(options.texts, options.by, options.rows, 1)
    values: dict[str, list[float]] = defaultdict(list)
    each = -(-options.audits // len(suspects))
    for name, texts in suspects.items():
        collector = Collector()
        for text in texts:
            collector.read(text)
        evidence = Evidence(make_trials(collector))
        for index in range(each):
            key = hashlib.sha256(f"{options.seed}\n{name}\n{index}".encode()).digest()
            p_value, carriers = evidence.test(key)
            values["combined"].append(p_value)
            for test in carriers:
                values[test.carrier].append(test.p_value)
    ok, report = True, {}
    for name, found in sorted(values.items()):
        shares = {str(level): sum(p <= level for p in found) / len(found) for level in LEVELS}
        bad = [level for level in LEVELS if shares[str(level)] > level + 4 * (level * (1 - level) / len(found)) ** 0.5]
        ok = ok and not bad and min(found) >= FLOOR
        report[name] = {"audits": len(found), **shares, "smallest": min(found), "invalid_at": bad}
    body = {
        "suspects": len(suspects),
        "seconds": round(time.perf_counter() - started, 1),
        "valid": ok,
        "carriers": report,
    }
    if options.json:
        print(json.dumps(body, indent=2))
    else:
        print(f"{len(suspects)} suspects, {body['seconds']} s, {'valid' if ok else 'NOT VALID'}")
        print(f"{'carrier':<14}{'audits':>8}{'<=0.1':>10}{'<=0.01':>10}{'<=0.001':>10}{'smallest':>12}")
        for name, row in report.items():
            print(
                f"{name:<14}{row['audits']:>8}"
                + "".join(f"{row[str(x)]:>10.5f}" for x in LEVELS)
                + f"{row['smallest']:>12.2e}"
            )
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
