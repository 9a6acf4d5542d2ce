"""Evidence events, one class each: what was observed or decided, never content.

In the leaf only `event`, `at`, `municipality` (as log origin), `id`, `message`,
`policy` and the software version stand in clear; each other field becomes a commitment
of its own (R7). Field values are text, integers, booleans, None, or tuples of `Facts`.
"""

import dataclasses
import datetime
from typing import ClassVar

from gateway.model.ids import Digest, MessageId, MunicipalityId, RecordId

Value = str | int | bool | None
Facts = tuple[tuple[str, Value], ...]  # ordered name-value pairs of one item


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What every record says in clear. `municipality` "_gateway" is the own log."""

    event: ClassVar[str]
    id: RecordId
    at: datetime.datetime
    municipality: MunicipalityId
    message: MessageId | None
    policy: Digest


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Accepted(Record):
    """250 was promised: stored, with one item of facts for each recipient."""

    event: ClassVar[str] = "accepted"
    client: str
    peer_address: str
    helo: str
    peer_tls: str | None
    reverse_path: str
    message_id: str | None  # the Message-ID header, when there is exactly one
    size_octets: int
    content_digest: str  # HMAC-SHA256 under a key of this message alone
    content_key: str  # that key, hexadecimal: it stands in the opening only
    level: str
    regimes: tuple[Facts, ...]  # regime, level, score
    findings: tuple[Facts, ...]  # regime, rule, place, count, weight
    unreadable: tuple[Facts, ...]  # place, reason
    removed: tuple[Facts, ...]  # kind of header field that we took out, count
    scanned: str  # for malware: clean, infected, no (not done), off (not set up)
    malware: str | None  # its name, by the scanner
    foreign_author: bool  # sent or written outside the client's domains (R8)
    requiretls: bool  # the sender allows authenticated TLS only, on every hop
    envid: str | None  # the sender's name for this transaction, as it came (xtext)
    recipients: tuple[Facts, ...]  # address, notify, verdict, row, code, partner, ...


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Refused(Accepted):
    """The end of DATA was answered 5xx: nothing was stored but this."""

    event: ClassVar[str] = "refused"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class JobRecord(Record):
    """What every record about a job has."""

    job: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RecipientsHeld(JobRecord):
    """Kept for a person to decide."""

    event: ClassVar[str] = "held"
    code: str
    recipients: tuple[Facts, ...]
    expires_at: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class HoldExpired(JobRecord):
    """Nobody decided in time: treated as rejected, the sender is told."""

    event: ClassVar[str] = "hold-expired"
    recipients: tuple[Facts, ...]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Intent(JobRecord):
    """The final dot is about to be sent over this session (B-50)."""

    event: ClassVar[str] = "intent"
    attempt: int
    hop: Facts
    recipients: tuple[Facts, ...]  # address: those the hop answered 250 to RCPT


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class AttemptRecord(JobRecord):
    """What every record of an attempt's result has; `recipients`: address, reply."""

    attempt: int
    hops: tuple[Facts, ...]
    recipients: tuple[Facts, ...]
    possible_duplicate: bool


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Delivered(AttemptRecord):
    """The next hop took responsibility; no more than that (INV-7)."""

    event: ClassVar[str] = "delivered"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Deferred(AttemptRecord):
    """Not delivered now; will be tried again."""

    event: ClassVar[str] = "deferred"
    next_attempt_at: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryUnknown(AttemptRecord):
    """The dot was sent and no full reply came: a copy may or may not be there."""

    event: ClassVar[str] = "delivery-unknown"
    next_attempt_at: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Failed(AttemptRecord):
    """Refused for good by hop, route or policy."""

    event: ClassVar[str] = "failed"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Expired(AttemptRecord):
    """Given up: the time the regime allows has passed."""

    event: ClassVar[str] = "expired"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class NoticeSent(JobRecord):
    """A notice was queued for the sender (`job` is the job it is about)."""

    event: ClassVar[str] = "notice-sent"
    kind: str  # failed, delayed, held, hold-expired, split, relayed
    notice: str  # the MessageId of the notice
    addressee: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class NoticeDropped(JobRecord):
    """No notice was sent: nobody to tell, or who sent the mail wants none (NOTIFY)."""

    event: ClassVar[str] = "notice-dropped"
    kind: str
    why: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PartnerApplied(Record):
    """A partner registration was added, changed or ended by `partners apply`."""

    event: ClassVar[str] = "partner-applied"
    partner: str
    change: str  # added, changed, ended
    before: str | None  # digest
    after: str | None  # digest
    actor: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ConfigLoaded(Record):
    """The gateway started or reloaded with this configuration and policy."""

    event: ClassVar[str] = "config-loaded"
    config: str  # digest
    allow_ranges: str  # R20: barred ranges that were opened, or ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ExportMade(Record):
    """Evidence left the gateway."""

    event: ClassVar[str] = "export-made"
    actor: str
    first: int
    past: int
    bundle_digest: str  # SHA-256 of the bundle as written
