"""The real intake on loopback ports, with a `receive` that records, and raw clients."""

import asyncio
import contextlib
import dataclasses
import datetime
import ipaddress
import itertools
import re
import ssl

import argon2

from gateway import config
from gateway.intake.clients import ClientTable
from gateway.intake.handler import Handler
from gateway.intake.server import listen
from gateway.intake.turns import Turns
from gateway.model.octets import whole_of
from gateway.model.reply import Reply
from gateway.store.draft import Drafts
from gateway.store.spoolfile import SpoolDirectory
from tests import certs

PASSWORD = "correct horse battery staple"
CHEAP = argon2.PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)
HASH = CHEAP.hash(PASSWORD)
OK = Reply(250, "2.0.0", ("Accepted as 1",))
AT = datetime.datetime(2026, 11, 25, 12, 0, tzinfo=datetime.UTC)
HEAD = b"From: jan@gem.nl\r\nSubject: x\r\n\r\n"
OPEN, STARTTLS, IMPLICIT, STRANGER = range(4)  # the listeners, see `_settings`

_TOML = """
[gateway]
hostname = "poort.voorbeeld.nl"
state_dir = "/nowhere"
[keys]
directory = "/nowhere"
master_key_file = "/nowhere"
[[listener]]
port = 1
tls = "starttls"
certificate = "x"
key = "x"
require_tls = false
[[listener]]
port = 2
tls = "starttls"
certificate = "x"
key = "x"
[[listener]]
port = 3
tls = "implicit"
certificate = "x"
key = "x"
[[municipality]]
id = "zwolle"
name = "Zwolle"
sender_domains = ["gem.nl", "gemeente.example"]
notices_from = "poort@gem.nl"
route = { method = "fixed", host = "127.0.0.1", least = "none" }
[[municipality]]
id = "hattem"
name = "Hattem"
sender_domains = ["hattem.example"]
notices_from = "poort@hattem.example"
route = { method = "fixed", host = "127.0.0.1", least = "none" }
"""
NETWORK = """
[[client]]
id = "mta"
municipality = "zwolle"
networks = ["127.0.0.0/8"]
"""
USER = """
[[client]]
id = "scanner"
municipality = "hattem"
user = "scanner"
password_file = "/nowhere"
"""


class Desk:
    """What a running intake did."""

    def __init__(self, receive):
        self.messages = []
        self.contents = []  # as they were when they were accepted
        self.peers = []
        self.log = []
        self.intake = None
        self.receive_hook = receive
        self._ids = itertools.count(1)

    async def receive(self, message, peer):
        if self.receive_hook is not None:
            reply = await self.receive_hook(message, peer)
        else:
            reply = OK
        self.messages.append(message)
        self.contents.append(whole_of(message.octets))
        self.peers.append(peer)
        return reply

    def write_log(self, event, /, **fields):
        self.log.append((event, fields))

    def new_id(self):
        return f"id{next(self._ids)}"

    def ends(self):
        """Reason and place of every odd end so far."""
        return [
            (fields["reason"], fields["where"])
            for event, fields in self.log
            if event == "intake-session-ended"
        ]

    def drafted(self):
        """The files of large messages that are there now."""
        return sorted((self.place / "spool").iterdir())

    def port(self, at):
        return self.intake.servers[at].sockets[0].getsockname()[1]

    def content(self, at=-1):
        """What came in, without our own field."""
        octets = self.contents[at]
        assert octets.startswith(b"Received: from ")
        head, _, rest = octets.partition(b"+0000\r\n")
        assert head.count(b"\n") < 4
        return rest


def settings(clients=NETWORK + USER, *, domains='"gem.nl"', **limits):
    """Settings with these clients; `domains` are the first municipality's."""
    parsed = config.parse(_TOML.replace('"gem.nl"', domains, 1) + clients)
    return dataclasses.replace(
        parsed,
        listeners=tuple(dataclasses.replace(each, port=0) for each in parsed.listeners),
        limits=dataclasses.replace(parsed.limits, **limits),
    )


def proxied(configuration, *networks):
    """The same settings, with load balancers in these networks before each listener."""
    balancers = tuple(map(ipaddress.ip_network, networks))
    return dataclasses.replace(
        configuration,
        listeners=tuple(
            dataclasses.replace(each, proxy_from=balancers)
            for each in configuration.listeners
        ),
    )


def proxy_header(source, destination="127.0.0.1", *, command=1, rest=b""):
    """A header as a balancer writes it; `rest` is what stands behind the addresses."""
    address = ipaddress.ip_address(source).packed
    kind = 0x21 if len(address) == 16 else 0x11
    body = address + ipaddress.ip_address(destination).packed + bytes(4) + rest
    return (
        b"\r\n\r\n\0\r\nQUIT\n"
        + bytes([0x20 | command, kind])
        + len(body).to_bytes(2, "big")
        + body
    )


