"""The way of a message, on one page.

`receive` answers only after everything is durable; `attempt` writes down what came of a
try. Between them lies the queue, and nothing else. A verdict is made once and only ever
becomes stricter (R6). An exception means that we failed ourselves: intake answers 451,
and a leased job is taken again when its lease has run out.
"""

import dataclasses
import datetime
from collections.abc import Callable

from gateway.config import AllowRange
from gateway.delivery import codes
from gateway.delivery.plan import NoHop, is_partial, plan, route_for
from gateway.model.address import Mailbox
from gateway.model.assurance import TlsResult
from gateway.model.classification import Classification, Level
from gateway.model.destination import Hop
from gateway.model.document import Document
from gateway.model.errors import LeaseLost, TemporaryFailure
from gateway.model.ids import Code, RuleId
from gateway.model.job import Job, JobKind
from gateway.model.message import NO_RECIPIENT_WISH, Message, MessageWish
from gateway.model.octets import Octets, head_of, keyed_digest, whole_of
from gateway.model.peer import Peer
from gateway.model.reply import (
    Cause,
    HopFacts,
    Outcome,
    RecipientOutcome,
    Reply,
    Status,
)
from gateway.model.scan import Infected, Scan, Unscanned
from gateway.model.verdict import Reason, Refuse
from gateway.policy.decide import decide, recheck
from gateway.policy.rulebook import Policy
from gateway.ports import Parcel, Ports
from gateway.queue import settlement
from gateway.queue.admission import Commitment, Decided, admit
from gateway.queue.batch import Batch
from gateway.queue.notice import Desk, header_of, redacted
from gateway.queue.settlement import Settlement
from gateway.services import ScannerDown
from gateway.texts import render

CRASHES_BEFORE_GIVING_UP = 5
MALWARE, SCANNER_AWAY = Code("K603"), Code("K902")
_SCAN_ROW = RuleId("malware")  # of no table: the decision never sees such a message
# What a TLSA record that was rolled over since we asked looks like.
_MAY_BE_STALE = frozenset(
    {TlsResult.VALIDATION_FAILURE, TlsResult.CERTIFICATE_NOT_TRUSTED}
)


@dataclasses.dataclass(frozen=True, slots=True)
class House:
    """What every message meets: policy, doors and who we are."""

    policy: Policy
    ports: Ports
    hostname: str
    secret: Callable[[], bytes]  # 32 fresh random octets at each call
    allow_ranges: tuple[AllowRange, ...] = ()
    own_addresses: frozenset[str] = frozenset()
    scanner_down: ScannerDown = ScannerDown.REFUSE

    def desk(self) -> Desk:
        """A desk for writing now."""
        ports = self.ports
        return Desk(self.policy, self.hostname, ports.new_id, ports.now())


async def receive(message: Message, peer: Peer, house: House) -> Reply:
    """Take responsibility for one message, or say why not (INV-1)."""
    ports = house.ports
    now = ports.now()
    scanner = ports.scanner
    scan = None if scanner is None else await scanner.scan(message.octets)
    if isinstance(scan, Unscanned) and not _may_go_unscanned(scan, house):
        return _put_off(SCANNER_AWAY)
    if isinstance(scan, Infected):
        decided = _infected(message, peer, scan, house)
    else:
        decided = await _decide(message, peer, scan, house, now.date())
    key = house.secret()
    commitment = Commitment(key, await keyed_digest(message.octets, key))
    admission = admit(decided, ports.new_id, commitment, now)
    await _write(admission.batch, ports)  # one transaction, or an exception and 451
    return admission.reply  # 250 leaves only after the commit


async def _decide(
    message: Message, peer: Peer, scan: Scan | None, house: House, today: datetime.date
) -> Decided:
    """Read, classify, and decide for each recipient."""
    ports, policy = house.ports, house.policy
    async with ports.turn(message.octets, peer.client):
        document = await ports.extractor.extract(message)
        classification = await ports.classifier.classify(document)
        document = dataclasses.replace(document, segments=())  # needed no longer
    facts = await ports.facts.load(message.envelope, peer.municipality, classification)
    verdicts = decide(
        classification, message.envelope, peer, document, facts, policy, today
    )
    return Decided(
        message, peer, document, classification, verdicts, policy, house.hostname, scan
    )


