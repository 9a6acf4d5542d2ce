"""Replies we give, replies we get, and what a delivery attempt came to."""

import dataclasses
import datetime
import enum

from gateway.model.address import Mailbox
from gateway.model.assurance import Mechanism, TlsResult
from gateway.model.ids import Code
from gateway.model.peer import TlsFacts


@dataclasses.dataclass(frozen=True, slots=True)
class Reply:
    """An SMTP reply of ours: printable ASCII lines, at most 480 octets (A-11, A-27)."""

    code: int
    enhanced: str  # e.g. "5.7.1"
    lines: tuple[str, ...]  # at least one, without code and enhanced status

    def render(self) -> str:
        """The reply as sent, without the final CRLF; every line bears the status."""
        last = len(self.lines) - 1
        return "\r\n".join(
            f"{self.code}{' ' if at == last else '-'}{self.enhanced} {line}"
            for at, line in enumerate(self.lines)
        )


@dataclasses.dataclass(frozen=True, slots=True)
class RemoteReply:
    """A reply of the next hop: bounded and sanitised to printable ASCII (B-37)."""

    code: int
    enhanced: str | None
    text: str  # lines joined with " / ", at most 2,000 characters


class Status(enum.Enum):
    """What an attempt gave for one recipient (INV-7: only what was observed)."""

    DELIVERED = "delivered"  # the next hop took responsibility
    DEFERRED = "deferred"  # definitely not delivered now; may be tried again
    FAILED = "failed"  # definitely refused, for good
    UNKNOWN = "unknown"  # the final dot was sent, no full reply came (B-51)


class Cause(enum.Enum):
    """Why it was deferred or failed, when the hop's reply does not say it."""

    DNS_UNAVAILABLE = "dns-unavailable"
    DNS_BOGUS = "dns-bogus"
    NO_SUCH_DOMAIN = "no-such-domain"
    NULL_MX = "null-mx"
    NO_ADDRESS = "no-address"
    BARRED_ADDRESS = "barred-address"
    UNREACHABLE = "unreachable"
    TLS = "tls"
    NOT_AUTHENTICATED = "not-authenticated"  # proven: the route reaches too little
    HOP_REPLY = "hop-reply"
    HOP_SILENT = "hop-silent"
    HOP_GARBAGE = "hop-garbage"
    CONVERSION = "conversion"  # hop lacks 8BITMIME, SMTPUTF8 or room
    REQUIRETLS = "requiretls"  # hop does not keep that tag (RFC 8689)
    POLICY = "policy"  # a re-check before the attempt stopped it (R6)
    CANCELLED = "cancelled"
    EXPIRED = "expired"


@dataclasses.dataclass(frozen=True, slots=True)
class RecipientOutcome:
    """What one attempt came to for one recipient."""

    recipient: Mailbox
    status: Status
    cause: Cause | None = None
    reply: RemoteReply | None = None
    tls_result: TlsResult | None = None
    code: Code | None = None  # K4xx for people
    dsn: bool = False  # delivered, and the hop took the DSN wishes over (RFC 3461)


@dataclasses.dataclass(frozen=True, slots=True)
class HopFacts:
    """What was seen of one host tried in an attempt; goes into evidence (B-35)."""

    host: str
    address: str | None
    port: int
    dnssec: str
    mechanism: Mechanism | None  # None: no TLS state was reached
    tls: TlsFacts | None
    matched: str | None  # the TLSA record or pin that matched
    tls_result: TlsResult | None
    detail: str  # for evidence; sanitised; no personal data of ours
    started_at: datetime.datetime
    ended_at: datetime.datetime
    dsn: bool = False  # offers DSN: notices after this hop are its own to send
    requiretls: bool = False  # MAIL carried that tag


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """One attempt: every host tried, and one result for each recipient of the job."""

    hops: tuple[HopFacts, ...]
    recipients: tuple[RecipientOutcome, ...]
