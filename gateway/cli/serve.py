"""``distillguard serve``: the guard over the built-in reverse proxy."""

from __future__ import annotations

import dataclasses
import sys
from typing import TYPE_CHECKING, Any

import click

from gateway.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable


def settings_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command one option for each field of ``Settings``, so that the two never differ."""
    for spec in reversed(dataclasses.fields(Settings)):
        flag = "--" + spec.name.replace("_", "-")
        default = spec.default
        shown = "" if default in (None, "", ()) else f" [default: {default}]"
        text = f"{spec.metadata['help']}{shown}"
        command = click.option(flag, spec.name, default=None, metavar="VALUE", help=text)(command)
    return command


@click.command(short_help="Run the gateway in front of a model server.")
@settings_options
def serve(**given: Any) -> None:
    """Run the gateway in front of a model server.

    Every option can also be given as DISTILLGUARD_<NAME> in the environment.
    """
    from gateway.server import serve as run

    code = run(Settings.load(**given))
    sys.exit(code)
