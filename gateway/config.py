"""Settings: one TOML text to frozen values, or a ConfigError that names the key.

`parse` does no I/O: paths stay text, files are read by who needs them. An unknown key,
a wrong type, a missing key or an insecure combination is refused with the remedy
(H-19). Secrets are paths, never values. A default never weakens security.
"""

import dataclasses
import datetime
import enum
import hashlib
import re
from collections.abc import Mapping
from typing import Any

from gateway.limits import Limits, parse_limits
from gateway.model.address import Domain, Mailbox
from gateway.model.assurance import Assurance
from gateway.model.destination import Pin
from gateway.model.errors import ConfigError
from gateway.model.ids import Digest, MunicipalityId
from gateway.model.partner import Requires, Route, RouteMethod
from gateway.parties import Client, Listener, parse_client, parse_listener
from gateway.services import Malware, Metrics, parse_malware, parse_metrics
from gateway.table import Table
from gateway.values import (
    MAX_PORT,
    Network,
    domain_of,
    domains_of,
    is_loopback,
    mailbox_of,
    maybe_mailbox,
    network_of,
    overlap,
    port_of,
)


class OnUnreadable(enum.Enum):
    """Row 5c, and row 5b where a municipality tightens it (R2)."""

    HOLD = "hold"
    REFUSE = "refuse"


class Mixed(enum.Enum):
    """Some recipients may have it and some may not (R9)."""

    SPLIT = "split"
    REFUSE_ALL = "refuse-all"


@dataclasses.dataclass(frozen=True, slots=True)
class Dns:
    """The validating resolver (B-10): on loopback, its AD bit is believed."""

    resolver: str = "127.0.0.1"
    port: int = 53
    timeout_s: int = 5
    secure_name: str = "sidn.nl"
    bogus_name: str = "dnssec-failed.org"
    self_test: bool = True  # false: no answer of it counts as secure (B-10)


@dataclasses.dataclass(frozen=True, slots=True)
class AllowRange:
    """An otherwise barred address range that may be connected to (R20)."""

    network: Network
    ports: frozenset[int]


@dataclasses.dataclass(frozen=True, slots=True)
class Clock:
    """When to try again, warn and give up."""

    retry: tuple[datetime.timedelta, ...]  # the last repeats
    warn_after: datetime.timedelta
    expire_after: datetime.timedelta


@dataclasses.dataclass(frozen=True, slots=True)
class Municipality:
    """A tenant: everything belongs to one (design section 2)."""

    id: MunicipalityId
    name: str
    oin: str | None
    sender_domains: frozenset[Domain]
    route: Route  # to its own mail server: notices, and row 3
    notices_from: Mailbox
    notices_to: Mailbox | None
    unattended: frozenset[Mailbox]  # nobody reads them: notices go to `notices_to` (R8)
    unreadable: OnUnreadable
    unreadable_authenticated: bool  # row 5b is used; false: always as `unreadable`
    mixed: Mixed
    hold_for: datetime.timedelta
    alternative_person: tuple[str, str] | None  # nl, en (R23)
    alternative_unknown: tuple[str, str] | None
    page: str | None


@dataclasses.dataclass(frozen=True, slots=True)
class Config:
    """All settings of one installation."""

    hostname: Domain
    workers: int
    state_dir: str
    store_url: str
    key_dir: str
    master_key: str
    policy_dir: str | None
    listeners: tuple[Listener, ...]
    limits: Limits
    dns: Dns
    allow_ranges: tuple[AllowRange, ...]
    clock: Clock
    municipalities: Mapping[MunicipalityId, Municipality]
    clients: tuple[Client, ...]
    malware: Malware | None
    metrics: Metrics | None
    digest: Digest  # SHA-256 of the text
    text: str = dataclasses.field(repr=False)


