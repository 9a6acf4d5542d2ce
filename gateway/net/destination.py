"""Puts the answers of DNS together into a `Destination`; decides nothing.

Implements `ports.Resolver`. What could not be asked stands in the value as
`Unavailable`; `delivery.plan` knows what to make of it.
"""

import asyncio
import ipaddress
import itertools
from collections.abc import Callable, Iterable
from typing import Any

import dns.rdatatype

from gateway.model.address import AddressError, Domain
from gateway.model.destination import (
    Absent,
    Destination,
    Dnssec,
    FixedDestination,
    Lookup,
    MxDestination,
    MxHost,
    Present,
    Tlsa,
    Unavailable,
)
from gateway.model.partner import Route, RouteMethod
from gateway.net.dns import Rows, ValidatingResolver, text_of

MAX_HOSTS = 10
_MX_PORT = 25
_Addresses = Lookup[tuple[str, ...]]


class DestinationResolver:
    """Asks DNS for everything that planning a route needs."""

    def __init__(
        self, resolver: ValidatingResolver, shuffle: Callable[[list[MxHost]], None]
    ) -> None:
        """Take the resolver and a source of chance.

        Args:
            resolver: The validating one.
            shuffle: Puts a list in random order, in place (RFC 5321 5.1).
        """
        self._dns = resolver
        self._shuffle = shuffle

    async def fetch_destination(
        self, route: Route, domain: Domain, *, fresh: bool = False
    ) -> Destination:
        """Put together all that DNS says; failures are `Unavailable` values.

        Args:
            route: A fixed route is never looked up by MX (B-07).
            domain: The recipient domain.
            fresh: Ask anew, whatever the cache holds (B-23).
        """
        if route.method is RouteMethod.FIXED:
            if route.host is None:
                raise ValueError("a fixed route without host")
            return await self._fixed(route.host, route.port, fresh=fresh)
        answer = await self._dns.fetch(domain.name, dns.rdatatype.MX, fresh=fresh)
        match answer:
            case Unavailable() | Absent(nxdomain=True):
                return MxDestination(domain, answer, ())
            case Absent():  # only NODATA gives an implicit MX (B-01)
                host = await self._host(domain, 0, fresh=fresh)
                return MxDestination(domain, answer, (host,))
            case Present():  # pragma: no branch
                return await self._exchangers(domain, answer, fresh=fresh)

    async def _fixed(self, host: str, port: int, *, fresh: bool) -> FixedDestination:
        try:
            text = str(ipaddress.ip_address(host))
        except ValueError:
            addresses, _ = await self._addresses(host, fresh=fresh)
        else:
            addresses = Present((text,), Dnssec.INSECURE, 0)
        return FixedDestination(host, port, addresses)

    async def _exchangers(
        self, domain: Domain, answer: Present[Rows], *, fresh: bool
    ) -> MxDestination:
        targets = [(r.preference, text_of(r.exchange)) for r in answer.value.records]
        real = [target for target in targets if target[1]]
        if not real:  # "." alone (B-02); beside others it is ignored
            absent = Absent(answer.dnssec, nxdomain=False, ttl_s=answer.ttl_s)
            return MxDestination(domain, absent, (), null_mx=True)
        named = _named(sorted(real))
        if not named:
            unusable = Unavailable(bogus=False, detail="no MX host name is possible")
            return MxDestination(domain, unusable, ())
        hosts = await asyncio.gather(
            *(
                self._host(name, preference, fresh=fresh)
                for name, preference in itertools.islice(named.items(), MAX_HOSTS)
            )
        )
        mx = Present(tuple(named), answer.dnssec, answer.ttl_s)
        return MxDestination(domain, mx, self._in_order(hosts))

    def _in_order(self, hosts: Iterable[MxHost]) -> tuple[MxHost, ...]:
        """By preference, equals in random order (B-03)."""
        shuffled = list(hosts)
        self._shuffle(shuffled)
        return tuple(sorted(shuffled, key=lambda host: host.preference))

    async def _host(self, name: Domain, preference: int, *, fresh: bool) -> MxHost:
        addresses, canonical = await self._addresses(name.name, fresh=fresh)
        if not isinstance(addresses, Present):
            return MxHost(name, preference, addresses, None, name)
        bases = _bases(name, canonical)
        secure_alias = False
        if addresses.dnssec is not Dnssec.SECURE:
            secure_alias = len(bases) > 1 and await self._is_secure_alias(
                name, fresh=fresh
            )
            bases = (name,) if secure_alias else ()
        tlsa, base = await self._tlsa(bases, name, fresh=fresh)
        return MxHost(name, preference, addresses, tlsa, base, secure_alias)

    async def _is_secure_alias(self, name: Domain, *, fresh: bool) -> bool:
        """Whether the CNAME record itself is secure (B-14, RFC 7672 2.2.2)."""
        alias = await self._dns.fetch(name.name, dns.rdatatype.CNAME, fresh=fresh)
        return isinstance(alias, Present) and alias.dnssec is Dnssec.SECURE

    async def _tlsa(
        self, bases: tuple[Domain, ...], name: Domain, *, fresh: bool
    ) -> tuple[Lookup[frozenset[Tlsa]] | None, Domain]:
        """Ask at each base in turn; an error ends the search (B-13, B-14)."""
        tlsa: Lookup[frozenset[Tlsa]] | None = None
        base = name
        for base in bases:
            owner = f"_{_MX_PORT}._tcp.{base}"
            answer = await self._dns.fetch(owner, dns.rdatatype.TLSA, fresh=fresh)
            tlsa = _tlsa_of(answer)
            if isinstance(tlsa, Unavailable) or _is_securely_present(tlsa):
                return tlsa, base
        return tlsa, base

    async def _addresses(self, name: str, *, fresh: bool) -> tuple[_Addresses, str]:
        """A and AAAA as one answer, and the name that the CNAME chain ended at."""
        v6, v4 = await asyncio.gather(
            *(
                self._dns.fetch(name, kind, fresh=fresh)
                for kind in (dns.rdatatype.AAAA, dns.rdatatype.A)
            )
        )
        present = [answer for answer in (v6, v4) if isinstance(answer, Present)]
        canonical = present[0].value.canonical if present else name
        return _merge((v6, v4), present), canonical


