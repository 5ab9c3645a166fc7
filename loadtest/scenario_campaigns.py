"""The campaigns of the scenario lab: one operator, many accounts, of every kind that was reported.

What links the accounts shows on a share of them only (``Operator.share``): sign-up and exit blocks, a pool of mail
domains, one TLS client behind several programs, telephones of one country, sign-ups in bursts. Cards are shared by few or
by nobody. A quarter of the exits are VPN exits that customers use too. ``KINDS`` names the scenarios.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from loadtest.scenario_people import DAY_S, FRESH_MODEL, START_S, Actor, Ask, World, question
from loadtest.scenario_texts import Instruction

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class Campaign:
    """How one campaign acts. Days are counted from the start of the log; rates are requests of an account and day.

    ``attack_share`` of the requests are extraction, the others cover traffic. ``passes``: signatures are replayed.
    ``second_from``: the first pool stops then, and a second one that reuses part of its means takes over.
    ``aged``: the accounts were made or bought one by one over ten months, and give no telephone.
    """

    accounts: int
    per_day: float
    since: float = 2.5
    kind: str = "elicit"
    variants: int = 1
    attack_share: float = 1.0
    share: float = 0.35
    passes: bool = False
    second_from: float | None = None
    pivots: bool = False
    life_days: float = 30.0
    aged: bool = False


_SHARED_EXITS: Final = 0.25

KINDS: Final[Mapping[str, tuple[Campaign, ...]]] = {
    "benign": (),
    "fixed": (Campaign(accounts=200, per_day=10),),
    "paraphrased": (Campaign(accounts=250, per_day=10, variants=3_000, attack_share=0.3),),
    "low_and_slow": (Campaign(accounts=300, per_day=5.6, variants=3_000),),
    "thin_share": (Campaign(accounts=300, per_day=14, variants=3_000, attack_share=0.05),),
    "harvest": (Campaign(accounts=200, per_day=15, kind="none"),),
    "judges": (Campaign(accounts=150, per_day=12, kind="judge", variants=3_000, attack_share=0.8),),
    "signatures": (Campaign(accounts=120, per_day=10, kind="none", passes=True),),
    "small_20": (Campaign(accounts=20, per_day=60),),
    "small_40": (Campaign(accounts=40, per_day=40),),
    "small_60_paraphrased": (Campaign(accounts=60, per_day=30, variants=3_000),),
    "failover": (Campaign(accounts=120, per_day=15, variants=3_000, attack_share=0.5, second_from=5.0),),
    "pivot": (Campaign(accounts=150, per_day=10, pivots=True),),
    "from_the_start": (Campaign(accounts=150, per_day=10, since=0.0),),
    "two_at_once": (
        Campaign(accounts=120, per_day=10),
        Campaign(accounts=150, per_day=10, variants=3_000, attack_share=0.5, since=3.0),
    ),
    "aged": (Campaign(accounts=200, per_day=10, aged=True),),
    "aged_paraphrased": (Campaign(accounts=250, per_day=10, variants=3_000, attack_share=0.3, aged=True),),
}
"""Scenario to the campaigns in it."""


@dataclass(slots=True, kw_only=True)
class Operator:
    """What the operator of one campaign has at hand."""

    world: World
    campaign: Campaign
    name: str
    instruction: Instruction
    mails: list[str]
    blocks: list[str]
    exits: list[str]
    clients: list[str]
    phones: list[str]
    bursts: list[float]
    signatures: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, world: World, campaign: Campaign, name: str, size: int) -> Operator:
        """Means for ``size`` accounts: the more accounts, the more of everything."""
        rng = world.rng
        pool = max(2, size // 12)
        exits = [f"{rng.randrange(60, 99)}.{rng.randrange(256)}.{rng.randrange(256)}" for _ in range(pool)]
        return cls(
            world=world, campaign=campaign, name=name,
            instruction=Instruction(seed=world.seed * 31 + len(name) + ord(name[-1]), kind=campaign.kind, variants=campaign.variants),
            mails=[f"{name}x{number}.example" for number in range(pool)],
            blocks=[f"{rng.randrange(60, 99)}.{rng.randrange(256)}.{rng.randrange(256)}" for _ in range(pool)],
            exits=exits,
            clients=[world.fingerprint() for _ in range(2)],
            phones=rng.sample(("RU", "ID", "VN", "KE", "PH"), 2),
            bursts=[START_S + (campaign.since - rng.uniform(0.2, 20)) * DAY_S for _ in range(max(2, size // 20))],
        )  # fmt: skip

    def reuse(self, older: Operator, share: float) -> None:
        """Take over ``share`` of an older pool's means."""
        rng = self.world.rng
        for means in ("mails", "blocks", "exits"):
            mine, theirs = getattr(self, means), getattr(older, means)
            mine[: round(share * len(mine))] = rng.sample(theirs, min(len(theirs), round(share * len(mine))))
        self.clients[0] = older.clients[0]
        self.instruction = older.instruction

    def member(self, since: float, until: float) -> Actor:
        """One account of the pool, at work from day ``since`` to ``until``."""
        world, rng, plan = self.world, self.world.rng, self.campaign
        given: dict[str, Any] = {}
        shows = [rng.random() < plan.share for _ in range(6)]
        if shows[0]:
            given["email_domain"] = rng.choice(self.mails)
        if shows[1]:
            given["signup_ip"] = f"{rng.choice(self.blocks)}.{rng.randrange(1, 255)}"
        if shows[2]:
            given["addresses"] = [
                f"{rng.choice(self.exits)}.{rng.randrange(1, 255)}"
                if rng.random() >= _SHARED_EXITS
                else rng.choice(world.vpn)
                for _ in range(2)
            ]
        if shows[3]:
            given["ja4"] = rng.choice(self.clients)
        if shows[4]:
            given["phone_country"] = rng.choice(self.phones)
        if shows[5]:
            given["created_at"] = rng.choice(self.bursts) + rng.uniform(0, 2_400)
        elif rng.random() < 0.6:  # noqa: PLR2004 - the others were bought and are old
            given["created_at"] = START_S + (since - rng.uniform(0.1, 20)) * DAY_S
        if plan.aged:
            given["phone_country"] = None
            given["created_at"] = START_S - rng.uniform(2, 300) * DAY_S
        actor = world.add("campaign", self.ask, campaign=self.name, **given)
        actor.times = world.steady_times(actor, plan.per_day, since, until)
        return actor

    def ask(self, actor: Actor, at_s: float) -> Ask:
        """One request: extraction or cover."""
        rng, plan = actor.rng, self.campaign
        if rng.random() >= plan.attack_share:
            return question(actor, at_s)
        model = FRESH_MODEL if plan.pivots and at_s > self.world.days * 0.5 * DAY_S and rng.random() < 0.5 else None  # noqa: PLR2004 - half
        if plan.kind == "none":
            ask = question(actor, at_s)
        else:
            ask = Ask(messages=[("user", self.instruction.prompt(actor.writer))])
        ask.attack, ask.model = True, model
        if plan.passes:
            self._pass_round(ask, actor)
        return ask

    def _pass_round(self, ask: Ask, actor: Actor) -> None:
        """Continue somebody else's reasoning: half of the requests carry a signature, new or of the pool."""
        rng = actor.rng
        if rng.random() < 0.5:  # noqa: PLR2004 - half
            if not self.signatures or rng.random() < 0.3:  # noqa: PLR2004 - fresh ones
                self.signatures.append(f"{rng.getrandbits(256):064x}")
            ask.signature = rng.choice(self.signatures[-80:])
            ask.messages = [("user", actor.writer.question()), ("assistant", actor.writer.reply()), *ask.messages]


def recruit(world: World, campaign: Campaign, name: str) -> None:
    """Put a campaign's accounts into the world."""
    first = Operator.of(world, campaign, name, campaign.accounts)
    _pool(first, campaign.since, campaign.second_from or world.days)
    if campaign.second_from is not None:
        second = Operator.of(world, campaign, name, campaign.accounts)
        second.reuse(first, 0.3)
        _pool(second, campaign.second_from + world.rng.uniform(0.01, 0.04), world.days)


def _pool(operator: Operator, since: float, until: float) -> None:
    """Accounts that begin over the pool's first day or in its course, and end with their life or with the pool."""
    rng, plan = operator.world.rng, operator.campaign
    for _ in range(plan.accounts):
        begins = since + (rng.random() if rng.random() < 0.7 else rng.uniform(0.0, max(0.5, until - since - 0.5)))  # noqa: PLR2004 - most at once
        operator.member(begins, min(until, begins + plan.life_days))