def _infected(message: Message, peer: Peer, scan: Infected, house: House) -> Decided:
    """Nobody gets it, and nobody reads it: what it was about stays unknown."""
    reason = Reason(MALWARE, (("malware", scan.name),))
    verdicts = tuple(
        Refuse(recipient, _SCAN_ROW, reason)
        for recipient in message.envelope.recipients
    )
    unread = Classification(Level.UNREADABLE, ())
    policy, hostname = house.policy, house.hostname
    return Decided(
        message, peer, Document(()), unread, verdicts, policy, hostname, scan
    )


def _may_go_unscanned(scan: Unscanned, house: House) -> bool:
    """Only when the scanner is silent, and the settings say so.

    What it did not scan though it answered would be a way past it: large enough, or
    odd enough.
    """
    return scan.fault.is_silence and house.scanner_down is ScannerDown.ACCEPT


def _put_off(code: Code) -> Reply:
    """Not now, for a reason of ours; nothing is written (INV-10)."""
    lines = (
        f"{code} {render.sentence(code, language)} {render.remedy(code, language)}"
        for language in render.LANGUAGES
    )
    return Reply(451, render.enhanced_status(code), tuple(lines))


async def attempt(job: Job, house: House) -> None:
    """Try one leased job once, and write down what came of it.

    Raises:
        LeaseLost: When another worker holds the job by now; nothing was written but
            the evidence of a copy that the hop has, or may have.
        TemporaryFailure: When a door of ours failed; the lease runs out by itself.
    """
    ports = house.ports
    if job.hold_code is not None:
        raise TemporaryFailure("a held job was leased for delivery")  # INV-2
    if job.intent_at is not None:  # our predecessor died around the dot (B-50)
        resumed = settlement.resume(job, house.desk())
        await _write(resumed.batch, ports, resumed.job)
        job = resumed.job
    if job.crashes >= CRASHES_BEFORE_GIVING_UP and ports.now() >= job.expires_at:
        # It never came to a result in all its time (G-14): the sender must know. Its
        # octets may be what we cannot read, so nothing of them is touched.
        given_up = settlement.give_up(job, house.desk())
        await _write(given_up.batch, ports, given_up.job)
        return
    octets = await ports.spool.load(job.message)
    header = header_of(head_of(octets))
    facts = await ports.facts.load_now(job)
    reason = recheck(job, facts, house.policy, ports.now().date())
    if reason is not None:  # stricter than at acceptance stops; never looser
        stopped = settlement.stop(job, reason, header, house.desk())
        await _write(stopped.batch, ports, stopped.job)
        return
    outcome = await _deliver_or_redact(job, octets, house)
    settled = settlement.settle(job, outcome, header, house.desk())
    try:
        await _write(settled.batch, ports, settled.job)
    except LeaseLost:  # what the hop has, it has (G-09)
        await _write(settlement.late(settled), ports)
        raise


async def expire_hold(job: Job, house: House) -> None:
    """End a hold that nobody decided in time, and tell the sender."""
    try:
        header = header_of(head_of(await house.ports.spool.load(job.message)))
    except TemporaryFailure:  # the sender must know, whatever became of the octets
        header = b""
    expired = settlement.expire_hold(job, header, house.desk())
    await _write(expired.batch, house.ports, expired.job)


async def _deliver_or_redact(job: Job, octets: Octets, house: House) -> Outcome:
    """Send; a notice about mail with REQUIRETLS is redacted where its way lacks that.

    Such a notice goes with REQUIRETLS, like what it is about. Where the municipality's
    own server cannot, it goes without the tag and without the header fields of the
    message, rather than not at all (RFC 8689 section 5).
    """
    outcome = await _deliver(job, octets, job.wish, house)
    tagged_notice = job.kind is JobKind.NOTICE and job.wish.requiretls
    if not tagged_notice or not all(map(_lacks_requiretls, outcome.recipients)):
        return outcome
    # The job keeps its tag: what is tried anew, after a crash too, is the whole notice.
    wish = dataclasses.replace(job.wish, requiretls=False)
    again = await _deliver(job, redacted(whole_of(octets)), wish, house)
    return Outcome(outcome.hops + again.hops, again.recipients)


