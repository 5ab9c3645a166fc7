"""The admin port: liveness, readiness, metrics, and the API that the console and the command line use."""

from __future__ import annotations

from gateway.console.admin import build_admin

__all__ = ["build_admin"]
