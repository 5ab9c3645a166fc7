"""A cluster's request-side marks: the instruction that asks for its phrases, and its decoy tools.

Owns the way from a keyring's version and a cluster to what ``request_side.py`` describes. The gateway adds the
instruction to requests where a policy names the carrier ``behaviour``. It never adds decoy tools: a model that calls
one would leave the caller with a turn that nobody can answer. They are for operators who hand out the tool lists
themselves, as the makers of an agent do.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from gateway.canary.request_side import decoy_tools, instruction
from gateway.canary.slots import load_inventory
from gateway.canary.writer import keyed_form

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.canary.keyring import KeyVersion


@lru_cache(maxsize=4096)
def wish(version: KeyVersion, cluster: str) -> str:
    """The system text that asks a model for ``cluster``'s phrases; the same for every request."""
    return instruction(_chooser(version, cluster))


def decoys(version: KeyVersion, cluster: str, count: int) -> list[dict[str, Any]]:
    """``count`` (1 to 16) definitions of tools that do not exist, in OpenAI's shape, as ``cluster``'s key names them."""
    return decoy_tools(_chooser(version, cluster), count)


def _chooser(version: KeyVersion, cluster: str) -> Callable[[str, str], int]:
    key, slots = version.cluster_key(cluster), load_inventory().by_id
    return lambda slot_id, context: keyed_form(key, slots[slot_id], context)
