"""The way of a message, on one page.

`receive` answers only after everything is durable; `attempt` writes down what came of a
try. Between them lies the queue, and nothing else. A verdict is made once and only ever
becomes stricter (R6). An exception means that we failed ourselves: intake answers 451,
and a leased job is taken again when its lease has run out.
"""

import dataclasses
from collections.abc import Callable

from gateway.config import AllowRange
from gateway.delivery.plan import NoHop, plan
from gateway.model.address import Mailbox
from gateway.model.assurance import TlsResult
from gateway.model.destination import Hop
from gateway.model.errors import LeaseLost, TemporaryFailure
from gateway.model.job import Job
from gateway.model.message import Message
from gateway.model.octets import Octets, head_of, keyed_digest
from gateway.model.peer import Peer
from gateway.model.reply import (
    Cause,
    HopFacts,
    Outcome,
    RecipientOutcome,
    Reply,
    Status,
)
from gateway.policy.decide import decide, recheck
from gateway.policy.rulebook import Policy
from gateway.ports import Parcel, Ports
from gateway.queue import settlement
from gateway.queue.admission import Commitment, Decided, admit
from gateway.queue.batch import Batch
from gateway.queue.notice import Desk, header_of
from gateway.queue.settlement import Settlement

CRASHES_BEFORE_GIVING_UP = 5
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

    def desk(self) -> Desk:
        """A desk for writing now."""
        ports = self.ports
        return Desk(self.policy, self.hostname, ports.new_id, ports.now())


async def receive(message: Message, peer: Peer, house: House) -> Reply:
    """Take responsibility for one message, or say why not (INV-1)."""
    ports, policy = house.ports, house.policy
    now = ports.now()
    document = await ports.extractor.extract(message)
    classification = await ports.classifier.classify(document)
    facts = await ports.facts.load(message.envelope, peer.municipality, classification)
    verdicts = decide(
        classification, message.envelope, peer, document, facts, policy, now.date()
    )
    decided = Decided(
        message, peer, document, classification, verdicts, policy, house.hostname
    )
    key = house.secret()
    commitment = Commitment(key, await keyed_digest(message.octets, key))
    admission = admit(decided, ports.new_id, commitment, now)
    await _write(admission.batch, ports)  # one transaction, or an exception and 451
    return admission.reply  # 250 leaves only after the commit


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
    outcome = await _deliver(job, octets, house)
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


async def _deliver(job: Job, octets: Octets, house: House) -> Outcome:
    """Send over the hops that DNS gives; after a mismatch ask DNS anew, once (B-23)."""
    recipients = job.open_recipients
    # What failed once is asked for anew: our cache may be why (B-23).
    hops = await _plan(job, house, fresh=job.attempts > 0)
    if isinstance(hops, NoHop):
        return _undeliverable(hops, recipients)
    parcel = Parcel(
        reverse_path=str(job.reverse_path),
        recipients=recipients,
        octets=octets,
        body=job.body,
        smtputf8=job.smtputf8,
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
    if not _is_mismatch(outcome):
        return outcome
    renewed = await _plan(job, house, fresh=True)
    if isinstance(renewed, NoHop) or set(renewed) == set(hops):
        return outcome
    again = await house.ports.dialer.send(renewed, parcel, commit_intent)
    return Outcome(outcome.hops + again.hops, again.recipients)


async def _plan(job: Job, house: House, *, fresh: bool) -> tuple[Hop, ...] | NoHop:
    domain = job.open_recipients[0].domain
    destination = await house.ports.resolver.fetch_destination(
        job.route, domain, fresh=fresh
    )
    return plan(job.route, destination, house.allow_ranges, house.own_addresses)


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