CA = certs.make_ca("Test CA")
SERVER = certs.issue(CA, ["localhost", "127.0.0.1"])


def server_context(place, client_ca=None):
    files = SERVER.write(place)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    if client_ca is not None:
        context.verify_mode = ssl.CERT_OPTIONAL
        context.load_verify_locations(cadata=client_ca.chain_pem.decode())
    return context


def client_context(files=None):
    """Trusts our CA; `files` is the certificate to show."""
    context = ssl.create_default_context(cadata=CA.chain_pem.decode())
    context.check_hostname = False
    if files is not None:
        context.load_cert_chain(files.certificate, files.key)
    return context


class PlainKeys:
    """Wraps nothing: what is sealed under these keys is read by nobody else."""

    def wrap(self, municipality, retention_class, key):
        return "epoch", key

    def unwrap(self, epoch, wrapped):
        return wrapped


def make_drafts(place, reserve_octets=0):
    """Where large messages wait: real files, sealed."""
    spool = SpoolDirectory(place / "spool", str)
    return Drafts(spool, PlainKeys(), reserve_octets, repr)


@contextlib.asynccontextmanager
async def running(
    place, receive=None, configuration=None, client_ca=None, reserve_octets=0
):
    """A running intake; stopped at the end, whatever happens."""
    desk = Desk(receive)
    configuration = configuration or settings()
    users = {each.user for each in configuration.clients if each.user}
    clients = ClientTable(configuration.clients, dict.fromkeys(users, HASH))
    desk.place = place
    desk.drafts = make_drafts(place, reserve_octets)
    desk.turns = Turns(None, configuration.limits.sessions)
    handler = Handler(
        configuration.hostname,
        desk.receive,
        desk.new_id,
        lambda: AT,
        desk.write_log,
        desk.drafts,
        desk.turns,
    )
    contexts = [server_context(place, client_ca)] * len(configuration.listeners)
    desk.intake = await listen(
        configuration, contexts, clients, handler, desk.write_log
    )
    try:
        yield desk
    finally:
        await desk.intake.stop(0.2)
        desk.drafts.close()


def first_of(reply):
    """Code and enhanced status of a reply, on however many lines it is said."""
    return reply[:9].replace("-", " ")


class Talker:
    """A raw SMTP client: sends octets, reads replies, believes nothing."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    @classmethod
    async def connect(cls, port, tls=None, source="127.0.0.1"):
        talker = cls(
            *await asyncio.open_connection(
                "127.0.0.1",
                port,
                ssl=tls,
                server_hostname="localhost" if tls else None,
                local_addr=(source, 0),
            )
        )
        talker.greeting = await talker.reply()
        return talker

    def send(self, octets):
        self.writer.write(octets)

    async def reply(self):
        """One reply, CR LF kept out; "" at the end of the connection."""
        lines = []
        while True:
            try:
                async with asyncio.timeout(10):
                    line = await self.reader.readline()
            except OSError:  # reset, or an alert of TLS
                line = b""
            if not line:
                return "\n".join(lines)
            assert line.endswith(b"\r\n")
            assert len(line) <= 512
            lines.append(line[:-2].decode("ascii"))
            if line[3:4] == b" ":
                return "\n".join(lines)

    async def do(self, line):
        self.send(line.encode("latin-1") + b"\r\n")
        return await self.reply()

    async def do_utf8(self, line):
        self.send(line.encode("utf-8", "surrogateescape") + b"\r\n")
        return await self.reply()

    async def code(self, line):
        """Code and enhanced status of the answer to a line."""
        return re.match(r"[\d.]+[ -][\d.]*|", await self.do(line))[0].replace("-", " ")

    async def rest(self):
        """All replies until the server closes."""
        replies = []
        while reply := await self.reply():
            replies.append(reply)
        return replies

    async def greet(self):
        return await self.do("EHLO client.example")

    async def starttls(self, context=None):
        assert (await self.do("STARTTLS")).startswith("220 2.0.0")
        await self.writer.start_tls(
            context or client_context(), server_hostname="localhost"
        )

    async def begin(self, *recipients, sender="jan@gem.nl"):
        await self.greet()
        assert (await self.do(f"MAIL FROM:<{sender}>")).startswith("250 2.1.0")
        for recipient in recipients or ("a@b.nl",):
            assert (await self.do(f"RCPT TO:<{recipient}>")).startswith("250 2.1.5")

    async def data(self, octets):
        """Content as it goes over the wire, the final dot included."""
        assert (await self.do("DATA")).startswith("354 ")
        self.send(octets)
        return await self.reply()

    async def close(self):
        self.writer.close()
        with contextlib.suppress(Exception):
            await self.writer.wait_closed()
