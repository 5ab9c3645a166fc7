"""The people of the scenario lab: who signs up, from where, when they ask and what; customers of every kind.

An ``Actor`` is one account: its line of the directory, its client, when it asks and what it writes. ``World`` holds
what strangers share without knowing of each other: mail providers, carriers, VPN exits, programs and their TLS
fingerprints. Numbers are of the size that published studies of traffic report; identities are invented.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any, Final

from loadtest.scenario_texts import Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

START_S: Final = 1_780_272_000.0
"""Midnight UTC of a Monday."""
DAY_S: Final = 86_400.0
COUNTRIES: Final = {"US": (30, -6), "IN": (15, 5), "DE": (10, 1), "BR": (10, -3), "GB": (8, 0), "JP": (7, 9), "FR": (7, 1), "NG": (5, 1),
                    "ID": (5, 7), "CA": (3, -5)}  # fmt: skip
"""Weight and hours from UTC."""
MAILS: Final = {"mail.example": 50, "post.example": 18, "inbox.example": 8, "freemail.example": 6}
"""Public providers; the rest have a domain of their own."""
PROGRAMS: Final = (("OpenAI/Python 1.109.1", 20), ("OpenAI/JS 6.8.1", 12), ("Anthropic/Python 0.52.2", 10), ("python-httpx/0.28.1", 6),
                   ("Mozilla/5.0 (Windows NT 10.0) Chrome/145.0", 20), ("Mozilla/5.0 (Macintosh) Version/26.0 Safari", 10),
                   ("ChatMate/3.2 (Android 14)", 8), ("okhttp/4.12.0", 4), ("langchain/0.3", 5), ("axios/1.6.8", 5))  # fmt: skip
MODELS: Final = ("gpt-4o-mini", "gpt-4o", "gpt-5-mini", "claude-sonnet-4-5")
FRESH_MODEL: Final = "gpt-6"
_UPDATED: Final = 0.8
"""Requests of a coding agent that carry the new prompt once it is out."""


@dataclass(slots=True, kw_only=True)
class Ask:
    """One request's content: texts by role in order; ``attack`` is what a campaign is there for."""

    messages: list[tuple[str, str]]
    system: str | None = None
    signature: str | None = None
    attack: bool = False
    model: str | None = None


@dataclass(slots=True, kw_only=True)
class Actor:
    """One account. ``times`` are seconds from the start of the log."""

    row: dict[str, Any]
    archetype: str
    addresses: list[str]
    agent: str
    ja4: str
    model: str
    rng: Random
    ask: Callable[[Actor, float], Ask]
    times: list[float] = field(default_factory=list)
    campaign: str | None = None

    @property
    def writer(self) -> Writer:
        """Its own way with words."""
        return Writer(self.rng)


