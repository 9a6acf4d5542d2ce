"""An Exchange-like client: the SMTP dialogue of Exchange and Microsoft 365 outbound.

No Exchange runs here. What this client says and shows follows what is public of the
real one, and proves no more than that:

- Protocol logs of Send connectors (field list in Microsoft's page "Protocol logging"):
  one EHLO before and one after STARTTLS with the connector's FQDN; `MAIL FROM` with
  SIZE, and AUTH=<> where AUTH is offered; automatic replies from `<>`; DATA where
  CHUNKING is not offered; QUIT.
- Header fields of its automatic replies, among them ones without a value.
- Non-delivery reports of Exchange Online as senders quote them on public lists: under
  "Diagnostic information for administrators" stands `Remote server returned '...'` with
  the lines of a multi-line reply, each with its code, joined by a space; above it, for
  the sender, "HOST gave this error:" with the words alone.
"""

import dataclasses
import re
import socket
import ssl
from collections.abc import Sequence

from tests import certs

_PATIENCE_S = 60
_LINE = re.compile(r"\d{3}[ -](?:\d\.\d{1,3}\.\d{1,3} )?(.*)")
OUT_OF_OFFICE = (
    "Subject: Automatisch antwoord: {subject}\r\n"
    "Thread-Topic: {subject}\r\n"
    "Thread-Index: AQHZeE9/uR0mx9Kq3UimCKHLEgf/WK89rmIb\r\n"
    "Date: Wed, 25 Nov 2026 10:00:00 +0000\r\n"
    "Message-ID:\r\n <aef8de8b87ce408d98043942ab89c729@EX01.gemeente.test>\r\n"
    "In-Reply-To: <1@elders.test>\r\n"
    "X-MS-Has-Attach: \r\n"
    "X-Auto-Response-Suppress: All\r\n"
    "X-MS-Exchange-Inbox-Rules-Loop: {author}\r\n"
    "X-MS-TNEF-Correlator:\r\n"
    "auto-submitted: auto-generated\r\n"
    "x-ms-exchange-generated-message-source: Mailbox Rules Agent\r\n"
    'Content-Type: text/plain; charset="iso-8859-1"\r\n'
    "Content-Transfer-Encoding: quoted-printable\r\n"
    "MIME-Version: 1.0\r\n\r\n"
)


@dataclasses.dataclass
class Dialogue:
    """What was said in one session, and what became of the message."""

    commands: list[str] = dataclasses.field(default_factory=list)
    replies: list[str] = dataclasses.field(default_factory=list)  # CR LF between lines

    @property
    def final(self) -> str:
        """The reply to the dot."""
        return self.replies[-2]  # then 221

    @property
    def diagnostic(self) -> str:
        """What an administrator reads in the report."""
        return f"Remote server returned '{self.final.replace(chr(13) + chr(10), ' ')}'"

    @property
    def shown(self) -> str:
        """What the sender reads in the report of Microsoft 365."""
        words = [_LINE.fullmatch(line)[1] for line in self.final.split("\r\n")]
        return f"gave this error: {' '.join(words)}"


@dataclasses.dataclass(frozen=True)
class Connector:
    """A Send connector with "require TLS", a certificate, and no other AUTH."""

    server: tuple[str, int]
    name: str  # TlsDomain: the server's certificate must be for it
    fqdn: str
    context: ssl.SSLContext

    def send(
        self, reverse_path: str, recipients: Sequence[str], octets: bytes
    ) -> Dialogue:
        """Hand over one message, RCPTs pipelined behind MAIL."""
        dialogue = Dialogue()
        with socket.create_connection(self.server, timeout=_PATIENCE_S) as plain:
            wire = _Wire(plain, dialogue)
            wire.read()
            wire.say(f"EHLO {self.fqdn}")
            wire.say("STARTTLS")
            with self.context.wrap_socket(plain, server_hostname=self.name) as secured:
                wire = _Wire(secured, dialogue)
                offered = wire.say(f"EHLO {self.fqdn}").split("\r\n")
                wire.say_together(
                    _mail(reverse_path, octets, offered),
                    *(f"RCPT TO:<{recipient}>" for recipient in recipients),
                )
                wire.say("DATA")
                stuffed = (b"\r\n" + octets).replace(b"\r\n.", b"\r\n..")[2:]
                secured.sendall(stuffed + b".\r\n")
                wire.read()
                wire.say("QUIT")
        return dialogue


def connector(
    server: tuple[str, int],
    name: str,
    ca: certs.Credential,
    fqdn: str,
    certificate: certs.Files | None,
) -> Connector:
    """A connector that verifies the server (`TlsAuthLevel DomainValidation`).

    Args:
        server: Address and port.
        name: TlsDomain.
        ca: Who issued the server's certificate.
        fqdn: What it calls itself.
        certificate: TlsCertificateName; None: it shows none.
    """
    context = ssl.create_default_context(cadata=ca.chain_pem.decode())
    if certificate is not None:
        context.load_cert_chain(certificate.certificate, certificate.key)
    return Connector(server, name, fqdn, context)


def _mail(reverse_path: str, octets: bytes, offered: Sequence[str]) -> str:
    words = [line[4:].split(" ", 1)[0] for line in offered]
    line = f"MAIL FROM:<{reverse_path}>"
    if "SIZE" in words:
        line += f" SIZE={len(octets)}"
    if "AUTH" in words:
        line += " AUTH=<>"
    if "8BITMIME" in words and not octets.isascii():
        line += " BODY=8BITMIME"
    return line


class _Wire:
    """Commands out, whole replies in."""

    def __init__(self, sock: socket.socket, dialogue: Dialogue) -> None:
        self._sock = sock
        self._dialogue = dialogue
        self._kept = b""

    def say(self, command: str) -> str:
        return self.say_together(command)[0]

    def say_together(self, *commands: str) -> list[str]:
        """Commands in one segment; their replies in order."""
        self._dialogue.commands += commands
        self._sock.sendall("".join(f"{each}\r\n" for each in commands).encode())
        return [self.read() for _ in commands]

    def read(self) -> str:
        lines = []
        while not lines or lines[-1][3:4] == "-":
            while b"\r\n" not in self._kept:
                block = self._sock.recv(4096)
                if not block:
                    raise ConnectionError(f"ended after {self._dialogue}")
                self._kept += block
            line, _, self._kept = self._kept.partition(b"\r\n")
            lines.append(line.decode("ascii"))
        reply = "\r\n".join(lines)
        self._dialogue.replies.append(reply)
        return reply
