"""The one tree of errors that this package raises on purpose.

DistillguardError
├── ConfigError            an operator's file, option or environment is unusable (exit code 2)
│   └── FileErrors         one or more places in files, each FILE:LINE:COLUMN
├── RequestRefused         the caller's request is not answered; carries a Refusal
├── UpstreamError          the model server failed
│   ├── UpstreamUnreachable   no connection (502)
│   ├── UpstreamTimeout       connect, first byte or idle (504)
│   └── UpstreamBroken        the reply ended before its end (502, or an error event mid-stream)
├── ClientDisconnected     the caller went away; nobody is at fault
└── StoreError             the store of budgets, keys or events cannot be asked
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.types import Refusal


class DistillguardError(Exception):
    """Anything that this package raises on purpose."""


class ConfigError(DistillguardError):
    """An option, file or environment variable cannot be used; the message says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class FileError:
    """One place in a file that is wrong. ``line`` and ``column`` count from 1."""

    file: str
    line: int
    column: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.message}"


class FileErrors(ConfigError):
    """Everything that is wrong in a set of files, in the order of the files."""

    def __init__(self, errors: Sequence[FileError]) -> None:
        self.errors = tuple(errors)
        super().__init__("\n".join(str(error) for error in self.errors))


class RequestRefused(DistillguardError):
    """A request that is not answered; the skin writes ``refusal`` in the caller's dialect."""

    def __init__(self, refusal: Refusal) -> None:
        self.refusal = refusal
        super().__init__(refusal.message)


class UpstreamError(DistillguardError):
    """The model server failed; the message names the upstream, never a credential."""


class UpstreamUnreachable(UpstreamError):
    """No connection could be made, or TLS was not verified."""


class UpstreamTimeout(UpstreamError):
    """The upstream took longer than allowed to connect, to answer or to go on."""


class UpstreamBroken(UpstreamError):
    """The upstream closed or broke the connection before its reply was whole."""


class ClientDisconnected(DistillguardError):
    """The caller closed the connection before its reply was whole."""


class StoreError(DistillguardError):
    """A store could not be asked within its time limit; the message says which and why."""
