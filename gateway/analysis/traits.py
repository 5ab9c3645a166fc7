"""What a request and an account show that others may show too.

``extract`` reads a request once, after the reply, and gives keyed hashes, sketches and small numbers; no
text, address, name or credential leaves it. ``of_account`` does the same for a line of the account
directory, once an account. Both are pure functions of their inputs (caches change speed only), so that
replaying a log gives the same traits.

A request's traits (a missing key means that it did not show one):

``ip`` ``net``     exit address and its block (/24, /48)
``ja4`` ``prog``   TLS fingerprint; program: the user agent without its numbers
``par`` ``tool``   names and values of sampling parameters; names of the tools
``model``          model asked for
``ph``             phrases of the two ends of the user's last text and of the system prompt (``array("Q")``)
``conv``           beginnings of the conversation up to an assistant's turn
``sig``            opaque reasoning signatures
``int``            bits of ``intent.KINDS``
"""

from __future__ import annotations

import re
from array import array
from functools import lru_cache
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final

from gateway.analysis.hashing import keyed
from gateway.analysis.phrases import KEPT_TEXTS, PhraseHasher

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.types import Headers, Identity, RequestFacts, TextPart

_NUMBERS = re.compile(r"[\d._]+")
_PARAMETERS: Final = ("temperature", "top_p", "top_k", "max_tokens", "max_completion_tokens", "presence_penalty",
                      "frequency_penalty", "n", "seed", "stop", "response_format", "reasoning_effort")  # fmt: skip
_MAX_PHRASES: Final = 160
_NONE: Final = array("Q")
_MAX_SIGNATURES: Final = 8
_PREFIX_CHARS: Final = 400
_MEMO: Final = 50_000
_SHORT: Final = 256
"""Names of programs that are longer, in bytes, are not remembered: a caller could fill the memory with them."""