def _lacks_requiretls(result: RecipientOutcome) -> bool:
    """Whether it is proven that no hop keeps the tag; then none saw an envelope."""
    lacking = {codes.REQUIRETLS_MISSING, codes.NOT_AUTHENTICATED}
    return result.status is Status.FAILED and result.code in lacking


async def _deliver(
    job: Job, octets: Octets, wish: MessageWish, house: House
) -> Outcome:
    """Send over the hops that DNS gives; after a mismatch ask DNS anew, once (B-23)."""
    recipients = job.open_recipients
    # What failed once is asked for anew: our cache may be why (B-23).
    planned = await _plan(job, wish, house, fresh=job.attempts > 0)
    hops = planned.hops
    if isinstance(hops, NoHop):
        return _undeliverable(hops, recipients)
    parcel = Parcel(
        reverse_path=str(job.reverse_path),
        recipients=recipients,
        octets=octets,
        body=job.body,
        smtputf8=job.smtputf8,
        wish=wish,
        recipient_wishes={
            r.mailbox: r.wish for r in job.recipients if r.wish != NO_RECIPIENT_WISH
        },
    )

    async def commit_intent(hop: HopFacts, accepted: tuple[Mailbox, ...]) -> bool:
        addresses = [str(mailbox) for mailbox in accepted]
        intended: Settlement = settlement.intend(job, hop, addresses, house.desk())
        try:
            await _write(intended.batch, house.ports, intended.job)
        except (LeaseLost, TemporaryFailure):
            return False  # the dot is not sent (G-09, G-15)
        return True

    outcome = await house.ports.dialer.send(hops, parcel, commit_intent)
    if planned.partial:
        outcome = _unproven(outcome)
    if not _is_mismatch(outcome):
        return outcome
    renewed = (await _plan(job, wish, house, fresh=True)).hops
    if isinstance(renewed, NoHop) or set(renewed) == set(hops):
        return outcome
    again = await house.ports.dialer.send(renewed, parcel, commit_intent)
    return Outcome(outcome.hops + again.hops, again.recipients)


@dataclasses.dataclass(frozen=True, slots=True)
class _Planned:
    """The hops to try; `partial`: some host could not be looked up now."""

    hops: tuple[Hop, ...] | NoHop
    partial: bool


async def _plan(job: Job, wish: MessageWish, house: House, *, fresh: bool) -> _Planned:
    domain = job.open_recipients[0].domain
    destination = await house.ports.resolver.fetch_destination(
        job.route, domain, fresh=fresh
    )
    route = route_for(job.route, wish)
    hops = plan(route, destination, house.allow_ranges, house.own_addresses)
    return _Planned(hops, is_partial(destination))


def _unproven(outcome: Outcome) -> Outcome:
    """That all tried hosts lack REQUIRETLS proves nothing of one not known now."""
    return dataclasses.replace(
        outcome,
        recipients=tuple(
            dataclasses.replace(result, status=Status.DEFERRED)
            if result.cause is Cause.REQUIRETLS
            else result
            for result in outcome.recipients
        ),
    )


def _is_mismatch(outcome: Outcome) -> bool:
    """Whether every recipient waits because no hop proved who it is.

    Then no hop has seen an envelope, so that another try in the same attempt is safe.
    """
    return all(
        result.status is Status.DEFERRED
        and result.cause is Cause.TLS
        and result.tls_result in _MAY_BE_STALE
        for result in outcome.recipients
    )


def _undeliverable(no_hop: NoHop, recipients: tuple[Mailbox, ...]) -> Outcome:
    return Outcome(
        (),
        tuple(
            RecipientOutcome(
                recipient,
                no_hop.status,
                no_hop.cause,
                tls_result=no_hop.tls_result,
                code=no_hop.code,
            )
            for recipient in recipients
        ),
    )


async def _write(batch: Batch, ports: Ports, job: Job | None = None) -> None:
    """Everything in one transaction; the lease of `job` is checked in it."""
    async with ports.work() as work:
        if job is not None:
            await work.queue.update(job)
        for content in batch.contents:
            await work.spool.save(content.message, content.municipality, content.octets)
        await work.queue.add(*batch.jobs)
        await work.evidence.append(*batch.records)
