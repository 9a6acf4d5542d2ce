"""Connections that send one octet a second and never come to an end (A-49).

They drip a ClientHello, behind STARTTLS or on the listener for implicit TLS, a command
line, or content behind DATA; half of them come from strangers' addresses, half from
those of a client, few enough from each that no cap per address turns them away.
"""

import asyncio
import contextlib
import dataclasses
import enum
import itertools
import ssl
import time
from collections.abc import Iterator

from tests.peers import gateway
from tests.scenarios import siege

INTERVAL_S = 1.0
_OF_ONE_ADDRESS = 5


class Point(enum.Enum):
    """What is never finished."""

    STARTTLS_HELLO = "ClientHello behind STARTTLS"
    IMPLICIT_HELLO = "ClientHello, implicit TLS"
    COMMAND = "command line"
    DATA = "content"


class _TurnedAway(Exception):
    """There was no place for it: it could not begin to drip."""


@dataclasses.dataclass
class Drip:
    """One such connection.

    `begun` comes when it drips or was turned away before it could; `lived_s` is None
    while the server lets it drip.
    """

    point: Point
    source: str
    interval_s: float = INTERVAL_S
    begun: asyncio.Event = dataclasses.field(default_factory=asyncio.Event)
    turned_away: bool = False
    lived_s: float | None = None
    last_word: bytes = b""  # what the server said when it had enough

    async def run(self, server: str) -> None:
        """Drip until the server ends it."""
        implicit = self.point is Point.IMPLICIT_HELLO
        port = gateway.IMPLICIT_PORT if implicit else gateway.PORT
        reader, writer = await asyncio.open_connection(
            server, port, local_addr=(self.source, 0)
        )
        try:
            await self._begin(reader, writer)
            self.begun.set()
            await self._drip(reader, writer)
        except (_TurnedAway, ConnectionError) as error:
            self.turned_away = True
            self.last_word = repr(error).encode()
        finally:
            self.begun.set()
            writer.transport.abort()

    @property
    def is_open(self) -> bool:
        """Whether the server lets it drip."""
        return self.begun.is_set() and self.lived_s is None and not self.turned_away

    async def _begin(self, reader, writer) -> None:
        """Go to where the drip begins."""
        if self.point is Point.IMPLICIT_HELLO:
            return
        await _expect(reader, b"220")
        if self.point is Point.COMMAND:
            return
        await _ask(reader, writer, b"EHLO drip.test", b"250")
        await _ask(reader, writer, b"STARTTLS", b"220")
        if self.point is Point.STARTTLS_HELLO:
            return
        await writer.start_tls(siege.CONTEXT)
        await _ask(reader, writer, b"EHLO drip.test", b"250")
        await _ask(reader, writer, f"MAIL FROM:<{siege.SENDER}>".encode(), b"250")
        # A stranger's recipient is refused; its content is read over all the same.
        await _ask(reader, writer, b"RCPT TO:<crisis@ggz.test>", b"")
        await _ask(reader, writer, b"DATA", b"354")

    async def _drip(self, reader, writer) -> None:
        began = time.monotonic()
        listening = asyncio.create_task(_until_end(reader))
        for octet in self._octets():
            with contextlib.suppress(ConnectionError):
                writer.write(octet)
            done, _ = await asyncio.wait([listening], timeout=self.interval_s)
            if done:
                break
        self.lived_s = time.monotonic() - began
        self.last_word = await listening

    def _octets(self) -> Iterator[bytes]:
        """Octet by octet; none of it ends soon, and most of it never."""
        if self.point in {Point.STARTTLS_HELLO, Point.IMPLICIT_HELLO}:
            return (bytes((octet,)) for octet in client_hello())
        if self.point is Point.COMMAND:
            return itertools.chain((b"NOOP ",), itertools.repeat(b"x"))
        return itertools.chain((b"Subject: ",), itertools.repeat(b"x"))


def client_hello() -> bytes:
    """What a TLS client begins with."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    handshake = siege.CONTEXT.wrap_bio(incoming, outgoing)
    with contextlib.suppress(ssl.SSLWantReadError):
        handshake.do_handshake()
    return outgoing.read()


async def _ask(reader, writer, line: bytes, code: bytes) -> None:
    writer.write(line + b"\r\n")
    await _expect(reader, code)


async def _expect(reader, code: bytes) -> None:
    line = b"   -"
    while line[3:4] == b"-":
        line = await reader.readline()
    if not line.startswith(code) or not line:
        raise _TurnedAway(line.decode("ascii", "replace"))


async def _until_end(reader) -> bytes:
    found = b""
    with contextlib.suppress(OSError):
        while block := await reader.read(4096):
            found += block
    return found


def drips(count: int) -> list[Drip]:
    """So many, of all kinds, from strangers and from a client in turn."""
    made = []
    for at in range(count):
        pair, is_stranger = divmod(at, 2)
        address = pair // _OF_ONE_ADDRESS
        source = siege.stranger if is_stranger else siege.other_client
        points = list(Point)
        made.append(Drip(points[pair % len(points)], source(address)))
    return made
