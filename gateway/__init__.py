"""distillguard: a rate-limiting and anti-extraction gateway in front of model APIs.

Read ``pipeline.py`` first: it is the path of a request from top to bottom. The rooms of the house stand
below in ``LAYERS``; a module imports only from rooms above its own, and a test holds it to that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.app import build_app
    from gateway.guard import Guard
    from gateway.settings import Settings

__version__ = "0.1.0"
__all__ = ["Guard", "Settings", "__version__", "build_app"]

LAYERS: tuple[tuple[str, ...], ...] = (
    ("types",),
    ("errors", "clock"),
    ("settings", "files", "redis_url", "tasks"),
    ("telemetry", "asgi"),
    ("dialects",),
    ("identity",),
    ("policy",),
    ("budgets",),
    ("upstream",),
    ("canary",),
    ("events",),
    ("analysis",),
    ("standing",),
    ("exchange",),
    ("pipeline", "observer", "afterwards"),
    ("worker",),
    ("recording",),
    ("rooms",),
    ("forwarding", "refusing"),
    ("fields",),
    ("call",),
    ("guard",),
    ("proxy",),
    ("app",),
    ("replay",),
    ("console", "reports"),
    ("cycle",),
    ("protocol", "workers"),
    ("server",),
    ("demo",),
    ("cli",),
    ("__main__",),
)
"""Data flows downward; rooms of one line do not import each other, and ``analysis`` not ``policy``."""


def __getattr__(name: str) -> object:
    """Import the public names only when asked for, so that importing the package opens nothing."""
    if name == "Guard":
        from gateway.guard import Guard

        return Guard
    if name == "Settings":
        from gateway.settings import Settings

        return Settings
    if name == "build_app":
        from gateway.app import build_app

        return build_app
    raise AttributeError(f"module 'gateway' has no attribute {name!r}")
