"""Notices to the sender: multipart/report after RFC 3462 and RFC 3464, Dutch first.

A notice carries our words, the per-recipient status and the header fields of the
message; never its body (G-12), whatever RET says. It has the null reverse-path, goes
over the municipality's own route, and is itself never answered by a notice: neither of
ours nor of a later hop, for it asks for none (NOTIFY=NEVER, RFC 3461 section 6.1).

A notice about mail with REQUIRETLS has that tag too (A-35). It is 7-bit, unless its
addressee is outside ASCII: then it needs SMTPUTF8 itself (RFC 6533).
"""

import base64
import binascii
import dataclasses
import datetime
import email.header
import email.utils
import enum
import hashlib
import re
from collections.abc import Callable
from typing import Any

from gateway.config import Municipality
from gateway.model.address import Mailbox, ReversePath
from gateway.model.classification import Level
from gateway.model.ids import Digest, JobId, MessageId, RecordId
from gateway.model.job import Job, JobKind, JobRecipient, JobState
from gateway.model.message import (
    NO_MESSAGE_WISH,
    Body,
    MessageWish,
    Notify,
    RecipientWish,
)
from gateway.model.record import NoticeDropped, NoticeSent
from gateway.policy.decide import clock_of
from gateway.policy.rulebook import Policy
from gateway.queue import dsn
from gateway.queue.batch import Batch, Content
from gateway.queue.dsn import NoticeLine
from gateway.texts import render

_MAX_HEADER_OCTETS = 16 * 1024
_MAX_WORD = 75  # RFC 2047 section 2
# The first line that is neither a field nor the continuation of one.
_BOUNDARY = re.compile(rb'boundary="(=_[0-9a-f]{32})"')
_NEVER = RecipientWish(frozenset({Notify.NEVER}))
_BODY = re.compile(rb"^(?![!-9;-~]+:|[ \t])", re.MULTILINE)


class NoticeKind(enum.Enum):
    """Why the sender is written to."""

    FAILED = "failed"
    DELAYED = "delayed"
    HELD = "held"
    HOLD_EXPIRED = "hold-expired"
    SPLIT = "split"
    RELAYED = "relayed"


@dataclasses.dataclass(frozen=True, slots=True)
class About:
    """The message that a notice is about."""

    message: MessageId
    reverse_path: ReversePath
    header: bytes = dataclasses.field(repr=False)
    accepted_at: datetime.datetime
    expires_at: datetime.datetime | None
    wish: MessageWish = NO_MESSAGE_WISH


@dataclasses.dataclass(frozen=True, slots=True)
class Notice:
    """A composed notice, ready to be queued."""

    message: MessageId
    kind: NoticeKind
    addressee: Mailbox
    octets: bytes = dataclasses.field(repr=False)


def addressee(reverse_path: ReversePath, municipality: Municipality) -> Mailbox | None:
    """Who gets the notice: the sender, when somebody reads that mailbox (R8).

    Else it is the municipality's mailbox; for the null reverse-path perhaps nobody.
    """
    sender = reverse_path.mailbox
    unread = {mailbox.canonical for mailbox in municipality.unattended}
    if sender is None or sender.canonical in unread:
        return municipality.notices_to
    return sender


def compose(
    kind: NoticeKind,
    about: About,
    lines: tuple[NoticeLine, ...],
    municipality: Municipality,
    hostname: str,
    stamp: tuple[MessageId, datetime.datetime],
) -> Notice | None:
    """Write the notice, or None when nobody can be told.

    Args:
        kind: Chooses subject and opening.
        about: The message it is about; only its header fields are returned.
        lines: One for each recipient that the notice speaks of; at least one.
        municipality: Whose mail it is; its mailbox is the author.
        hostname: The reporting MTA.
        stamp: The id of the notice and the instant it is written.

    Source: RFC 6522, RFC 3464, RFC 3834, RFC 6533.
    """
    to = addressee(about.reverse_path, municipality)
    if to is None:
        return None
    notice_id, now = stamp
    boundary = "=_" + hashlib.sha256(notice_id.encode()).hexdigest()[:32]
    words = render.notice(
        kind.value,
        tuple((str(line.mailbox), line.reason) for line in lines),
        str(about.message),
        about.expires_at if kind is NoticeKind.DELAYED else None,
    )
    subject = email.header.Header(
        words.subject, header_name="Subject", maxlinelen=_MAX_WORD
    )
    head = (
        f"From: {municipality.notices_from}",
        f"To: {to}",
        "Subject: " + subject.encode(linesep="\r\n"),
        f"Date: {email.utils.format_datetime(now)}",
        f"Message-ID: <{notice_id}@{hostname}>",
        "Auto-Submitted: auto-replied",
        "MIME-Version: 1.0",
        "Content-Type: multipart/report; report-type=delivery-status;",
        f' boundary="{boundary}"',
        "",
    )
    status = dsn.status_part(
        lines, hostname, about.accepted_at, about.wish.envid, about.expires_at
    )
    parts = (
        _part(boundary, "text/plain; charset=utf-8", _base64(words.body), "base64"),
        _part(boundary, "message/delivery-status", status),
        _returned(boundary, about.header),
        f"--{boundary}--\r\n",
    )
    text = "\r\n".join(head) + "\r\n" + "".join(parts)
    return Notice(notice_id, kind, to, text.encode())


def _part(boundary: str, kind: str, text: str, encoding: str = "7bit") -> str:
    return (
        f"--{boundary}\r\nContent-Type: {kind}\r\n"
        f"Content-Transfer-Encoding: {encoding}\r\n\r\n{text}\r\n"
    )


