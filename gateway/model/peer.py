"""Who handed the message over, and what is known of the session."""

import dataclasses
import enum

from gateway.model.address import Domain
from gateway.model.ids import ClientId, MunicipalityId


class Identification(enum.Enum):
    """By what a client was recognised."""

    NETWORK = "network"
    AUTH = "auth"
    CERTIFICATE = "certificate"


@dataclasses.dataclass(frozen=True, slots=True)
class TlsFacts:
    """What was seen of one TLS session (B-35); no secrets.

    `chain` is DER, leaf first, and may be empty when the peer sent none.
    """

    version: str
    cipher: str
    chain: tuple[bytes, ...] = dataclasses.field(default=(), repr=False)


@dataclasses.dataclass(frozen=True, slots=True)
class Peer:
    """The mail server (or person's client) on the other end of an intake session."""

    address: str  # IP address, text form
    helo: str  # as sanitised by intake: printable ASCII, at most 255 octets
    extended: bool  # EHLO (true) or HELO
    tls: TlsFacts | None
    client: ClientId
    municipality: MunicipalityId
    sender_domains: frozenset[Domain]
    identified_by: Identification
    shadow: bool = False  # what it hands over are copies: counted, never sent (R3)
    forwards: bool = False  # it may pass on what others wrote, if harmless (R8)
