"""What all sessions of one process share."""

import dataclasses
import ssl

from gateway.config import Config
from gateway.intake.clients import ClientTable
from gateway.intake.connection import Connection
from gateway.intake.guesses import Guesses
from gateway.intake.handler import Handler, Log
from gateway.intake.places import Places
from gateway.intake.room import Room
from gateway.limits import Limits
from gateway.model.address import Domain
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
        self.sessions: set[Connection] = set()
        self.is_stopping = False
