"""From what DNS says to the hops that may be tried, and what each must prove.

`plan` is the decision table of requirements B.2 with the route's own demands on top;
the golden test holds all of it. Three answers per host: a hop with its demand, *proven
unfit* (an answer shows that the route asks more than the host can prove), or *unusable
now* (DNS could not be asked, or is bogus). Unusable now never lowers a demand: it takes
the host out, and when nothing else is left the message waits (INV-3, B-11, B-24).
"""

import dataclasses
import ipaddress
from typing import TypeVar

from gateway.config import AllowRange
from gateway.delivery import codes
from gateway.model.assurance import Assurance, TlsResult
from gateway.model.destination import (
    Absent,
    DaneDemand,
    Demand,
    Destination,
    Dnssec,
    FixedDestination,
    Hop,
    Lookup,
    MxDestination,
    MxHost,
    Opportunistic,
    PinDemand,
    Present,
    Tlsa,
    TlsDemand,
    Unavailable,
)
from gateway.model.ids import Code
from gateway.model.message import MessageWish
from gateway.model.partner import Requires, Route
from gateway.model.reply import Cause, Status
from gateway.trust import dane

MX_PORT = 25
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_T = TypeVar("_T")
_Ip = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclasses.dataclass(frozen=True, slots=True)
class NoHop:
    """Why no host may be tried: DEFERRED (ask again later) or FAILED (proven)."""

    status: Status
    cause: Cause
    tls_result: TlsResult | None
    code: Code
    detail: str  # for evidence; names hosts, never a mailbox


@dataclasses.dataclass(frozen=True, slots=True)
class Guard:
    """Where the gateway never connects to, and the exceptions (B-04, R20)."""

    allow_ranges: tuple[AllowRange, ...]
    own_addresses: frozenset[str]  # IP addresses in text form, and own host name

    def sieve(self, addresses: tuple[str, ...], port: int) -> tuple[str, ...]:
        """The addresses that may be connected to on this port."""
        return tuple(
            address
            for address in addresses
            if not _is_barred(ipaddress.ip_address(address))
            or self._is_allowed(ipaddress.ip_address(address), port)
        )

    def _is_allowed(self, ip: _Ip, port: int) -> bool:
        return any(
            ip in allowed.network and port in allowed.ports
            for allowed in self.allow_ranges
        )

    def is_self(self, host: MxHost) -> bool:
        """Whether an exchanger is this gateway, by name or address."""
        return not self.own_addresses.isdisjoint(
            {host.name.name, host.tlsa_base.name, *_addresses(host.addresses)}
        )


def plan(
    route: Route,
    destination: Destination,
    allow_ranges: tuple[AllowRange, ...],
    own_addresses: frozenset[str],
) -> tuple[Hop, ...] | NoHop:
    """Decide which hosts may be tried, in which order, and what each must prove.

    Args:
        route: What the decision asks of the way; nothing here is ever less strict.
        destination: What DNS says now.
        allow_ranges: Otherwise barred addresses that may be connected to, with ports.
        own_addresses: IP addresses of our own (text form) and our own host name: an
            exchanger that is one of them, and all worse ones, are dropped. A fixed
            route names its server itself and is not compared with them.

    Returns:
        At least one hop, best first; or why there is none.

    Source: requirements B-01 ... B-25 and the table in B.2.
    """
    guard = Guard(allow_ranges, own_addresses)
    match destination:
        case FixedDestination():
            return _plan_fixed(route, destination, guard)
        case MxDestination():  # pragma: no branch
            return _no_mail(destination) or _plan_mx(route, destination, guard)


def route_for(route: Route, wish: MessageWish) -> Route:
    """The route with what the message itself demands on top.

    A message with REQUIRETLS goes over authenticated hops only, whatever its route asks
    (RFC 8689 section 4.2.1, B-36). Nothing in a message asks for less: the header field
    `TLS-Required: No` is not even read (A-36).
    """
    if not wish.requiretls:
        return route
    return dataclasses.replace(route, least=Assurance.AUTHENTICATED)


def is_partial(destination: Destination) -> bool:
    """Whether DNS could not be asked about some host, so that nothing is proven yet."""
    return isinstance(destination, MxDestination) and any(
        isinstance(host.addresses, Unavailable) or isinstance(host.tlsa, Unavailable)
        for host in destination.hosts
    )


def _failed(
    cause: Cause, code: Code, detail: str, tls_result: TlsResult | None = None
) -> NoHop:
    return NoHop(Status.FAILED, cause, tls_result, code, detail)


def _deferred(what: str, lookup: Unavailable) -> NoHop:
    return NoHop(
        Status.DEFERRED,
        Cause.DNS_BOGUS if lookup.bogus else Cause.DNS_UNAVAILABLE,
        TlsResult.DNSSEC_INVALID if lookup.bogus else None,
        codes.DNS_UNAVAILABLE,
        f"{what}: {lookup.detail}",
    )