def parse(text: str) -> Config:
    """Parse the configuration file.

    Args:
        text: The whole TOML text.

    Returns:
        The settings, complete and consistent.

    Raises:
        ConfigError: With the key, what is wrong and the remedy.
    """
    root = Table.parse(text, "")
    gateway, store, keys = (root.table(k) for k in ("gateway", "store", "keys"))
    state_dir = gateway.take("state_dir", str)
    owners = tuple(map(_municipality, root.tables("municipality")))
    municipalities = {owner.id: owner for owner in owners}
    if len(municipalities) != len(owners):
        raise ConfigError("municipality.id", "stands there twice", "give each its own")
    owned = {owner.id: owner.sender_domains for owner in owners}
    config = Config(
        hostname=domain_of(gateway, "hostname", gateway.take("hostname", str)),
        workers=gateway.positive("workers", 2),
        state_dir=state_dir,
        store_url=store.take("url", str, f"sqlite:///{state_dir}/ketenmail.db"),
        key_dir=keys.take("directory", str),
        master_key=keys.take("master_key_file", str),
        policy_dir=gateway.maybe("policy_dir", str),
        listeners=tuple(map(parse_listener, root.tables("listener"))),
        limits=parse_limits(root.table("limits")),
        dns=_dns(root.table("dns")),
        allow_ranges=_allow_ranges(root.table("net")),
        clock=_clock(root.table("queue")),
        municipalities=municipalities,
        malware=parse_malware(root.table("malware")),
        metrics=parse_metrics(root.table("metrics")),
        clients=tuple(parse_client(t, owned) for t in root.tables("client")),
        digest=Digest(hashlib.sha256(text.encode()).hexdigest()),
        text=text,
    )
    for table in (gateway, store, keys, root):
        table.finish()
    _check_whole(config)
    return config


def _dns(table: Table) -> Dns:
    standard = Dns()
    dns = Dns(
        resolver=table.take("resolver", str, standard.resolver),
        port=port_of(table, "port", standard.port),
        timeout_s=table.positive("timeout_s", standard.timeout_s),
        secure_name=table.take("secure_name", str, standard.secure_name),
        bogus_name=table.take("bogus_name", str, standard.bogus_name),
        self_test=table.take("self_test", bool, standard.self_test),
    )
    if not is_loopback(dns.resolver):
        raise ConfigError(
            "dns.resolver",
            "is not a loopback address, so its AD bit cannot be believed",
            "run the validating resolver on this machine, see deploy/unbound.conf",
        )
    table.finish()
    return dns


def _allow_ranges(table: Table) -> tuple[AllowRange, ...]:
    ranges = []
    for item in table.tables("allow_ranges"):
        network = network_of(item.place("range"), item.take("range", str))
        ports = item.take("ports", list)
        if not ports or not all(type(p) is int and 0 < p <= MAX_PORT for p in ports):
            raise ConfigError(item.place("ports"), "is no list of ports", "list ports")
        item.finish()
        ranges.append(AllowRange(network, frozenset(ports)))
    table.finish()
    return tuple(ranges)


def _clock(table: Table) -> Clock:
    retry = table.take("retry_s", list, [60, 300, 900, 1800, 3600, 7200, 14400])
    if not retry or not all(type(s) is int and s > 0 for s in retry):
        raise ConfigError(table.place("retry_s"), "is no list of seconds", "write some")
    clock = Clock(
        retry=tuple(datetime.timedelta(seconds=s) for s in retry),
        warn_after=datetime.timedelta(seconds=table.positive("warn_after_s", 14400)),
        expire_after=datetime.timedelta(
            seconds=table.positive("expire_after_s", 345600)
        ),
    )
    table.finish()
    return clock


def _pins(table: Table) -> frozenset[Pin]:
    pins = table.texts("pins")
    hexadecimal = set("0123456789abcdef")
    for pin in pins:
        if len(pin) != 64 or not set(pin) <= hexadecimal:  # noqa: PLR2004
            raise ConfigError(
                table.place("pins"),
                "holds something else than a SHA-256 in lower-case hexadecimal",
                "see docs/operating.md for how to compute a pin",
            )
    return frozenset(map(Pin, pins))


def parse_route(place: str, value: Any) -> Route:
    """Parse a route table, for a municipality or a partner file.

    `method` is `mx` or `fixed`; `least` defaults to `authenticated` and may only be
    lowered to `encrypted` or `none` for a municipality's own server on loopback, which
    the caller checks.

    Raises:
        ConfigError: Also for a fixed route that could never be authenticated.
    """
    table = Table(place, value)
    method = table.choice("method", RouteMethod, RouteMethod.MX)
    least = table.take("least", str, "authenticated")
    if least.upper() not in Assurance.__members__:
        raise ConfigError(table.place("least"), f"is {least!r}", "choose authenticated")
    fixed = method is RouteMethod.FIXED
    route = Route(
        method=method,
        least=Assurance[least.upper()],
        host=table.take("host", str) if fixed else None,
        port=port_of(table, "port", 25) if fixed else 25,
        pins=_pins(table),
        requires=table.choice("requires", Requires, Requires.ANY),
        vouched_hosts=domains_of(table, "vouched_hosts"),
    )
    table.finish()
    if fixed and route.least is Assurance.AUTHENTICATED and not route.pins:
        raise ConfigError(
            table.place("pins"), "is empty on a fixed route", "add the server's pin"
        )
    return route


