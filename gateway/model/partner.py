"""Who may receive what: organisations of the chain, as registered."""

import dataclasses
import datetime
import enum

from gateway.model.address import Domain, Mailbox
from gateway.model.assurance import Assurance
from gateway.model.destination import Pin
from gateway.model.ids import MunicipalityId, PartnerId, RegimeId, Role


class PartnerState(enum.Enum):
    """Design section 10; only VERIFIED may receive sensitive mail."""

    DRAFT = "draft"
    PROPOSED = "proposed"
    VERIFIED = "verified"
    SUSPENDED = "suspended"
    ENDED = "ended"


class RouteMethod(enum.Enum):
    """How the next hop is found. `ntamx` comes with issue 6."""

    MX = "mx"
    FIXED = "fixed"


class Requires(enum.Enum):
    """The mechanism a partner is recorded to have; its absence blocks (B-25)."""

    ANY = "any"
    DANE = "dane"
    PIN = "pin"


@dataclasses.dataclass(frozen=True, slots=True)
class Route:
    """Where a message goes and what the hop must reach.

    For MX `host` is None and `port` is 25; for FIXED `host` is a name or IP text.
    `pins` may be empty; a non-empty set is demanded of every hop, whatever else is.
    `vouched_hosts` are MX host names the registry vouches for (B-15).
    """

    method: RouteMethod
    least: Assurance
    host: str | None = None
    port: int = 25
    pins: frozenset[Pin] = frozenset()
    requires: Requires = Requires.ANY
    vouched_hosts: frozenset[Domain] = frozenset()


@dataclasses.dataclass(frozen=True, slots=True)
class PartnerMailbox:
    """A functional mailbox and the regimes it is registered for (row 8, issue 5)."""

    mailbox: Mailbox
    regimes: frozenset[RegimeId]


@dataclasses.dataclass(frozen=True, slots=True)
class Partner:
    """One organisation in the registry of one municipality (INV-9)."""

    id: PartnerId
    municipality: MunicipalityId
    name: str
    roles: frozenset[Role]
    domains: frozenset[Domain]
    mailboxes: tuple[PartnerMailbox, ...]
    state: PartnerState
    verified_on: datetime.date | None
    valid_until: datetime.date | None
    route: Route
    digest: str  # SHA-256 of the canonical registration, for evidence

    def usable_at(self, today: datetime.date) -> bool:
        """Whether it is verified and not expired on that day (row 6)."""
        fresh = self.valid_until is None or today <= self.valid_until
        return self.state is PartnerState.VERIFIED and fresh
