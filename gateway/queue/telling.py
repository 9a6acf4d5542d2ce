"""What the sender is told of an attempt: which notices, about whom, in which words.

Only what the sender wants to hear (`dsn.is_wanted`); a notice left out for that reason
is a record. A delivery is told only to who asked for SUCCESS, and only when the next
hop does not do that itself, as *relayed*: a hop took it, more we do not see (INV-7).
"""

import dataclasses

from gateway.model.address import Mailbox
from gateway.model.ids import Code
from gateway.model.job import Job
from gateway.model.message import Notify
from gateway.model.reply import Outcome, RecipientOutcome, Status
from gateway.model.verdict import Reason
from gateway.queue import notice as notices
from gateway.queue.batch import Batch
from gateway.queue.dsn import Action, NoticeLine, is_wanted, wish_of
from gateway.queue.notice import Desk, NoticeKind
from gateway.texts import render

EXPIRED_CODE = Code("K420")
_HOLD_EXPIRED_CODE = Code("K421")


@dataclasses.dataclass(frozen=True, slots=True)
class Told:
    """What a sender is told about: the job as settled, and what led to it."""

    job: Job
    outcome: Outcome
    stopped: Reason | None
    header: bytes = dataclasses.field(repr=False)
    desk: Desk


def tell_attempt(told: Told, *, over: bool, warn: bool) -> Batch:
    """The notices that an attempt gives cause for.

    Args:
        told: The job and its outcome.
        over: Whether we have given up what is not delivered.
        warn: Whether it is time to say that it takes long.
    """
    final = {Status.FAILED} if not over else set(Status) - {Status.DELIVERED}
    waiting = {Status.DEFERRED, Status.UNKNOWN} if warn else set()
    results = told.outcome.recipients
    failed = [r for r in results if r.status in final]
    delayed = [r for r in results if r.status in waiting]
    batch = _tell(NoticeKind.FAILED, Notify.FAILURE, failed, told)
    batch += _tell(NoticeKind.DELAYED, Notify.DELAY, delayed, told)
    return batch + _tell_relayed(told)


def _tell(
    kind: NoticeKind, event: Notify, results: list[RecipientOutcome], told: Told
) -> Batch:
    action = Action.FAILED if event is Notify.FAILURE else Action.DELAYED
    wanted = [r for r in results if is_wanted(wish_of(told.job, r.recipient), event)]
    lines = tuple(_line(result, told, action) for result in wanted)
    batch = _notice(kind, told.job, told.header, lines, told.desk)
    if len(wanted) < len(results):
        batch += notices.unwanted(kind, told.job, told.desk)
    return batch


def _tell_relayed(told: Told) -> Batch:
    """A hop without DSN took it from who asked for SUCCESS (RFC 3461 section 5.2.2)."""
    lines = tuple(
        _relayed_line(result, told)
        for result in told.outcome.recipients
        if result.status is Status.DELIVERED
        and not result.dsn
        and is_wanted(wish_of(told.job, result.recipient), Notify.SUCCESS)
    )
    return _notice(NoticeKind.RELAYED, told.job, told.header, lines, told.desk)


def tell_hold_expired(job: Job, header: bytes, desk: Desk) -> Batch:
    """The notice that nobody decided in time, to be made while recipients are open."""
    municipality = desk.policy.municipalities.get(job.municipality)
    explained = render.explain(Reason(_HOLD_EXPIRED_CODE), municipality)
    kind = NoticeKind.HOLD_EXPIRED
    opened = job.open_recipients
    lines = tuple(
        NoticeLine(
            mailbox,
            Action.FAILED,
            "5.7.1",
            explained,
            orcpt=wish_of(job, mailbox).orcpt,
        )
        for mailbox in opened
        if is_wanted(wish_of(job, mailbox), Notify.FAILURE)
    )
    batch = _notice(kind, job, header, lines, desk)
    if len(lines) < len(opened):
        batch += notices.unwanted(kind, job, desk)
    return batch


def _notice(
    kind: NoticeKind,
    job: Job,
    header: bytes,
    lines: tuple[NoticeLine, ...],
    desk: Desk,
) -> Batch:
    if not lines:
        return Batch()
    about = notices.About(
        job.message,
        job.reverse_path,
        header,
        job.accepted_at,
        job.expires_at,
        job.wish,
    )
    return notices.queue_notice(kind, about, lines, job, desk)


def _line(result: RecipientOutcome, told: Told, action: Action) -> NoticeLine:
    municipality = told.desk.policy.municipalities.get(told.job.municipality)
    given_up = action is Action.FAILED and result.status is not Status.FAILED
    code = result.code or EXPIRED_CODE
    explained = render.explain(told.stopped or Reason(code), municipality)
    if given_up and code != EXPIRED_CODE:
        explained = _given_up(explained)
    if action is Action.FAILED and result.recipient in uncertain(told.job):
        explained = render.with_word(explained, "uncertain")
    return NoticeLine(
        result.recipient,
        action,
        _status_text(result, action, given_up=given_up),
        explained,
        result.reply,
        _remote_host(result, told),
        _diagnosis(result, code),
        wish_of(told.job, result.recipient).orcpt,
    )


def _relayed_line(result: RecipientOutcome, told: Told) -> NoticeLine:
    said = result.reply.enhanced if result.reply is not None else None
    return NoticeLine(
        result.recipient,
        Action.RELAYED,
        said if said is not None and said.startswith("2.") else "2.0.0",
        render.explain_word("relayed"),
        result.reply,
        _remote_host(result, told),
        orcpt=wish_of(told.job, result.recipient).orcpt,
    )


def _remote_host(result: RecipientOutcome, told: Told) -> str | None:
    hops = told.outcome.hops
    return hops[-1].host if hops and result.reply is not None else None


def uncertain(job: Job) -> frozenset[Mailbox]:
    """Recipients that may have a copy already, though no reply said so (B-53)."""
    return frozenset(r.mailbox for r in job.recipients if r.uncertain)


def _given_up(explained: render.Explained) -> render.Explained:
    """The same reason once we stopped trying: its remedy may not say that we go on."""
    end = render.explain(Reason(EXPIRED_CODE))
    return dataclasses.replace(
        explained,
        nl=f"{explained.nl} {end.nl}",
        en=f"{explained.en} {end.en}",
        do_nl=end.do_nl,
        do_en=end.do_en,
    )


def _diagnosis(result: RecipientOutcome, code: Code) -> str:
    """What lay under it, also when we gave up: status, code and kind (section J)."""
    kind = result.tls_result or result.cause
    failed = result.status is Status.FAILED
    status = render.enhanced_status(code) if failed else render.retry_status(code)
    return f"{status} {code} {'' if kind is None else kind.value}"


def _status_text(result: RecipientOutcome, action: Action, *, given_up: bool) -> str:
    """The enhanced status of RFC 3463; 5.4.7 when we gave up (section J)."""
    if given_up:
        return "5.4.7"
    code = result.code or EXPIRED_CODE
    failed = action is Action.FAILED
    said = result.reply.enhanced if result.reply is not None else None
    fitting = "5." if failed else "4."
    if said is not None and said.startswith(fitting):
        return said
    return render.enhanced_status(code) if failed else render.retry_status(code)
