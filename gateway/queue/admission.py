"""A decided message becomes jobs, records and a reply: all, or nothing (INV-1)."""

import dataclasses
import datetime
from collections.abc import Callable, Sequence
from typing import Any

from gateway.config import Mixed, Municipality
from gateway.model.address import Mailbox
from gateway.model.classification import Classification
from gateway.model.document import Document
from gateway.model.ids import Code, JobId, PartnerId, RecordId, RegimeId
from gateway.model.job import Job, JobKind, JobRecipient, JobState
from gateway.model.message import (
    NO_RECIPIENT_WISH,
    Envelope,
    Message,
    Notify,
    RecipientWish,
)
from gateway.model.octets import head_of, size_of
from gateway.model.partner import Route
from gateway.model.peer import Peer
from gateway.model.record import (
    Accepted,
    Facts,
    RecipientsHeld,
    Refused,
)
from gateway.model.reply import Reply
from gateway.model.scan import Infected, Scan, word_of
from gateway.model.verdict import Hold, Refuse, Relay, Verdict
from gateway.policy.decide import clock_of, is_foreign
from gateway.policy.rulebook import Policy
from gateway.queue import notice as notices
from gateway.queue.batch import Batch, Content
from gateway.queue.dsn import Action, NoticeLine, is_wanted
from gateway.queue.notice import NoticeKind
from gateway.texts import render


@dataclasses.dataclass(frozen=True, slots=True)
class Admission:
    """What is to be written in one transaction, and the reply to give after it."""

    reply: Reply
    batch: Batch


@dataclasses.dataclass(frozen=True, slots=True)
class Commitment:
    """HMAC-SHA-256 of the octets, hexadecimal, and its key: 32 random octets (F-08)."""

    key: bytes = dataclasses.field(repr=False)
    digest: str


@dataclasses.dataclass(frozen=True, slots=True)
class Decided:
    """A message with all that was found out and decided about it."""

    message: Message
    peer: Peer
    document: Document
    classification: Classification
    verdicts: tuple[Verdict, ...]  # one per recipient, at least one
    policy: Policy
    hostname: str
    scan: Scan | None = None  # for malware; None: no scanner is set up

    @property
    def municipality(self) -> Municipality:
        """Whose mail it is."""
        return self.policy.municipalities[self.peer.municipality]


def admit(
    decided: Decided,
    new_id: Callable[[], str],
    commitment: Commitment,
    now: datetime.datetime,
) -> Admission:
    """Turn verdicts into what must be durable before the reply (R9, INV-1).

    Args:
        decided: The message and its verdicts.
        new_id: Gives a fresh identifier at each call.
        commitment: To the content (F-08).
        now: The present instant.
    """
    refused = [v for v in decided.verdicts if isinstance(v, Refuse)]
    all_or_nothing = decided.municipality.mixed is Mixed.REFUSE_ALL
    if len(refused) == len(decided.verdicts) or (refused and all_or_nothing):
        return _refusal(decided, refused, RecordId(new_id()), commitment, now)
    jobs = tuple(_jobs(decided, new_id, now))
    held = tuple(job for job in jobs if job.state is JobState.HELD)
    fields = _accepted_fields(decided, RecordId(new_id()), commitment, now)
    accepted = Accepted(**fields)
    holds = tuple(_held_record(j, decided, RecordId(new_id()), now) for j in held)
    message = decided.message
    content = Content(message.id, decided.peer.municipality, message.octets)
    batch = Batch((content,), jobs, (accepted, *holds))
    if refused or held:
        batch += _tell(decided, jobs, new_id, now)
    reply = Reply(250, "2.0.0", (f"Accepted, reference {decided.message.id}",))
    return Admission(reply, batch)


def _refusal(
    decided: Decided,
    refused: Sequence[Refuse],
    record: RecordId,
    commitment: Commitment,
    now: datetime.datetime,
) -> Admission:
    reply = render.refusal(
        tuple(refused), str(decided.message.id), decided.municipality
    )
    fields = _accepted_fields(decided, record, commitment, now)
    return Admission(reply, Batch(records=(Refused(**fields),)))