def _merge(
    answers: tuple[Lookup[Rows], ...], present: list[Present[Rows]]
) -> _Addresses:
    """Both must be clean; yet a lost AAAA does not hide an A, nor the reverse.

    Bogus data in either makes the host unusable (B-11). Secure means that every address
    is.
    """
    faults = [answer for answer in answers if isinstance(answer, Unavailable)]
    bogus = [fault for fault in faults if fault.bogus]
    if bogus or (faults and not present):
        return (bogus or faults)[0]
    if not present:
        absent = [answer for answer in answers if isinstance(answer, Absent)]
        return Absent(
            _weakest(answer.dnssec for answer in absent),
            nxdomain=all(answer.nxdomain for answer in absent),
            ttl_s=min(answer.ttl_s for answer in absent),
        )
    texts = tuple(r.address for answer in present for r in answer.value.records)
    return Present(
        texts,
        _weakest(answer.dnssec for answer in present),
        min(answer.ttl_s for answer in present),
    )


def _weakest(states: Iterable[Dnssec]) -> Dnssec:
    secure = all(state is Dnssec.SECURE for state in states)
    return Dnssec.SECURE if secure else Dnssec.INSECURE


def _named(targets: Iterable[tuple[int, str]]) -> dict[Domain, int]:
    """Names that are host names, each with its best preference; others are no host."""
    named: dict[Domain, int] = {}
    for preference, text in targets:
        try:
            named.setdefault(Domain.parse(text), preference)
        except AddressError:
            continue
    return named


def _bases(name: Domain, canonical: str) -> tuple[Domain, ...]:
    """TLSA base domains to ask at: the end of the CNAME chain first (B-14)."""
    try:
        expanded = Domain.parse(canonical)
    except AddressError:
        return (name,)
    return tuple(dict.fromkeys((expanded, name)))


def _is_securely_present(tlsa: Lookup[frozenset[Tlsa]]) -> bool:
    return isinstance(tlsa, Present) and tlsa.dnssec is Dnssec.SECURE


def _tlsa_of(answer: Lookup[Rows]) -> Lookup[frozenset[Tlsa]]:
    if not isinstance(answer, Present):
        return answer
    records = frozenset(map(_record, answer.value.records))
    return Present(records, answer.dnssec, answer.ttl_s)


def _record(row: Any) -> Tlsa:
    return Tlsa(row.usage, row.selector, row.mtype, row.cert)
