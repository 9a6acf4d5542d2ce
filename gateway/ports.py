"""What the use cases ask of the doors. Every implementation passes the contract suite.

A door answers expected outcomes as values; `TemporaryFailure` (or a subclass) means the
door could not do its work, and the caller treats that as a fault of ours: 451, or the
job is tried again. Nothing here lowers security by default.
"""

import dataclasses
import datetime
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from gateway.model.address import Domain, Mailbox
from gateway.model.classification import Classification
from gateway.model.destination import Destination, Hop
from gateway.model.document import Document
from gateway.model.ids import ClientId, JobId, MessageId, MunicipalityId
from gateway.model.job import Job
from gateway.model.message import (
    NO_MESSAGE_WISH,
    Body,
    Envelope,
    Message,
    MessageWish,
    RecipientWish,
)
from gateway.model.octets import Octets
from gateway.model.partner import Partner, Route
from gateway.model.record import Record
from gateway.model.reply import HopFacts, Outcome
from gateway.model.scan import Scan


class Scanner(Protocol):
    """Looks for malware before anything else reads the message (R18)."""

    async def scan(self, octets: Octets) -> Scan:
        """Say what is in it; what was not scanned to its end is never clean.

        Never raises for a scanner that is away or faulty: that is a value.

        Raises:
            TemporaryFailure: When the octets cannot be read.
        """
        ...


class Extractor(Protocol):
    """Octets to what a recipient could read."""

    async def extract(self, message: Message) -> Document:
        """Read all segments; what cannot be read is said in the document.

        Never raises for hostile input: a part that breaks the parser is unreadable.
        """
        ...


@dataclasses.dataclass(frozen=True, slots=True)
class RecipientFacts:
    """What the registry and the network say of one recipient.

    `partner` is the registered organisation of the municipality that has the
    recipient's domain, whatever its state. `resembles` is a registered partner whose
    domain looks like it (row 4). `authenticated_route` is asked only where row 5b
    needs it: True when a fresh look showed that every usable hop would be
    authenticated, else False.
    """

    recipient: Mailbox
    partner: Partner | None
    resembles: str | None = None
    authenticated_route: bool = False


class Classifier(Protocol):
    """A document to what was seen in it; long ones must not hold up other mail."""

    async def classify(self, document: Document) -> Classification:
        """Classify by the present policy (`policy.classify`)."""
        ...


class Facts(Protocol):
    """Registry rows and route facts, as they are now (R6)."""

    async def load(
        self,
        envelope: Envelope,
        municipality: MunicipalityId,
        classification: Classification,
    ) -> Mapping[Mailbox, RecipientFacts]:
        """Load what the decision needs for each recipient."""
        ...

    async def load_now(self, job: Job) -> Mapping[Mailbox, RecipientFacts]:
        """Load the same for the open recipients of a job, for the re-check."""
        ...


class Resolver(Protocol):
    """Questions to the validating resolver."""

    async def fetch_destination(
        self, route: Route, domain: Domain, *, fresh: bool = False
    ) -> Destination:
        """Put together all that DNS says; failures are `Unavailable` values.

        `fresh` asks anew, whatever a cache holds (B-23).
        """
        ...


@dataclasses.dataclass(frozen=True, slots=True)
class Parcel:
    """What the dialer is to hand over: one transaction's worth."""

    reverse_path: str  # "" for the null reverse-path
    recipients: tuple[Mailbox, ...]
    octets: Octets = dataclasses.field(repr=False)
    body: Body
    smtputf8: bool
    wish: MessageWish = NO_MESSAGE_WISH
    recipient_wishes: Mapping[Mailbox, RecipientWish] = dataclasses.field(
        default_factory=dict
    )


# Called right before the final dot with the facts of the hop and the recipients that it
# accepted; returns False when the lease is lost or the intent could not be written, and
# then the dialer must not send the dot.
CommitIntent = Callable[[HopFacts, tuple[Mailbox, ...]], Awaitable[bool]]


class Dialer(Protocol):
    """One delivery attempt over the planned hops."""

    async def send(
        self, hops: Sequence[Hop], parcel: Parcel, commit_intent: CommitIntent
    ) -> Outcome:
        """Try the hops in order; answers whatever the far side does.

        Not one octet of the envelope goes to a hop before `judge` let it pass. Exactly
        one outcome for each recipient of the parcel.
        """
        ...


class Draft(Protocol):
    """A large message on its way in: its octets are sealed on the disk as they come."""

    async def write(self, octets: bytes) -> None:
        """Append octets.

        Raises:
            StoreFull: No room; the draft is to be discarded.
            TemporaryFailure: They are not kept; the same.
        """
        ...

    async def finish(self, head: bytes) -> Octets:
        """All of it, readable until it is discarded, and fit to be saved in a unit.

        Args:
            head: Its beginning, see `model.octets.head_of`.
        """
        ...

    def discard(self) -> None:
        """Forget it, unless a unit has taken it over; safe at any time, and twice."""
        ...


