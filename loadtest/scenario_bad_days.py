"""Customers on a bad day: groups of strangers that share much of what a campaign's accounts share, and are none.

Each kind takes hold of one thing that an operator's accounts have in common (a service, a place, an event, a fashion) and
gives all its people a new text that asks for written-out reasoning on top: the hardest benign groups that we can think of.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from loadtest.scenario_people import DAY_S, PROGRAMS, START_S, Actor, Ask, World, world_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_SINCE: Final = 3.0
_STEPS: Final = "Write out your reasoning step by step before the answer."


def _add(world: World, archetype: str, **given: Any) -> Actor:
    """A person who asks with the group's new text from its day on, several times a day."""
    text = f"{world_text(world, archetype, 0)} {_STEPS}"

    def ask(actor: Actor, at_s: float) -> Ask:
        own = actor.writer.question()
        return Ask(messages=[("user", f"{text} {own}" if at_s >= _SINCE * DAY_S else own)])

    actor = world.add(archetype, ask, **given)
    actor.times = world.human_times(actor, 8.0, since=world.rng.uniform(0.0, 4.0))
    return actor


def _service(world: World, people: int) -> None:
    """A privacy service: one mail domain, three exits to sign up and to ask from, its own TLS client before all programs."""
    exits = [f"146.71.9.{world.rng.randrange(1, 255)}" for _ in range(3)]
    for _ in range(people):
        way_in = world.rng.choice(exits)
        agent = world.rng.choice(PROGRAMS)[0]
        _add(world, "privacy_service", email_domain="veil.example", addresses=[way_in], signup_ip=way_in, agent=agent,
             ja4="t13d0000h2_veil", phone_country=None)  # fmt: skip


def _course(world: World, people: int) -> None:
    """An open course: strangers everywhere who signed up within the two hours of its first lecture."""
    began = START_S + 2.5 * DAY_S
    for _ in range(people):
        _add(world, "open_course", created_at=began + world.rng.uniform(0.0, 7_200.0))


def _small_country(world: World, people: int) -> None:
    """A country of few customers: two carriers, one mail provider of its own, one fashion."""
    world.carriers["NZ"] = ["119.224", "125.236"]
    for _ in range(people):
        address = f"{world.rng.choice(world.carriers['NZ'])}.{world.rng.randrange(3)}.{world.rng.randrange(1, 255)}"
        domain = world.rng.choice(("kiwi.example", "mail.example"))
        _add(world, "small_country", country="JP", addresses=[address], signup_ip=address, email_domain=domain)


def _contractors(world: World, people: int) -> None:
    """Contractors behind one company's VPN, which looks into TLS: one mail domain, one block, machines at all hours."""
    exits = [f"91.209.44.{world.rng.randrange(1, 255)}" for _ in range(4)]
    for _ in range(people):
        agent = world.rng.choice(PROGRAMS)[0]
        actor = _add(world, "contractors", email_domain="contract.example", addresses=[world.rng.choice(exits)], agent=agent,
                     ja4="t13d1111h2_proxy")  # fmt: skip
        actor.times = world.steady_times(actor, 12.0, since=world.rng.uniform(2.5, 3.5))


def _fashion(world: World, people: int) -> None:
    """A prompt that went round: three times as many strangers as the other groups, from everywhere."""
    for _ in range(3 * people):
        _add(world, "fashion")


BAD_DAYS: Final[Mapping[str, Callable[[World, int], None]]] = {
    "privacy_service": _service,
    "open_course": _course,
    "small_country": _small_country,
    "contractors": _contractors,
    "fashion": _fashion,
}
"""Kind to who is added to the population; nobody of them is a campaign."""
