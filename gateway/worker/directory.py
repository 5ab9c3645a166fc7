"""The account directory as the analysis knows it: traits of rows, entered again when the file changes."""

from __future__ import annotations

import logging
from functools import lru_cache
from typing import TYPE_CHECKING

from gateway.analysis.known import Known
from gateway.analysis.traits import TraitExtractor
from gateway.errors import FileErrors
from gateway.identity.accounts_file import account_rows, signature

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from gateway.types import JSON, Event

_DESCRIBED = 4_096
"""Pairs of organisation and country remembered: most requests are of one seen before."""
_log = logging.getLogger(__name__)


class AccountTraits:
    """Reads the file of ``--accounts``; without one there is nothing to know. The key is that of the gateway."""

    def __init__(self, path: Path | None, key: bytes) -> None:
        self._path = path
        self._extractor = TraitExtractor(key)
        self._signature: object = None
        self._described = lru_cache(maxsize=_DESCRIBED)(self._describe)

    def changed(self) -> bool:
        """Whether the file is another than the one read last."""
        return self._path is not None and signature(self._path) != self._signature

    def of_event(self, event: Event) -> Known:
        """What is known of an account that the file does not name: what its key says of it (``keys create --org``)."""
        return self._described(event.org, event.country)

    def _describe(self, org: str | None, country: str | None) -> Known:
        return Known(self._extractor.account({"org": org, "country": country}))

    def read(self) -> Iterator[tuple[str, Mapping[str, JSON]]]:
        """Each account and its traits. A file that cannot be read to its end is logged; its first rows count."""
        if self._path is None:
            return
        self._signature = signature(self._path)
        try:
            for row in account_rows(self._path):
                yield str(row["account"]), self._extractor.account(row)
        except FileErrors as error:
            _log.error("accounts_not_read", extra={"reason": str(error)})
