from __future__ import annotations

from typing import Any

from gateway.types import Level, Verdict
from gateway.worker.naming import Names, new_name


def verdict(cluster: str, members: str, *codes: int, **more: Any) -> Verdict:
    values: dict[str, Any] = {"level": Level.SUSPECT, "decided_at": 5.0, "expires_at": 9.0, **more}
    return Verdict(
        cluster=cluster, members=tuple(members.split()), signatures={"ph": [[code, 2.0] for code in codes]}, **values
    )


def test_a_new_cluster_gets_the_same_name_when_the_same_events_are_read_again() -> None:
    one, again = verdict("c1", "a b"), verdict("c7", "b a")
    assert new_name(one) == new_name(again)
    assert new_name(one) != new_name(verdict("c1", "a b", decided_at=6.0))
    assert new_name(one) != new_name(verdict("c1", "ab"))


def test_a_restart_without_memory_finds_the_name_again_by_its_accounts() -> None:
    held = [verdict("cold", "a b c d"), verdict("other", "x y")]
    assert Names().of(verdict("c1", "b c e"), held) == "cold"
    assert Names().of(verdict("c1", "a e f g"), held) not in {"cold", "other"}


def test_half_of_the_smaller_side_is_enough_and_less_is_not() -> None:
    held = [verdict("cold", "a b c d e f")]
    assert Names().of(verdict("c1", "a b x y"), held) == "cold"
    assert Names().of(verdict("c1", "a x y"), held) != "cold"


def test_a_replaced_pool_of_the_same_campaign_keeps_its_name_by_what_it_sends() -> None:
    held = [verdict("cold", "a b c", 1, 2, 3, 4)]
    assert Names().of(verdict("c1", "x y z", 3, 4, 9), held) == "cold"
    assert Names().of(verdict("c2", "x y z", 4, 8, 9), held) != "cold"


def test_a_dismissed_clusters_name_never_passes_to_another_campaign_of_the_same_number() -> None:
    """The analyzer calls its first find c1 after every fresh start; people decided about another one."""
    held = [verdict("c1", "a b c", 1, 2)]
    assert Names().of(verdict("c1", "p q r", 8, 9), held) != "c1"


def test_two_clusters_of_one_process_never_get_one_name() -> None:
    held = [verdict("cold", "a b c d")]
    names = Names()
    assert names.of(verdict("c1", "a b"), held) == "cold"
    assert names.of(verdict("c2", "c d"), held) != "cold"
    assert names.of(verdict("c1", "z"), held) == "cold"
    assert Names(names.known).of(verdict("c1", "z"), []) == "cold"
