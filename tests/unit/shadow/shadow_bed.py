"""Copies as mail servers make them: plain ones, and journal reports of Microsoft."""

import base64

from gateway.model.address import Domain, Mailbox, ReversePath
from gateway.model.message import Envelope
from gateway.shadow.copies import CopyAddresses

HOSTNAME = Domain("mailpoort.voorbeeldstad.example")
SENDER = "ambtenaar@voorbeeldstad.example"
COPY = Mailbox.parse(f"shadow@{HOSTNAME}")
COPIES = CopyAddresses(HOSTNAME, frozenset({Domain("voorbeeldstad.example")}))


def mail(body: str, *fields: str, sender: str = SENDER) -> bytes:
    """A message with CR LF; `fields` stand between From and Subject."""
    lines = [
        f"From: Jan de Vries <{sender}>",
        *fields,
        "Subject: Zaak Z-2026-000123",
        "Message-ID: <7@voorbeeldstad.example>",
        "Date: Wed, 25 Nov 2026 10:00:00 +0100",
        "MIME-Version: 1.0",
        "Content-Type: text/plain; charset=utf-8",
        "Content-Transfer-Encoding: 8bit",
        "",
        body,
    ]
    return "\r\n".join(lines).replace("\n", "\r\n").replace("\r\r", "\r").encode()


def journal(
    original: bytes, *told: str, sender: str = SENDER, encoding: str = "7bit"
) -> bytes:
    """A journal report after MS-XJRNL 2.1; `told` are its lines about recipients."""
    lines = [
        f"Sender: {sender}",
        "Subject: Zaak Z-2026-000123",
        "Message-Id: <7@voorbeeldstad.example>",
        *told,
    ]
    text = "\r\n".join(lines) + "\r\n"
    if encoding == "base64":
        text = base64.encodebytes(text.encode()).decode().replace("\n", "\r\n")
    head = (
        'From: "Microsoft Outlook" <journal@voorbeeldstad.example>\r\n'
        f"To: {COPY}\r\n"
        "Subject: Zaak Z-2026-000123\r\n"
        "Message-ID: <report@voorbeeldstad.example>\r\n"
        "X-MS-Exchange-Generated-Message-Source: Journal Agent\r\n"
        "X-MS-Journal-Report:\r\n"
        "MIME-Version: 1.0\r\n"
        'Content-Type: multipart/mixed;\r\n boundary="_b_"\r\n\r\n'
        "--_b_\r\n"
        'Content-Type: text/plain; charset="us-ascii"\r\n'
        f"Content-Transfer-Encoding: {encoding}\r\n\r\n{text}\r\n"
        "--_b_\r\n"
        "Content-Type: message/rfc822\r\n\r\n"
    )
    return head.encode() + original + b"\r\n--_b_--\r\n"


def envelope(*recipients: str, sender: str | None = SENDER) -> Envelope:
    path = ReversePath(None if sender is None else Mailbox.parse(sender))
    return Envelope(path, tuple(map(Mailbox.parse, recipients)) or (COPY,))
