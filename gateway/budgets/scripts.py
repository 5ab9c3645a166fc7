"""The Lua scripts as they are sent: one file a script, with the shared preludes in front."""

from __future__ import annotations

import hashlib
from importlib import resources

PRELUDES = {
    "settle": ("windows", "records"),
    "renew": ("windows", "records"),
    "reap": ("windows", "records"),
    "move": ("windows", "moves"),
    "spent": ("windows", "moves"),
    "spend": ("windows", "moves"),
}
NAMES = ("reserve", "settle", "renew", "reap", "peek", "move", "spent", "spend", "workers")


class Script:
    """One script: its text and the SHA-1 that names it in the server's cache."""

    __slots__ = ("name", "sha", "text")

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.text = text
        self.sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


class Scripts:
    """All scripts of the store."""

    def __init__(self, texts: dict[str, str]) -> None:
        self.reserve = Script("reserve", texts["reserve"])
        self.settle = Script("settle", texts["settle"])
        self.renew = Script("renew", texts["renew"])
        self.reap = Script("reap", texts["reap"])
        self.peek = Script("peek", texts["peek"])
        self.move = Script("move", texts["move"])
        self.spent = Script("spent", texts["spent"])
        self.spend = Script("spend", texts["spend"])
        self.workers = Script("workers", texts["workers"])


def script_texts() -> dict[str, str]:
    """Name -> whole text, read from the package."""
    folder = resources.files("gateway.budgets") / "lua"

    def text(name: str) -> str:
        parts = (*PRELUDES.get(name, ("windows",)), name)
        return "\n".join((folder / f"{part}.lua").read_text(encoding="utf-8") for part in parts)

    return {name: text(name) for name in NAMES}
