"""Settings of a gateway: one frozen value, made from the environment and the command line.

Every option of ``distillguard serve`` is a field here; ``--max-body-bytes`` is
``DISTILLGUARD_MAX_BODY_BYTES`` is ``max_body_bytes``. Secrets are wrapped so that they are not logged.
Nothing reads the environment except ``Settings.load``.
"""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import urlsplit

from gateway.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PREFIX = "DISTILLGUARD_"
Network: TypeAlias = IPv4Network | IPv6Network


class Secret(str):
    """A string that shows itself as ``***`` in logs and representations."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'" if self else "''"


def _option(help_text: str, default: Any = None, **more: Any) -> Any:
    """A field with the help text that the command line and the documentation show; ``hidden`` ones are not logged."""
    metadata = {"help": help_text, **more}
    return field(default=default, metadata=metadata, repr=not more.get("hidden", False))


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How one gateway runs. Times in seconds, sizes in bytes."""

    policies: Path | None = _option("Folder of policy files, or one file (default: the shipped policies).")
    upstream: str | None = _option("URL of the model server; policy files may name more.")
    host: str = _option("Address that the data port listens on.", "127.0.0.1")
    port: int = _option("Data port.", 8080)
    admin_host: str | None = _option(
        "Address of the admin port (default: 127.0.0.1 without an admin token, else host)."
    )
    admin_port: int = _option("Admin port.", 9090)
    admin_token: Secret = _option(
        "Token for /api and the console; without it the admin port is loopback only.", Secret()
    )
    redis: str | None = _option(
        "redis://, rediss://, redis+cluster:// or redis+sentinel:// URL of shared state.", hidden=True
    )
    """Hidden, because the URL may hold a password."""
    workers: int = _option("Worker processes; more than one needs --redis.", 1)
    accounts: Path | None = _option("Account directory: NDJSON, or CSV by its ending; .gz and .zst too.")
    state_dir: Path = _option("Where embedded state and events are kept.", Path(".distillguard"))
    upstream_api_key: Secret = _option(
        "Credential for the upstream where callers' keys are the gateway's own.", Secret()
    )
    hash_key: Secret = _option(
        "Key for hashes of credentials and addresses (default: made once, kept in state).", Secret()
    )
    keyring: Path | None = _option(
        "Keyring of `canary keygen` for marks (default without --redis: one in the state folder, made when missing)."
    )
    ledger: Path | None = _option("File that fingerprints of marked replies are appended to, for `canary trace`.")
    trusted_proxies: tuple[Network, ...] = _option("Address ranges whose forwarding and attribution headers count.", ())
    max_body_bytes: int = _option("Largest request body.", 32 * 1024 * 1024)
    body_timeout_s: float = _option("Longest silence while a request body is read.", 30.0)
    upstream_ca_file: Path | None = _option(
        "PEM file of the certificates that https upstreams are checked against (default: those of public authorities)."
    )
    upstream_connections: int = _option("Most connections to an upstream; requests over it wait for one.", 10_000)
    connect_timeout_s: float = _option("Longest time to connect to the upstream.", 5.0)
    first_byte_timeout_s: float = _option("Longest wait for the upstream's first byte.", 600.0)
    idle_timeout_s: float = _option("Longest silence within an upstream's reply.", 300.0)
    ping_interval_s: float = _option("Silence after which a stream gets a comment (0: never).", 15.0)
    drain_timeout_s: float = _option("How long open streams may go on after SIGTERM.", 30.0)
    store_timeout_s: float = _option("Hard limit for one call to the store.", 0.05)
    reload_interval_s: float = _option("How often policy and account files are looked at.", 0.25)
    events_keep_days: float = _option("How long rotated event files are kept; twice the campaign horizon.", 90.0)
    events_keep_bytes: int = _option("How much rotated event files may take together.", 20 * 1024**3)
    record: Path | None = _option("Folder that live traffic is recorded into, for replay; policies say what is kept.")
    analysis: bool | None = _option(
        "on or off: find campaigns in a child process, where state is embedded (default: on for serve)."
    )
    log_level: str = _option("debug, info, warning or error.", "info")

    @classmethod
    def load(cls, environ: Mapping[str, str] | None = None, **given: Any) -> Settings:
        """Settings from ``given`` (the command line; ``None`` means not given), then the environment.

        Raises ConfigError with the option's name, what was got and what was expected.
        """
        environ = os.environ if environ is None else environ
        values: dict[str, Any] = {}
        for spec in dataclasses.fields(cls):
            if given.get(spec.name) is not None:
                values[spec.name] = _parse(spec.name, str(spec.type), given[spec.name])
            elif (text := environ.get(PREFIX + spec.name.upper())) not in (None, ""):
                values[spec.name] = _parse(PREFIX + spec.name.upper(), str(spec.type), text)
        settings = cls(**values)
        settings.check()
        return settings

    def check(self) -> None:
        """Raise ConfigError where values do not fit each other."""
        if self.workers < 1:
            raise ConfigError(f"workers: got {self.workers}, expected at least 1")
        if self.workers > 1 and not self.redis:
            raise ConfigError(
                f"workers: got {self.workers} without redis, expected --redis URL so that they share state"
            )
        if self.upstream_connections < 1:
            raise ConfigError(f"upstream_connections: got {self.upstream_connections}, expected at least 1")
        for name in ("port", "admin_port"):
            if not 0 <= getattr(self, name) <= 65_535:  # noqa: PLR2004 - the range of ports
                raise ConfigError(f"{name}: got {getattr(self, name)}, expected 0 to 65535")
        if self.log_level not in {"debug", "info", "warning", "error"}:
            raise ConfigError(f"log_level: got {self.log_level!r}, expected debug, info, warning or error")
        if self.upstream is not None:
            check_url("upstream", self.upstream)

    @property
    def admin_bind(self) -> str:
        """The address of the admin port: loopback unless there is a token."""
        if self.admin_host is not None and (self.admin_token or self.admin_host in {"127.0.0.1", "::1", "localhost"}):
            return self.admin_host
        return self.host if self.admin_token else "127.0.0.1"


