"""A seeded population for the tests of the analysis: customers of several kinds, and a campaign among them.

Texts are made of invented words, so nothing here fits a real campaign's wording.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import Any

from gateway.analysis.analyzer import Analyzer
from gateway.analysis.config import AnalysisConfig
from gateway.analysis.traits import TraitExtractor
from gateway.types import Family, Identity, RequestFacts, TextPart, Verdict

DAY = 86_400.0
START = 1_800_000_000.0 - 1_800_000_000.0 % DAY
Event = tuple[float, str, dict[str, Any]]
KEY = b"population" * 3
COUNTRIES = ("DE", "US", "IN", "BR", "FR")
PROGRAMS = tuple(f"program-{letter}/1.0" for letter in "abcdefghijkl")
SYLLABLES = ("ba", "de", "ki", "lo", "mu", "na", "po", "ri", "sa", "te", "vu", "zo")


def words(rng: Random, count: int) -> str:
    return " ".join("".join(rng.choice(SYLLABLES) for _ in range(3)) for _ in range(count))


@dataclass
class Customer:
    name: str
    row: dict[str, Any]
    address: str
    program: str
    ja4: str
    texts: Any
    since: float
    per_day: float = 4.0
    system: str | None = None


@dataclass
class Population:
    seed: int
    days: int = 5
    customers: list[Customer] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rng = Random(self.seed)
        self.count = 0

    def add(
        self, texts: Any, *, since: float = 0.0, per_day: float = 4.0, system: str | None = None, **row: Any
    ) -> str:
        rng, self.count = self.rng, self.count + 1
        name = f"a{self.count}"
        country = row.pop("country", rng.choice(COUNTRIES))
        address = row.pop(
            "address", f"{rng.randint(11, 99)}.{rng.randint(0, 255)}.{rng.randint(0, 255)}.{rng.randint(1, 254)}"
        )
        program = row.pop("program", rng.choice(PROGRAMS))
        ja4 = row.pop("ja4", f"ja4-{program}-{rng.randint(0, 3)}")
        facts = {
            "account": name,
            "created_at": START + since * DAY - rng.uniform(0.1, 300) * DAY,
            "country": country,
            "phone_country": country,
            "email_domain": rng.choice(("mail.example", "post.example", f"own{self.count}.example")),
            "signup_ip": address,
            "payment": f"pm{self.count}",
            **row,
        }
        self.customers.append(Customer(name, facts, address, program, ja4, texts, since, per_day, system))
        return name

    def benign(self, count: int) -> set[str]:
        """Ordinary people: everybody says something else, some share a phrase of the language."""
        common = [words(self.rng, 6) for _ in range(6)]
        return {
            self.add(lambda rng: f"{words(rng, 12)} {rng.choice(common) if rng.random() < 0.3 else ''} {words(rng, 5)}")
            for _ in range(count)
        }

    def harness(self, count: int) -> set[str]:
        """A coding agent: one long prompt over many unrelated accounts of one program."""
        prompt = words(self.rng, 200)
        return {
            self.add(lambda rng: words(rng, 20), system=prompt, program="harness/1.0", ja4="ja4-harness")
            for _ in range(count)
        }

    def classroom(self, count: int, day: float) -> set[str]:
        """Students: one address, one mail domain, one week, the same exercises."""
        exercises = [words(self.rng, 25) for _ in range(4)]
        return {
            self.add(
                lambda rng: rng.choice(exercises),
                since=day,
                address="10.9.8.7",
                country="DE",
                email_domain="uni.example",
                payment=None,
                created_at=START + day * DAY,
            )
            for _ in range(count)
        }

    def viral(self, count: int, day: float) -> set[str]:
        """A prompt that goes round: new, popular, and asked by unrelated people."""
        prompt = words(self.rng, 30)
        return {self.add(lambda rng: f"{prompt} {words(rng, 8)}", since=day, per_day=2.0) for _ in range(count)}

    def campaign(self, count: int, day: float, parts: int = 1, share: float = 1.0) -> set[str]:
        """One operator: a prompt (of interchangeable parts), mail domains from a pool, two clients for all programs, and
        sign-ups in bursts.
        """
        slots = [[words(self.rng, 8) for _ in range(parts)] for _ in range(3)]
        domains = [f"pool{self.seed}-{number}.example" for number in range(max(2, count // 6))]
        bursts = [START - self.rng.uniform(1, 20) * DAY for _ in range(4)]

        def text(rng: Random) -> str:
            if rng.random() > share:
                return words(rng, 20)
            return " ".join(rng.choice(slot) for slot in slots) + " " + words(rng, 15)

        names = set()
        for _ in range(count):
            linked = {"email_domain": self.rng.choice(domains)} if self.rng.random() < 0.6 else {}
            client = {"ja4": f"ja4-op-{self.rng.randint(0, 1)}"} if self.rng.random() < 0.5 else {}
            burst: dict[str, Any] = {"created_at": self.rng.choice(bursts)} if self.rng.random() < 0.5 else {}
            names.add(self.add(text, since=day + self.rng.random() * 0.5, per_day=6.0, **linked, **client, **burst))
        return names

    def events(self) -> list[Event]:
        """(time, account, traits) in order of time."""
        extractor, found = TraitExtractor(KEY), []
        for customer in self.customers:
            rng = Random(f"{self.seed}/{customer.name}")
            now = START + customer.since * DAY + rng.random() * DAY / customer.per_day
            while now < START + self.days * DAY:
                texts = [TextPart(role="user", text=customer.texts(rng))]
                if customer.system:
                    texts.insert(0, TextPart(role="system", text=customer.system))
                facts = RequestFacts(family=Family.OPENAI, route="r", model="m", texts=tuple(texts))
                identity = Identity(account=customer.name, address=customer.address, ja4=customer.ja4)
                found.append(
                    (
                        now,
                        customer.name,
                        extractor.request(facts, identity, [(b"user-agent", customer.program.encode())]),
                    )
                )
                now += rng.expovariate(customer.per_day / DAY)
        return sorted(found, key=lambda event: event[0])

    def run(
        self, config: AnalysisConfig | None = None, events: list[Event] | None = None
    ) -> tuple[Analyzer, list[Verdict]]:
        """The analyzer after all events, and every verdict that it gave."""
        extractor = TraitExtractor(KEY)
        analyzer = Analyzer(config or SMALL)
        for customer in self.customers:
            analyzer.know(customer.name, extractor.account(customer.row))
        given: list[Verdict] = []
        for ts, account, traits in self.events() if events is None else events:
            if analyzer.due(ts):
                given.extend(analyzer.tick(ts))
            analyzer.observe(ts, account, traits)
        given.extend(analyzer.tick(START + self.days * DAY))
        return analyzer, given


SMALL = AnalysisConfig(phrase_slots_log2=18)


def enforced(analyzer: Analyzer) -> set[str]:
    """Accounts in clusters that were ever enforced."""
    return {name for one in analyzer.clusters() if one["first_enforced_at"] is not None for name in one["members"]}


def pass_round(people: Population, names: set[str], codes: int) -> list[Event]:
    """The population's events, where the named accounts show each other's reasoning signatures."""
    rng = Random(people.seed)
    return [
        (ts, account, {**traits, "sig": [10**9 + rng.randrange(codes)]} if account in names else traits)
        for ts, account, traits in people.events()
    ]
