"""The caller's address: the peer's, or what trusted proxies say about the peer's peer.

Invariants: a header counts only where the peer is in a trusted range; the list is read from the right,
over trusted hops, and the first hop that is not trusted is the caller; what cannot be read ends the walk at
the last good hop, so that a forged entry never names the caller. Leaves out: the proxies' other headers.

``X-Forwarded-For`` wins over ``Forwarded`` (RFC 7239) where both are there: proxies that write the latter
alone exist, proxies that leave a caller's forged X-Forwarded-For beside a Forwarded of their own must be
set to remove it.
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gateway.settings import Network

Address: TypeAlias = IPv4Address | IPv6Address
MAX_HOPS = 32
"""Longer chains of trusted proxies do not exist; a forged list costs no more than this."""
IPV6_BLOCK_BITS = 64
"""One customer's network (RFC 6177 gives at least this much to each)."""
_CACHED = 16_384
_MAX_CHARS = 128
"""A quoted and bracketed IPv6 address with zone, port and blanks is shorter."""


class Addresses:
    """Reads addresses, given the ranges of trusted proxies."""

    def __init__(self, trusted: Sequence[Network] = ()) -> None:
        self._trusted = tuple(trusted)
        self.trusts = lru_cache(maxsize=_CACHED)(self._trusts)

    def of(self, peer: str, forwarded_for: Sequence[bytes], forwarded: Sequence[bytes]) -> str:
        """The caller behind ``peer`` (as ``read_address`` gives it), from the values of the two headers."""
        hops = _hops_of_list(forwarded_for) if forwarded_for else _hops_of_rfc7239(forwarded)
        caller = peer
        for count, hop in enumerate(hops):
            if count == MAX_HOPS or not self.trusts(caller):
                break
            address = read_address(hop)
            if address is None:
                break
            caller = address
        return caller

    def _trusts(self, address: str) -> bool:
        """Whether a trusted proxy has this address."""
        try:
            parsed = ip_address(address)
        except ValueError:
            return False
        return any(parsed.version == network.version and parsed in network for network in self._trusted)


def read_address(text: str) -> str | None:
    """``text`` as one canonical address, else None: brackets, port and zone are dropped, IPv4-mapped IPv6
    (RFC 4291, 2.5.5.2) becomes IPv4.
    """
    return _read_short(text) if len(text) <= _MAX_CHARS else None


@lru_cache(maxsize=_CACHED)
def _read_short(text: str) -> str | None:
    """The same; remembered, so only for what cannot fill the memory."""
    text = text.strip().strip('"')
    if text.startswith("["):
        text, bracket, port = text[1:].partition("]")
        if not bracket or (port and not (port.startswith(":") and _is_port(port[1:]))):
            return None
    elif text.count(":") == 1:
        text, _, port = text.partition(":")
        if not _is_port(port):
            return None
    try:
        address: Address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return str(address)


@lru_cache(maxsize=_CACHED)
def block_of(address: str) -> str:
    """Whom failures of an address count against: an IPv4 address itself, the /64 of an IPv6 address."""
    if ":" not in address:
        return address
    return str(ip_network((address, IPV6_BLOCK_BITS), strict=False))


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 5  # noqa: PLR2004 - digits of a port


def _hops_of_list(values: Sequence[bytes]) -> Iterator[str]:
    """Entries of X-Forwarded-For from right to left; several headers are one list (RFC 9110, 5.2)."""
    for value in reversed(values):
        rest = value
        while True:
            rest, comma, hop = rest.rpartition(b",")
            yield hop.decode("latin-1")
            if not comma:
                break


def _hops_of_rfc7239(values: Sequence[bytes]) -> Iterator[str]:
    """The ``for=`` of each element of Forwarded from right to left; an element without one is junk.

    Commas and semicolons cannot stand inside addresses, so splitting before unquoting is exact for every
    element that names one; any other quoted text becomes junk, which ends the walk.
    """
    for element in _hops_of_list(values):
        hop = ""
        for pair in element.split(";"):
            name, _, value = pair.partition("=")
            if name.strip().lower() == "for":
                hop = value
        yield hop
