"""The message as it is accepted: envelope and octets, never changed afterwards."""

import dataclasses
import datetime
import enum
from collections.abc import Mapping

from gateway.model.address import Mailbox, ReversePath
from gateway.model.ids import MessageId
from gateway.model.octets import Octets

Removed = tuple[tuple[str, int], ...]  # kinds of header fields taken out, how many


class Body(enum.Enum):
    """The BODY parameter of MAIL (RFC 6152)."""

    SEVEN_BIT = "7BIT"
    EIGHT_BIT = "8BITMIME"


class Notify(enum.Enum):
    """When a sender wants to hear of a recipient (RFC 3461 section 4.1)."""

    NEVER = "NEVER"
    SUCCESS = "SUCCESS"
    FAILURE = "FAILURE"
    DELAY = "DELAY"


class Ret(enum.Enum):
    """What of the message a notice shall bring back (RFC 3461 section 4.3)."""

    FULL = "FULL"
    HDRS = "HDRS"


@dataclasses.dataclass(frozen=True, slots=True)
class RecipientWish:
    """The DSN parameters of one RCPT; `orcpt` is kept letter for letter (A-26).

    `notify` None: nothing was said, which means failure and, if we like, delay.
    """

    notify: frozenset[Notify] | None = None
    orcpt: str | None = None  # "rfc822;jan+40example.nl": address-type, then xtext


NO_RECIPIENT_WISH = RecipientWish()


@dataclasses.dataclass(frozen=True, slots=True)
class MessageWish:
    """The parameters of MAIL that hold for the whole message, kept as they came.

    `envid` is xtext, letter for letter. `requiretls`: it may only go over authenticated
    TLS to who keeps that tag (RFC 8689); it is never taken off (A-35).
    """

    ret: Ret | None = None
    envid: str | None = None
    requiretls: bool = False


NO_MESSAGE_WISH = MessageWish()


@dataclasses.dataclass(frozen=True, slots=True)
class Envelope:
    """Reverse-path and recipients, as authorised; order of RCPT is kept.

    `recipient_wishes` has those that said something; the others wish nothing.
    """

    reverse_path: ReversePath
    recipients: tuple[Mailbox, ...]
    body: Body = Body.SEVEN_BIT
    smtputf8: bool = False
    wish: MessageWish = NO_MESSAGE_WISH
    recipient_wishes: Mapping[Mailbox, RecipientWish] = dataclasses.field(
        default_factory=dict
    )


@dataclasses.dataclass(frozen=True, slots=True)
class Message:
    """One accepted transaction.

    `octets` is the content after dot-unstuffing, CRLF line ends only, with our one
    `Received` field in front and without the header fields that `removed` counts
    (INV-5, INV-6, A-04, A-44).
    """

    id: MessageId
    envelope: Envelope
    octets: Octets = dataclasses.field(repr=False)
    received_at: datetime.datetime
    removed: Removed = ()
