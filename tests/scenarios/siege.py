"""A real gateway under attack: who may send, raw clients, and what its store holds.

Clients and strangers are told apart by where they come from: each has a loopback network
of its own, so that the caps per address do not hide what is to be shown.
"""

import asyncio
import contextlib
import dataclasses
import hmac
import json
import os
import re
import socket
import ssl
from collections.abc import Iterator, Mapping
from typing import Self

import argon2
from sqlalchemy import select

from gateway import app
from gateway.store import tables
from gateway.store.evidence import SqlEvidence
from gateway.store.queue import SqlQueue
from gateway.store.spool import SqlSpool
from tests import certs
from tests.peers import daemon, gateway, loopback

PLAIN_PORT = 2526  # STARTTLS is offered, not demanded
SENDER = "a@gemeente.test"
BODY = "Crisismaatregel (Wvggz) voor betrokkene, geboren 03-04-1981, BSN 999994669."
# Takes the place of the one network in the settings of `tests.peers.gateway`.
_EVERYBODY = '[[client]]\nid = "postfix"\nmunicipality = "gemeente"\nnetworks = ["127.0.0.0/8"]\n'
_CLIENTS = """
[[client]]
id = "postfix"
municipality = "gemeente"
networks = ["127.77.0.0/16"]
[[client]]
id = "other"
municipality = "gemeente"
networks = ["127.78.0.0/16"]
[[listener]]
address = "{address}"
port = {port}
tls = "starttls"
require_tls = false
certificate = "{place}/listener.crt"
key = "{place}/listener.key"
[limits]
{limits}
"""
USER, PASSWORD = "scanner", "correct horse battery staple"
_SCANNER = """
[[client]]
id = "scanner"
municipality = "gemeente"
user = "scanner"
password_file = "{place}/scanner.hash"
"""
_PARTNER = """
municipality = "gemeente"
[[partner]]
id = "ggz"
name = "GGZ"
roles = ["geneesheer_directeur"]
domains = ["ggz.test"]
state = "verified"
verified_on = 2026-11-01
[partner.route]
method = "fixed"
host = "{host}"
port = 25
pins = ["{pin}"]
"""


def client(number: int = 1) -> str:
    """An address of the municipality's own mail servers."""
    return f"127.77.{number // 250}.{number % 250 + 1}"


def other_client(number: int = 1) -> str:
    """An address of another client of the same municipality."""
    return f"127.78.{number // 250}.{number % 250 + 1}"


def stranger(number: int = 1) -> str:
    """An address that is no client's."""
    return f"127.88.{number // 250}.{number % 250 + 1}"


@contextlib.contextmanager
def besieged(
    ca: certs.Credential,
    partner: tuple[str, str] | None = None,
    limits: Mapping[str, int] | None = None,
    retry_s: int = 1,
    *,
    users: bool = False,
) -> Iterator[gateway.Gateway]:
    """A gateway whose clients come from networks of their own.

    Args:
        ca: Issues the listeners' certificate.
        partner: Address and pin of the server of `ggz.test`; None: nothing listens
            there, so that what is accepted stays in the queue.
        limits: More settings of `[limits]`.
        retry_s: When what could not be delivered is tried again.
        users: There is a client that AUTH lets in: `USER` with `PASSWORD`.
    """
    nowhere = (loopback.claim(), certs.self_signed().pin.spki_sha256)
    host, pin = partner or nowhere
    with gateway.run(ca, *nowhere, retry_s=(retry_s,), serve=False) as running:
        settings = running.config.read_text("utf-8")
        assert settings.count(_EVERYBODY) == 1
        lines = (f"{name} = {value}\n" for name, value in (limits or {}).items())
        ours = _CLIENTS.format(
            address=running.address,
            port=PLAIN_PORT,
            place=running.place,
            limits="".join(lines),
        )
        if users:
            hasher = argon2.PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)
            (running.place / "scanner.hash").write_text(hasher.hash(PASSWORD), "ascii")
            ours += _SCANNER.format(place=running.place)
        running.config.write_text(settings.replace(_EVERYBODY, "") + ours, "utf-8")
        running.apply(_PARTNER.format(host=host, pin=pin))
        running.start()
        # Until its listener opens, a worker's share comes to the others.
        every = 2 + 1  # mail workers and the sequencer
        assert daemon.until(lambda: running.log.count("worker-started") >= every, 60)
        yield running


def compose(name: str, to: str = "crisis@ggz.test", body: bytes = b"") -> bytes:
    """A sensitive message that a verified partner may have; `name` is its own.

    Args:
        name: Stands in its Message-ID.
        to: Its To field.
        body: More of it, as it is before dot-stuffing.
    """
    return (
        f"From: {SENDER}\r\nTo: {to}\r\nSubject: zaak\r\n"
        f"Message-ID: <{name}@gemeente.test>\r\n"
        f"Date: Wed, 25 Nov 2026 10:00:00 +0100\r\n\r\n{BODY}\r\n"
    ).encode() + body


def stuffed(octets: bytes) -> bytes:
    """Content as it goes over the wire, the end included (RFC 5321 section 4.5.2)."""
    return (b"\r\n" + octets).replace(b"\r\n.", b"\r\n..")[2:] + b".\r\n"


def _client_context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


CONTEXT = _client_context()  # one for all: to make it takes longer than a handshake


