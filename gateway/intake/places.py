"""Who may have a session: so many in all, per client and per address (A-50).

Who is no known client gets few places at an address, and all strangers together count
as one user of the room, so that they never take the last place of a client. A stranger
who proves by TLS or AUTH to be a client becomes one here too; while its client has no
place left, it stays counted as a stranger.
"""

import collections
import dataclasses
import ipaddress

from gateway.intake.room import Room
from gateway.limits import Limits
from gateway.model.ids import ClientId

_STRANGERS = ""  # as a user of the room; no client has this id
BALANCER = ClientId("(balancer)")  # its health checks: no flood may keep them out
_SITE_BITS = 64  # of an IPv6 address: the rest is its owner's choice


def site_of(address: str) -> str:
    """What one owner can come from at will: an IPv4 address, or a /64 of IPv6."""
    if ":" not in address:
        return address
    return str(ipaddress.ip_network((address, _SITE_BITS), strict=False))


@dataclasses.dataclass(frozen=True, slots=True)
class Guest:
    """Whose session it is: where it comes from, and its client when it is known."""

    address: str
    client: ClientId | None

    @property
    def user(self) -> str:
        """Under which name it takes room."""
        return _STRANGERS if self.client is None else self.client

    @property
    def origin(self) -> tuple[str, bool]:
        """What is counted per address: the site, clients and strangers apart."""
        return site_of(self.address), self.client is None


class Places:
    """The places of one process."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._room = Room(limits.sessions)
        self._origins: collections.Counter[tuple[str, bool]] = collections.Counter()

    def take(self, guest: Guest) -> bool:
        """Take a place if there is one for this guest; whether it was taken."""
        if self._is_crowded(guest) or not self._room.take(guest.user, 1):
            return False
        self._origins[guest.origin] += 1
        return True

    def give_back(self, guest: Guest) -> None:
        """Free a place."""
        self._room.give_back(guest.user, 1)
        self._leave(guest)

    def recognise(self, guest: Guest, known: Guest) -> Guest:
        """Count a guest as who it proved to be; as whom it is counted from now on."""
        if known == guest or self._is_crowded(known):
            return guest
        if not self._room.pass_on(guest.user, known.user, 1):
            return guest
        self._leave(guest)
        self._origins[known.origin] += 1
        return known

    def _leave(self, guest: Guest) -> None:
        self._origins[guest.origin] -= 1
        if not self._origins[guest.origin]:
            del self._origins[guest.origin]

    def _is_crowded(self, guest: Guest) -> bool:
        limits = self._limits
        stranger = guest.client is None
        most = limits.sessions_per_stranger if stranger else limits.sessions_per_address
        return self._origins[guest.origin] >= most