class TraitExtractor:
    """Extracts traits under one key; safe to share within a process, not between threads."""

    def __init__(self, key: bytes, kept_texts: int = KEPT_TEXTS) -> None:
        self.key = key
        self._phrases = PhraseHasher(key, kept_texts)
        self._hash = lru_cache(maxsize=_MEMO)(self._keyed)
        self._place = lru_cache(maxsize=_MEMO)(self._placed)
        self._program = lru_cache(maxsize=_MEMO)(self._named)

    def _keyed(self, kind: str, value: str) -> int:
        return keyed(self.key, kind, value)

    def _placed(self, address: str) -> tuple[int, int]:
        """Hashes of an address and of its block."""
        return self._keyed("ip", address), self._keyed("net", block(address))

    def _named(self, user_agent: bytes) -> int:
        return self._keyed("prog", _NUMBERS.sub("", user_agent.decode("latin-1"))[:200])

    def request(self, facts: RequestFacts, identity: Identity, headers: Headers) -> dict[str, Any]:
        """Traits of one request."""
        traits: dict[str, Any] = {"model": self._hash("model", facts.model)}
        if identity.address:
            traits["ip"], traits["net"] = self._place(identity.address)
        if identity.ja4:
            traits["ja4"] = self._hash("ja4", identity.ja4)
        for name, value in headers:
            if name == b"user-agent":
                traits["prog"] = self._program(value) if len(value) <= _SHORT else self._named(value)
                break
        if facts.body:
            self._body(facts.body, traits)
        if facts.texts:
            self._texts(facts.texts, traits)
        return traits

    def _body(self, body: Mapping[str, Any], traits: dict[str, Any]) -> None:
        shown = [f"{name}={body[name]}"[:80] for name in _PARAMETERS if name in body]
        if shown:
            traits["par"] = self._hash("par", "&".join(shown))
        tools = body.get("tools")
        if isinstance(tools, list) and tools:
            traits["tool"] = self._hash("tool", "&".join(_tool_names(tools)))

    def _texts(self, texts: Sequence[TextPart], traits: dict[str, Any]) -> None:
        asked, told, turns, signatures = _parts(texts)
        phrases = _NONE
        if asked is not None:
            phrases, wants = self._phrases.of(asked)
            if wants:
                traits["int"] = wants
        if told is not None:
            phrases = phrases + self._phrases.of(told, "system").phrases
        if phrases:
            traits["ph"] = phrases[:_MAX_PHRASES] if len(phrases) > _MAX_PHRASES else phrases
        if signatures:
            traits["sig"] = [keyed(self.key, "sig", text) for text in signatures[-_MAX_SIGNATURES:]]
        if turns:
            traits["conv"] = self._prefixes(texts, turns)

    def _prefixes(self, texts: Sequence[TextPart], turns: list[int]) -> list[int]:
        """The conversation up to its first and up to its last assistant's turn."""
        shown = [part.text[:_PREFIX_CHARS] for part in texts[: turns[-1] + 1]]
        first = keyed(self.key, "conv", "\0".join(shown[: turns[0] + 1]))
        return [first] if len(turns) == 1 else [first, keyed(self.key, "conv", "\0".join(shown))]

    def account(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Traits of one line of the account directory; countries and flags stay as they are."""
        traits: dict[str, Any] = {
            "country": row.get("country") or "",
            "phone": row.get("phone_country") or "",
            "verified": bool(row.get("verified")),
            "use": row.get("declared_use") or "",
            "plan": row.get("plan") or "",
        }
        for name, kind in (("org", "org"), ("payment", "pay"), ("email_domain", "mail")):
            if row.get(name):
                traits[kind] = self._hash(kind, str(row[name]).lower())
        if address := row.get("signup_ip"):
            traits["sip"], traits["snet"] = self._place(str(address))
        if row.get("created_at") is not None:
            traits["created"] = float(row["created_at"])
        return traits


@lru_cache(maxsize=_MEMO)
def block(address: str) -> str:
    """The /24 (IPv4) or /48 (IPv6) that an address lies in; the text itself where it is no address.

    >>> block("203.0.113.9"), block("2001:db8:1:2::3")
    ('203.0.113.0/24', '2001:db8:1::/48')
    """
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if parsed.version == 4:  # noqa: PLR2004 - the version of the protocol
        return address.rsplit(".", 1)[0] + ".0/24"
    packed = parsed.packed[:6] + bytes(10)
    return f"{ip_address(packed)}/48"


def _parts(texts: Sequence[TextPart]) -> tuple[str | None, str | None, list[int], list[str]]:
    """The user's last text, the first system prompt, places of assistants' turns after the user's first, signatures."""
    asked, told = None, None
    turns: list[int] = []
    signatures: list[str] = []
    for index, part in enumerate(texts):
        role = part.role
        if role == "user" or role == "input":  # noqa: PLR1714 - a set would hash the role of every text
            asked = part.text
        elif role == "assistant":
            if asked is not None:
                turns.append(index)
        elif role == "system":
            if told is None:
                told = part.text
        elif role == "signature":
            signatures.append(part.text)
    return asked, told, turns, signatures


def _tool_names(tools: Sequence[Any]) -> list[str]:
    """Names of tools in both families' shapes."""
    names = []
    for tool in tools[:64]:
        if isinstance(tool, dict):
            inner = tool.get("function")
            names.append(str((inner if isinstance(inner, dict) else tool).get("name", ""))[:64])
    return sorted(names)


@lru_cache(maxsize=4)
def extractor(key: bytes) -> TraitExtractor:
    """The process's extractor for ``key``, so that its caches are shared."""
    return TraitExtractor(key)


def extract(facts: RequestFacts, identity: Identity, headers: Headers, key: bytes) -> dict[str, Any]:
    """Traits of one request; see the module's table. Never raises for odd texts."""
    return extractor(key).request(facts, identity, headers)


def of_account(row: Mapping[str, Any], key: bytes) -> dict[str, Any]:
    """Traits of one line of the account directory."""
    return extractor(key).account(row)