class Drafts(Protocol):
    """Where large messages wait while they come in."""

    async def begin(self, message: MessageId, municipality: MunicipalityId) -> Draft:
        """Begin a message.

        Raises:
            StoreFull: No room.
            TemporaryFailure: It cannot be kept.
        """
        ...


class SpoolWriter(Protocol):
    """Octets of messages, encrypted; part of a transaction."""

    async def save(
        self, message: MessageId, municipality: MunicipalityId, octets: Octets
    ) -> None:
        """Keep the octets of a message."""
        ...

    async def discard(self, message: MessageId) -> None:
        """Forget the octets: nobody needs them any more."""
        ...


class QueueWriter(Protocol):
    """Jobs; part of a transaction."""

    async def add(self, *jobs: Job) -> None:
        """Put new jobs in the queue."""
        ...

    async def update(self, job: Job) -> None:
        """Write the job's new state; it must still be leased under its `lease_token`.

        The commit raises LeaseLost, and nothing of the unit is written, when another
        worker holds it. A job that is written in a state other than LEASED gives up
        its lease. HELD jobs are updated under the token they have.
        """
        ...


class EvidenceWriter(Protocol):
    """Evidence records; part of a transaction."""

    async def append(self, *records: Record) -> None:
        """Put records in line for the tree; they are durable with the unit."""
        ...


class Work(Protocol):
    """One unit: all of it is durable when the block ends without an error, or none."""

    spool: SpoolWriter
    queue: QueueWriter
    evidence: EvidenceWriter


class Spool(Protocol):
    """Reading kept octets."""

    async def load(self, message: MessageId) -> Octets:
        """The octets exactly as saved.

        Raises:
            TemporaryFailure: When they cannot be read now (key or store missing).
        """
        ...


class Queue(Protocol):
    """Taking jobs out of the queue."""

    async def lease(
        self, owner: str, limit: int, now: datetime.datetime, until: datetime.datetime
    ) -> Sequence[Job]:
        """Take due jobs (READY, WAITING due, or LEASED with the lease run out).

        Each gets a new `lease_token`; one whose lease ran out gets `crashes` + 1.
        """
        ...

    async def renew(
        self, leases: Mapping[JobId, int], until: datetime.datetime
    ) -> frozenset[JobId]:
        """Prolong leases (job to token); returns those that are still held."""
        ...

    async def lease_expired_holds(
        self, owner: str, limit: int, now: datetime.datetime, until: datetime.datetime
    ) -> Sequence[Job]:
        """Take HELD jobs whose `expires_at` has passed."""
        ...


@dataclasses.dataclass(frozen=True, slots=True)
class Ports:
    """All doors the use cases need; `app` fills them in."""

    extractor: Extractor
    classifier: Classifier
    facts: Facts
    resolver: Resolver
    dialer: Dialer
    spool: Spool
    queue: Queue
    work: Callable[[], AbstractAsyncContextManager[Work]]
    # While it is entered these octets may be in memory as a whole; for a client.
    turn: Callable[[Octets, ClientId], AbstractAsyncContextManager[None]]
    new_id: Callable[[], str]
    now: Callable[[], datetime.datetime]
    scanner: Scanner | None = None  # None: none is set up


class KeyWrapper(Protocol):
    """Wraps per-message and per-opening keys under the epoch key of a class (R4).

    `retention_class` is `content`, `sensitive` or `ordinary`.
    """

    def wrap(
        self, municipality: MunicipalityId, retention_class: str, key: bytes
    ) -> tuple[str, bytes]:
        """Wrap a 32-octet key; answers (epoch key id, wrapped key)."""
        ...

    def unwrap(self, epoch: str, wrapped: bytes) -> bytes:
        """The key again.

        Raises:
            TemporaryFailure: When the epoch key is not in the key directory.
        """
        ...


class CheckpointSigner(Protocol):
    """Signs checkpoint notes with the log's Ed25519 key."""

    @property
    def name(self) -> str:
        """The key name, as in the signature line of the note."""
        ...

    @property
    def public_key(self) -> bytes:
        """The raw 32-octet Ed25519 public key."""
        ...

    def sign(self, text: bytes) -> bytes:
        """The raw 64-octet signature."""
        ...


__all__ = [
    "CheckpointSigner",
    "Classifier",
    "CommitIntent",
    "Dialer",
    "Draft",
    "Drafts",
    "EvidenceWriter",
    "Extractor",
    "Facts",
    "KeyWrapper",
    "Parcel",
    "Ports",
    "Queue",
    "QueueWriter",
    "RecipientFacts",
    "Resolver",
    "Scanner",
    "Spool",
    "SpoolWriter",
    "Work",
]
