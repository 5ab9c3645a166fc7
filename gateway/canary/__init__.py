"""Canaries: marks in what suspects take, and the proof later that a model learned from it.

Read in this order: ``slots.py`` (where several forms say the same), ``reader.py`` (finding those places, left to
right), ``writer.py`` (the keyed choice), ``evidence.py`` and ``exact.py`` (the test), ``audit.py``. What others
need stands here.
"""

from __future__ import annotations

from gateway.canary.keyring import Keyring, load_keyring, new_keyring, rotate, save_keyring
from gateway.canary.live import Marker, ReplyMarks
from gateway.canary.marking import Marked, MarkRecord, make_writer, mark_reply
from gateway.canary.writer import Mark, MarkWriter
from gateway.types import CARRIERS

__all__ = [
    "CARRIERS",
    "Keyring",
    "Mark",
    "MarkRecord",
    "MarkWriter",
    "Marked",
    "Marker",
    "ReplyMarks",
    "load_keyring",
    "make_writer",
    "mark_reply",
    "new_keyring",
    "rotate",
    "save_keyring",
]