class World:
    """Shared things of one seeded population, and how to make an account in it."""

    def __init__(self, seed: int, days: float) -> None:
        self.seed, self.days = seed, days
        self.rng = Random(f"world {seed}")  # noqa: S311 - a population, not a secret
        self.actors: list[Actor] = []
        self.carriers = {
            country: [f"{self.rng.randrange(20, 198)}.{self.rng.randrange(256)}" for _ in range(8)]
            for country in COUNTRIES
        }
        self.vpn = [
            f"185.{self.rng.randrange(256)}.{self.rng.randrange(256)}.{self.rng.randrange(1, 255)}" for _ in range(24)
        ]
        self.fingerprints = {
            agent: [self.fingerprint() for _ in range(self.rng.choice((1, 2, 2, 3)))] for agent, _ in PROGRAMS
        }

    def fingerprint(self) -> str:
        """A TLS fingerprint that no program has yet."""
        return f"t13d{self.rng.randrange(1_000, 3_000)}h2_{self.rng.getrandbits(48):012x}"

    def home(self, country: str) -> str:
        """A private line in a country."""
        return f"{self.rng.choice(self.carriers[country])}.{self.rng.randrange(256)}.{self.rng.randrange(1, 255)}"

    def cloud(self) -> str:
        """A rented server anywhere."""
        return f"{self.rng.choice((34, 35, 52, 54))}.{self.rng.randrange(256)}.{self.rng.randrange(256)}.{self.rng.randrange(1, 255)}"

    def country(self) -> str:
        """A country by its share of customers."""
        return self.rng.choices(list(COUNTRIES), [weight for weight, _ in COUNTRIES.values()])[0]

    def program(self) -> tuple[str, str]:
        """A program and one of its fingerprints, the first the commonest."""
        agent = self.rng.choices([name for name, _ in PROGRAMS], [weight for _, weight in PROGRAMS])[0]
        kinds = self.fingerprints[agent]
        return agent, kinds[min(int(self.rng.expovariate(1.2)), len(kinds) - 1)]

    def add(self, archetype: str, ask: Callable[[Actor, float], Ask], **given: Any) -> Actor:
        """An account with everything unremarkable but for what is ``given``: fields of the row or of the actor."""
        rng = self.rng
        country = given.pop("country", None) or self.country()
        agent, ja4 = self.program()
        own = {
            name: given.pop(name)
            for name in ("addresses", "agent", "ja4", "model", "times", "campaign")
            if name in given
        }
        addresses = own.setdefault("addresses", [self.home(country) for _ in range(rng.choice((1, 1, 2)))])
        name = f"acct{len(self.actors)}"
        domain = rng.choices([*MAILS, f"{Writer(rng).name().lower()}.example"], [*MAILS.values(), 18])[0]
        age = rng.expovariate(1 / 200.0) if rng.random() < 0.8 else rng.uniform(0.0, self.days)  # noqa: PLR2004 - most are old
        row = {
            "account": name,
            "created_at": START_S - age * DAY_S,
            "plan": rng.choices(("free", "pro", "team"), (70, 25, 5))[0],
            "org": None,
            "email_domain": domain,
            "payment": f"pm_{rng.getrandbits(48):012x}" if rng.random() < 0.45 else None,  # noqa: PLR2004 - the others use it free
            "phone_country": None if rng.random() < 0.3 else country if rng.random() < 0.96 else self.country(),  # noqa: PLR2004 - shares
            "signup_ip": addresses[0] if rng.random() < 0.6 else self.home(country),  # noqa: PLR2004 - shares
            "country": country,
            "verified": rng.random() < 0.2,  # noqa: PLR2004 - shares
            "declared_use": None,
            **given,
        }
        actor = Actor(
            row=row, archetype=archetype, ask=ask, rng=Random(f"{self.seed} {name}"),  # noqa: S311 - a population
            **{"agent": agent, "ja4": ja4, "model": rng.choice(MODELS), **own},
        )  # fmt: skip
        self.actors.append(actor)
        return actor

    def human_times(self, actor: Actor, per_day: float, since: float = 0.0) -> list[float]:
        """Sessions of one to five requests by day, in the actor's time zone, from day ``since``."""
        rng, offset = actor.rng, COUNTRIES[actor.row["country"]][1]
        now = since * DAY_S
        found: list[float] = []
        while True:
            now += rng.expovariate(per_day / 2.5 * 2 / DAY_S)
            if now >= self.days * DAY_S:
                return found
            hour = (now / 3_600 + offset) % 24
            if rng.random() < 0.5 + 0.5 * math.sin((hour - 9) / 24 * 2 * math.pi):
                later = now
                for _ in range(rng.choice((1, 1, 2, 3, 5))):
                    found.append(later)
                    later += rng.uniform(20, 400)

    def steady_times(self, actor: Actor, per_day: float, since: float = 0.0, until: float | None = None) -> list[float]:
        """Evenly spread with some jitter, from day ``since`` to day ``until``."""
        end, gap = min(self.days, until if until is not None else self.days) * DAY_S, DAY_S / per_day
        now, found = since * DAY_S + actor.rng.uniform(0, gap), []
        while now < end:
            found.append(now)
            now += max(1.0, actor.rng.gauss(gap, gap * 0.3))
        return found


def question(actor: Actor, _: float) -> Ask:
    """What a person asks: sometimes a conversation of some turns."""
    writer, messages = actor.writer, []
    for _turn in range(actor.rng.choice((0, 0, 0, 1, 2))):
        messages += [("user", writer.question()), ("assistant", writer.reply())]
    return Ask(messages=[*messages, ("user", writer.question())])


def code(actor: Actor, _: float) -> Ask:
    """What a developer asks an agent."""
    return Ask(messages=[("user", actor.writer.code())])