def _accepted_fields(
    decided: Decided, record: RecordId, commitment: Commitment, now: datetime.datetime
) -> dict[str, Any]:
    message, peer, found = decided.message, decided.peer, decided.classification
    tls = peer.tls
    return {
        "id": record,
        "at": now,
        "municipality": peer.municipality,
        "message": message.id,
        "policy": decided.policy.digest,
        "client": peer.client,
        "peer_address": peer.address,
        "helo": peer.helo,
        "peer_tls": None if tls is None else f"{tls.version} {tls.cipher}",
        "reverse_path": str(message.envelope.reverse_path),
        "message_id": decided.document.message_id,
        "size_octets": size_of(message.octets),
        "content_digest": commitment.digest,
        "content_key": commitment.key.hex(),
        "level": found.level.word,
        "regimes": tuple(
            (("regime", r.id), ("level", r.level.word), ("score", r.score))
            for r in found.regimes
        ),
        "findings": tuple(
            (
                ("regime", regime.id),
                ("rule", finding.rule),
                ("place", finding.place),
                ("count", finding.count),
                ("weight", finding.weight),
            )
            for regime in found.regimes
            for finding in regime.findings
        ),
        "unreadable": tuple(
            (("place", part.place), ("reason", part.reason))
            for part in found.unreadable
        ),
        "removed": tuple(
            (("field", kind), ("count", count)) for kind, count in message.removed
        ),
        "scanned": word_of(decided.scan),
        "malware": decided.scan.name if isinstance(decided.scan, Infected) else None,
        "foreign_author": is_foreign(message.envelope, peer, decided.document),
        "requiretls": message.envelope.wish.requiretls,
        "envid": message.envelope.wish.envid,
        "recipients": tuple(
            _verdict_facts(verdict, message.envelope) for verdict in decided.verdicts
        ),
    }


def _verdict_facts(verdict: Verdict, envelope: Envelope) -> Facts:
    notify = _wish(verdict.recipient, envelope).notify
    start = (
        ("address", str(verdict.recipient)),
        ("notify", None if notify is None else ",".join(_in_order(notify))),
        ("row", verdict.row),
    )
    match verdict:
        case Relay():
            return (
                *start,
                ("verdict", "relay"),
                ("partner", verdict.partner),
                ("method", verdict.route.method.value),
                ("least", verdict.route.least.name.lower()),
            )
        case Refuse():
            return (*start, ("verdict", "refuse"), ("code", verdict.reason.code))
        case Hold():  # pragma: no branch
            return (*start, ("verdict", "hold"), ("code", verdict.reason.code))


def _wish(mailbox: Mailbox, envelope: Envelope) -> RecipientWish:
    return envelope.recipient_wishes.get(mailbox, NO_RECIPIENT_WISH)


def _in_order(notify: frozenset[Notify]) -> list[str]:
    return [word.value for word in Notify if word in notify]


_Group = tuple[Route, PartnerId | None, frozenset[RegimeId], str, Code | None]


def _jobs(
    decided: Decided, new_id: Callable[[], str], now: datetime.datetime
) -> list[Job]:
    """One job for each security decision and domain (B-06)."""
    groups: dict[_Group, list[Mailbox]] = {}
    for verdict in decided.verdicts:
        if not isinstance(verdict, Refuse):
            group = _group(verdict, decided)
            groups.setdefault(group, []).append(verdict.recipient)
    return [
        _job(decided, group, recipients, JobId(new_id()), now)
        for group, recipients in groups.items()
    ]


def _group(verdict: Relay | Hold, decided: Decided) -> _Group:
    domain = verdict.recipient.domain.name
    if isinstance(verdict, Relay):
        return (verdict.route, verdict.partner, verdict.regimes, domain, None)
    # A held job has no route until a person decides; the own route is a placeholder
    # that no lease for delivery can reach.
    regimes = frozenset(r.id for r in decided.classification.regimes)
    own = decided.municipality.route
    return (own, None, regimes, domain, verdict.reason.code)


