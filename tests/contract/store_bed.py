"""What the suites of the store are made of: values with known canaries, a store, keys."""

import dataclasses
import datetime
import itertools
import pathlib
import secrets

from gateway.model.address import Domain, Mailbox, ReversePath
from gateway.model.assurance import Assurance
from gateway.model.classification import Level
from gateway.model.destination import Pin
from gateway.model.ids import (
    Digest,
    JobId,
    MessageId,
    MunicipalityId,
    PartnerId,
    RecordId,
    RegimeId,
)
from gateway.model.job import Job, JobKind, JobRecipient, JobState
from gateway.model.message import Body
from gateway.model.partner import Requires, Route, RouteMethod
from gateway.model.record import Accepted, Intent
from gateway.store.migrate import migrate
from gateway.store.work import Store
from gateway.trust.keystore import KeyStore

NOW = datetime.datetime(2026, 3, 2, 10, 0, 0, 123456, tzinfo=datetime.UTC)
SECOND = datetime.timedelta(seconds=1)
OWNER = MunicipalityId("zwartewater")
POLICY = Digest("ab" * 32)
CANARY_LOCAL = "kanarie.geel"
CANARY_DOMAIN = "vogelhuis.example"
CANARY_BODY = b"KANARIE-INHOUD-7f3a"
ROUTE = Route(
    method=RouteMethod.MX,
    least=Assurance.AUTHENTICATED,
    pins=frozenset({Pin("0" * 64), Pin("1" * 64)}),
    requires=Requires.DANE,
    vouched_hosts=frozenset({Domain("mx.kliniek.example")}),
)


def origin_of(municipality: MunicipalityId) -> str:
    return f"gateway.example/{municipality}"


def make_job(name: str, message: str | None = None, **changes) -> Job:
    job = Job(
        id=JobId(name),
        message=MessageId(message or f"m-{name}"),
        municipality=OWNER,
        kind=JobKind.MESSAGE,
        state=JobState.READY,
        reverse_path=ReversePath(Mailbox("afzender", Domain("zwartewater.example"))),
        recipients=(
            JobRecipient(Mailbox(CANARY_LOCAL, Domain(CANARY_DOMAIN))),
            JobRecipient(Mailbox('"a b"', Domain("kliniek.example")), uncertain=True),
        ),
        route=ROUTE,
        partner=PartnerId("kliniek"),
        level=Level.CERTAIN,
        regimes=frozenset({RegimeId("wvggz"), RegimeId("wzd")}),
        body=Body.EIGHT_BIT,
        smtputf8=True,
        size_octets=4096,
        policy=POLICY,
        accepted_at=NOW,
        next_attempt_at=NOW,
        expires_at=NOW + datetime.timedelta(days=4),
    )
    return dataclasses.replace(job, **changes)


def make_accepted(name: str, message: str, **changes) -> Accepted:
    record = Accepted(
        id=RecordId(name),
        at=NOW,
        municipality=OWNER,
        message=MessageId(message),
        policy=POLICY,
        client="exchange",
        peer_address="127.0.0.1",
        helo="mail.zwartewater.example",
        peer_tls="TLSv1.3",
        reverse_path="afzender@zwartewater.example",
        message_id="<1@zwartewater.example>",
        size_octets=4096,
        content_digest="00" * 32,
        content_key="11" * 32,
        level="certain",
        regimes=((("regime", "wvggz"), ("level", "certain"), ("score", 9)),),
        findings=(),
        unreadable=(),
        removed=(),
        scanned="clean",
        malware=None,
        foreign_author=False,
        requiretls=False,
        envid=None,
        recipients=(
            (
                ("address", f"{CANARY_LOCAL}@{CANARY_DOMAIN}"),
                ("verdict", "relay"),
                ("row", "12"),
            ),
        ),
    )
    return dataclasses.replace(record, **changes)


def make_intent(name: str, message: str, job: str, **changes) -> Intent:
    record = Intent(
        id=RecordId(name),
        at=NOW,
        municipality=OWNER,
        message=MessageId(message),
        policy=POLICY,
        job=job,
        attempt=1,
        hop=(("host", "mx.kliniek.example"), ("port", 25)),
        recipients=((("address", f"{CANARY_LOCAL}@{CANARY_DOMAIN}"),),),
    )
    return dataclasses.replace(record, **changes)


def make_octets(size: int) -> bytes:
    """Content that holds the canary at both ends."""
    middle = secrets.token_bytes(max(0, size - 2 * len(CANARY_BODY)))
    return CANARY_BODY + middle + CANARY_BODY


@dataclasses.dataclass
class Bed:
    """A place with a migrated database and keys; opens stores in it."""

    place: pathlib.Path
    probe: object = None

    def __post_init__(self) -> None:
        self.url = f"sqlite:///{self.place}/ketenmail.db"
        self.key_dir = str(self.place / "keys")
        self.master = str(self.place / "master.key")
        self._opened: list[Store] = []
        self._numbers = itertools.count(1)

    def prepare(self) -> "Bed":
        self.keys = KeyStore.create(
            self.key_dir, self.master, [origin_of(OWNER), origin_of("_gateway")]
        )
        migrate(self.url)
        return self

    def join(self) -> "Bed":
        """Use what another process prepared."""
        self.keys = KeyStore(self.key_dir, self.master)
        return self

    def open(self, probe=None) -> Store:
        more = {} if probe is None else {"probe": probe}
        store = Store.open(
            self.url, str(self.place), self.keys, origin_of, "0.1.0", **more
        )
        self._opened.append(store)
        return store

    def close(self) -> None:
        for store in self._opened:
            store.close()
        self._opened.clear()


async def accept(
    store: Store, name: str, octets: bytes = b"x" * 4096, **changes
) -> Job:
    """One accepted message as relay writes it: octets, a job, two records."""
    job = make_job(f"j-{name}", f"m-{name}", **changes)
    async with store.work() as work:
        await work.spool.save(job.message, OWNER, octets)
        await work.queue.add(job)
        await work.evidence.append(
            make_accepted(f"a-{name}", job.message),
            make_intent(f"i-{name}", job.message, job.id),
        )
    return job
