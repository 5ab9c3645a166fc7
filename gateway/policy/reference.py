"""The reference of the language as Markdown tables, made from the models: every key, its unit, its default and why.

``docs/policies.md`` holds each table between ``<!-- keys: MODEL -->`` and ``<!-- end -->``;

    python -m gateway.policy.reference docs/policies.md

writes them anew, and a test tells when that is to be done.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from gateway.policy.language import PolicyFile

_TABLE = re.compile(r"(<!-- keys: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def models() -> dict[str, dict[str, dict[str, Any]]]:
    """The keys of every mapping of the language, by model: what the entries of ``fields.entry`` say."""
    schema = PolicyFile.model_json_schema(by_alias=True)
    found = {PolicyFile.__name__: schema, **schema["$defs"]}
    return {name: model["properties"] for name, model in found.items()}


def table(model: str) -> str:
    """The keys of one mapping, one a row. Raises KeyError for a model that is none."""
    keys = models()[model]
    columns = {"what it is": "x-what", "unit": "x-unit", "default": "x-default", "why": "x-why"}
    if any(value["x-several"] for value in keys.values()):
        columns["where several rules match"] = "x-several"
    if not any(value["x-unit"] for value in keys.values()):
        del columns["unit"]
    rows = [["key", *columns], ["---"] * (len(columns) + 1)]
    rows += [[f"`{name}`", *(_cell(value[column]) for column in columns.values())] for name, value in keys.items()]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _cell(text: str) -> str:
    return text.removesuffix(".").replace("|", "\\|")


def filled(document: str) -> str:
    """``document`` with every table written anew."""
    return _TABLE.sub(lambda found: f"{found[1]}{table(found[2])}{found[3]}", document)


def shown(document: str) -> set[str]:
    """The models whose tables ``document`` has."""
    return {found[2] for found in _TABLE.finditer(document)}


if __name__ == "__main__":
    for path in map(Path, sys.argv[1:]):
        path.write_text(filled(path.read_text(encoding="utf-8")), encoding="utf-8")
