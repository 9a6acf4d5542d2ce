"""A house over the real store and registry; only DNS and the far side are doubles.

The dialer double keeps what `ports.Dialer` promises: one outcome for each recipient,
the intent right before the dot, no dot without it. `at` is called at each step, so
that a test can look at the store, or break something, at that very instant.
"""

import dataclasses
import datetime
import ipaddress
import itertools
import types

from gateway import relay
from gateway.app import PolicyClassifier
from gateway.config import AllowRange
from gateway.demo import _WVGGZ as WVGGZ
from gateway.extract.mime import MimeExtractor
from gateway.facts import RegistryFacts
from gateway.intake.turns import Turns
from gateway.model.address import Domain, Mailbox, ReversePath
from gateway.model.assurance import Assurance
from gateway.model.destination import (
    Dnssec,
    FixedDestination,
    MxDestination,
    MxHost,
    Present,
    Tlsa,
)
from gateway.model.ids import ClientId, MessageId, PartnerId, Role
from gateway.model.message import Envelope, Message
from gateway.model.partner import Partner, PartnerState, Route, RouteMethod
from gateway.model.peer import Identification, Peer
from gateway.model.reply import Outcome, RecipientOutcome, Status
from gateway.ports import Ports
from gateway.store.evidence import SqlEvidence
from gateway.store.partners import SqlPartners, with_digest
from gateway.store.queue import SqlQueue
from gateway.store.spool import SqlSpool
from tests.contract.store_bed import Bed
from tests.unit.queue import queue_desk as desk

NOW = desk.NOW
LEASE = datetime.timedelta(seconds=60)
TO = "crisis@ggz.example"
LOOPBACK = (AllowRange(ipaddress.ip_network("127.0.0.0/8"), frozenset({2525})),)


def octets(text: str = WVGGZ, sender: str = str(desk.SENDER)) -> bytes:
    body = text.encode().replace(b"\n", b"\r\n")
    head = (
        f"From: {sender}\r\nTo: {TO}\r\nSubject: Zaak\r\nMessage-ID: <1@x.example>\r\n"
    )
    return head.encode() + b"\r\n" + body


def message(
    *recipients: str,
    text: str = WVGGZ,
    name: str = "m-1",
    sender: Mailbox | None = desk.SENDER,
) -> Message:
    envelope = Envelope(
        ReversePath(sender), tuple(map(Mailbox.parse, recipients or (TO,)))
    )
    return Message(MessageId(name), envelope, octets(text), NOW)


PEER = Peer(
    "10.1.2.3",
    "mail.voorbeeldstad.example",
    True,
    None,
    ClientId("exchange"),
    desk.OWNER,
    frozenset({Domain.parse("voorbeeldstad.example")}),
    Identification.NETWORK,
)


def partner(**changes) -> Partner:
    values = {
        "id": PartnerId("ggz"),
        "municipality": desk.OWNER,
        "name": "GGZ Voorbeeld",
        "roles": frozenset({Role("geneesheer_directeur")}),
        "domains": frozenset({Domain.parse("ggz.example")}),
        "mailboxes": (),
        "state": PartnerState.VERIFIED,
        "verified_on": NOW.date(),
        "valid_until": None,
        "route": Route(RouteMethod.MX, Assurance.AUTHENTICATED),
        "digest": "",
    }
    return with_digest(Partner(**values | changes))


class Dns:
    """Every domain has one exchanger with secure TLSA, until a test says otherwise."""

    def __init__(self) -> None:
        self.tlsa = Present(frozenset({Tlsa(3, 1, 1, b"x" * 32)}), Dnssec.SECURE, 60)
        self.renewed = None  # the TLSA answer when asked anew
        self.asked = []

    async def fetch_destination(self, route, domain, *, fresh=False):
        self.asked.append((domain.name, fresh))
        if route.method is RouteMethod.FIXED:
            found = Present((route.host,), Dnssec.INSECURE, 60)
            return FixedDestination(route.host, route.port, found)
        name = Domain.parse(f"mx.{domain}")
        tlsa = self.renewed if fresh and self.renewed else self.tlsa
        host = MxHost(name, 10, Present(("8.8.8.8",), Dnssec.SECURE, 60), tlsa, name)
        return MxDestination(domain, Present((name,), Dnssec.SECURE, 60), (host,))