def _no_mail(destination: MxDestination) -> NoHop | None:
    """The answers to the MX question after which no host is looked at (B-01, B-02)."""
    if destination.null_mx:
        return _failed(Cause.NULL_MX, codes.NO_MAIL, "null MX")
    match destination.mx:
        case Unavailable() as lookup:
            return _deferred("MX", lookup)
        case Absent(nxdomain=True):
            return _failed(Cause.NO_SUCH_DOMAIN, codes.NO_MAIL, "NXDOMAIN")
        case Absent() | Present():  # pragma: no branch
            return None


def _plan_mx(
    route: Route, destination: MxDestination, guard: Guard
) -> tuple[Hop, ...] | NoHop:
    hosts = sorted(destination.hosts, key=lambda host: host.preference)
    usable = _without_self(hosts, guard)
    if hosts and not usable:
        detail = "the mail would loop back to this gateway"
        return _failed(Cause.BARRED_ADDRESS, codes.ADDRESS_BARRED, detail)
    answers = [_plan_host(route, destination, host, guard) for host in usable]
    hops = tuple(answer for answer in answers if isinstance(answer, Hop))
    reasons = [answer for answer in answers if isinstance(answer, NoHop)]
    return hops or _weightiest(reasons)


def _without_self(hosts: list[MxHost], guard: Guard) -> list[MxHost]:
    """Drop ourselves and all that is not better than we are (B-04, RFC 5321 5.1)."""
    own = [host.preference for host in hosts if guard.is_self(host)]
    return [host for host in hosts if not own or host.preference < min(own)]


_WEIGHT = (
    codes.REQUIRED_MISSING,
    codes.NOT_AUTHENTICATED,
    codes.ADDRESS_BARRED,
    codes.NO_MAIL,
)


def _weightiest(reasons: list[NoHop]) -> NoHop:
    """One reason for all hosts: what may pass comes first, then what is worst."""
    if not reasons:
        return _failed(Cause.NO_ADDRESS, codes.NO_MAIL, "no host")
    later = [reason for reason in reasons if reason.status is Status.DEFERRED]
    return (later or sorted(reasons, key=lambda reason: _WEIGHT.index(reason.code)))[0]


def _plan_host(
    route: Route, destination: MxDestination, host: MxHost, guard: Guard
) -> Hop | NoHop:
    addresses = host.addresses
    if isinstance(addresses, Unavailable):
        return _deferred(f"address of {host.name}", addresses)
    if isinstance(addresses, Absent):
        detail = f"{host.name} has no address"
        return _failed(Cause.NO_ADDRESS, codes.NO_MAIL, detail)
    demand = _mx_demand(route, destination, host)
    if isinstance(demand, NoHop):
        return demand
    permitted = guard.sieve(addresses.value, MX_PORT)
    if not permitted:
        detail = f"{host.name} has barred addresses only"
        return _failed(Cause.BARRED_ADDRESS, codes.ADDRESS_BARRED, detail)
    dnssec = (
        f"mx:{_word(destination.mx)} host:{_word(host.addresses)}"
        f" tlsa:{_word(host.tlsa)}"
    )
    sni = host.tlsa_base.name
    return Hop(host.name.name, MX_PORT, permitted, sni, demand, dnssec)


def _mx_demand(
    route: Route, destination: MxDestination, host: MxHost
) -> Demand | NoHop:
    """What a host must prove, or why it may not be tried."""
    if route.requires is Requires.PIN:
        return _pin_demand(route)
    tlsa = host.tlsa if _tlsa_counts(host) else None
    if isinstance(tlsa, Unavailable):
        return _deferred(f"TLSA of {host.tlsa_base}", tlsa)
    if not isinstance(tlsa, Present) or tlsa.dnssec is not Dnssec.SECURE:
        return _demand_without_dane(route, host, published=False)
    records = dane.usable(tlsa.value)
    if not records:
        return _demand_without_dane(route, host, published=True)
    return _dane_demand(route, destination, host, records)


def _tlsa_counts(host: MxHost) -> bool:
    """TLSA of a host with insecure addresses is ignored, whoever asked it (B-13)."""
    secure = isinstance(host.addresses, Present) and (
        host.addresses.dnssec is Dnssec.SECURE
    )
    return secure or host.secure_alias


def _pin_demand(route: Route) -> PinDemand | NoHop:
    if route.pins:
        return PinDemand(route.pins)
    return _required_missing("the recorded pin")


def _required_missing(what: str) -> NoHop:
    """B-25: gone is gone, even when the absence is securely proven."""
    return _failed(
        Cause.NOT_AUTHENTICATED,
        codes.REQUIRED_MISSING,
        f"{what} is absent",
        TlsResult.DANE_REQUIRED,
    )


