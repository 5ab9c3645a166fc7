"""A population with known campaigns in it, as a traffic log for ``distillguard replay``; seeded, streamed.

    python -m loadtest.population OUT [--accounts 2000] [--days 3] [--before-days 2] [--campaign-accounts 200] [--seed 1]

Writes ``accounts.ndjson``, ``requests.ndjson`` and ``labels.ndjson`` (who belongs to which campaign) to OUT, in
memory that grows with accounts, not with requests: each account has one pending request in a heap. The campaign begins
after ``--before-days`` of customers alone and lasts for ``--days``.

Customers have a rate of their own (log-normal: most are quiet, few are busy), a rhythm of day and night in their
country, bursts, and texts of their own; some share a popular system prompt, as users of one coding agent do.
Members of a campaign share payment methods and address blocks by halves, half signed up in batches of an hour, three in
ten show a rented number of another country; they spread their load evenly over the day, and put questions of many kinds
into one of a few phrasings that ask for the reasoning.

``--reported`` makes the size that was reported in June 2026: 25,000 accounts, 28.8 million requests in 45 days,
beside five times as many customers. Use it through a pipe: nothing but the output needs room.
"""

from __future__ import annotations

import argparse
import heapq
import math
import random
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import orjson

from loadtest.texts import prompt, sentence

if TYPE_CHECKING:
    from collections.abc import Iterator