def _municipality(table: Table) -> Municipality:
    municipality = Municipality(
        id=MunicipalityId(table.take("id", str)),
        name=table.take("name", str),
        oin=table.maybe("oin", str),
        sender_domains=domains_of(table, "sender_domains"),
        route=_own_route(table),
        notices_from=mailbox_of(table, "notices_from", table.take("notices_from", str)),
        notices_to=maybe_mailbox(table, "notices_to"),
        unattended=frozenset(
            mailbox_of(table, "unattended", text) for text in table.texts("unattended")
        ),
        unreadable=table.choice("unreadable", OnUnreadable, OnUnreadable.HOLD),
        unreadable_authenticated=table.take(
            "unreadable_authenticated", bool, default=True
        ),
        mixed=table.choice("mixed", Mixed, Mixed.SPLIT),
        hold_for=datetime.timedelta(hours=table.positive("hold_hours", 72)),
        alternative_person=_two_languages(table, "alternative_person"),
        alternative_unknown=_two_languages(table, "alternative_unknown"),
        page=table.maybe("page", str),
    )
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,62}", municipality.id, re.ASCII):
        problem = "is not of small letters, digits, dots and dashes"
        raise ConfigError(table.place("id"), problem, "write e.g. voorbeeldstad")
    if not municipality.sender_domains:
        place = table.place("sender_domains")
        raise ConfigError(place, "is empty", "list the domains it sends from")
    if municipality.unattended and municipality.notices_to is None:
        raise ConfigError(
            table.place("notices_to"),
            "is missing, and there are unattended mailboxes",
            "name the mailbox that gets their notices",
        )
    table.finish()
    return municipality


def _own_route(table: Table) -> Route:
    route = parse_route(table.place("route"), table.take("route", dict))
    if route.least is not Assurance.AUTHENTICATED and not is_loopback(route.host):
        raise ConfigError(
            table.place("route.least"),
            f"is {route.least.name.lower()} over a network",
            "set authenticated and a pin; less is possible on loopback only",
        )
    return route


def _two_languages(table: Table, key: str) -> tuple[str, str] | None:
    value = table.maybe(key, dict)
    if value is None:
        return None
    inner = Table(table.place(key), value)
    pair = (inner.take("nl", str), inner.take("en", str))
    inner.finish()
    for text in pair:
        if not (text.isascii() and text.isprintable()) or len(text) > 200:  # noqa: PLR2004
            raise ConfigError(
                table.place(key), "is not ASCII or over 200 characters", "shorten it"
            )
    return pair


def _check_whole(config: Config) -> None:
    if not config.listeners:
        raise ConfigError("listener", "is missing", "add a [[listener]]")
    if not config.municipalities:
        raise ConfigError("municipality", "is missing", "add a [[municipality]]")
    for what, ids in (
        ("client", [client.id for client in config.clients]),
        ("client.user", [c.user for c in config.clients if c.user is not None]),
    ):
        if len(set(ids)) != len(ids):
            raise ConfigError(what, "has an id twice", "give each its own")
    domains = [d for m in config.municipalities.values() for d in m.sender_domains]
    if len(set(domains)) != len(domains):
        raise ConfigError(
            "municipality.sender_domains",
            "has one domain at two municipalities",
            "a sender domain belongs to exactly one",
        )
    _check_doors(config)


def _check_doors(config: Config) -> None:
    """Figures and mail never come in by one door."""
    metrics = config.metrics
    if metrics is None:
        return
    for listener in config.listeners:
        shared = listener.port == metrics.port
        if shared and overlap(listener.address, metrics.address):
            raise ConfigError(
                "metrics.port",
                f"is {metrics.port}, which is also a listener's at that address",
                "give the metrics another port",
            )