def check_url(name: str, url: str) -> None:
    """Raise ConfigError unless ``url`` is an absolute http(s) URL without query or credentials."""
    try:
        parts = urlsplit(url)
        good = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:  # brackets that hold no address, a port that is none
        good = False
    if not good or parts.query or parts.fragment or parts.username:
        raise ConfigError(f"{name}: got {url!r}, expected http(s)://HOST[:PORT][/PATH] without query or credentials")


def _networks(text: str) -> tuple[Network, ...]:
    """Address ranges separated by commas."""
    return tuple(ip_network(part.strip(), strict=False) for part in text.split(",") if part.strip())


def _switch(text: str) -> bool:
    """On or off."""
    return {"on": True, "true": True, "1": True, "off": False, "false": False, "0": False}[text.lower()]


def _number(text: str) -> float:
    """A finite number >= 0."""
    number = float(text)
    if not 0 <= number < float("inf"):
        raise ValueError(text)
    return number


_PARSERS: dict[str, tuple[Callable[[str], Any], str]] = {
    "int": (int, "a whole number"),
    "bool | None": (_switch, "on or off"),
    "float": (_number, "a number >= 0"),
    "Secret": (Secret, "a text"),
    "Path": (Path, "a path"),
    "Path | None": (Path, "a path"),
    "tuple[Network, ...]": (_networks, "address ranges such as 10.0.0.0/8,fd00::/8"),
}


def _parse(name: str, kind: str, value: Any) -> Any:
    """Turn a text from the environment or the command line into a field's type."""
    if not isinstance(value, str) or kind not in _PARSERS:
        return value
    parser, expected = _PARSERS[kind]
    try:
        return parser(value)
    except (ValueError, KeyError):
        raise ConfigError(f"{name}: got {value!r}, expected {expected}") from None
