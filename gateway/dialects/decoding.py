"""Read a compressed reply from a copy while its bytes are passed on untouched.

Invariants: a decoder never raises; after damaged data, or more than ``MAX_DECODED_BYTES`` (a bomb), it gives
nothing more and ``failed`` is true. What one step decodes is bounded too, so that a small chunk cannot
take all memory.
"""

from __future__ import annotations

import importlib
import zlib
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol

import zstandard

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_DECODED_BYTES = 64 * 1024 * 1024
_STEP_BYTES = 64 * 1024
_ZSTD_INPUT_BYTES = 256
"""A zstd block of 128 KiB can stand in 4 bytes, so input is taken in small slices (at most 8 MiB each)."""
_MAX_ZSTD_WINDOW = 8 * 1024 * 1024
"""The window that every decoder of HTTP's zstd must support, and none need exceed (RFC 9659)."""

try:
    _brotli: Any = importlib.import_module("brotli")
except ImportError:  # Optional: without it brotli replies are passed on and their tokens estimated.
    _brotli = None


class Decoder(Protocol):
    """Turns the bytes of one content coding into those of the reply."""

    def feed(self, chunk: bytes) -> bytes:
        """The bytes that ``chunk`` decodes to; empty after failure."""
        ...

    @property
    def failed(self) -> bool:
        """True once the rest of the reply cannot be read."""
        ...


class _Base:
    def __init__(self) -> None:
        self.failed = False
        self._left = MAX_DECODED_BYTES

    def feed(self, chunk: bytes) -> bytes:
        if self.failed:
            return b""
        pieces: list[bytes] = []
        try:
            self._decode(chunk, pieces)
        except Exception:  # noqa: BLE001 - every codec has its own error type; all mean damaged data
            self.failed = True
        return b"".join(pieces)

    def _decode(self, chunk: bytes, pieces: list[bytes]) -> None:
        raise NotImplementedError

    def _take(self, piece: bytes, pieces: list[bytes]) -> None:
        self._left -= len(piece)
        if self._left < 0:
            raise ValueError("the reply decodes to more than is read")
        pieces.append(piece)


class _Zlib(_Base):
    """gzip (members may follow each other) and deflate (with or without the zlib header, as servers differ)."""

    def __init__(self, *, gzip: bool) -> None:
        super().__init__()
        self._gzip = gzip
        self._inflate = zlib.decompressobj(31) if gzip else None

    def _decode(self, chunk: bytes, pieces: list[bytes]) -> None:
        if self._inflate is None:
            # RFC 1950, section 2.2: the low four bits of the first byte are 8 with a zlib header.
            self._inflate = zlib.decompressobj(15 if chunk[:1] and chunk[0] & 15 == 8 else -15)  # noqa: PLR2004
        while chunk:
            self._take(self._inflate.decompress(chunk, _STEP_BYTES), pieces)
            chunk = self._inflate.unconsumed_tail
            if self._inflate.eof and self._gzip:
                chunk = self._inflate.unused_data
                self._inflate = zlib.decompressobj(31)


class _Zstd(_Base):
    def __init__(self) -> None:
        super().__init__()
        self._new = zstandard.ZstdDecompressor(max_window_size=_MAX_ZSTD_WINDOW).decompressobj
        self._inflate = self._new(read_across_frames=True)

    def _decode(self, chunk: bytes, pieces: list[bytes]) -> None:
        for start in range(0, len(chunk), _ZSTD_INPUT_BYTES):
            self._take(self._inflate.decompress(chunk[start : start + _ZSTD_INPUT_BYTES]), pieces)


class _Brotli(_Base):
    def __init__(self) -> None:
        super().__init__()
        self._inflate = _brotli.Decompressor()

    def _decode(self, chunk: bytes, pieces: list[bytes]) -> None:
        self._take(self._inflate.process(chunk, output_buffer_limit=_STEP_BYTES), pieces)
        while not self._inflate.can_accept_more_data():
            self._take(self._inflate.process(b"", output_buffer_limit=_STEP_BYTES), pieces)


class _Unknown:
    """A coding that cannot be read here."""

    failed = True

    def feed(self, chunk: bytes) -> bytes:
        return b""


_DECODERS: dict[bytes, Callable[[], Decoder]] = {
    b"gzip": lambda: _Zlib(gzip=True),
    b"x-gzip": lambda: _Zlib(gzip=True),
    b"deflate": lambda: _Zlib(gzip=False),
    b"zstd": _Zstd,
}
if _brotli is not None:
    _DECODERS[b"br"] = _Brotli

METERED_ENCODINGS = tuple(sorted(_DECODERS))
_READABLE = frozenset({*METERED_ENCODINGS, b"identity"})
"""The content codings that can be metered here; a proxy offers no others to the upstream."""


def decoder_of(content_encoding: bytes) -> Decoder | None:
    """The decoder for a ``content-encoding`` header, or None where the reply is not compressed."""
    coding = content_encoding.strip().lower()
    if coding in {b"", b"identity"}:
        return None
    return _DECODERS.get(coding, _Unknown)()


@lru_cache(maxsize=256)
def metered_encodings(accepted: bytes) -> bytes:
    """What of an ``accept-encoding`` a reply may come in so that it can be metered; ``identity`` where nothing is left.

    >>> metered_encodings(b"lzw, gzip;q=0.5, *;q=0.1")
    b'gzip;q=0.5'
    """
    parts = [part.strip() for part in accepted.split(b",")]
    kept = [part for part in parts if part.split(b";", 1)[0].strip().lower() in _READABLE]
    return b", ".join(kept) or b"identity"