def populate(world: World, people: int) -> None:
    """``people`` plain customers, and in proportion every kind of benign twin."""
    share = people / 1_000
    rng = world.rng
    for _ in range(people):
        _human(world, world.add("consumer", question))
    _harness(world, round(180 * share))
    _behind_one_address(world, round(120 * share), round(60 * share))
    _organisations(world, share)
    _programs(world, share)
    prompt = " ".join(world_text(world, "popular", index) for index in range(3))
    for _ in range(round(70 * share)):  # a prompt that everybody copies since it was published
        since = rng.choice((0.0, 0.0, rng.uniform(0, world.days)))
        _human(
            world,
            world.add("popular_template", lambda a, _t: Ask(messages=[("user", f"{prompt} {a.writer.question()}")])),
            since,
        )


def _human(world: World, actor: Actor, since: float = 0.0, mean: float = 0.0) -> Actor:
    actor.times = world.human_times(actor, min(60.0, actor.rng.lognormvariate(mean, 1.1)), since)
    return actor


def world_text(world: World, name: str, index: int, sentences: int = 3) -> str:
    """A text of this population that is always the same under ``name`` and ``index``."""
    return Writer(Random(f"{world.seed} {name} {index}")).document(sentences)  # noqa: S311 - a text


def _harness(world: World, count: int) -> None:
    """A coding agent: one large prompt, one program, thousands of accounts; a new version in the middle of the log."""
    old, new = (world_text(world, "harness", index, 60) for index in range(2))
    moved = world.days * 0.6
    for _ in range(count):
        actor = world.add(
            "coding_agent",
            lambda a, t: Ask(
                messages=code(a, t).messages, system=new if t > moved * DAY_S and a.rng.random() < _UPDATED else old
            ),
            agent="CodePilot/4.1.0",
            ja4=world.fingerprints[PROGRAMS[1][0]][0],
        )
        _human(world, actor, mean=0.3)


def _asks_under(system: str) -> Callable[[Actor, float], Ask]:
    """Questions of one's own under a system prompt."""
    return lambda actor, _at: Ask(messages=[("user", actor.writer.question())], system=system)


def _does_one_of(tasks: Sequence[str]) -> Callable[[Actor, float], Ask]:
    """One of the exercises of a class."""
    return lambda actor, _at: Ask(
        messages=[("user", f"{actor.rng.choice(tasks)} Explain your reasoning step by step.")]
    )


def _judges_by(form: str) -> Callable[[Actor, float], Ask]:
    """A reply judged by one's own rubric."""
    return lambda actor, _at: Ask(messages=[("user", f"{form} {actor.writer.question()} {actor.writer.reply()}")])


