"""The part of the Common Expression Language that conditions may use, and a checker of its types.

CEL as such finds a wrong type only when it gets there: ``plan == 'free' || model`` fails for some requests
and not for others. This checker reads the whole expression once, at load, and lets in only what gives true
or false for every request:

    expr   = or [ "?" or ":" expr ]
    or     = and { "||" and }            and = rel { "&&" rel }
    rel    = unary [ ( "==" "!=" "<" "<=" ">" ">=" "in" ) unary ]
    unary  = { "!" } member | "-" NUMBER
    member = primary { "." ( "startsWith" "endsWith" "contains" "size" ) "(" [ expr ] ")" }
    primary = NAME | TEXT | NUMBER | "true" | "false" | "(" expr ")" | "[" [ expr { "," expr } ] "]"
            | "size" "(" expr ")"

No arithmetic (it can overflow), no indexing (it can miss), no macros (they nest), no regular expressions.
"""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

Type: TypeAlias = str
"""``text``, ``number``, ``truth``, or ``list of`` one of them; ``list of anything`` is the empty list."""

_TOKEN = re.compile(
    r"\s*(?:(?P<text>'[^'\\\n]*'|\"[^\"\\\n]*\")|(?P<number>\d+(?![\w.]))|(?P<name>[A-Za-z_][A-Za-z0-9_]*)"
    r"|(?P<sign>==|!=|<=|>=|&&|\|\||[<>!?:.,()\[\]-]))"
)
_MAX_DEPTH = 32
_MAX_DIGITS = 15
_RELATIONS = frozenset(("==", "!=", "<", "<=", ">", ">="))
_METHODS = frozenset(("startsWith", "endsWith", "contains"))
_SHOWN: Final[Mapping[Type, str]] = {"text": "a text", "number": "a whole number", "truth": "true or false"}
ALLOWED: Final = "comparisons, &&, ||, !, ?:, in, size, startsWith, endsWith and contains"


def check_types(source: str, variables: Mapping[str, Type]) -> None:
    """Raise ValueError (what was got, what was expected) unless ``source`` gives true or false always."""
    checker = _Checker(source, variables)
    kind = checker.expression()
    if checker.word:
        checker.unexpected("the end")
    if kind != "truth":
        raise ValueError(f"got a condition that gives {_show(kind)}, expected one that gives true or false")