def _job(
    decided: Decided,
    group: _Group,
    recipients: Sequence[Mailbox],
    job: JobId,
    now: datetime.datetime,
) -> Job:
    route, partner, regimes, _, hold_code = group
    message = decided.message
    clock = clock_of(regimes, decided.policy)
    held = hold_code is not None
    lifetime = decided.municipality.hold_for if held else clock.expire_after
    return Job(
        id=job,
        message=message.id,
        municipality=decided.peer.municipality,
        kind=JobKind.MESSAGE,
        state=JobState.HELD if held else JobState.READY,
        reverse_path=message.envelope.reverse_path,
        recipients=tuple(
            JobRecipient(mailbox, wish=_wish(mailbox, message.envelope))
            for mailbox in recipients
        ),
        route=route,
        partner=partner,
        level=decided.classification.level,
        regimes=regimes,
        body=message.envelope.body,
        smtputf8=message.envelope.smtputf8,
        size_octets=size_of(message.octets),
        policy=decided.policy.digest,
        accepted_at=now,
        next_attempt_at=now,
        expires_at=now + lifetime,
        hold_code=hold_code,
        wish=message.envelope.wish,
    )


def _held_record(
    job: Job, decided: Decided, record: RecordId, now: datetime.datetime
) -> RecipientsHeld:
    return RecipientsHeld(
        id=record,
        at=now,
        municipality=job.municipality,
        message=job.message,
        policy=decided.policy.digest,
        job=job.id,
        code=str(job.hold_code),
        recipients=tuple((("address", str(r.mailbox)),) for r in job.recipients),
        expires_at=job.expires_at.isoformat(),
    )


def _tell(
    decided: Decided,
    jobs: tuple[Job, ...],
    new_id: Callable[[], str],
    now: datetime.datetime,
) -> Batch:
    """One notice at once that says who will get it, who not yet, and who not (R9).

    About those only of whom the sender wants to hear (NOTIFY); when that leaves nobody
    who is held or refused, there is no notice.
    """
    held = [job for job in jobs if job.state is JobState.HELD]
    only_held = all(isinstance(verdict, Hold) for verdict in decided.verdicts)
    about = notices.About(
        decided.message.id,
        decided.message.envelope.reverse_path,
        notices.header_of(head_of(decided.message.octets)),
        now,
        max((job.expires_at for job in held), default=None),
        decided.message.envelope.wish,
    )
    kind = NoticeKind.HELD if only_held else NoticeKind.SPLIT
    desk = notices.Desk(decided.policy, decided.hostname, new_id, now)
    wanted = [v for v in decided.verdicts if _is_told(v, decided.message.envelope)]
    batch = Batch()
    if not all(isinstance(verdict, Relay) for verdict in wanted):
        lines = tuple(_line(verdict, decided) for verdict in wanted)
        batch = notices.queue_notice(kind, about, lines, jobs[0], desk)
    if len(wanted) < len(decided.verdicts):
        batch += notices.unwanted(kind, jobs[0], desk)
    return batch


def _is_told(verdict: Verdict, envelope: Envelope) -> bool:
    """Whether the sender wants to hear of this recipient; see `dsn`."""
    if envelope.reverse_path.is_null:
        return True
    wish = _wish(verdict.recipient, envelope)
    match verdict:
        case Relay():  # said beside the others only, and so no notice of its own
            return wish.notify is None or Notify.NEVER not in wish.notify
        case Refuse():
            return is_wanted(wish, Notify.FAILURE)
        case Hold():  # pragma: no branch
            return is_wanted(wish, Notify.FAILURE, Notify.DELAY)


def _line(verdict: Verdict, decided: Decided) -> NoticeLine:
    envelope = decided.message.envelope
    orcpt = _wish(verdict.recipient, envelope).orcpt
    return dataclasses.replace(_bare_line(verdict, decided), orcpt=orcpt)


def _bare_line(verdict: Verdict, decided: Decided) -> NoticeLine:
    match verdict:
        case Relay():
            on_its_way = render.explain_word("on-its-way")
            return NoticeLine(verdict.recipient, None, "2.0.0", on_its_way)
        case Refuse():
            reason = render.explain(verdict.reason, decided.municipality)
            status = render.enhanced_status(verdict.reason.code)
            return NoticeLine(verdict.recipient, Action.FAILED, status, reason)
        case Hold():  # pragma: no branch
            reason = render.explain(verdict.reason, decided.municipality)
            return NoticeLine(verdict.recipient, Action.DELAYED, "4.7.1", reason)
