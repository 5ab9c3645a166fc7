"""Finding, reading and joining policy files.

A folder means its ``*.yaml`` and ``*.yml`` files in the order of their names (not hidden ones, not
``*_test.yaml``, no subfolders except by ``include``); a file means itself and what it includes. Nothing
outside the folder is ever read. Every mistake of every file is reported at once.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.errors import ConfigError, FileError, FileErrors
from gateway.policy.compile import compile_policies
from gateway.policy.joiner import ReadFile
from gateway.policy.language import PolicyFile
from gateway.policy.mend import Mended, not_following
from gateway.policy.messages import validate
from gateway.policy.source import MAX_BYTES, Document, read_yaml

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.policy.decide import PolicySet

MAX_FILES = 256
_ENDINGS = frozenset((".yaml", ".yml"))


def shipped_policies() -> Path:
    """The folder of the shipped policies: inside an installed wheel, else in the checkout."""
    package = Path(__file__).resolve().parent.parent
    inside = package / "_shipped_policies"
    return inside if inside.is_dir() else package.parent / "policies"


def load_policies(path: Path | None = None, *, environ: Mapping[str, str] | None = None) -> PolicySet:
    """The policy set in ``path`` (``None``: the shipped one).

    ``environ`` is where ``${NAME}`` is looked up (default: the process's environment). Raises ConfigError
    if there is nothing to read, FileErrors with every mistake of every file otherwise.
    """
    return compile_policies(read_files(path), os.environ if environ is None else environ)


def check_policies(path: Path | None = None) -> PolicySet:
    """As ``load_policies``, but ``${NAME}`` is not looked up: for checking away from the server."""
    return compile_policies(read_files(path), None)


def read_files(path: Path | None = None) -> list[ReadFile]:
    """The files of the set, each valid by itself. Raises as ``load_policies``."""
    path = shipped_policies() if path is None else path
    return _Reader(path).read()


def try_policies(path: Path) -> tuple[PolicySet | ConfigError, tuple[Path, ...]]:
    """The set in ``path``, or why there is none; and the files that it depends on, as they are named."""
    reader = _Reader(path)
    try:
        return compile_policies(reader.read(), os.environ), tuple(reader.touched)
    except ConfigError as error:
        return error, tuple(reader.touched)


def policy_paths(path: Path) -> list[Path]:
    """The files that ``path`` names directly. Raises ConfigError where there are none."""
    if not path.is_dir():
        if not path.is_file():
            raise ConfigError(f"{path}: got nothing there, expected a policy file or a folder of them")
        return [path]
    found = [
        entry
        for entry in sorted(path.iterdir())
        if entry.suffix in _ENDINGS and entry.is_file() and not entry.name.startswith(".") and not is_test(entry)
    ]
    if not found:
        raise ConfigError(f"{path}: got a folder without *.yaml files, expected at least one")
    return found


def is_test(path: Path) -> bool:
    """Whether a file holds policy tests rather than policies."""
    return path.stem.endswith("_test") or path.parent.name == "tests"


class _Reader:
    """Reads files once each, following includes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.root = (path if path.is_dir() else path.parent).resolve()
        self.files: dict[Path, ReadFile | None] = {}
        self.errors: list[FileError] = []
        self.mended: list[tuple[Mended, PolicyFile]] = []
        self.touched: list[Path] = []

    def read(self) -> list[ReadFile]:
        for path in policy_paths(self.path):
            self._file(path, ())
        found = [file for file in self.files.values() if file is not None]
        if self.errors:
            raise FileErrors(self._all_errors(found))
        return found

    def _all_errors(self, found: list[ReadFile]) -> list[FileError]:
        """The mistakes of each file, and what spans keys in what is left of them; in the order of files and lines."""
        errors = dict.fromkeys(self.errors)
        whole = [*found, *(ReadFile(one.document, model) for one, model in self.mended if one.document is not None)]
        try:
            if whole:
                compile_policies(whole, None)
        except FileErrors as more:
            lost = len(whole) < len(self.files)
            told = not_following(more.errors, [one for one, _ in self.mended], names_lost=lost)
            errors |= dict.fromkeys(told)
        order = {name: number for number, name in enumerate(dict.fromkeys(error.file for error in errors))}
        return sorted(errors, key=lambda error: (order[error.file], error.line, error.column))

    def _file(self, path: Path, above: tuple[Path, ...]) -> None:
        """Read one file and what it includes; each file once."""
        self.touched.append(path)
        real = path.resolve()
        if real in self.files:
            return
        self.files[real] = None
        if len(self.files) > MAX_FILES:
            raise ConfigError(f"{path}: got more than {MAX_FILES} policy files, expected fewer")
        try:
            document = read_document(path)
        except FileErrors as errors:
            self.errors += errors.errors
            return
        self.errors += document.errors
        model = self._model(document)
        if model is None:
            return
        self.files[real] = ReadFile(document, model)
        for index, name in enumerate(model.include or ()):
            self._include(document, index, path.parent / name, (*above, real))

    def _include(self, document: Document, index: int, path: Path, above: tuple[Path, ...]) -> None:
        where = ("include", index)
        real = path.resolve()
        if not real.is_relative_to(self.root):
            self.errors.append(document.error(where, f"got {path.name!r} outside the folder, expected one inside it"))
        elif real in above:
            self.errors.append(document.error(where, f"got {path.name!r}, which includes this file, expected no cycle"))
        elif not path.is_file():
            self.touched.append(path)
            self.errors.append(document.error(where, f"got {path.name!r}, which is not there, expected a policy file"))
        else:
            self._file(path, above)

    def _model(self, document: Document) -> PolicyFile | None:
        if not isinstance(document.data, dict):
            kind = "an empty file" if document.data is None else "no mapping"
            self.errors.append(document.error((), f"got {kind}, expected a mapping that starts with 'version: 1'"))
            return None
        found = validate(document, PolicyFile)
        if isinstance(found, PolicyFile):
            return found
        self.errors += found
        mended = Mended(document, PolicyFile)
        if mended.document is not None:
            self.mended.append((mended, PolicyFile.model_validate(mended.document.data)))
        return None


def read_document(path: Path) -> Document:
    """The values of one file. Raises FileErrors; a file that cannot be read is an error at its start."""
    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES + 1)
    except OSError as error:
        said = f"got {error.strerror or error}, expected a file that can be read"
        raise FileErrors([FileError(file=str(path), line=1, column=1, message=said)]) from None
    return read_yaml(text, str(path))
