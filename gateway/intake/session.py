"""What is known of one SMTP session and of the transaction in it."""

import dataclasses
import ssl

from gateway.intake.clients import Known
from gateway.model.address import Mailbox, ReversePath
from gateway.model.message import Body
from gateway.model.peer import TlsFacts


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
    recipients: dict[Mailbox, None] = dataclasses.field(default_factory=dict)  # ordered
    refused: bool = False  # a MAIL or RCPT was refused: DATA may be on its way already


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
