"""A small seeded town: customers who write about whatever they like, and a campaign among them."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from gateway.dialects import facts_of, find_route
from gateway.types import Event, Identity, Outcome

BEGIN_S = 1_780_000_000.0
DAY_S = 86_400.0
PLOT = (
    "You are the senior examiner of a translation bureau. Weigh every sentence below with great patience, write out "
    "each consideration in full before you settle, number the considerations, and close with the verdict alone"
)
_SYLLABLES = [a + b for a in "bdfgklmnprstvz" for b in ("a", "e", "i", "o", "u", "an", "el", "or")]


@dataclass(frozen=True, kw_only=True)
class Call:
    """One request of the town."""

    id: str
    ts: float
    account: str
    ip: str
    ja4: str
    agent: str
    prompt: str

    @property
    def body(self) -> dict[str, Any]:
        return {"model": "gpt-4o", "messages": [{"role": "user", "content": self.prompt}], "max_tokens": 60}

    @property
    def headers(self) -> dict[str, str]:
        return {
            "authorization": f"Bearer key-of-{self.account}",
            "user-agent": self.agent,
            "x-forwarded-for": self.ip,
            "x-ja4": self.ja4,
        }


@dataclass(frozen=True, kw_only=True)
class Town:
    """Rows of the account directory, calls in the order of time, and who is in the campaign."""

    rows: list[dict[str, Any]]
    calls: list[Call]
    campaign: frozenset[str]


def build_town(seed: int = 5, *, customers: int = 40, pool: int = 16, days: int = 4) -> Town:
    """The campaign begins on the third day: by then the population is known. Its accounts were bought in batches: mail
    domains, telephones, hours and blocks recur among them, and no one place would explain that.
    """
    rng = random.Random(seed)
    words = ["".join(rng.choices(_SYLLABLES, k=rng.randint(1, 3))) for _ in range(3_000)]
    rows, calls = [], []
    for number in range(customers):
        name = f"cust{number}"
        rows.append(
            _row(
                rng, name, domain=f"{rng.choice(words)}{number}.example", created=BEGIN_S - rng.uniform(5, 400) * DAY_S
            )
        )
        home = _address(rng)
        for day in range(days):
            for _ in range(rng.randint(1, 3)):
                text = " ".join(rng.choices(words, k=rng.randint(25, 60)))
                calls.append(_call(rng, name, BEGIN_S + (day + rng.random()) * DAY_S, home, f"t13d{number % 9}", text))
    names = [f"pool{number}" for number in range(pool)]
    for number, name in enumerate(names):
        batch, hour = number % 4, BEGIN_S + (1.1 + number % 4 / 10) * DAY_S
        rows.append(
            _row(
                rng,
                name,
                domain=f"postbox{batch}.example",
                created=hour + rng.uniform(0, 900),
                signup=f"198.51.{100 + number % 5}.",
                phone=("SC", "VU", "TO")[number % 3],
            )
        )
        for _ in range(6):
            text = f"{PLOT}: " + " ".join(rng.choices(words, k=30))
            when = BEGIN_S + rng.uniform(2.2, days) * DAY_S
            exit_ip = f"192.0.{number % 5}.{rng.randint(1, 250)}"
            calls.append(_call(rng, name, when, exit_ip, f"t13dpool{number % 2}", text))
    calls.sort(key=lambda call: call.ts)
    return Town(rows=rows, calls=calls, campaign=frozenset(names))


def _row(
    rng: random.Random, name: str, *, domain: str, created: float, signup: str = "", phone: str = ""
) -> dict[str, Any]:
    country = rng.choice(["DE", "FR", "BR", "JP", "US"])
    return {
        "account": name,
        "created_at": created,
        "plan": "pro",
        "org": None,
        "email_domain": domain,
        "payment": f"pm_{name}",
        "phone_country": phone or country,
        "signup_ip": f"{signup}{rng.randint(1, 250)}" if signup else _address(rng),
        "country": country,
        "verified": False,
        "declared_use": None,
        "api_key": f"key-of-{name}",
    }


def _address(rng: random.Random) -> str:
    return f"{rng.randint(11, 170)}.{rng.randint(0, 255)}.{rng.randint(0, 255)}.{rng.randint(1, 250)}"


def _call(rng: random.Random, account: str, ts: float, ip: str, ja4: str, prompt: str) -> Call:
    agent = f"{rng.choice(['aio', 'curly', 'reqs', 'fetchy'])}-client/{rng.randint(1, 9)}.0"
    return Call(
        id=f"req_{rng.getrandbits(80):020x}", ts=ts, account=account, ip=ip, ja4=ja4, agent=agent, prompt=prompt
    )


def event_of(call: Call, observer: Any, **more: Any) -> Event:
    """The event that a gateway would write for a call."""
    headers = [(name.encode(), value.encode()) for name, value in call.headers.items()]
    route = find_route("POST", "/v1/chat/completions", headers)
    assert route is not None
    identity = Identity(account=call.account, address=call.ip, ja4=call.ja4)
    values: dict[str, Any] = {
        "outcome": Outcome.ANSWERED,
        "family": "openai",
        "route": "openai.chat_completions",
        "status": 200,
        "account": call.account,
        "model": "gpt-4o",
        "traits": observer.traits(facts_of(route, call.body, 100), identity, headers),
        **more,
    }
    return Event(id=call.id, ts=call.ts, **values)
