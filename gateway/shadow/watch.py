"""A copy is classified and decided as in earnest; then only numbers are left of it."""

import asyncio
import collections
import dataclasses
import datetime
from collections.abc import Iterator
from typing import Protocol

from gateway.model.address import Domain
from gateway.model.classification import Classification
from gateway.model.document import Document
from gateway.model.ids import ClientId, MessageId, MunicipalityId
from gateway.model.message import Envelope, Message
from gateway.model.peer import Identification, Peer
from gateway.model.reply import Reply
from gateway.model.tally import Counted, CountKind, Seen, Tally
from gateway.model.verdict import Hold, Refuse, Relay, Verdict
from gateway.policy.decide import decide, is_foreign
from gateway.relay import House
from gateway.shadow.copies import COUNTED, NO_COPY, CopyAddresses
from gateway.shadow.original import Original, filed_original, original_of

# Refusals that what is written in the message did not cause.
_NOT_BY_CONTENT = frozenset({"K201", "K303"})
_WORST_FIRST = (Seen.REFUSE, Seen.HOLD, Seen.RELAY)


class Tallies(Protocol):
    """Where counts are kept, by municipality and day."""

    async def add(
        self, municipality: MunicipalityId, day: datetime.date, tally: Tally
    ) -> None:
        """Add to what was counted that day."""
        ...


@dataclasses.dataclass(frozen=True, slots=True)
class Judgement:
    """What would have become of a message; it holds no content."""

    seen: Seen
    classification: Classification
    verdicts: tuple[Verdict, ...]  # none for INCOMING and NOBODY


async def receive(
    message: Message, peer: Peer, house: House, tallies: Tallies
) -> Reply:
    """Count a copy, and say so: 250, also for what would be refused (R3).

    The client is not the author, and a copy that is refused would be returned to him.
    What is for anybody else than a copy address is no copy: somebody waits for it, so
    we do not take it, and the client keeps it until its settings are corrected.
    """
    copies = CopyAddresses(Domain.parse(house.hostname), peer.sender_domains)
    if not all(recipient in copies for recipient in message.envelope.recipients):
        return NO_COPY
    async with house.ports.turn(message.octets, peer.client):
        original = await asyncio.to_thread(
            original_of, message.octets, message.envelope, copies
        )
        read = await _read(original, message, house)
    judgement = await _judge(read, peer, house)
    await tallies.add(peer.municipality, house.ports.now().date(), tally_of(judgement))
    return COUNTED


@dataclasses.dataclass(frozen=True, slots=True)
class _Read:
    """What is left of an original once it was classified: no text of it."""

    envelope: Envelope
    document: Document
    found: Classification


async def _read(original: Original, message: Message, house: House) -> _Read:
    """Classify what was sent; `message` is the copy, for its id and instant."""
    ports = house.ports
    envelope = original.envelope
    sent = dataclasses.replace(message, envelope=envelope, octets=original.octets)
    document = await ports.extractor.extract(sent)
    found = await ports.classifier.classify(document)
    return _Read(envelope, dataclasses.replace(document, segments=()), found)


async def _judge(read: _Read, peer: Peer, house: House) -> Judgement:
    """Decide as `relay.receive` does; nothing is written."""
    ports, policy = house.ports, house.policy
    envelope, document, found = read.envelope, read.document, read.found
    if not envelope.recipients:
        return Judgement(Seen.NOBODY, found, ())
    if _is_incoming(read, peer, house):
        return Judgement(Seen.INCOMING, found, ())
    facts = await ports.facts.load(envelope, peer.municipality, found)
    today = ports.now().date()
    verdicts = decide(found, envelope, peer, document, facts, policy, today)
    seen = {seen_of(verdict) for verdict in verdicts}
    worst = next(each for each in _WORST_FIRST if each in seen)
    return Judgement(worst, found, verdicts)


async def judge_filed(
    octets: bytes, municipality: MunicipalityId, house: House
) -> Judgement:
    """Judge a message of a file, as if the municipality's own server handed it over."""
    ports = house.ports
    owner = house.policy.municipalities[municipality]
    copies = CopyAddresses(Domain.parse(house.hostname), owner.sender_domains)
    original = filed_original(octets, copies)
    message = Message(MessageId(ports.new_id()), original.envelope, octets, ports.now())
    peer = Peer(
        address="",
        helo="",
        extended=True,
        tls=None,
        client=ClientId("shadow"),
        municipality=municipality,
        sender_domains=owner.sender_domains,
        identified_by=Identification.NETWORK,
        shadow=True,
    )
    read = await _read(original, message, house)
    return await _judge(read, peer, house)


def _is_incoming(read: _Read, peer: Peer, house: House) -> bool:
    """Whether it came from outside for people inside: `always_bcc` copies that too."""
    own = house.policy.municipalities[peer.municipality].sender_domains
    recipients = read.envelope.recipients
    inside = all(recipient.domain in own for recipient in recipients)
    return inside and is_foreign(read.envelope, peer, read.document)


def seen_of(verdict: Verdict) -> Seen:
    """The word for a verdict."""
    match verdict:
        case Relay():
            return Seen.RELAY
        case Hold():
            return Seen.HOLD
        case Refuse():  # pragma: no branch
            return Seen.REFUSE


def row_of(verdict: Verdict) -> str:
    """Row of the decision and code: `4 K301`, or `12` for what is relayed."""
    if isinstance(verdict, Relay):
        return verdict.row
    return f"{verdict.row} {verdict.reason.code}"


def tally_of(judgement: Judgement) -> Tally:
    """The numbers that remain of one message."""
    tally: collections.Counter[Counted] = collections.Counter()
    tally[Counted(CountKind.MESSAGE, judgement.seen)] += 1
    for verdict in judgement.verdicts:
        seen = seen_of(verdict)
        domain = verdict.recipient.domain.name
        tally[Counted(CountKind.ROW, seen, row_of(verdict))] += 1
        tally[Counted(CountKind.DOMAIN, seen, domain)] += 1
    # Each cause counts once for a message, however many recipients it has.
    tally.update(set(_causes(judgement)))
    return tally


def rules_of(judgement: Judgement) -> list[str]:
    """What caused that somebody does not get it now; empty when all do."""
    return sorted({counted.name for counted in _causes(judgement)})


def _causes(judgement: Judgement) -> Iterator[Counted]:
    for verdict in judgement.verdicts:
        if isinstance(verdict, Relay):
            continue
        seen, code = seen_of(verdict), verdict.reason.code
        names = [] if code in _NOT_BY_CONTENT else list(_found(judgement))
        for name in names or [row_of(verdict)]:
            yield Counted(CountKind.CAUSE, seen, name)


def _found(judgement: Judgement) -> Iterator[str]:
    """The rules that fired; without any, why a part could not be read."""
    found = judgement.classification
    for regime in found.regimes:
        for finding in regime.findings:
            yield f"{regime.id}/{finding.rule}"
    if not found.regimes:
        for part in found.unreadable:
            yield f"unreadable/{part.reason}"
