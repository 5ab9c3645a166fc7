"""What the models of the language found wrong, said in one form with a place.

``got X, expected Y``, and the nearest valid key where a key is not known. The keys that are valid at a place
come from the JSON Schema, so that messages cannot disagree with what editors complete.
"""

from __future__ import annotations

import difflib
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError

from gateway.errors import FileError
from gateway.policy.source import Document

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic_core import ErrorDetails

    from gateway.policy.source import Path


Model = TypeVar("Model", bound=BaseModel)

_KINDS = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "a text: put it in quotes",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "finite_number": "a finite number",
    "literal_error": "{expected}",
    "too_short": "at least {min_length} item: delete the key if it is not needed",
    "string_too_short": "at least {min_length} character: delete the key if it is not needed",
    "string_too_long": "at most {max_length} characters",
}
_BOUNDS = {
    "greater_than_equal": ("ge", "at least"),
    "greater_than": ("gt", "more than"),
    "less_than_equal": ("le", "at most"),
    "less_than": ("lt", "less than"),
}
_MAX_SHOWN = 60


def validate(document: Document, model: type[Model]) -> Model | list[FileError]:
    """The document as ``model``, or every mistake in it."""
    try:
        return model.model_validate(document.data)
    except ValidationError as error:
        return [_explain(document, found, model) for found in error.errors()]


def wrong_paths(document: Document, model: type[BaseModel]) -> list[Path]:
    """Where the mistakes of a document stand; of a key that is missing, what lacks it."""
    try:
        model.model_validate(document.data)
    except ValidationError as error:
        return [_standing(document, found) for found in error.errors()]
    return []


def _standing(document: Document, error: ErrorDetails) -> Path:
    """The nearest place that the file has."""
    path = tuple(part for part in error["loc"] if part != "[key]")
    if error["type"] == "missing":
        path = path[:-1]
    while path and path not in document.values_at:
        path = path[:-1]
    return path


def validate_value(value: Any, model: type[Model]) -> Model | list[str]:
    """A value that stands in no file as ``model``, or every mistake in it: ``request.model: got ..., expected ...``."""
    found = validate(_Value(file="", data=value), model)
    return [error.message for error in found] if isinstance(found, list) else found


class _Value(Document):
    """Names the path where a file has a line and column."""

    def error(self, path: tuple[str | int, ...], message: str, *, at_key: bool = False) -> FileError:
        where = ".".join(map(str, path[:-1] if at_key else path))
        return FileError(file="", line=1, column=1, message=f"{where}: {message}" if where else message)


def _explain(document: Document, error: ErrorDetails, model: type[BaseModel]) -> FileError:
    path = tuple(part for part in error["loc"] if part != "[key]")
    context = error.get("ctx") or {}
    kind = error["type"]
    if kind == "policy":
        said, items = str(context["said"]), error["input"]
        if isinstance(items, list):  # the parser of a list says which item; point at it
            path += tuple(index for index, item in enumerate(items) if said.startswith(f"got {show(item)},"))[:1]
        return document.error(path, said, at_key="[key]" in error["loc"])
    if kind == "extra_forbidden":
        return document.error(path, unknown_key(str(path[-1]), keys_at(path[:-1], model)), at_key=True)
    if kind == "missing":
        return document.error(path[:-1], f"got no {path[-1]!r}, expected one: it is required here")
    return document.error(path, f"got {show(error['input'])}, expected {_expected(kind, context)}")


def _expected(kind: str, context: dict[str, Any]) -> str:
    """The second half of a message, by the kind of mistake."""
    if kind in _BOUNDS:
        name, words = _BOUNDS[kind]
        return f"{words} {context[name]:g}"
    words = _KINDS.get(kind, kind.replace("_", " "))
    return words.format(**context).replace("True", "true")


def show(value: Any) -> str:
    """A value as a message shows it: short, and never a whole file."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (dict, list)):
        kind = "mapping" if isinstance(value, dict) else "list"
        return f"a {kind}" if value else f"an empty {kind}"
    text = repr(value)
    return text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 3] + "..."


def unknown_key(key: str, valid: Sequence[str]) -> str:
    """The message for a key that is not known where it stands."""
    near = difflib.get_close_matches(key, valid, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(sorted(valid)) or 'none'}"
    return f"got the unknown key {key!r}, {hint}"


def unknown_name(kind: str, name: str, valid: Sequence[str]) -> str:
    """The message for a plan, upstream, ... that is nowhere defined."""
    near = difflib.get_close_matches(name, valid, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(sorted(valid)) or 'none'}"
    return f"got the {kind} {name!r}, which is not defined, {hint}"


@cache
def _schema(model: type[BaseModel]) -> dict[str, Any]:
    return model.model_json_schema(by_alias=True)


def keys_at(path: Sequence[str | int], model: type[BaseModel]) -> list[str]:
    """The keys that ``model`` knows at ``path`` (none where the keys are names)."""
    at = whole = _schema(model)
    for part in path:
        at = _resolve(at, whole)
        if isinstance(part, int):
            at = at.get("items", {})
        elif part in at.get("properties", {}):
            at = at["properties"][part]
        else:
            named = [*at.get("patternProperties", {}).values(), at.get("additionalProperties")]
            at = next((schema for schema in named if isinstance(schema, dict)), {})
    return list(_resolve(at, whole).get("properties", {}))


def _resolve(schema: dict[str, Any], whole: dict[str, Any]) -> dict[str, Any]:
    """Follow references and optional types to the mapping behind them."""
    while True:
        if "$ref" in schema:
            schema = whole["$defs"][schema["$ref"].rsplit("/", 1)[-1]]
        elif "anyOf" in schema:
            options = [option for option in schema["anyOf"] if option.get("type") != "null"]
            schema = options[0] if options else {}
        else:
            return schema
