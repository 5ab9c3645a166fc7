"""Errors and warnings as a SARIF 2.1.0 log, which code review tools show beside the lines."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from gateway.policy.warn import CODES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.errors import FileError
    from gateway.policy.warn import Warn


def sarif(errors: Sequence[FileError], warns: Sequence[Warn], version: str) -> dict[str, Any]:
    """The log of one check by ``version`` of the tool; columns count characters, as our messages do (3.14.17)."""
    results = [
        _result("policy-error", "error", error.message, error.file, error.line, error.column) for error in errors
    ]
    results += [
        _result(warn.code, "warning", warn.message, warn.place.file, warn.place.line, warn.place.column)
        for warn in warns
    ]
    texts = {"policy-error": "A policy file that cannot be used.", **CODES}
    rules = [
        {"id": code, "shortDescription": {"text": text}, "defaultConfiguration": {"level": _level(code)}}
        for code, text in texts.items()
    ]
    driver = {"name": "distillguard", "version": version, "rules": rules}
    return {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}],
    }


def _level(code: str) -> str:
    return "error" if code == "policy-error" else "warning"


def _result(code: str, level: str, message: str, file: str, line: int, column: int) -> dict[str, Any]:
    region = {"startLine": line, "startColumn": column}
    where = {"physicalLocation": {"artifactLocation": {"uri": _uri(file)}, "region": region}}
    return {"ruleId": code, "level": level, "message": {"text": message}, "locations": [where]}


def _uri(file: str) -> str:
    """A file as a URI (3.4.3): relative where it is, so that a reviewer's checkout finds it."""
    path = Path(file)
    return path.as_uri() if path.is_absolute() else quote(path.as_posix())