class Caller:
    """A raw SMTP client: sends octets, reads replies, believes nothing."""

    def __init__(
        self, server: str, source: str, port: int = gateway.PORT, within_s: float = 60
    ) -> None:
        self.sock: socket.socket = socket.create_connection(
            (server, port), timeout=within_s, source_address=(source, 0)
        )
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._kept = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def send(self, octets: bytes) -> None:
        self.sock.sendall(octets)

    def half_close(self) -> None:
        """Say that no more comes, on a TLS session without a word of TLS; go on reading."""
        # A TLS socket would forget its keys: so under another descriptor.
        with (
            socket.socket(fileno=os.dup(self.sock.fileno())) as same,
            contextlib.suppress(OSError),  # the server may have closed
        ):
            same.shutdown(socket.SHUT_WR)

    def reply(self) -> str:
        """One reply, without the last CR LF; "" when the server has closed."""
        lines: list[str] = []
        while (line := self._line()) is not None:
            lines.append(line)
            if line[3:4] != "-":
                break
        return "\n".join(lines)

    def replies(self) -> list[str]:
        """All replies until the server closes."""
        found = []
        while answer := self.reply():
            found.append(answer)
        return found

    def _line(self) -> str | None:
        while b"\r\n" not in self._kept:
            try:
                block = self.sock.recv(4096)
            except TimeoutError:
                raise
            except OSError:  # reset, or an alert of TLS
                block = b""
            if not block:
                return None
            self._kept += block
        line, _, self._kept = self._kept.partition(b"\r\n")
        return line.decode("ascii")

    def ask(self, line: str) -> str:
        self.send(line.encode("latin-1") + b"\r\n")
        return self.reply()

    def start_tls(self) -> None:
        """The handshake alone."""
        self.sock = CONTEXT.wrap_socket(self.sock)

    def greet(self, *, tls: bool = True) -> None:
        """From the banner to the EHLO that counts."""
        assert self.reply().startswith("220 ")
        assert self.ask("EHLO client.test").startswith("250")
        if tls:
            assert self.ask("STARTTLS").startswith("220 2.0.0")
            self.start_tls()
            assert self.ask("EHLO client.test").startswith("250")

    def begin(self, *recipients: str, sender: str = SENDER) -> None:
        """MAIL, RCPT and DATA, all accepted."""
        assert self.ask(f"MAIL FROM:<{sender}>").startswith("250 2.1.0")
        for recipient in recipients or ("crisis@ggz.test",):
            assert self.ask(f"RCPT TO:<{recipient}>").startswith("250 2.1.5")
        assert self.ask("DATA").startswith("354 ")

    def deliver(self, octets: bytes, *recipients: str) -> str:
        """One whole transaction; our reference from the 250."""
        self.begin(*recipients)
        self.send(stuffed(octets))
        answer = self.reply()
        assert answer.startswith("250 2.0.0"), answer
        return answer.split()[-1]


@contextlib.contextmanager
def calling(
    running: gateway.Gateway, source: str | None = None, *, tls: bool = True
) -> Iterator[Caller]:
    """A session that has greeted, over STARTTLS or on the listener without."""
    port = gateway.PORT if tls else PLAIN_PORT
    with Caller(running.address, source or client(), port) as caller:
        caller.greet(tls=tls)
        yield caller


# --- what the store holds -------------------------------------------------------------
@dataclasses.dataclass(frozen=True)
class Stored:
    """One message as the store holds it: content, queue and evidence."""

    octets: bytes | None = dataclasses.field(repr=False)  # None: no content
    recipients: tuple[str, ...]  # of all its jobs
    statuses: frozenset[str]
    events: tuple[str, ...]  # in order
    facts: dict[str, object]  # of the first record

    @property
    def name(self) -> str:
        """What the sender called it: `compose`'s name; "" for a notice of ours."""
        return str(self.facts.get("message_id", "")).strip("<>").partition("@")[0]


def stored(config_path: str) -> dict[str, Stored]:
    """All that any table knows of any message, read with the gateway's own code."""

    async def read() -> dict[str, Stored]:
        with app.opened(config_path) as installation:
            store = installation.store
            ids: set[str] = set()
            for column in (
                tables.message.c.id,
                tables.job.c.message_id,
                tables.evidence_record.c.message_id,
            ):
                question = select(column).where(column.is_not(None))
                ids |= set(await store.read(_asking(question)))
            return {each: await _one(store, each) for each in sorted(ids)}

    return asyncio.run(read())


def _asking(question):
    return lambda connection: connection.execute(question).scalars().all()


async def _one(store, of) -> Stored:
    question = select(tables.message.c.id).where(tables.message.c.id == of)
    octets = None
    if await store.read(_asking(question)):
        octets = await SqlSpool(store).load(of)
        if not isinstance(octets, bytes):
            octets = b"".join(octets.chunks())
    jobs = await SqlQueue(store).jobs_of_message(of)
    recipients = [each for job in jobs for each in job.recipients]
    records = await SqlEvidence(store, "test").records_of_message(of)
    facts = json.loads(records[0].openings) if records else {}
    return Stored(
        octets,
        tuple(sorted(str(each.mailbox) for each in recipients)),
        frozenset(each.status.value for each in recipients),
        tuple(record.event for record in records),
        {name: opening["value"] for name, opening in facts.items()},
    )


def assert_complete(found: Stored, octets: bytes, recipients: tuple[str, ...]) -> None:
    """Content, state of each recipient and first evidence belong together (INV-1)."""
    assert found.octets is not None
    trace = re.match(rb"Received: .*\r\n(?:[ \t].*\r\n)+", found.octets)
    assert trace is not None
    assert found.octets[trace.end() :] == octets
    assert found.recipients == tuple(sorted(recipients))
    assert found.events[0] == "accepted"
    assert found.events.count("accepted") == 1
    facts = found.facts
    said = (facts[f"recipients/{n + 1}/address"] for n in range(len(recipients)))
    assert sorted(map(str, said)) == sorted(recipients)
    key = bytes.fromhex(str(facts["content_key"]))
    assert hmac.digest(key, found.octets, "sha256").hex() == facts["content_digest"]
