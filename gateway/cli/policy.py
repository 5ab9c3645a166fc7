"""``distillguard policy``: check, test, explain and compare policy files before they meet customers.

Everything is read with the server's own loader and decided with its own code.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import click

import gateway
from gateway.budgets import self_test
from gateway.cli.policy_explain import explain
from gateway.cli.policy_replay import print_replayed, replayed
from gateway.errors import ConfigError, FileError, FileErrors
from gateway.policy.difference import difference
from gateway.policy.language import json_schema
from gateway.policy.lint import warnings_of
from gateway.policy.load import check_policies, load_policies, shipped_policies
from gateway.policy.reference import models, table
from gateway.policy.rules import Place
from gateway.policy.sarif import sarif
from gateway.policy.trial import find_tests, run_trials, trial_schema

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.policy import PolicySet
    from gateway.policy.trial import TrialReport
    from gateway.policy.warn import Warn

_NO = 1
_PATH = click.argument("path", type=click.Path(path_type=Path), required=False)
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group()
def policy() -> None:
    """Check, test, explain and compare policy files; PATH is a folder or a file (default: the shipped ones)."""


@policy.command()
@_PATH
@_JSON
@click.option("--sarif", "as_sarif", is_flag=True, help="Print SARIF 2.1.0, for code review.")
@click.option("--strict", is_flag=True, help="Warnings fail the check too.")
@click.option("--env", "with_env", is_flag=True, help="Look ${NAME} up in the environment, as the server does.")
def check(path: Path | None, *, as_json: bool, as_sarif: bool, strict: bool, with_env: bool) -> None:
    """Every mistake and doubt in policy files. Exit code 0: they can be used; 1: they cannot."""
    if path is not None and not path.exists():
        raise ConfigError(f"{path}: got nothing there, expected a policy file or a folder of them")
    errors: Sequence[FileError] = ()
    warns: list[Warn] = []
    policies = None
    try:
        policies = load_policies(path) if with_env else check_policies(path)
        warns, errors = warnings_of(policies), _cannot_refuse(policies)
    except FileErrors as error:
        errors = error.errors
    if as_sarif:
        _print_json(sarif(errors, warns, gateway.__version__))
    elif as_json:
        _print_json(
            {
                "ok": not errors,
                "hash": policies.hash if policies is not None else None,
                "errors": [dataclasses.asdict(error) for error in errors],
                "warnings": [{"code": warn.code, "message": warn.message, **_place(warn)} for warn in warns],
            }
        )
    else:
        for line in (*errors, *warns):
            click.echo(str(line), err=True)
        if policies is not None:
            counts = f"{len(policies.parts.plans)} plans, {len(policies.budgets)} budgets, {len(policies.parts.rules)}"
            click.echo(f"{path or shipped_policies()}: {counts} rules, {len(warns)} warnings, hash {policies.hash}")
    sys.exit(_NO if errors or (strict and warns) else 0)


def _cannot_refuse(policies: PolicySet) -> list[FileError]:
    """What the server's self-test at its start says of the budgets; it would not start."""
    places, nowhere = policies.parts.places, Place(line=1, column=1)
    return [
        FileError(file=place.file, line=place.line, column=place.column, message=f"got {problem}")
        for budget in policies.budgets
        for place in (places.get(budget.name, nowhere),)
        for problem in self_test([budget])
    ]


def _place(warn: Warn) -> dict[str, Any]:
    return {"file": warn.place.file, "line": warn.place.line, "column": warn.place.column}


@policy.command()
@_PATH
@click.option("--tests", "tests", type=click.Path(path_type=Path), multiple=True, help="Test files (default: beside).")
@click.option("--junit", type=click.Path(path_type=Path), help="Write JUnit XML here.")
@click.option("--strict", is_flag=True, help="A rule that no test reached fails too.")
@_JSON
def test(path: Path | None, tests: tuple[Path, ...], junit: Path | None, *, strict: bool, as_json: bool) -> None:
    """Run the policy tests beside the policies. Exit code 1: a test failed."""
    folder = path or shipped_policies()
    report = run_trials(check_policies(folder), list(tests) or find_tests(folder))
    if junit is not None:
        _write_junit(report, junit)
    if as_json:
        _print_json(
            {
                "ok": not (report.failed or (strict and report.unreached)),
                "cases": [dataclasses.asdict(result) for result in report.results],
                "unreached": report.unreached,
            }
        )
    else:
        _print_report(report)
    sys.exit(_NO if report.failed or (strict and report.unreached) else 0)


def _print_report(report: TrialReport) -> None:
    for result in report.failed:
        for failure in result.failures:
            click.echo(f"{result.place}: {result.test} ({result.case}): {failure}", err=True)
    for name in report.unreached:
        click.echo(f"no test reached {name}")
    click.echo(f"{len(report.results) - len(report.failed)} passed, {len(report.failed)} failed")


def _write_junit(report: TrialReport, path: Path) -> None:
    """JUnit XML as CI systems read it: one case for each subject, request and standing."""
    counts = {"tests": str(len(report.results)), "failures": str(len(report.failed))}
    suite = ET.Element("testsuite", {"name": "distillguard policy", **counts})
    for result in report.results:
        case = ET.SubElement(suite, "testcase", {"name": f"{result.test}: {result.case}", "classname": result.place})
        if result.failures:
            failed = ET.SubElement(case, "failure", {"message": result.failures[0]})
            failed.text = "\n".join(result.failures)
    ET.ElementTree(suite).write(path, encoding="utf-8", xml_declaration=True)


policy.add_command(explain)


@policy.command()
@click.argument("old", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path))
@click.option("--replay", "requests", type=click.Path(path_type=Path), help="A recorded log, or a folder of them.")
@click.option("--accounts", type=click.Path(path_type=Path), help="Its account directory (default: beside the log).")
@_JSON
def diff(old: Path, new: Path, requests: Path | None, accounts: Path | None, *, as_json: bool) -> None:
    """What NEW means that OLD did not. Exit code 0: the same; 1: they differ; 2: one cannot be used.

    With --replay also which decisions on recorded traffic change, by plan, organisation and account.
    """
    before, after = check_policies(old), check_policies(new)
    changes = difference(before, after)
    told = replayed(before, after, requests, accounts) if requests is not None else None
    if as_json:
        found = {"same": not changes, "changes": [dataclasses.asdict(change) for change in changes]}
        _print_json({**found, **({"replay": told} if told is not None else {})})
    else:
        for change in changes:
            click.echo(str(change))
        if not changes:
            click.echo("no difference in meaning")
        if told is not None:
            print_replayed(told)
    sys.exit(_NO if changes else 0)


@policy.command()
@click.option("--tests", is_flag=True, help="Of files of policy tests.")
@click.option("--reference", is_flag=True, help="Every key with its unit, its default and why, as Markdown tables.")
def schema(*, tests: bool, reference: bool) -> None:
    """The JSON Schema of policy files, for editors."""
    if reference:
        click.echo("\n".join(f"## {name}\n\n{table(name)}" for name in models()), nl=False)
    else:
        _print_json(trial_schema() if tests else json_schema())


def _print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2))
