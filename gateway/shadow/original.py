"""From a copy back to the message that somebody sent, and to whom.

Postfix (`always_bcc`, `sender_bcc_maps`) hands over the message itself, with the
original reverse-path and the copy address alone as recipient: its recipients are those
of To and Cc. Microsoft 365 and Exchange hand over a journal report: a multipart whose
first part is a text with one line for each recipient of the envelope, whose second is
the message.

Everything is read leniently: a copy that cannot be read is a count that is missing.
"""

import dataclasses
import re
from collections.abc import Iterable, Iterator

from gateway.extract.author import parse_mailboxes
from gateway.extract.charset import decode_text
from gateway.extract.entity import (
    Entity,
    parse_entity,
    split_multipart,
    with_line_ends,
)
from gateway.extract.header import unfold
from gateway.extract.part import PLAIN_CTE, body_octets, describe, encoding_of
from gateway.model.address import AddressError, Mailbox, ReversePath
from gateway.model.message import Envelope
from gateway.model.octets import Octets, head_of, whole_of
from gateway.shadow.copies import CopyAddresses

_REPORT = "x-ms-journal-report"
_REPORT_PARTS = 10
_REPORT_TEXT = 1024 * 1024  # octets; a recipient takes less than 600
_RECIPIENT_FIELDS = ("to", "cc", "bcc")
_RESENT_FIELDS = ("resent-to", "resent-cc")
# Journal-report-body of MS-XJRNL 2.1: field, address, and what the address stood for.
_LINE = re.compile(
    r"^(?P<field>Sender|Recipient|To|Cc|Bcc)[ \t]*:[ \t]*(?P<value>[^\r\n]+)",
    re.IGNORECASE | re.MULTILINE,
)
_REDIRECTION = re.compile(r",[ \t]*(?:Expanded|Forwarded)[ \t]*:", re.IGNORECASE)
_QUOTED_OR_COMMENT = re.compile(r'"(?:[^"\\]|\\.)*+"(?!@)|\([^()]*+\)')
_ADDRESS = re.compile(r"[^\s<>,;:()\"@]++@[^\s<>,;:()\"]++")


@dataclasses.dataclass(frozen=True, slots=True)
class Original:
    """What was sent. `recipients` of the envelope may be empty: none were found."""

    envelope: Envelope
    octets: Octets = dataclasses.field(repr=False)


def original_of(octets: Octets, envelope: Envelope, copies: CopyAddresses) -> Original:
    """The message behind a copy.

    Args:
        octets: The copy as it was handed over. A large journal report is read whole.
        envelope: Of the copy.
        copies: Addresses that are none of its recipients.
    """
    outer = parse_entity(with_line_ends(head_of(octets)))
    if outer.first(_REPORT) is not None:
        inner = _unwrap(whole_of(octets), envelope)
        if inner is not None:
            return inner
    recipients = _recipients_of(outer, copies)
    return Original(dataclasses.replace(envelope, recipients=recipients), octets)


def filed_original(octets: bytes, copies: CopyAddresses) -> Original:
    """The message in a file, which may be a journal report.

    Its envelope is what its header says: Return-Path, else From, and To and Cc.
    """
    header = parse_entity(with_line_ends(octets))
    senders = addresses_in(header.values_of("return-path"))
    if not senders and header.first("return-path") is None:
        senders = addresses_in(header.values_of("from"))
    reverse_path = ReversePath(next(iter(senders), None))
    return original_of(octets, Envelope(reverse_path, ()), copies)


def _recipients_of(header: Entity, copies: CopyAddresses) -> tuple[Mailbox, ...]:
    """Of the header; somebody who sent it on said anew to whom (RFC 5322 3.6.6)."""
    names = _RESENT_FIELDS if header.first("resent-to") else _RECIPIENT_FIELDS
    values = (value for name in names for value in header.values_of(name))
    return tuple(each for each in addresses_in(values) if each not in copies)


def addresses_in(values: Iterable[str]) -> tuple[Mailbox, ...]:
    """All mailboxes in header fields, without doubles; what is none is passed over."""
    found: dict[Mailbox, None] = {}
    for value in values:
        try:
            found.update(dict.fromkeys(parse_mailboxes(value)))
        except ValueError:  # a group, a name with `@`, an address that is none
            found.update(dict.fromkeys(_pick_addresses(value)))
    return tuple(found)


def _pick_addresses(value: str) -> Iterator[Mailbox]:
    """The address of each item; one in angle brackets goes before one in the name."""
    for item in _QUOTED_OR_COMMENT.sub(" ", unfold(value)).split(","):
        found = _ADDRESS.search(item, item.find("<") + 1)
        if found is None:
            continue
        try:
            yield Mailbox.parse(found[0], smtputf8=True)
        except AddressError:
            continue


# --- journal reports ----------------------------------------------------------


def _unwrap(octets: bytes, envelope: Envelope) -> Original | None:
    """The message in a journal report, with the envelope that the report tells."""
    report = parse_entity(with_line_ends(octets))
    text: str | None = None
    message: bytes | None = None
    for kind, part in _parts_of(report):
        if kind == "text/plain" and text is None:
            label = describe(part, 0, "text/plain").parameters.get("charset")
            text = decode_text(body_octets(part)[:_REPORT_TEXT], label).text
        elif kind == "message/rfc822" and message is None:
            plain = encoding_of(part) in PLAIN_CTE
            message = part.content if plain else body_octets(part)
    if text is None or message is None:
        return None
    told = [(line["field"].lower(), line["value"]) for line in _LINE.finditer(text)]
    senders = _addresses_told(value for field, value in told if field == "sender")
    recipients = _addresses_told(value for field, value in told if field != "sender")
    reverse_path = ReversePath(next(iter(senders), None))
    told_envelope = dataclasses.replace(
        envelope, reverse_path=reverse_path, recipients=recipients
    )
    return Original(told_envelope, message)


def _parts_of(report: Entity) -> Iterator[tuple[str, Entity]]:
    boundary = describe(report, 0, "text/plain").boundary
    split = split_multipart(report, boundary, _REPORT_PARTS) if boundary else None
    for start, end in () if split is None else split.parts:
        part = parse_entity(report.octets, start, end)
        yield describe(part, 0, "text/plain").kind, part


def _addresses_told(values: Iterable[str]) -> tuple[Mailbox, ...]:
    """The address of each line; the group or mailbox it stood for counts no more."""
    return addresses_in(_REDIRECTION.split(value, maxsplit=1)[0] for value in values)
