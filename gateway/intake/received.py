"""The header of a message as intake sees it: our `Received`, loops, control characters.

Exactly one field is put in front; nothing else is changed (A-04, INV-5).
"""

import datetime
import email.utils
import ipaddress
import re

from gateway.intake import answer
from gateway.model.address import Mailbox
from gateway.model.ids import MessageId
from gateway.model.peer import Identification, Peer
from gateway.model.reply import Reply

MAX_HOPS = 100  # this many fields and the message loops
_HELO_OCTETS = 255
_UNPRINTABLE = re.compile(r"[^!-~]")
_UNSAFE = re.compile(r"[^A-Za-z0-9.:_\[\]-]")
_FIELD = re.compile(rb"(?:\A|\n)received[ \t]*:", re.IGNORECASE)
# All C0 controls but HTAB, CR and LF; bare CR and LF were refused before.
_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f]")


def sanitise_helo(text: str) -> str:
    """The HELO or EHLO name as printable ASCII, at most 255 octets."""
    return _UNPRINTABLE.sub("?", text[:_HELO_OCTETS])


def format_received(
    peer: Peer,
    hostname: str,
    message: MessageId,
    recipients: tuple[Mailbox, ...],
    at: datetime.datetime,
) -> bytes:
    """Our trace field, CR LF included (RFC 5321 section 4.4; RFC 3848).

    `for` is left out when there is more than one recipient: it would disclose Bcc.
    """
    helo = _UNSAFE.sub("?", peer.helo) or "unknown"
    lines = [
        f"Received: from {helo} ({_literal(peer.address)})",
        f"\tby {hostname} with {_protocol(peer)} id {message}",
    ]
    if len(recipients) == 1:
        lines.append(f"\tfor <{recipients[0]}>")
    date = email.utils.format_datetime(at)
    return ("\r\n".join(lines) + f";\r\n\t{date}\r\n").encode("ascii")


def check_header(octets: bytes, start: int) -> Reply | None:
    """Look over the header block of what came in.

    Args:
        octets: The message with our field in front.
        start: Where that field ends.

    Returns:
        554 5.4.6 for a loop (A-05), 550 5.6.0 for a control character (A-41), or None.
    """
    end = octets.find(b"\r\n\r\n", max(0, start - 2))
    header = octets[start:end] if end >= 0 else octets[start:]
    if _CONTROL.search(header):
        return answer.CONTROL_IN_HEADER
    if sum(1 for _ in _FIELD.finditer(header)) >= MAX_HOPS:
        return answer.LOOP
    return None


def _literal(address: str) -> str:
    version = ipaddress.ip_address(address).version
    return f"[IPv6:{address}]" if version == 6 else f"[{address}]"  # noqa: PLR2004


def _protocol(peer: Peer) -> str:
    if not peer.extended:
        return "SMTP"
    authenticated = peer.identified_by is Identification.AUTH
    return "ESMTP" + ("S" if peer.tls else "") + ("A" if authenticated else "")
