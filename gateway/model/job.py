"""One message for one route: what waits in the queue."""

import dataclasses
import datetime
import enum

from gateway.model.address import Mailbox, ReversePath
from gateway.model.classification import Level
from gateway.model.ids import (
    Code,
    Digest,
    JobId,
    MessageId,
    MunicipalityId,
    PartnerId,
    RegimeId,
)
from gateway.model.message import (
    NO_MESSAGE_WISH,
    NO_RECIPIENT_WISH,
    Body,
    MessageWish,
    RecipientWish,
)
from gateway.model.partner import Route


class JobState(enum.Enum):
    """Where a job stands; what moves it on is in `queue/states.py` only."""

    READY = "ready"
    LEASED = "leased"
    WAITING = "waiting"
    HELD = "held"
    DONE = "done"


class RecipientStatus(enum.Enum):
    """Terminal states are all but TODO (INV-4, R29)."""

    TODO = "todo"
    DELIVERED = "delivered"
    RELAYED = "relayed"
    REFUSED = "refused"
    REJECTED = "rejected"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


@dataclasses.dataclass(frozen=True, slots=True)
class JobRecipient:
    """A recipient and where it stands; `uncertain`: a copy may already be there."""

    mailbox: Mailbox
    status: RecipientStatus = RecipientStatus.TODO
    uncertain: bool = False
    wish: RecipientWish = NO_RECIPIENT_WISH


class JobKind(enum.Enum):
    """A message of a sender, or a notice of ours (null reverse-path, never noticed)."""

    MESSAGE = "message"
    NOTICE = "notice"


@dataclasses.dataclass(frozen=True, slots=True)
class Job:
    """A message's way to the recipients that share one route (B-06).

    `lease_token` grows with each lease; a result under an older one is refused.
    `attempts` counts attempts with a result; `crashes` counts leases that ended
    without a result (G-14). `intent_at` is set from the intent to its result (B-50).
    """

    id: JobId
    message: MessageId
    municipality: MunicipalityId
    kind: JobKind
    state: JobState
    reverse_path: ReversePath
    recipients: tuple[JobRecipient, ...]
    route: Route
    partner: PartnerId | None
    level: Level
    regimes: frozenset[RegimeId]
    body: Body
    smtputf8: bool
    size_octets: int
    policy: Digest
    accepted_at: datetime.datetime
    next_attempt_at: datetime.datetime
    expires_at: datetime.datetime
    attempts: int = 0
    crashes: int = 0
    unknowns: int = 0
    lease_token: int = 0
    intent_at: datetime.datetime | None = None
    hold_code: Code | None = None
    delay_notice_sent: bool = False
    last_cause: str | None = None  # Cause value of the last attempt, for queue list
    wish: MessageWish = NO_MESSAGE_WISH

    @property
    def open_recipients(self) -> tuple[Mailbox, ...]:
        """Recipients that have no terminal state yet."""
        return tuple(
            r.mailbox for r in self.recipients if r.status is RecipientStatus.TODO
        )
