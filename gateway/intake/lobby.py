"""What all sessions of one process share."""

import dataclasses
import ipaddress
import ssl
from collections.abc import Callable

from gateway.config import Config
from gateway.intake.clients import ClientTable, Known
from gateway.intake.connection import Connection
from gateway.intake.ending import Reason, Where
from gateway.intake.guesses import Guesses
from gateway.intake.handler import Handler, Log
from gateway.intake.handshakes import Handshakes
from gateway.intake.places import BALANCER, Guest, Places
from gateway.intake.room import Room
from gateway.intake.session import Arrival
from gateway.limits import Limits
from gateway.model.address import Domain
from gateway.model.ids import ClientId
from gateway.parties import Listener, ListenerTls

HANDSHAKE_S = 30.0


@dataclasses.dataclass(frozen=True, slots=True)
class Gate:
    """One listener with its TLS context."""

    listener: Listener
    context: ssl.SSLContext

    @property
    def is_implicit(self) -> bool:
        """Whether TLS comes with the first octet."""
        return self.listener.tls is ListenerTls.IMPLICIT


class Lobby:
    """Settings, clients and counts; made once, before the first session."""

    def __init__(
        self, config: Config, clients: ClientTable, handler: Handler, log: Log
    ) -> None:
        limits = config.limits
        self.hostname: Domain = config.hostname
        self.limits: Limits = limits
        self.clients = clients
        self.handler = handler
        self.log = log
        self.room = Room(limits.memory_octets)  # of octets
        self.places = Places(limits)
        self.guesses = Guesses()
        self.handshakes = Handshakes(limits)
        self.sessions: set[Connection] = set()
        self.is_stopping = False
        self.pressure: Callable[[], str | None] = lambda: None  # why mail is put off

    def identify(
        self,
        arrival: Arrival,
        certificate: bytes | None = None,
        user: str | None = None,
    ) -> Known | None:
        """Whose session this is, by all that is known; a health check is nobody's."""
        if arrival.is_check:
            return None
        return self.clients.identify(arrival.address, certificate, user)

    def admit(self, arrival: Arrival) -> Guest | None:
        """Give who comes in a place; None when there is none."""
        known = self.identify(arrival)
        client = known.client.id if known else None
        guest = Guest(arrival.address, BALANCER if arrival.is_check else client)
        if self.places.take(guest):
            return guest
        self.log(
            "intake-full",
            sessions=len(self.sessions),
            client=guest.client,
            network=network_of(arrival.address),
        )
        return None

    def ended(
        self, reason: Reason, where: Where, client: ClientId | None = None
    ) -> None:
        """Tell that a session ended oddly, or never began; never whose it was."""
        self.log(
            "intake-session-ended",
            reason=reason.value,
            where=where.value,
            client=client,
        )

    def handshake_failed(self, error: OSError, guest: Guest) -> None:
        """Tell of a handshake of which no session came."""
        self.log("intake-handshake-failed", error=type(error).__name__)
        self.ended(Reason.TLS, Where.HANDSHAKE, guest.client)


def network_of(address: str) -> str:
    """Where a client is, coarse enough to be nobody's: /24 or /48."""
    length = 48 if ":" in address else 24
    return str(ipaddress.ip_network((address, length), strict=False))
