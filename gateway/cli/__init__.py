"""The command line: one module a verb, imported only when it is called.

Exit codes: 0 done, 1 the answer is no, 2 unusable arguments or files. Errors are one line each on
standard error.
"""

from __future__ import annotations

import sys
from importlib import import_module

import click

import gateway
from gateway.errors import ConfigError, FileErrors, StoreError

VERBS = {
    "serve": "gateway.cli.serve",
    "demo": "gateway.cli.demo",
    "policy": "gateway.cli.policy",
    "replay": "gateway.cli.replay",
    "recordings": "gateway.cli.recordings",
    "analyze": "gateway.cli.analyze",
    "keys": "gateway.cli.keys",
    "clusters": "gateway.cli.clusters",
    "canary": "gateway.cli.canary",
    "report": "gateway.cli.report",
}
"""Verb -> the module whose attribute of the same name is its click command."""


class _Verbs(click.Group):
    """Imports a verb's module when it is asked for: ``distillguard keys`` does not load the analysis."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [verb for verb in VERBS if self.get_command(ctx, verb) is not None]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        try:
            module = import_module(VERBS[cmd_name])
        except ModuleNotFoundError as error:
            if error.name == VERBS[cmd_name]:
                return None
            raise
        command: click.Command = getattr(module, cmd_name)
        return command


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(gateway.__version__, prog_name="distillguard")
def cli() -> None:
    """Rate-limiting and anti-extraction gateway in front of model APIs."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    try:
        code = cli.main(args=arguments, prog_name="distillguard", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        code = 2
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "distillguard"
        click.echo(f"{command}: {error.format_message()} Try '{command} --help'.", err=True)
        code = 2
    except click.ClickException as error:
        click.echo(f"distillguard: {error.format_message()}", err=True)
        code = error.exit_code
    except click.Abort:
        code = 130
    except FileErrors as error:
        click.echo(str(error), err=True)
        code = 2
    except (ConfigError, StoreError) as error:
        click.echo(f"distillguard: {error}", err=True)
        code = 2
    except BrokenPipeError:
        code = 0
    sys.exit(code if isinstance(code, int) else 0)
