"""What DNS says of a destination, as values. "We could not ask" is never "none"."""

import dataclasses
import enum
from typing import Generic, TypeVar

from gateway.model.address import Domain

T = TypeVar("T")


class Dnssec(enum.Enum):
    """Validation state of an answer, of the whole CNAME chain (B-11, B-12)."""

    SECURE = "secure"
    INSECURE = "insecure"


@dataclasses.dataclass(frozen=True, slots=True)
class Present(Generic[T]):
    """The answer exists; `value` is never empty."""

    value: T
    dnssec: Dnssec
    ttl_s: int


@dataclasses.dataclass(frozen=True, slots=True)
class Absent:
    """Denied: NODATA or NXDOMAIN. A proof only when `dnssec` is SECURE (B-12)."""

    dnssec: Dnssec
    nxdomain: bool
    ttl_s: int


@dataclasses.dataclass(frozen=True, slots=True)
class Unavailable:
    """No usable answer: bogus, SERVFAIL, time-out, refused. Defers, never lowers."""

    bogus: bool
    detail: str  # e.g. "SERVFAIL, EDE 6", "time-out"; no personal data


Lookup = Present[T] | Absent | Unavailable


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class Tlsa:
    """One TLSA record as published (RFC 6698 2.1), usable or not."""

    usage: int
    selector: int
    matching_type: int
    data: bytes

    def __str__(self) -> str:
        return (
            f"{self.usage} {self.selector} {self.matching_type} {self.data.hex()[:16]}"
        )


@dataclasses.dataclass(frozen=True, slots=True)
class MxHost:
    """One mail exchanger with everything asked about it.

    `addresses` holds textual IP addresses, v6 first. `tlsa` is None when it was not
    asked because the host's addresses are not secure (B-13). `tlsa_base` is the TLSA
    base domain, hence the SNI and first reference name (B-14, B-22). `secure_alias`:
    the host is an alias whose own CNAME record is secure, though what it leads to is
    not, so its TLSA records count all the same (RFC 7672 2.2.2).
    """

    name: Domain
    preference: int
    addresses: Lookup[tuple[str, ...]]
    tlsa: Lookup[frozenset[Tlsa]] | None
    tlsa_base: Domain
    secure_alias: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class MxDestination:
    """A domain's exchangers. `mx` answers for the MX RRset itself.

    `null_mx` is RFC 7505. `hosts` is in order of preference (equals shuffled); for an
    implicit MX it holds the domain itself and `mx` is `Absent`.
    """

    domain: Domain
    mx: Lookup[tuple[Domain, ...]]
    hosts: tuple[MxHost, ...]
    null_mx: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class FixedDestination:
    """A fixed next hop; MX is never asked (B-07). `host` is a name or an IP text."""

    host: str
    port: int
    addresses: Lookup[tuple[str, ...]]


Destination = MxDestination | FixedDestination


@dataclasses.dataclass(frozen=True, slots=True)
class Pin:
    """SHA-256 of a SubjectPublicKeyInfo, lower-case hexadecimal (B-33)."""

    spki_sha256: str


@dataclasses.dataclass(frozen=True, slots=True)
class DaneDemand:
    """The hop must match one of these records; names for usage 2 (B-17 ... B-22).

    With `pins`, the leaf key must be one of them too: neither rescues the other (B-24).
    """

    records: frozenset[Tlsa]  # usable only, after digest agility; at least one
    reference_names: tuple[Domain, ...]
    pins: frozenset[Pin] = frozenset()


@dataclasses.dataclass(frozen=True, slots=True)
class PinDemand:
    """The leaf key must be one of these pins."""

    pins: frozenset[Pin]  # at least one


@dataclasses.dataclass(frozen=True, slots=True)
class TlsDemand:
    """TLS must be there; the peer need not prove who it is. Never when sensitive."""


@dataclasses.dataclass(frozen=True, slots=True)
class Opportunistic:
    """TLS when offered, else plaintext. Never for sensitive mail."""


Demand = DaneDemand | PinDemand | TlsDemand | Opportunistic


@dataclasses.dataclass(frozen=True, slots=True)
class Hop:
    """One host to try at its addresses, with what it must prove before the envelope.

    `sni` is sent as server name (None for a bare IP address). `mx_dnssec` and
    `tlsa_text` are for evidence.
    """

    host: str
    port: int
    addresses: tuple[str, ...]
    sni: str | None
    demand: Demand
    dnssec: str  # "mx:secure host:secure tlsa:secure", "fixed"