def _base64(text: str) -> str:
    raw = text.replace("\r\n", "\n").replace("\n", "\r\n").encode()
    encoded = base64.b64encode(raw).decode("ascii")
    return "".join(f"{encoded[at : at + 76]}\r\n" for at in range(0, len(encoded), 76))


def _returned(boundary: str, header: bytes) -> str:
    """The header block, whole lines only, bounded; nothing of it is lost.

    Octets outside ASCII stand in quoted-printable, which RFC 6522 section 3 asks for in
    this very part, and which receivers know that have never heard of RFC 6533. So do
    lines that are too long for anybody else (`limits.line_octets` lets them in).
    """
    kept = header[:_MAX_HEADER_OCTETS]
    kept = kept[: kept.rfind(b"\r\n") + 2] if b"\r\n" in kept else b""
    if kept.isascii() and max(map(len, kept.split(b"\r\n"))) <= dsn.MAX_LINE:
        return _part(boundary, "text/rfc822-headers", kept.decode("ascii"))
    encoded = binascii.b2a_qp(kept, istext=True).decode("ascii")
    kind = "text/rfc822-headers; charset=utf-8"
    return _part(boundary, kind, encoded, "quoted-printable")


def redacted(notice: bytes) -> bytes:
    """A notice of ours without the header fields of the message (RFC 8689 section 5).

    Args:
        notice: As written by `compose`.
    """
    found = _BOUNDARY.search(notice)
    assert found is not None  # noqa: S101 - `compose` wrote it
    boundary = b"--" + found[1]
    returned = notice.rindex(boundary + b"\r\n")
    return notice[:returned] + boundary + b"--\r\n"


def header_of(octets: bytes) -> bytes:
    """The header block of a message, final CRLF included, without the empty line.

    A line that is no field ends it, as it does for who reads the message: what follows
    is body, though the empty line comes later or never.
    """
    body = _BODY.search(octets)
    return octets if body is None else octets[: body.start()]


def job_for(
    notice: Notice,
    municipality: Municipality,
    policy: Digest,
    ids: JobId,
    times: tuple[datetime.datetime, datetime.datetime],
    *,
    requiretls: bool = False,
) -> Job:
    """The job that brings a notice to the municipality's own server.

    `times` are the present instant and the instant to give up. The notice is treated
    as sensitive: its header fields are those of the message. `requiretls` is that of
    the message: they must be protected as it was (RFC 8689 section 5).
    """
    now, expires_at = times
    plain = notice.octets.isascii()
    return Job(
        id=ids,
        message=notice.message,
        municipality=municipality.id,
        kind=JobKind.NOTICE,
        state=JobState.READY,
        reverse_path=ReversePath(None),
        recipients=(JobRecipient(notice.addressee, wish=_NEVER),),
        route=municipality.route,
        partner=None,
        level=Level.NONE,
        regimes=frozenset(),
        body=Body.SEVEN_BIT if plain else Body.EIGHT_BIT,
        smtputf8=not plain,
        size_octets=len(notice.octets),
        policy=policy,
        accepted_at=now,
        next_attempt_at=now,
        expires_at=expires_at,
        wish=MessageWish(requiretls=requiretls),
    )


@dataclasses.dataclass(frozen=True, slots=True)
class Desk:
    """What writing a notice needs: policy, our name, identifiers and the time."""

    policy: Policy
    hostname: str
    new_id: Callable[[], str]
    now: datetime.datetime


def queue_notice(
    kind: NoticeKind,
    about: About,
    lines: tuple[NoticeLine, ...],
    job: Job,
    desk: Desk,
) -> Batch:
    """A notice about a job, its job and its record; or the record of telling nobody.

    A notice about a notice is never made: the caller sees to that (A-06).
    """
    notice_id = MessageId(desk.new_id())
    common = _record_fields(kind, job, desk)
    municipality = desk.policy.municipalities.get(job.municipality)
    if municipality is None:  # settings forgot it; no route and no author is left
        why = "the municipality is not configured any more"
        return Batch(records=(NoticeDropped(**common, why=why),))
    stamp = (notice_id, desk.now)
    notice = compose(kind, about, lines, municipality, desk.hostname, stamp)
    if notice is None:
        why = "null reverse-path, and no notices_to"
        return Batch(records=(NoticeDropped(**common, why=why),))
    expires_at = desk.now + clock_of(frozenset(), desk.policy).expire_after
    notice_job = job_for(
        notice,
        municipality,
        desk.policy.digest,
        JobId(desk.new_id()),
        (desk.now, expires_at),
        requiretls=about.wish.requiretls,
    )
    to = str(notice.addressee)
    sent = NoticeSent(**common, notice=notice_id, addressee=to)
    content = Content(notice_id, job.municipality, notice.octets)
    return Batch((content,), (notice_job,), (sent,))


def unwanted(kind: NoticeKind, job: Job, desk: Desk) -> Batch:
    """The record of a notice that the sender asked not to have (NOTIFY)."""
    why = "the sender wants no such notice (NOTIFY)"
    return Batch(records=(NoticeDropped(**_record_fields(kind, job, desk), why=why),))


def _record_fields(kind: NoticeKind, job: Job, desk: Desk) -> dict[str, Any]:
    return {
        "id": RecordId(desk.new_id()),
        "at": desk.now,
        "municipality": job.municipality,
        "message": job.message,
        "policy": desk.policy.digest,
        "job": job.id,
        "kind": kind.value,
    }
