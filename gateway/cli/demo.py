"""``distillguard demo``: everything embedded; no server, key or download needed."""

from __future__ import annotations

import sys
from pathlib import Path

import click


@click.command(short_help="Everything embedded: a model server, the gateway, customers.")
@click.option("--once", is_flag=True, help="End when the customers are done (some seconds).")
@click.option("--port", default=0, metavar="PORT", help="Data port [default: a free one].")
@click.option("--admin-port", default=0, metavar="PORT", help="Admin port [default: a free one].")
@click.option("--policies", type=click.Path(path_type=Path), help="Policy folder [default: the shipped one].")
def demo(*, once: bool, port: int, admin_port: int, policies: Path | None) -> None:
    """Run the gateway with the shipped policies in front of an embedded model server.

    Some forty accounts send real HTTP requests through it, plain and streamed, in both dialects; then a
    summary tells who was answered, who was refused and why. No server, key or download is needed.
    """
    from gateway.demo.run import run_demo

    sys.exit(run_demo(once=once, port=port, admin_port=admin_port, policies=policies))
