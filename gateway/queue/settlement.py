"""A job and the outcome of one attempt become the next state, records and notices."""

import contextlib
import dataclasses
import hashlib
from collections.abc import Sequence
from typing import Any

from gateway.model.errors import TlsFailure
from gateway.model.ids import RecordId
from gateway.model.job import Job, JobKind, JobRecipient, RecipientStatus
from gateway.model.record import (
    AttemptRecord,
    Deferred,
    Delivered,
    DeliveryUnknown,
    Expired,
    Facts,
    Failed,
    HoldExpired,
    Intent,
)
from gateway.model.reply import Cause, HopFacts, Outcome, RecipientOutcome, Status
from gateway.model.verdict import Reason
from gateway.policy.decide import clock_of
from gateway.queue import schedule, telling
from gateway.queue.batch import Batch
from gateway.queue.notice import Desk
from gateway.queue.states import Move, move
from gateway.trust.chain import Chain


@dataclasses.dataclass(frozen=True, slots=True)
class Settlement:
    """The job as it is to be written, and what is to be written with it."""

    job: Job
    batch: Batch


def settle(
    job: Job,
    outcome: Outcome,
    header: bytes,
    desk: Desk,
    stopped: Reason | None = None,
) -> Settlement:
    """Decide what an attempt means (B-41, B-51 ... B-53, INV-4).

    Args:
        job: As leased; every open recipient has one outcome.
        outcome: What the attempt gave.
        header: The header block of the message, for a notice.
        desk: Policy, name, identifiers and time.
        stopped: Why no attempt was made, when it was the re-check that ended the job.
    """
    clock = clock_of(job.regimes, desk.policy)
    tried = dataclasses.replace(job, attempts=job.attempts + 1, intent_at=None)
    results = {r.recipient: r for r in outcome.recipients}
    unknown = any(r.status is Status.UNKNOWN for r in outcome.recipients)
    over = schedule.is_expired(tried, desk.now)
    recipients = tuple(_next(r, results.get(r.mailbox), over) for r in job.recipients)
    is_open = any(r.status is RecipientStatus.TODO for r in recipients)
    next_at = schedule.next_attempt_at(job, clock, desk.now)
    warn = is_open and schedule.is_warning_due(tried, clock, desk.now)
    settled = dataclasses.replace(
        tried,
        state=move(job.state, Move.RETRY if is_open else Move.FINISH),
        recipients=recipients,
        next_attempt_at=next_at,
        unknowns=job.unknowns + unknown,
        delay_notice_sent=job.delay_notice_sent or warn,
        last_cause=_last_cause(outcome),
    )
    batch = Batch(records=tuple(_records(settled, outcome, over, desk)))
    if job.kind is JobKind.MESSAGE:
        told = telling.Told(settled, outcome, stopped, header, desk)
        batch += telling.tell_attempt(told, over=over, warn=warn)
    return Settlement(settled, batch)


def _next(
    recipient: JobRecipient, result: RecipientOutcome | None, over: bool
) -> JobRecipient:
    if result is None or recipient.status is not RecipientStatus.TODO:
        return recipient
    uncertain = recipient.uncertain or result.status is Status.UNKNOWN
    if result.status is Status.DELIVERED:
        status = RecipientStatus.DELIVERED
    elif result.status is Status.FAILED:
        status = RecipientStatus.FAILED
    else:
        status = RecipientStatus.EXPIRED if over else RecipientStatus.TODO
    return dataclasses.replace(recipient, status=status, uncertain=uncertain)


def _last_cause(outcome: Outcome) -> str | None:
    for result in outcome.recipients:
        if result.cause is not None:
            return result.cause.value
    return None


_RECORD_OF: dict[Status, type[AttemptRecord]] = {
    Status.DELIVERED: Delivered,
    Status.FAILED: Failed,
    Status.DEFERRED: Deferred,
    Status.UNKNOWN: DeliveryUnknown,
}


def _records(job: Job, outcome: Outcome, over: bool, desk: Desk) -> list[AttemptRecord]:
    """One record for each kind of result; what was given up is also said so."""
    records: list[AttemptRecord] = []
    uncertain = telling.uncertain(job)
    common: dict[str, Any] = {
        "at": desk.now,
        "municipality": job.municipality,
        "message": job.message,
        "policy": desk.policy.digest,
        "job": job.id,
        "attempt": job.attempts,
        "hops": tuple(hop_facts(hop) for hop in outcome.hops),
    }
    for status, kind in _RECORD_OF.items():
        results = [r for r in outcome.recipients if r.status is status]
        if not results:
            continue
        again: dict[str, Any] = {}
        if kind in {Deferred, DeliveryUnknown}:
            again["next_attempt_at"] = "" if over else job.next_attempt_at.isoformat()
        common["recipients"] = tuple(map(_result_facts, results))
        common["possible_duplicate"] = any(r.recipient in uncertain for r in results)
        records.append(kind(id=RecordId(desk.new_id()), **common, **again))
        if over and kind in {Deferred, DeliveryUnknown}:
            records.append(Expired(id=RecordId(desk.new_id()), **common))
    return records


def _result_facts(result: RecipientOutcome) -> Facts:
    reply, tls_result = result.reply, result.tls_result
    return (
        ("address", str(result.recipient)),
        ("cause", None if result.cause is None else result.cause.value),
        ("tls_result", None if tls_result is None else tls_result.value),
        ("code", result.code),
        ("reply_code", None if reply is None else reply.code),
        ("reply_status", None if reply is None else reply.enhanced),
        ("reply_text", None if reply is None else reply.text),
    )


