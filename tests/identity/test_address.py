"""Who the caller is, whatever the caller writes into forwarding headers."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.identity.address import MAX_HOPS, Addresses, _read_short, block_of, read_address

TRUSTED = tuple(ip_network(each) for each in ("10.0.0.0/8", "fd00::/8", "192.0.2.7/32"))
PROXY = "10.0.0.1"
CALLER = "203.0.113.9"
MAIN = Addresses(TRUSTED)


def caller(*forwarded_for: str, peer: str = PROXY) -> str:
    return MAIN.of(peer, [value.encode("latin-1") for value in forwarded_for], [])


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((CALLER,), CALLER),
        ((f"1.2.3.4, {CALLER}",), CALLER),
        (("1.2.3.4", CALLER), CALLER),
        ((f"1.2.3.4, {CALLER}, 10.9.9.9",), CALLER),
        ((f"{CALLER},10.9.9.9", "192.0.2.7"), CALLER),
        (("10.0.0.3, 10.0.0.2",), "10.0.0.3"),
        ((f"{CALLER}:51234",), CALLER),
        (("[2001:db8::1]:443",), "2001:db8::1"),
        (("[2001:db8::1]",), "2001:db8::1"),
        (("2001:DB8:0::1",), "2001:db8::1"),
        (("::ffff:203.0.113.9",), CALLER),
        (("fe80::1%eth0",), "fe80::1"),
        ((f"  {CALLER}\t",), CALLER),
        ((f"{CALLER}, fd00::5",), CALLER),
        ((f"{CALLER}, ::ffff:10.1.1.1",), CALLER),
    ],
)
def test_the_first_hop_from_the_right_that_is_not_trusted_is_the_caller(values: tuple[str, ...], expected: str) -> None:
    assert caller(*values) == expected


@pytest.mark.parametrize(
    "junk",
    [
        "", "unknown", "_hidden", "localhost", "203.0.113.9.5", "203.0.113", "0x7f.1", "203.0.113.09", "1.2.3.4:x",
        "1.2.3.4:123456", "[::1", "::1]", "[::1]x", "[::1]:x", "\xff\xfe", "a" * 1_000_000, "1.2.3.4 5.6.7.8",
        "127.1", "1.2.3.4\x00", "%", "::ffff:999.1.1.1", "१.2.3.4",
    ],
)  # fmt: skip
def test_junk_ends_the_walk_at_the_last_good_hop(junk: str) -> None:
    try:
        junk.encode("latin-1")
    except UnicodeEncodeError:
        assert read_address(junk) is None
        return
    assert caller(junk) == PROXY
    assert caller(f"{CALLER}, {junk}") == PROXY
    assert caller(f"{CALLER}, {junk}, 10.0.0.9") == "10.0.0.9"
    assert caller(f"{junk}, {CALLER}") == CALLER


def test_megabytes_of_junk_are_not_remembered() -> None:
    held = _read_short.cache_info().currsize
    for number in range(100):
        assert read_address(f"{number}" * 10_000) is None
    assert _read_short.cache_info().currsize == held


def test_an_untrusted_peer_is_the_caller_whatever_it_says() -> None:
    assert caller("1.2.3.4", peer="198.51.100.1") == "198.51.100.1"
    assert Addresses().of(PROXY, [b"1.2.3.4"], [b"for=1.2.3.4"]) == PROXY


@given(st.text(alphabet=st.characters(max_codepoint=255), max_size=80))
def test_nothing_that_a_caller_sends_ahead_changes_who_the_proxy_saw(forged: str) -> None:
    assert caller(f"{forged},{CALLER}") == CALLER
    assert caller(forged, CALLER) == CALLER
    assert MAIN.of(PROXY, [], [forged.encode("latin-1") + b", for=203.0.113.9"]) == CALLER


def test_a_forged_chain_of_trusted_hops_is_followed_only_so_far() -> None:
    forged = ", ".join(["1.2.3.4", *["10.0.0.2"] * (MAX_HOPS - 1)])
    assert caller(forged) == "1.2.3.4"
    assert caller("10.0.0.2, " + forged) == "1.2.3.4"
    longer = ", ".join(["1.2.3.4", *["10.0.0.2"] * MAX_HOPS])
    assert caller(longer) == "10.0.0.2"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("for=203.0.113.9", CALLER),
        ("For=203.0.113.9;proto=https;by=10.0.0.1", CALLER),
        ('proto=https; for="203.0.113.9:4711"', CALLER),
        ('for="[2001:db8:cafe::17]:4711"', "2001:db8:cafe::17"),
        ("for=1.2.3.4, for=203.0.113.9, for=10.2.2.2", CALLER),
        ("for=unknown", PROXY),
        ("for=_gazonk", PROXY),
        ("proto=https", PROXY),
        ("for=203.0.113.9, proto=https", PROXY),
        ('for="203.0.113.9, for=1.2.3.4', "1.2.3.4"),
        ("", PROXY),
    ],
)
def test_forwarded_is_read_as_rfc_7239_has_it(value: str, expected: str) -> None:
    assert MAIN.of(PROXY, [], [value.encode()]) == expected


def test_x_forwarded_for_wins_over_forwarded() -> None:
    assert MAIN.of(PROXY, [b"203.0.113.9"], [b"for=1.2.3.4"]) == CALLER


@pytest.mark.parametrize(
    ("address", "block"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::", "2001:db8:1:3::/64"),
    ],
)
def test_failures_count_against_what_one_customer_holds(address: str, block: str) -> None:
    assert block_of(address) == block
