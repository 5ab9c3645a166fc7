"""What must not be touched: the state of protection as a reply is read from left to right.

Owns: whether the reader stands in free prose. Everything else is shielded: code (fenced, inline, indented or
only code-like), JSON and braces, quotations, brackets and parentheses (links, citations), LaTeX, tables,
headings, block quotes, emphasis, HTML and XML. Rules:

* A delimiter shields until it is closed, or its paragraph ends; quotes and backticks are counted per line and over the
  whole reply, emphasis per line and paragraph, and either count shields, so that a lost delimiter loses marks and never
  touches a quotation.
* What cannot be told apart from code shields the rest of its paragraph; markup shields the rest of the reply.
* Decisions see only what was read and a window of bounded length ahead.

Leaves out: numbers, names and the like, which no slot matches (``reader.py``).
"""

from __future__ import annotations

import re

_LINE = re.compile(
    r"#|>|\||```|~~~|<|\{|\}|\[[^\]]*$|\$\$|\\|//|/\*|\t| {4}"
    r"|(?:def|class|import|from|return|for|while|if|elif|else|try|except|print|public|private|static|void|int|const|"
    r"let|var|function|select|insert|update|delete|create table|alter|drop|package|using namespace|#include|end|do)"
    r"\b[^.\n]*[:;({=)]\s*$|[-=]{3,}\s*$",
)
_CODE_AHEAD = re.compile(r"[{}\\|<>=`$^~]|;\s*$|\w\(|\w\.\w+\(|::|->|https?:|www\.|\w@\w|\*/|--\w|\w_\w|[\t]")
_UNDERLINE = re.compile(r" {0,3}(?:=+|-+)[ \t]*(?:\n|\Z)|[ |]*:?-+:? *\|")
_CURLY_OPEN = "\u201c\u201e\u201f"
_CURLY_CLOSE = "\u201d"
_GUILLEMETS, _BRACKETS, _PARENTHESES, _BRACES = range(4)
_NESTING = {
    "\u00ab": (_GUILLEMETS, 1),
    "\u00bb": (_GUILLEMETS, -1),
    "[": (_BRACKETS, 1),
    "]": (_BRACKETS, -1),
    "(": (_PARENTHESES, 1),
    ")": (_PARENTHESES, -1),
    "{": (_BRACES, 1),
    "}": (_BRACES, -1),
}
_TAG = re.compile(r"</?[A-Za-z!][^\s>]*")
SPECIAL = frozenset("\"\u201c\u201d\u00ab\u00bb\u201e\u201f\u2018`'*_[](){}<>$\\|#=~@/^&+;")
"""Characters that may open or close something, or that prose hardly has."""


class Shield:
    """Follows delimiters; ``up`` tells whether text at this place must stay as it is."""

    __slots__ = (
        "_backticks",
        "_code",
        "_curly",
        "_depth",
        "_dollars",
        "_env",
        "_fence",
        "_forever",
        "_line",
        "_line_backticks",
        "_line_quotes",
        "_line_stars",
        "_quotes",
        "_single",
        "_single_curly",
        "_stars",
        "_table",
        "up",
    )

    def __init__(self) -> None:
        self.up = False
        self._forever = False
        self._fence = ""
        self._line = self._code = self._table = False
        self._quotes = self._line_quotes = self._backticks = self._line_backticks = 0
        self._curly = self._single = self._single_curly = False
        self._depth = [0, 0, 0, 0]
        self._stars = self._line_stars = 0
        self._dollars = 0
        self._env = 0

    def newline(self, *, blank: bool) -> None:
        """A line ended; ``blank`` when the next one is empty, which ends a paragraph."""
        self._line_quotes = self._line_backticks = self._line_stars = 0
        self._line = False
        if blank:
            self._code = self._table = False
            self._single = self._single_curly = False
            self._depth[_BRACKETS] = self._depth[_PARENTHESES] = 0
            self._stars = 0

    def begin_line(self, window: str, *, first: bool) -> None:
        """A line starts with ``window``: what is ahead of it, of bounded length."""
        line = window.split("\n", 1)[0]
        stripped = line.lstrip()
        if first and stripped[:1] in {"{", "["}:
            self._forever = True
        if self._fence:
            self._line = True
            if stripped.startswith(self._fence):
                self._fence = ""
        elif stripped.startswith(("```", "~~~")):
            self._fence = stripped[:3]
            self._line = True
        elif _LINE.match(line) or _LINE.match(stripped) or "|" in line:
            self._line = True
            self._table = self._table or "|" in line
            self._code = self._code or not (line.startswith(("    ", "\t")) or stripped[:1] in "#>[-=")
        elif _CODE_AHEAD.search(line):
            self._line = True
        self.update()

    @property
    def literal(self) -> bool:
        """Whether the line belongs to a fenced block or to display mathematics, where a dash is no list."""
        return bool(self._fence or self._dollars & 1 or self._env > 0)

    def clear_ahead(self, window: str) -> bool:
        """Whether nothing code-like stands in the rest of the line that ``window`` shows, and the next line does not
        make a heading or a table of it.
        """
        line, _, below = window.partition("\n")
        return not _CODE_AHEAD.search(line) and not _UNDERLINE.match(below)

    def update(self) -> None:
        """Say in ``up`` what the counters mean."""
        self.up = bool(
            self._forever
            or self._fence
            or self._line
            or self._code
            or self._table
            or self._quotes & 1
            or self._line_quotes & 1
            or self._backticks & 1
            or self._line_backticks & 1
            or self._curly
            or self._single
            or self._single_curly
            or any(self._depth)
            or self._stars & 1
            or self._line_stars & 1
            or self._dollars & 1
            or self._env > 0
        )

    def special(self, chunk: str) -> None:
        """Take in a chunk (no white space) that holds one of ``SPECIAL``."""
        quotes = chunk.count('"')
        self._quotes += quotes
        self._line_quotes += quotes
        ticks = chunk.count("`")
        self._backticks += ticks
        self._line_backticks += ticks
        for sign in chunk:
            if sign in _CURLY_OPEN:
                self._curly = True
            elif sign == _CURLY_CLOSE:
                self._curly = False
            elif sign in _NESTING:
                which, step = _NESTING[sign]
                self._depth[which] = max(0, self._depth[which] + step)
        self._apostrophes(chunk)
        self._rest(chunk)
        self.update()

    def _apostrophes(self, chunk: str) -> None:
        """Single quotes: opened before a letter at a chunk's start, closed after its last letter."""
        bare = chunk.strip("([*_.,;:!?)]")
        if bare[:1] == "'" and len(bare) > 1:
            self._single = True
        if bare[-1:] == "'" and self._single:
            self._single = False
        if "\u2018" in chunk:
            self._single_curly = True
        if self._single_curly and bare[-1:] == "\u2019":
            self._single_curly = False

    def _rest(self, chunk: str) -> None:
        stars = 0
        if "*" in chunk and chunk not in {"*", "**"}:
            stars = len(re.findall(r"\*+", chunk))
        if "_" in chunk:
            stars += (chunk[0] == "_") + (chunk.rstrip(".,;:!?")[-1:] == "_")
        self._stars += stars
        self._line_stars += stars
        if "$" in chunk:
            self._line = True
            self._dollars += chunk.count("$$")
        if "\\" in chunk:
            self._line = True
            self._env += chunk.count("\\[") + chunk.count("\\begin{") - chunk.count("\\]") - chunk.count("\\end{")
        if "<" in chunk and _TAG.search(chunk):
            self._forever = True
        if "|" in chunk or "=" in chunk:
            self._line = True
