"""The message as it is accepted: envelope and octets, never changed afterwards."""

import dataclasses
import datetime
import enum

from gateway.model.address import Mailbox, ReversePath
from gateway.model.ids import MessageId

Removed = tuple[tuple[str, int], ...]  # kinds of header fields taken out, how many


class Body(enum.Enum):
    """The BODY parameter of MAIL (RFC 6152)."""

    SEVEN_BIT = "7BIT"
    EIGHT_BIT = "8BITMIME"


@dataclasses.dataclass(frozen=True, slots=True)
class Envelope:
    """Reverse-path and recipients, as authorised; order of RCPT is kept."""

    reverse_path: ReversePath
    recipients: tuple[Mailbox, ...]
    body: Body = Body.SEVEN_BIT
    smtputf8: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Message:
    """One accepted transaction.

    `octets` is the content after dot-unstuffing, CRLF line ends only, with our one
    `Received` field in front and without the header fields that `removed` counts
    (INV-5, INV-6, A-04, A-44).
    """

    id: MessageId
    envelope: Envelope
    octets: bytes = dataclasses.field(repr=False)
    received_at: datetime.datetime
    removed: Removed = ()
