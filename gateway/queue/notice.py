"""Notices to the sender: multipart/report after RFC 3462 and RFC 3464, Dutch first.

A notice carries our words, the per-recipient status and the header fields of the
message; never its body (G-12). It has the null reverse-path, goes over the
municipality's own route, and is itself never answered by a notice.
"""

import base64
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
from gateway.model.message import Body
from gateway.model.record import NoticeDropped, NoticeSent
from gateway.model.reply import RemoteReply
from gateway.policy.decide import clock_of
from gateway.policy.rulebook import Policy
from gateway.queue.batch import Batch, Content
from gateway.texts import render

_MAX_HEADER_OCTETS = 16 * 1024
_MAX_WORD = 75  # RFC 2047 section 2
# The first line that is neither a field nor the continuation of one.
_BODY = re.compile(rb"^(?![!-9;-~]+:|[ \t])", re.MULTILINE)


class NoticeKind(enum.Enum):
    """Why the sender is written to."""

    FAILED = "failed"
    DELAYED = "delayed"
    HELD = "held"
    HOLD_EXPIRED = "hold-expired"
    SPLIT = "split"


class Action(enum.Enum):
    """The `Action` field of RFC 3464 section 2.3.3 that we use."""

    FAILED = "failed"
    DELAYED = "delayed"


@dataclasses.dataclass(frozen=True, slots=True)
class NoticeLine:
    """What the notice says of one recipient; `action` None: it goes, or went, well."""

    mailbox: Mailbox
    action: Action | None
    status: str  # enhanced status, e.g. "5.7.10"
    reason: render.Explained
    reply: RemoteReply | None = None
    remote_host: str | None = None
    diagnosis: str | None = None  # ours, where the hop said nothing


@dataclasses.dataclass(frozen=True, slots=True)
class About:
    """The message that a notice is about."""

    message: MessageId
    reverse_path: ReversePath
    header: bytes = dataclasses.field(repr=False)
    accepted_at: datetime.datetime
    expires_at: datetime.datetime | None


@dataclasses.dataclass(frozen=True, slots=True)
class Notice:
    """A composed notice, ready to be queued."""

    message: MessageId
    kind: NoticeKind
    addressee: Mailbox
    octets: bytes = dataclasses.field(repr=False)


def addressee(reverse_path: ReversePath, municipality: Municipality) -> Mailbox | None:
    """Who gets the notice: the sender, else the municipality's mailbox, else nobody."""
    return reverse_path.mailbox or municipality.notices_to


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

    Source: RFC 3462, RFC 3464, RFC 3834.
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
    parts = (
        _part(boundary, "text/plain; charset=utf-8", _base64(words.body), "base64"),
        _part(boundary, "message/delivery-status", _status(about, lines, hostname)),
        _part(boundary, "text/rfc822-headers", _header_text(about.header)),
        f"--{boundary}--\r\n",
    )
    text = "\r\n".join(head) + "\r\n" + "".join(parts)
    return Notice(notice_id, kind, to, text.encode("ascii", "replace"))


def _part(boundary: str, kind: str, text: str, encoding: str = "7bit") -> str:
    return (
        f"--{boundary}\r\nContent-Type: {kind}\r\n"
        f"Content-Transfer-Encoding: {encoding}\r\n\r\n{text}\r\n"
    )


def _base64(text: str) -> str:
    raw = text.replace("\r\n", "\n").replace("\n", "\r\n").encode()
    encoded = base64.b64encode(raw).decode("ascii")
    return "".join(f"{encoded[at : at + 76]}\r\n" for at in range(0, len(encoded), 76))


def _status(about: About, lines: tuple[NoticeLine, ...], hostname: str) -> str:
    arrived = email.utils.format_datetime(about.accepted_at)
    groups = [[f"Reporting-MTA: dns; {hostname}", f"Arrival-Date: {arrived}"]]
    groups += [_per_recipient(about, line) for line in lines if line.action is not None]
    return "\r\n\r\n".join("\r\n".join(group) for group in groups) + "\r\n"


def _per_recipient(about: About, line: NoticeLine) -> list[str]:
    assert line.action is not None  # noqa: S101 - the caller filters
    fields = [
        f"Final-Recipient: rfc822; {line.mailbox}",
        f"Action: {line.action.value}",
        f"Status: {line.status}",
    ]
    if line.remote_host is not None:
        fields.append(f"Remote-MTA: dns; {line.remote_host}")
    if line.reply is not None:
        enhanced = f" {line.reply.enhanced}" if line.reply.enhanced else ""
        text = line.reply.text[:400]
        fields.append(f"Diagnostic-Code: smtp; {line.reply.code}{enhanced} {text}")
    elif line.diagnosis is not None:
        fields.append(f"Diagnostic-Code: x-ketenmail; {line.diagnosis.strip()}")
    if line.action is Action.DELAYED and about.expires_at is not None:
        until = email.utils.format_datetime(about.expires_at)
        fields.append(f"Will-Retry-Until: {until}")
    return fields


def _header_text(header: bytes) -> str:
    """The header block in ASCII, whole lines only, bounded."""
    text = header[:_MAX_HEADER_OCTETS].decode("ascii", "replace").replace("\ufffd", "?")
    return text[: text.rfind("\r\n") + 2] if "\r\n" in text else ""


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
) -> Job:
    """The job that brings a notice to the municipality's own server.

    `times` are the present instant and the instant to give up. The notice is treated
    as sensitive: its header fields are those of the message.
    """
    now, expires_at = times
    return Job(
        id=ids,
        message=notice.message,
        municipality=municipality.id,
        kind=JobKind.NOTICE,
        state=JobState.READY,
        reverse_path=ReversePath(None),
        recipients=(JobRecipient(notice.addressee),),
        route=municipality.route,
        partner=None,
        level=Level.NONE,
        regimes=frozenset(),
        body=Body.SEVEN_BIT,
        smtputf8=False,
        size_octets=len(notice.octets),
        policy=policy,
        accepted_at=now,
        next_attempt_at=now,
        expires_at=expires_at,
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
    common: dict[str, Any] = {
        "id": RecordId(desk.new_id()),
        "at": desk.now,
        "municipality": job.municipality,
        "message": job.message,
        "policy": desk.policy.digest,
        "job": job.id,
        "kind": kind.value,
    }
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
    )
    to = str(notice.addressee)
    sent = NoticeSent(**common, notice=notice_id, addressee=to)
    content = Content(notice_id, job.municipality, notice.octets)
    return Batch((content,), (notice_job,), (sent,))