class _Checker:
    """Reads left to right with one token of look-ahead; every method returns the type of what it read."""

    def __init__(self, source: str, variables: Mapping[str, Type]) -> None:
        self.source = source
        self.variables = variables
        self.at = 0
        self.depth = 0
        self.kind = self.word = ""
        self.next()

    def next(self) -> str:
        """Move on; returns the token that was current."""
        before = self.word
        found = _TOKEN.match(self.source, self.at)
        if found is None:
            rest = self.source[self.at :].strip()
            if rest:
                raise ValueError(f"got {rest[:20]!r} in a condition, expected only {ALLOWED}")
            self.kind = self.word = ""
            return before
        self.at = found.end()
        self.kind = found.lastgroup or ""
        self.word = found[self.kind]
        return before

    def take(self, token: str) -> None:
        """Move past ``token``, which must be next."""
        if self.word != token or self.kind == "text":
            self.unexpected(repr(token))
        self.next()

    def unexpected(self, expected: str) -> None:
        """Raise ValueError for the current token."""
        shown = repr(self.word) if self.word else "the end"
        raise ValueError(f"got {shown} in a condition, expected {expected} there; known are {ALLOWED}")

    def expression(self) -> Type:
        """A whole expression, at most ``_MAX_DEPTH`` deep."""
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise ValueError(f"got a condition nested more than {_MAX_DEPTH} deep, expected a flatter one")
        kind = self.logic("||")
        if self.word == "?":
            self.next()
            _same("the condition before '?'", kind, "truth")
            first = self.logic("||")
            self.take(":")
            kind = self.expression()
            _same("the part after ':'", kind, first)
        self.depth -= 1
        return kind

    def logic(self, sign: str) -> Type:
        """``||`` over ``&&`` over comparisons."""
        kind = self.logic("&&") if sign == "||" else self.relation()
        while self.word == sign:
            self.next()
            _same(f"the left of {sign}", kind, "truth")
            kind = self.logic("&&") if sign == "||" else self.relation()
            _same(f"the right of {sign}", kind, "truth")
        return kind

    def relation(self) -> Type:
        left = self.unary()
        if self.kind == "name" and self.word == "in":
            self.next()
            right = self.unary()
            if right not in {f"list of {left}", "list of anything"}:
                raise ValueError(f"got {_show(left)} in {_show(right)}, expected a list of such values after 'in'")
            return "truth"
        if self.kind != "sign" or self.word not in _RELATIONS:
            return left
        sign = self.next()
        right = self.unary()
        if left != right or left.startswith("list"):
            raise ValueError(f"got {_show(left)} {sign} {_show(right)}, expected two values of one kind")
        if left == "truth" and sign not in {"==", "!="}:
            raise ValueError(f"got {_show(left)} {sign} {_show(right)}, expected numbers or texts around {sign}")
        return "truth"

    def unary(self) -> Type:
        if self.word == "-":
            self.next()
            if self.kind != "number":
                self.unexpected("a number")
            return self.member()
        negated = False
        while self.word == "!":
            self.next()
            negated = True
        kind = self.member()
        if negated:
            _same("what follows '!'", kind, "truth")
        return kind

    def member(self) -> Type:
        kind = self.primary()
        while self.word == "." and self.kind == "sign":
            self.next()
            name = self.next()
            self.take("(")
            if name == "size":
                _sized(kind)
                kind = "number"
            elif name in _METHODS:
                _same(f"what stands before .{name}", kind, "text")
                _same(f"what stands in .{name}(...)", self.expression(), "text")
                kind = "truth"
            else:
                raise ValueError(f"got '.{name}' in a condition, expected only {ALLOWED}")
            self.take(")")
        return kind

    def primary(self) -> Type:
        kind, word = self.kind, self.word
        if kind in {"text", "number"}:
            if kind == "number" and len(word) > _MAX_DIGITS:
                raise ValueError(f"got the number {word[:20]}, expected at most {_MAX_DIGITS} digits")
            self.next()
            return kind
        if kind == "name":
            self.next()
            return self.named(word)
        if word == "(":
            self.next()
            inner = self.expression()
            self.take(")")
            return inner
        if word == "[":
            return self.listed()
        self.unexpected("a value")
        return ""

    def named(self, name: str) -> Type:
        """A variable, ``true``, ``false`` or ``size(...)``."""
        if name in {"true", "false"}:
            return "truth"
        if self.word == "(":
            if name != "size":
                raise ValueError(f"got '{name}(' in a condition, expected only {ALLOWED}")
            self.next()
            _sized(self.expression())
            self.take(")")
            return "number"
        if name not in self.variables:
            near = difflib.get_close_matches(name, self.variables, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(sorted(self.variables))}"
            raise ValueError(f"got the unknown name {name!r} in a condition, {hint}")
        return self.variables[name]

    def listed(self) -> Type:
        """A list of values of one kind."""
        self.take("[")
        if self.word == "]":
            self.next()
            return "list of anything"
        first = self.expression()
        if first.startswith("list"):
            raise ValueError("got a list in a list, expected texts or numbers in it")
        while self.word == ",":
            self.next()
            _same("a value of the list", self.expression(), first)
        self.take("]")
        return f"list of {first}"


def _show(kind: Type) -> str:
    return _SHOWN.get(kind, f"a {kind}")


def _same(what: str, got: Type, expected: Type) -> None:
    if got != expected:
        raise ValueError(f"got {_show(got)} as {what}, expected {_show(expected)}")


def _sized(kind: Type) -> None:
    if kind != "text" and not kind.startswith("list"):
        raise ValueError(f"got the size of {_show(kind)}, expected that of a text or list")
