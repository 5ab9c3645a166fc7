"""Documents that cannot go stale: what they name exists."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import click
import pytest

from gateway.cli import cli
from gateway.settings import PREFIX, Settings

ROOT = Path(__file__).parent.parent
DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
FIELDS = {spec.name for spec in dataclasses.fields(Settings)}
NOT_SETTINGS = {"NAME", "REDIS_URL"}
MAKE_TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def names(documents: list[Path]) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in documents]


@pytest.mark.parametrize("name", names(DOCUMENTS))
def test_links_lead_somewhere(name: str) -> None:
    path = ROOT / name
    targets = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", path.read_text())
    missing = [target for target in targets if "://" not in target and not (path.parent / target).exists()]
    assert missing == []


@pytest.mark.parametrize("name", names(DOCUMENTS))
def test_settings_that_are_named_exist(name: str) -> None:
    named = set(re.findall(PREFIX + r"([A-Z_]+[A-Z])", (ROOT / name).read_text()))
    assert {found for found in named if found.lower() not in FIELDS} <= NOT_SETTINGS


@pytest.mark.parametrize("name", names(DOCUMENTS))
def test_commands_that_are_shown_exist_with_their_options(name: str) -> None:
    text = (ROOT / name).read_text().replace("\\\n", " ")
    for line in re.findall(r"(?:^\$ |`)(?:[A-Z_]+=\S+ )*(?:\S*/)?distillguard ([^`\n]+)", text, re.MULTILINE):
        command: click.Command = cli
        words = line.split("#")[0].split()
        while words and isinstance(command, click.Group) and re.fullmatch(r"[a-z-]+", words[0]):
            found = command.get_command(click.Context(command), words[0])
            assert found is not None, f"{name}: no command 'distillguard {line}'"
            command, words = found, words[1:]
        known = {option for parameter in command.params for option in parameter.opts}
        shown = {word.split("=")[0] for word in words if word.startswith("--")}
        assert shown <= known | {"--help"}, f"{name}: distillguard {line}"


@pytest.mark.parametrize("name", names(DOCUMENTS))
def test_make_targets_that_are_shown_exist(name: str) -> None:
    shown = set(re.findall(r"(?:^\$ |`)make ([a-z-]+)", (ROOT / name).read_text(), re.MULTILINE))
    assert shown <= MAKE_TARGETS


def test_every_setting_is_an_option_of_serve_with_a_help_text() -> None:
    serve = cli.get_command(click.Context(cli), "serve")
    assert serve is not None
    options = {parameter.name: parameter for parameter in serve.params}
    assert options.keys() >= FIELDS
    assert all(
        spec.metadata["help"].endswith(".") or ")" in spec.metadata["help"] for spec in dataclasses.fields(Settings)
    )


def test_the_changelog_begins_with_what_is_not_released() -> None:
    first = re.search(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert first is not None
    assert first[1] == "[Unreleased]"


def test_decisions_are_numbered_without_gaps_and_name_rejected_options() -> None:
    files = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    assert [int(path.name[:4]) for path in files] == list(range(1, len(files) + 1))
    for path in files:
        text = path.read_text()
        assert "## Decision" in text, path.name
        assert "## Rejected" in text or "## Options" in text, f"{path.name}: which options were rejected?"
