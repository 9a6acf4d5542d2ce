"""What is known of one SMTP session and of the transaction in it."""

import dataclasses
import ssl

from gateway.intake.clients import Known
from gateway.model.address import Mailbox, ReversePath
from gateway.model.message import (
    NO_MESSAGE_WISH,
    NO_RECIPIENT_WISH,
    Body,
    Envelope,
    MessageWish,
    RecipientWish,
)
from gateway.model.peer import TlsFacts


@dataclasses.dataclass(frozen=True, slots=True)
class Arrival:
    """Who came in: its address, as the peer's socket or a listed balancer says it.

    `is_check`: the balancer itself looks whether we are there; it is nobody's client.
    """

    address: str
    is_check: bool = False


@dataclasses.dataclass(slots=True)
class Talk:
    """What the client said and proved since the session or its TLS began.

    STARTTLS begins a new one: nothing that was said in clear is believed (A-29).
    """

    tls: TlsFacts | None = None
    helo: str | None = None  # None: not greeted yet
    extended: bool = False
    user: str | None = None
    failures: int = 0  # of AUTH

    @property
    def certificate(self) -> bytes | None:
        """The verified client certificate, DER."""
        return self.tls.chain[0] if self.tls and self.tls.chain else None


@dataclasses.dataclass(slots=True)
class Transaction:
    """From MAIL to the end of DATA or a reset."""

    reverse_path: ReversePath | None = None  # None: no MAIL was accepted
    known: Known | None = None
    body: Body = Body.SEVEN_BIT
    # In the order they came, each with what was asked for it.
    recipients: dict[Mailbox, RecipientWish] = dataclasses.field(default_factory=dict)
    refused: bool = False  # a MAIL or RCPT was refused: DATA may be on its way already
    smtputf8: bool = False
    wish: MessageWish = NO_MESSAGE_WISH

    def envelope(self) -> Envelope:
        """As accepted; only where MAIL was."""
        if self.reverse_path is None:
            raise ValueError("no transaction")
        return Envelope(
            reverse_path=self.reverse_path,
            recipients=tuple(self.recipients),
            body=self.body,
            smtputf8=self.smtputf8,
            wish=self.wish,
            recipient_wishes={
                recipient: wish
                for recipient, wish in self.recipients.items()
                if wish != NO_RECIPIENT_WISH
            },
        )


def tls_facts(connection: ssl.SSLObject | None) -> TlsFacts | None:
    """The facts of an established TLS session, or None when there is none."""
    if connection is None:
        return None
    cipher, certificate = connection.cipher(), connection.getpeercert(binary_form=True)
    return TlsFacts(
        version=connection.version() or "unknown",
        cipher=cipher[0] if cipher else "unknown",
        chain=(certificate,) if certificate else (),
    )