def hop_facts(hop: HopFacts) -> Facts:
    """What evidence says of one host tried (B-35)."""
    tls = hop.tls
    return (
        ("host", hop.host),
        ("address", hop.address),
        ("port", hop.port),
        ("dnssec", hop.dnssec),
        ("mechanism", None if hop.mechanism is None else hop.mechanism.value),
        ("tls_version", None if tls is None else tls.version),
        ("tls_cipher", None if tls is None else tls.cipher),
        *_chain_facts(() if tls is None else tls.chain),
        ("matched", hop.matched),
        ("tls_result", None if hop.tls_result is None else hop.tls_result.value),
        ("dsn", hop.dsn),
        ("requiretls", hop.requiretls),
        ("detail", hop.detail),
        ("started_at", hop.started_at.isoformat()),
        ("ended_at", hop.ended_at.isoformat()),
    )


def _chain_facts(certificates: tuple[bytes, ...]) -> Facts:
    """Digests of the chain as presented; None where there was none, or no key in it."""
    chain_digest = leaf = spki = None
    if certificates:
        chain = Chain(certificates)
        chain_digest = hashlib.sha256(b"".join(certificates)).hexdigest()
        leaf = chain.fingerprint
        with contextlib.suppress(TlsFailure):
            spki = chain.spki_sha256
    return (
        ("chain_length", len(certificates)),
        ("chain_sha256", chain_digest),
        ("leaf_sha256", leaf),
        ("leaf_spki_sha256", spki),
    )


def intend(
    job: Job, hop: HopFacts, recipients: Sequence[str], desk: Desk
) -> Settlement:
    """The job marked as about to send the dot, with the record of it (B-50)."""
    record = Intent(
        id=RecordId(desk.new_id()),
        at=desk.now,
        municipality=job.municipality,
        message=job.message,
        policy=desk.policy.digest,
        job=job.id,
        attempt=job.attempts + 1,
        hop=hop_facts(hop),
        recipients=tuple((("address", address),) for address in recipients),
    )
    marked = dataclasses.replace(job, intent_at=desk.now)
    return Settlement(marked, Batch(records=(record,)))


def resume(job: Job, desk: Desk) -> Settlement:
    """A job whose worker died after its intent: the outcome is unknown (B-50).

    The job stays leased; it is written before anything is tried again.
    """
    record = DeliveryUnknown(
        id=RecordId(desk.new_id()),
        at=desk.now,
        municipality=job.municipality,
        message=job.message,
        policy=desk.policy.digest,
        job=job.id,
        attempt=job.attempts + 1,
        hops=(),
        recipients=tuple((("address", str(m)),) for m in job.open_recipients),
        possible_duplicate=True,
        next_attempt_at=desk.now.isoformat(),
    )
    marked = dataclasses.replace(
        job,
        recipients=tuple(
            dataclasses.replace(r, uncertain=True)
            if r.status is RecipientStatus.TODO
            else r
            for r in job.recipients
        ),
        attempts=job.attempts + 1,
        unknowns=job.unknowns + 1,
        intent_at=None,
    )
    return Settlement(marked, Batch(records=(record,)))


def late(settled: Settlement) -> Batch:
    """What remains of a result when another worker holds the job (G-09).

    The job is the other's to settle and to tell of. A copy that the hop took, or may
    have taken, is evidence all the same.
    """
    return Batch(
        records=tuple(
            dataclasses.replace(record, possible_duplicate=True)
            for record in settled.batch.records
            if isinstance(record, Delivered | DeliveryUnknown)
        )
    )


def stop(job: Job, reason: Reason, header: bytes, desk: Desk) -> Settlement:
    """End a job that today's facts no longer permit (R6); the sender is told."""
    outcome = Outcome(
        (),
        tuple(
            RecipientOutcome(mailbox, Status.FAILED, Cause.POLICY, code=reason.code)
            for mailbox in job.open_recipients
        ),
    )
    return settle(job, outcome, header, desk, stopped=reason)


def give_up(job: Job, desk: Desk) -> Settlement:
    """End a job that outlived its time without one attempt that came to a result."""
    outcome = Outcome(
        (),
        tuple(
            RecipientOutcome(
                mailbox, Status.DEFERRED, Cause.EXPIRED, code=telling.EXPIRED_CODE
            )
            for mailbox in job.open_recipients
        ),
    )
    return settle(job, outcome, b"", desk)


def expire_hold(job: Job, header: bytes, desk: Desk) -> Settlement:
    """Nobody decided in time: as a rejection, and the sender is told (R1)."""
    opened = job.open_recipients
    done = dataclasses.replace(
        job,
        state=move(job.state, Move.EXPIRE_HOLD),
        recipients=tuple(
            dataclasses.replace(r, status=RecipientStatus.REJECTED)
            if r.status is RecipientStatus.TODO
            else r
            for r in job.recipients
        ),
        last_cause=Cause.EXPIRED.value,
    )
    record = HoldExpired(
        id=RecordId(desk.new_id()),
        at=desk.now,
        municipality=job.municipality,
        message=job.message,
        policy=desk.policy.digest,
        job=job.id,
        recipients=tuple((("address", str(mailbox)),) for mailbox in opened),
    )
    batch = Batch(records=(record,))
    return Settlement(done, batch + telling.tell_hold_expired(job, header, desk))