def _dane_demand(
    route: Route, destination: MxDestination, host: MxHost, records: frozenset[Tlsa]
) -> DaneDemand | NoHop:
    """What usable TLSA records ask, and whether they prove enough (B-15).

    DANE of a host found through an insecure MX proves the host, not that it serves the
    domain: enough when the registry names the host or its key, and for mail that needs
    no proof.
    """
    secure_mx = _is_secure(destination.mx)
    vouched = secure_mx or host.name in route.vouched_hosts
    if not vouched and route.requires is Requires.DANE:
        return _required_missing(f"DANE that counts for {host.name}")
    if not vouched and not route.pins and route.least is Assurance.AUTHENTICATED:
        detail = f"nothing secure says that {host.name} serves the domain"
        return _failed(Cause.NOT_AUTHENTICATED, codes.NOT_AUTHENTICATED, detail)
    names = [host.tlsa_base, host.name]
    if secure_mx:
        names.append(destination.domain)
    return DaneDemand(records, tuple(dict.fromkeys(names)), route.pins)


def _demand_without_dane(
    route: Route, host: MxHost, *, published: bool
) -> Demand | NoHop:
    """`published`: there are secure TLSA records, none of them usable (B-17)."""
    if route.requires is Requires.DANE:
        return _required_missing(f"DANE of {host.name}")
    if route.pins:
        return PinDemand(route.pins)
    if route.least is Assurance.AUTHENTICATED:
        return _failed(
            Cause.NOT_AUTHENTICATED,
            codes.NOT_AUTHENTICATED,
            f"{host.name} publishes no {'usable ' if published else ''}TLSA record",
            TlsResult.TLSA_INVALID if published else None,
        )
    if published or route.least is Assurance.ENCRYPTED:
        return TlsDemand()
    return Opportunistic()


def _plan_fixed(
    route: Route, destination: FixedDestination, guard: Guard
) -> tuple[Hop, ...] | NoHop:
    """A server that an administrator named (B-07): faults can be mended, so wait."""
    demand = _fixed_demand(route)
    if isinstance(demand, NoHop):
        return demand
    host, port = destination.host, destination.port
    addresses = destination.addresses
    if isinstance(addresses, Unavailable):
        return _deferred(f"address of {host}", addresses)
    if isinstance(addresses, Absent):
        return _to_mend(Cause.NO_ADDRESS, codes.UNREACHABLE, f"{host} has no address")
    permitted = guard.sieve(addresses.value, port)
    if not permitted:
        detail = f"{host} port {port} is barred: see net.allow_ranges"
        return _to_mend(Cause.BARRED_ADDRESS, codes.ADDRESS_BARRED, detail)
    sni = None if _is_ip(host) else host
    return (Hop(host, port, permitted, sni, demand, "fixed"),)


def _to_mend(cause: Cause, code: Code, detail: str) -> NoHop:
    return NoHop(Status.DEFERRED, cause, None, code, detail)


def _fixed_demand(route: Route) -> Demand | NoHop:
    if route.requires is Requires.DANE:
        return _required_missing("DANE")
    if route.requires is Requires.PIN or route.pins:
        return _pin_demand(route)
    match route.least:
        case Assurance.AUTHENTICATED:
            detail = "a fixed route without a pin"
            return _failed(Cause.NOT_AUTHENTICATED, codes.NOT_AUTHENTICATED, detail)
        case Assurance.ENCRYPTED:
            return TlsDemand()
        case Assurance.NONE:  # pragma: no branch
            return Opportunistic()


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_barred(ip: _Ip) -> bool:
    """Whether an address is none of the public internet's, or hides one that is not."""
    if ip.is_multicast or ip.is_reserved or ip.is_unspecified or not ip.is_global:
        return ip not in _NAT64 or _is_barred(_embedded(ip))
    # Tunnels of the transition (6to4, Teredo) are no place for a mail server, and what
    # they hide differs between releases of Python: barred as a whole.
    return isinstance(ip, ipaddress.IPv6Address) and (
        ip.ipv4_mapped is not None or ip.sixtofour is not None or ip.teredo is not None
    )


def _embedded(ip: _Ip) -> ipaddress.IPv4Address:
    return ipaddress.IPv4Address(ip.packed[-4:])


def _addresses(lookup: Lookup[tuple[str, ...]]) -> tuple[str, ...]:
    return lookup.value if isinstance(lookup, Present) else ()


def _is_secure(lookup: Lookup[_T] | None) -> bool:
    return isinstance(lookup, Present | Absent) and lookup.dnssec is Dnssec.SECURE


def _word(lookup: Lookup[_T] | None) -> str:
    """The state of a look-up for evidence, e.g. `secure`, `insecure-absent`."""
    match lookup:
        case None:
            return "not-asked"
        case Unavailable():
            return "bogus" if lookup.bogus else "unavailable"
        case Absent():
            return f"{lookup.dnssec.value}-absent"
        case Present():  # pragma: no branch
            return lookup.dnssec.value