class FarSide:
    """What the partner's server does; `seen` holds each transaction that ended in a dot."""

    def __init__(self) -> None:
        self.dialled = []
        self.seen = []
        self.status = Status.DELIVERED  # after the dot
        self.before_the_dot = None  # results that end the attempt before it
        self.at = {}  # step -> coroutine function: dialled, intent, dot

    async def _reach(self, step):
        if step in self.at:
            await self.at[step]()

    async def send(self, hops, parcel, commit_intent):
        self.dialled.append((hops, parcel))
        await self._reach("dialled")
        if self.before_the_dot is not None:
            given = self.before_the_dot.pop(0)
            if given is not None:
                result, *hop = given
                return self._outcome(parcel, result, tuple(hop))
        await self._reach("intent")
        if not await commit_intent(desk.hop(), parcel.recipients):
            return self._outcome(parcel, {"status": Status.DEFERRED})
        self.seen.append(parcel)
        await self._reach("dot")
        return self._outcome(parcel, {"status": self.status}, (desk.hop(),))

    @staticmethod
    def _outcome(parcel, result, hops=()):
        results = (RecipientOutcome(r, **result) for r in parcel.recipients)
        return Outcome(hops, tuple(results))


class Fault:
    """Raises once, at a step of a write of the store, when armed."""

    def __init__(self) -> None:
        self._armed = {}

    def arm(self, step, error) -> None:
        self._armed[step] = error

    def __call__(self, step) -> None:
        error = self._armed.pop(step, None)
        if error is not None:
            raise error


class House:
    """A house, and eyes that see the store as another process sees it."""

    def __init__(
        self, place, municipality: str = "", own_route: str = desk.ON_LOOPBACK
    ) -> None:
        policy = desk.policy(municipality, own_route)
        self.now = NOW
        self.dns, self.far, self.fault = Dns(), FarSide(), Fault()
        self._bed = Bed(place).prepare()
        store = self._bed.open(self.fault)
        numbers = itertools.count(1)
        ports = Ports(
            extractor=MimeExtractor(),
            classifier=PolicyClassifier(policy),
            facts=RegistryFacts(SqlPartners(store), self.dns, (), frozenset()),
            resolver=self.dns,
            dialer=self.far,
            spool=SqlSpool(store),
            queue=SqlQueue(store),
            work=store.work,
            turn=Turns(None, 100).wait,
            new_id=lambda: f"id-{next(numbers)}",
            now=lambda: self.now,
        )
        self.relay = relay.House(
            policy=policy,
            ports=ports,
            hostname=desk.HOSTNAME,
            secret=lambda: desk.SECRET,
            allow_ranges=LOOPBACK,
        )
        self._partners = SqlPartners(store)
        other = self._bed.open()
        self.queue, self.spool = SqlQueue(other), SqlSpool(other)
        self.evidence = SqlEvidence(other, "eyes")
        self.store = other

    def close(self) -> None:
        self._bed.close()

    def over(self, **changes) -> relay.House:
        """The house with other ports."""
        ports = dataclasses.replace(self.relay.ports, **changes)
        return dataclasses.replace(self.relay, ports=ports)

    async def register(self, after: Partner, before: Partner | None = None) -> Partner:
        change = types.SimpleNamespace(before=before, after=after)
        await self._partners.apply([change], [])
        return after

    async def receive(self, *args, **more):
        return await relay.receive(message(*args, **more), PEER, self.relay)

    async def lease(self, owner: str = "w"):
        return list(await self.queue.lease(owner, 10, self.now, self.now + LEASE))

    async def jobs(self, of: str = "m-1"):
        return list(await self.queue.jobs_of_message(MessageId(of)))

    async def job(self, of: str = "m-1"):
        (job,) = await self.jobs(of)
        return job

    async def records(self, of: str = "m-1"):
        return await self.evidence.records_of_message(MessageId(of))

    async def events(self, of: str = "m-1"):
        return [record.event for record in await self.records(of)]

    async def notices(self):
        """The jobs of notices, whatever they are about."""
        found = await self.queue.list_jobs(100)
        return [job for job in found if job.kind.value == "notice"]

    def later(self, **span) -> None:
        self.now += datetime.timedelta(**span)
