"""Snapshots of an analyzer: everything it knows, as bytes that another process goes on from.

The format is NumPy's archive without pickled objects, so that a tampered file can break a restore but not
run code. ``restore`` of ``snapshot`` gives an analyzer that answers every later event as the first would.
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import orjson

from gateway.analysis.analyzer import Analyzer
from gateway.analysis.clusters import Cluster
from gateway.errors import ConfigError
from gateway.types import Level

if TYPE_CHECKING:
    from gateway.analysis.config import AnalysisConfig

FORMAT: Final = 3
_SCALARS: Final = (
    "opened_s", "next_tick_s", "next_full_s", "next_pools_s", "looked_rows", "matches", "adopted",
)  # fmt: skip


def snapshot(analyzer: Analyzer) -> bytes:
    """Everything that ``analyzer`` knows."""
    plain = {
        "format": FORMAT,
        "slots": analyzer.config.phrase_slots_log2,
        "scalars": {name: getattr(analyzer, name) for name in _SCALARS},
        "accounts": analyzer.accounts.dump(),
        "clusters": [_plain(cluster) for cluster in analyzer.found.every.values()],
        "replays": analyzer.replays.dump(),
        "dossiers": analyzer.dossiers.dump(),
    }
    packed = np.frombuffer(orjson.dumps(plain, option=orjson.OPT_NON_STR_KEYS), np.uint8)
    stream = io.BytesIO()
    np.savez_compressed(stream, plain=packed, **analyzer.book.dump())  # type: ignore[arg-type]
    return stream.getvalue()


def restore(data: bytes, config: AnalysisConfig | None = None) -> Analyzer:
    """The analyzer of a snapshot, under ``config``.

    Raises ConfigError where the bytes are no snapshot of this format, or of another size of phrase table.
    """
    analyzer = Analyzer(config)
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            arrays = dict(archive.items())
        plain: dict[str, Any] = orjson.loads(arrays.pop("plain").tobytes())
        version, slots = plain["format"], plain["slots"]
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise ConfigError(f"snapshot: got {len(data)} bytes ({error}), expected one made by this program") from None
    if (version, slots) != (FORMAT, analyzer.config.phrase_slots_log2):
        raise ConfigError(
            f"snapshot: got format {version} with 2**{slots} slots, expected format {FORMAT} with "
            f"2**{analyzer.config.phrase_slots_log2}; start without it to read the events again"
        )
    for name, value in plain["scalars"].items():
        setattr(analyzer, name, value)
    analyzer.accounts.load(plain["accounts"])
    analyzer.replays.load(plain["replays"])
    analyzer.dossiers.load(plain["dossiers"])
    analyzer.book.load(arrays)
    for row in plain["clusters"]:
        _enter(analyzer, row)
    return analyzer


def _plain(cluster: Cluster) -> dict[str, Any]:
    row = asdict(cluster)
    row["level"] = cluster.level.value
    row["members"] = list(cluster.members.items())
    row["bits"] = list(cluster.bits.items())
    return row


def _enter(analyzer: Analyzer, row: dict[str, Any]) -> None:
    bits = {int(code): float(value) for code, value in row.pop("bits")}
    row["members"] = {int(number): float(since) for number, since in row["members"]}
    row["level"] = Level(row["level"])
    row["reasons"], row["evidence"] = tuple(row["reasons"]), tuple(row["evidence"])
    cluster = Cluster(**row)
    analyzer.found.every[cluster.name] = cluster
    changed = cluster.changed
    analyzer.found.sign(cluster, bits)
    cluster.changed = changed
