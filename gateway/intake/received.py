"""The trace field that we put in front of a message.

Exactly one field is put in front; nothing else is changed (A-04, INV-5).
"""

import datetime
import email.utils
import ipaddress
import re

from gateway.model.address import Mailbox
from gateway.model.ids import MessageId
from gateway.model.peer import Identification, Peer

_HELO_OCTETS = 255
_UNPRINTABLE = re.compile(r"[^!-~]")
_UNSAFE = re.compile(r"[^A-Za-z0-9.:_\[\]-]")


def sanitise_helo(text: str) -> str:
    """The HELO or EHLO name as printable ASCII, at most 255 octets."""
    return _UNPRINTABLE.sub("?", text[:_HELO_OCTETS])


def format_received(
    peer: Peer,
    hostname: str,
    message: MessageId,
    recipients: tuple[Mailbox, ...],
    at: datetime.datetime,
    *,
    smtputf8: bool = False,
) -> bytes:
    """Our trace field, CR LF included (RFC 5321 section 4.4; RFC 3848; RFC 6531).

    `for` is left out when there is more than one recipient: it would disclose Bcc. With
    SMTPUTF8 an address in it may be UTF-8; without, there is none that is.
    """
    helo = _UNSAFE.sub("?", peer.helo) or "unknown"
    lines = [
        f"Received: from {helo} ({_literal(peer.address)})",
        f"\tby {hostname} with {_protocol(peer, smtputf8=smtputf8)} id {message}",
    ]
    if len(recipients) == 1 and (smtputf8 or str(recipients[0]).isascii()):
        lines.append(f"\tfor <{recipients[0]}>")
    date = email.utils.format_datetime(at)
    return ("\r\n".join(lines) + f";\r\n\t{date}\r\n").encode()


def _literal(address: str) -> str:
    version = ipaddress.ip_address(address).version
    return f"[IPv6:{address}]" if version == 6 else f"[{address}]"  # noqa: PLR2004


def _protocol(peer: Peer, *, smtputf8: bool) -> str:
    if not peer.extended:
        return "SMTP"
    authenticated = peer.identified_by is Identification.AUTH
    base = "UTF8SMTP" if smtputf8 else "ESMTP"  # RFC 6531 section 4.3
    return base + ("S" if peer.tls else "") + ("A" if authenticated else "")