def _behind_one_address(world: World, phones: int, tunnels: int) -> None:
    """A carrier's gateway, VPN exits, and a gateway that strips what it knows."""
    gates = [world.home("IN") for _ in range(5)]
    for _ in range(phones):
        _human(
            world,
            world.add(
                "cgnat_mobile",
                question,
                country="IN",
                addresses=world.rng.sample(gates, 2),
                agent="ChatMate/3.2 (Android 14)",
            ),
        )
    for _ in range(tunnels):
        exits = world.rng.sample(world.vpn, 3)
        _human(world, world.add("vpn_user", question, addresses=exits, signup_ip=exits[0]))
    for _ in range(tunnels // 2):
        exits = [f"146.70.{world.seed % 250}.{world.rng.randrange(1, 255)}" for _ in range(2)]
        _human(
            world,
            world.add(
                "privacy_gateway",
                question,
                addresses=exits,
                signup_ip=exits[0],
                email_domain="alias.example",
                agent="gate",
                ja4="t13d0000h2_gate",
                phone_country=None,
            ),
        )


def _organisations(world: World, share: float) -> None:
    """Offices, classes, families and agencies: many accounts that openly belong together."""
    rng = world.rng
    for index in range(max(2, round(5 * share))):
        office, prompt = world.home("DE"), world_text(world, "office", index)
        for _ in range(rng.randint(8, 30)):
            actor = world.add(
                "enterprise", _asks_under(prompt), country="DE", org=f"o{index}",
                payment=f"pm_office{index}", email_domain=f"firm{index}.example", addresses=[office], signup_ip=office, plan="enterprise",
            )  # fmt: skip
            _human(world, actor, mean=0.5)
    for index in range(max(1, round(2 * share))):
        school, week = world.home("GB"), rng.uniform(1.5, max(1.6, world.days - 2))
        tasks = [world_text(world, f"class{index}", number) for number in range(4)]
        for _ in range(rng.randint(25, 45)):
            actor = world.add(
                "university_class", _does_one_of(tasks), country="GB",
                email_domain=f"college{index}.example", addresses=[school], payment=None, created_at=START_S + (week - rng.random()) * DAY_S,
                signup_ip=school if rng.random() < 0.7 else world.home("GB"),  # noqa: PLR2004 - shares
            )  # fmt: skip
            _human(world, actor, since=week)
    for index in range(round(25 * share)):
        for _ in range(rng.randint(2, 5)):
            _human(world, world.add("family", question, payment=f"pm_family{index}"))
    for index in range(max(1, round(2 * share))):
        for number in range(20):
            product = world_text(world, f"agency{index}", number)
            actor = world.add(
                "agency",
                _asks_under(product),
                payment=f"pm_agency{index}",
                addresses=[world.cloud()],
            )
            actor.times = world.steady_times(actor, actor.rng.uniform(2, 15))


def _programs(world: World, share: float) -> None:
    """Programs: products, benchmarks, judges of one's own, monitors, backfills, resellers, licensed customers, moved keys."""
    rng = world.rng
    for index in range(round(30 * share)):
        prompt = world_text(world, "product", index)
        actor = world.add(
            "product_app",
            _asks_under(prompt),
            addresses=[world.cloud()],
            plan="team",
        )
        actor.times = world.steady_times(actor, rng.uniform(4, 30))
    steps = "Let's think step by step and show the reasoning before the answer."
    bench = [f"{world_text(world, 'bench', index, 2)} {steps}" for index in range(400)]
    for _ in range(max(4, round(8 * share))):
        actor = world.add(
            "researcher_eval", lambda a, _t: Ask(messages=[("user", a.rng.choice(bench))]), addresses=[world.cloud()]
        )
        night = rng.uniform(0, 1)
        actor.times = sorted(
            (day + night) * DAY_S + 30 * number for day in range(1, int(world.days)) for number in range(12)
        )
    for _ in range(max(4, round(8 * share))):  # each judges a bot of its own
        form = Writer(rng).fill(
            "Rate the answer of our {thing} assistant from 1 to {n} by the rubric: correctness, {tone} tone, depth. Return JSON."
        )
        actor = world.add(
            "own_judge",
            _judges_by(form),
            addresses=[world.cloud()],
        )
        actor.times = world.steady_times(actor, rng.uniform(10, 40))
    for _ in range(max(2, round(5 * share))):
        actor = world.add(
            "monitor",
            lambda _a, _t: Ask(messages=[("user", "Reply with the single word pong so that we know you are there.")]),
            addresses=[world.cloud()],
        )
        actor.times = world.steady_times(actor, 48)
    for _ in range(max(1, round(3 * share))):
        actor = world.add(
            "rag_backfill",
            lambda a, _t: Ask(messages=[("user", f"Summarise for the index: {a.writer.document(8)}")]),
            addresses=[world.cloud()],
            plan="enterprise",
        )
        actor.times = world.steady_times(actor, 150, since=rng.uniform(0, 4))
    for _ in range(max(1, round(3 * share))):
        actor = world.add("reseller", question, addresses=[world.cloud()], plan="team")
        actor.times = world.human_times(actor, 60)
    _customers_by_contract(world, share)


def _customers_by_contract(world: World, share: float) -> None:
    """Licensed customers, release-day benchmarkers, and products that move to a new key."""
    rng = world.rng
    licensed = world_text(world, "licensed", 0, 2)
    for _ in range(max(1, round(2 * share))):
        actor = world.add("synthetic_licensed", lambda a, _t: Ask(messages=[("user", f"{licensed} Write out every step. {a.writer.question()}")]), declared_use="synthetic-data",
                          verified=True, plan="enterprise", addresses=[world.cloud()])  # fmt: skip
        actor.times = world.steady_times(actor, 90)
    for _ in range(max(2, round(4 * share))):
        actor = world.add(
            "release_bench",
            lambda a, t: Ask(
                messages=question(a, t).messages, model=FRESH_MODEL if t > world.days * 0.5 * DAY_S else None
            ),
        )
        actor.times = world.steady_times(actor, 20)
    for index in range(max(2, round(5 * share))):  # one product, moved to a new key in the middle
        prompt, address, card, turn = (
            world_text(world, "moved", index),
            world.cloud(),
            f"pm_moved{index}",
            rng.uniform(2, world.days - 1),
        )
        for since, until in ((0.0, turn), (turn, world.days)):
            actor = world.add(
                "key_rotation",
                _asks_under(prompt),
                addresses=[address],
                payment=card,
            )
            actor.times = world.steady_times(actor, 25, since, until)