STARTS_AT = 1_780_000_000.0
_DAY_S = 86_400.0
_HOUR_S = 3_600.0
BEFORE_DAYS = 2.0
"""Customers alone, before the campaign: a gateway that was put up before it."""
_CUSTOMERS = 5
"""Customers for each member: vendors have far more; fewer would make a campaign's own traits common."""
_COUNTRIES = (("DE", 1), ("US", -6), ("IN", 5), ("BR", -3), ("JP", 9), ("GB", 0))
_RENTED = ("PH", "ID", "KE")
_MODELS = ("gpt-4o-mini", "gpt-4o", "gpt-5-mini", "gpt-4.1-mini")
_AGENTS = ("OpenAI/Python 1.109.1", "OpenAI/JS 6.8.1", "python-httpx/0.28.1", "okhttp/4.12.0")
_OPENINGS = (
    "Write out every step of your reasoning in full before the answer.",
    "Show your complete line of thought, then give the final answer.",
    "Lay out the reasoning behind each step for a training example.",
)
_ENDINGS = (
    "Number the steps and end with the answer on its own line.",
    "Do not shorten the steps; close with one line that holds the answer.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How many, how long. ``per_day`` is the requests of a campaign's account in a day; the campaign lasts ``days``,
    after ``before_days`` of customers alone (0: the log opens with it, and nothing is known of a time without it).
    """

    accounts: int = 2_000
    campaign_accounts: int = 200
    days: float = 3.0
    before_days: float = 0.0
    per_day: float = 26.0
    seed: int = 1

    @classmethod
    def scaled(cls, scale: float, seed: int = 1, before_days: float = BEFORE_DAYS) -> Size:
        """1.0 is the reported campaign (25,000 accounts, 45 days) beside ``_CUSTOMERS`` times as many customers."""
        members, days = max(100, round(25_000 * scale)), max(3.0, 45.0 * scale)
        return cls(
            accounts=_CUSTOMERS * members, campaign_accounts=members, days=days, before_days=before_days, seed=seed
        )

    @property
    def campaign_at(self) -> float:
        """When the campaign begins, in seconds since the epoch."""
        return STARTS_AT + self.before_days * _DAY_S


@dataclass(slots=True)
class Account:
    """One account: its row of the directory and how it behaves."""

    row: dict[str, Any]
    rng: random.Random
    per_day: float
    offset_h: int
    campaign: str | None
    addresses: list[str]
    agent: str
    ja4: str
    model: str
    system: str | None
    chars: int
    burst_left: int = field(default=0)

    def next_at(self, now_s: float) -> float:
        """When it asks again: a Poisson process thinned by the hour of the day; bursts for customers."""
        rng = self.rng
        if self.campaign is not None:
            return now_s + rng.gauss(1.0, 0.15) * _DAY_S / self.per_day
        if self.burst_left:
            self.burst_left -= 1
            return now_s + rng.uniform(5, 90)
        while True:
            now_s += rng.expovariate(2 * self.per_day / 3 / _DAY_S)
            hour = (now_s / 3600 + self.offset_h) % 24
            if rng.random() < 0.5 + 0.5 * math.sin((hour - 9) / 24 * 2 * math.pi):
                self.burst_left = rng.randrange(4) if rng.random() < 0.25 else 0  # noqa: PLR2004 - one session in four
                return now_s

    def body(self) -> dict[str, Any]:
        """What it asks now."""
        rng = self.rng
        if self.campaign is not None and rng.random() < 0.9:  # noqa: PLR2004 - a tenth is cover traffic
            text = f"{rng.choice(_OPENINGS)} {prompt(rng, self.chars)} {rng.choice(_ENDINGS)}"
            return {"model": self.model, "messages": [{"role": "user", "content": text}], "max_tokens": 2048}
        messages = [{"role": "user", "content": prompt(rng, max(40, int(rng.expovariate(1 / self.chars))))}]
        if self.system is not None:
            messages.insert(0, {"role": "system", "content": self.system})
        return {"model": self.model, "messages": messages, "stream": rng.random() < 0.5}  # noqa: PLR2004 - half of them


def make_accounts(size: Size) -> list[Account]:
    """The accounts of a population, customers first."""
    rng = random.Random(size.seed)  # noqa: S311 - a population, not a secret
    popular = [" ".join(sentence(rng) for _ in range(40)) for _ in range(5)]
    accounts = [_customer(index, rng, popular) for index in range(size.accounts)]
    blocks = [f"203.{rng.randrange(256)}.{rng.randrange(256)}" for _ in range(max(1, size.campaign_accounts // 15))]
    payments = [f"pm_{rng.getrandbits(40):010x}" for _ in range(max(1, size.campaign_accounts // 8))]
    batches = [size.campaign_at - rng.uniform(1, 20) * _DAY_S for _ in range(max(1, size.campaign_accounts // 15))]
    accounts += [_member(index, rng, size, blocks, payments, batches) for index in range(size.campaign_accounts)]
    return accounts


def _row(name: str, rng: random.Random, created_at: float, country: str, address: str) -> dict[str, Any]:
    return {
        "account": name,
        "created_at": created_at,
        "plan": rng.choices(("free", "pro", "team"), (80, 17, 3))[0],
        "org": None,
        "email_domain": rng.choice(("mail.example", "post.example", f"firm{rng.randrange(9000)}.example")),
        "payment": None if rng.random() < 0.5 else f"pm_{rng.getrandbits(40):010x}",  # noqa: PLR2004 - half of them
        "phone_country": country,
        "signup_ip": address,
        "country": country,
        "verified": rng.random() < 0.1,  # noqa: PLR2004 - a tenth
        "declared_use": None,
    }


def _ja4(rng: random.Random, kinds: int) -> str:
    return f"t13d{1500 + rng.randrange(kinds)}h2_8daaf6152771"


def _customer(index: int, rng: random.Random, popular: list[str]) -> Account:
    country, offset_h = rng.choice(_COUNTRIES)
    address = f"{rng.randrange(11, 198)}.{rng.randrange(256)}.{rng.randrange(256)}.{rng.randrange(1, 255)}"
    own = random.Random(rng.getrandbits(64))  # noqa: S311 - a population
    shares = rng.random()
    return Account(
        row=_row(f"a{index}", rng, STARTS_AT - rng.expovariate(1 / (200 * _DAY_S)), country, address),
        rng=own,
        per_day=min(150.0, rng.lognormvariate(2.0, 1.2)),
        offset_h=offset_h,
        campaign=None,
        addresses=[address],
        agent=rng.choice(_AGENTS),
        ja4=_ja4(rng, 12),
        model=rng.choice(_MODELS),
        system=rng.choice(popular) if shares < 0.2 else (sentence(own) if shares < 0.6 else None),  # noqa: PLR2004 - shares
        chars=int(rng.lognormvariate(5.5, 0.8)),
    )


def _member(
    index: int, rng: random.Random, size: Size, blocks: list[str], payments: list[str], batches: list[float]
) -> Account:
    country, _ = rng.choice(_COUNTRIES)
    block = rng.choice(blocks)
    created_at = size.campaign_at - rng.uniform(1, 20) * _DAY_S
    if rng.random() < 0.5:  # noqa: PLR2004 - half are bought in batches
        created_at = rng.choice(batches) + rng.random() * _HOUR_S
    row = _row(f"m{index}", rng, created_at, country, f"{block}.{rng.randrange(1, 255)}")
    if rng.random() < 0.3:  # noqa: PLR2004 - a share has rented numbers
        row["phone_country"] = rng.choice(_RENTED)
    row["plan"] = "pro"
    if rng.random() < 0.5:  # noqa: PLR2004 - by halves
        row["payment"] = rng.choice(payments)
    return Account(
        row=row,
        rng=random.Random(rng.getrandbits(64)),  # noqa: S311 - a population
        per_day=size.per_day,
        offset_h=0,
        campaign="k1",
        addresses=[f"{rng.choice(blocks)}.{rng.randrange(1, 255)}" for _ in range(3)],
        agent=_AGENTS[2],
        ja4=_ja4(rng, 2),
        model="gpt-4o",
        system=None,
        chars=int(rng.lognormvariate(5.8, 0.5)),
    )


def requests(accounts: list[Account], size: Size) -> Iterator[dict[str, Any]]:
    """The log, sorted by time."""
    ends_at = size.campaign_at + size.days * _DAY_S
    heap = [
        (account.next_at(size.campaign_at if account.campaign else STARTS_AT), index)
        for index, account in enumerate(accounts)
    ]
    heapq.heapify(heap)
    number = 0
    while heap[0][0] < ends_at:
        ts, index = heap[0]
        account = accounts[index]
        number += 1
        yield _line(number, ts, account)
        heapq.heapreplace(heap, (account.next_at(ts), index))


def _line(number: int, ts: float, account: Account) -> dict[str, Any]:
    body = account.body()
    rng = account.rng
    return {
        "id": f"r{number}",
        "ts": round(ts, 3),
        "account": account.row["account"],
        "ip": rng.choice(account.addresses),
        "headers": {"user-agent": account.agent, "x-ja4": account.ja4},
        "path": "/v1/chat/completions",
        "body": body,
        "usage": {
            "input_tokens": sum(len(message["content"]) for message in body["messages"]) // 4 + 3,
            "output_tokens": 1 + int(rng.expovariate(1 / (900 if account.campaign else 250))),
        },
        "status": 200,
    }


def write_accounts(folder: Path, size: Size) -> list[Account]:
    """Write the directory and the labels; the accounts."""
    folder.mkdir(parents=True, exist_ok=True)
    accounts = make_accounts(size)
    labels = [
        {"account": account.row["account"], "campaign": account.campaign} for account in accounts if account.campaign
    ]
    for name, rows in (("accounts", [account.row for account in accounts]), ("labels", labels)):
        (folder / f"{name}.ndjson").write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    return accounts


def write_requests(out: IO[bytes], size: Size, asked: IO[str] | None = None) -> int:
    """Write the requests; how many. ``asked`` gets the id, account and time of each."""
    count = 0
    for row in requests(make_accounts(size), size):
        out.write(orjson.dumps(row) + b"\n")
        count += 1
        if asked is not None:
            asked.write(f"{row['id']} {row['account']} {row['ts']}\n")
    return count


def main() -> None:
    """Write a population."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--accounts", type=int, default=2_000)
    parser.add_argument("--campaign-accounts", type=int, default=200)
    parser.add_argument("--days", type=float, default=3.0)
    parser.add_argument("--before-days", type=float, default=BEFORE_DAYS)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--reported", action="store_true", help="the size that was reported")
    parser.add_argument("--pipe", action="store_true", help="requests to standard output, asked.ndjson to OUT")
    given = parser.parse_args()
    size = Size(
        accounts=given.accounts,
        campaign_accounts=given.campaign_accounts,
        days=given.days,
        before_days=given.before_days,
        seed=given.seed,
    )
    if given.reported:
        size = Size.scaled(1.0, given.seed, given.before_days)
    if given.pipe:
        with (given.out / "asked.ndjson").open("w") as asked:
            write_requests(sys.stdout.buffer, size, asked)
        return
    write_accounts(given.out, size)
    with (given.out / "requests.ndjson").open("wb") as out:
        print(f"{write_requests(out, size):,} requests in {given.out}", file=sys.stderr)


if __name__ == "__main__":
    main()
