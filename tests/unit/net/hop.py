"""A next hop on loopback whose manners are set one by one: a real TLS server in a thread.

The standard manners are those of a good hop; a test changes one field. Everything the
client says is written down in `seen`, with whether it came over TLS.
"""

import contextlib
import dataclasses
import pathlib
import socket
import ssl
import struct
import tempfile
import threading
import time
from typing import Self

from tests.unit.trust.issuing import Issued

OFFER = b"250-mx1.example.nl\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SIZE 1000000\r\n"
BEFORE_TLS = OFFER + b"250 STARTTLS\r\n"
OVER_TLS = OFFER + b"250 ENHANCEDSTATUSCODES\r\n"
CUT = None  # as a reply: the connection ends here


@dataclasses.dataclass
class Manners:
    greeting: bytes | None = b"220 mx1.example.nl ESMTP\r\n"
    ehlo: bytes | None = BEFORE_TLS
    starttls: bytes | None = b"220 2.0.0 go ahead\r\n"
    handshake: bool = True
    after_handshake: bytes = b""
    ehlo_tls: bytes | None = OVER_TLS
    mail: bytes | None = b"250 2.1.0 ok\r\n"
    rcpt: dict[str, bytes | None] = dataclasses.field(default_factory=dict)
    data: bytes | None = b"354 go ahead\r\n"
    during_content: bytes | None = b""  # said after "end", before any dot
    end: bytes | None = b"250 2.0.0 queued as 4711\r\n"
    quit: bytes | None = b"221 2.0.0 bye\r\n"
    hold: bool = False  # keep the connection open, silent, after the last reply


class _Ended(Exception):
    pass


class LoopbackHop:
    """One listening socket; each connection is served with the same manners."""

    def __init__(self, manners: Manners, chain: tuple[Issued, ...]) -> None:
        self.manners = manners
        self.seen: list[tuple[bool, bytes]] = []
        self.content = b""
        self.sni: list[str | None] = []
        self.connections = 0
        self.has_interrupted = False  # what happens during the content has happened
        self._context = _context(chain, self.sni)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._stopped = threading.Event()
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stopped.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
        assert not any(thread.is_alive() for thread in self._threads)

    def said(self, verb: bytes) -> list[bytes]:
        """What the client said that begins with this verb, in any connection."""
        return [line for _, line in self.seen if line.upper().startswith(verb)]

    def _accept(self) -> None:
        while not self._stopped.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.settimeout(10)
            self.connections += 1
            self._open.append(connection)
            thread = threading.Thread(target=self._serve, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        talk = _Talk(self, connection)
        try:
            talk.run()
        except (_Ended, OSError):
            pass
        finally:
            talk.end()


class _Talk:
    def __init__(self, hop: LoopbackHop, connection: socket.socket) -> None:
        self.hop = hop
        self.manners = hop.manners
        self.socket = connection
        self.tls = False
        self.buffer = b""

    def run(self) -> None:
        self.say(self.manners.greeting)
        while True:
            line = self.hear()
            self.hop.seen.append((self.tls, line))
            verb = line[:4].upper()
            if verb == b"STAR":
                self.start_tls()
            elif verb == b"DATA":
                self.take_content()
            elif verb == b"RCPT":
                address = line.partition(b"<")[2].partition(b">")[0].decode()
                self.say(self.manners.rcpt.get(address, b"250 2.1.5 ok\r\n"))
            elif verb == b"QUIT":
                self.say(self.manners.quit)
                raise _Ended
            else:
                ehlo = self.manners.ehlo_tls if self.tls else self.manners.ehlo
                self.say({b"EHLO": ehlo, b"MAIL": self.manners.mail}[verb])

    def say(self, data: bytes | None) -> None:
        if data is CUT:
            if self.manners.hold:
                self.hop._stopped.wait(10)
            raise _Ended
        if data:
            self.socket.sendall(data)

    def hear(self) -> bytes:
        while b"\r\n" not in self.buffer:
            more = self.socket.recv(65536)
            if not more:
                raise _Ended
            self.buffer += more
        line, _, self.buffer = self.buffer.partition(b"\r\n")
        return line

    def start_tls(self) -> None:
        self.say(self.manners.starttls)
        if not self.manners.starttls.startswith(b"220"):
            return
        if not self.manners.handshake:
            self.socket.recv(1)  # the first octet of the ClientHello
            reset = struct.pack("ii", 1, 0)
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
            raise _Ended
        self.socket = self.hop._context.wrap_socket(self.socket, server_side=True)
        self.hop._open.append(self.socket)
        self.tls = True
        self.say(self.manners.after_handshake)

    def take_content(self) -> None:
        self.say(self.manners.data)
        if not self.manners.data.startswith(b"354"):
            return
        if self.manners.during_content != b"":
            while not self.buffer.endswith(b"end\r\n") and len(self.buffer) < 100_000:
                self.buffer += self.socket.recv(65536)
            self.say(self.manners.during_content)
            self.hop.has_interrupted = True
        while not self.buffer.endswith(b"\r\n.\r\n"):
            more = self.socket.recv(65536)
            self.hop.content = self.buffer = self.buffer + more
            if not more:
                raise _Ended
        self.buffer = b""
        self.hop.seen.append((self.tls, b"."))
        end = self.manners.end
        self.say(end)
        if not end.endswith(b"\n") or end[3:4] == b"-":  # an unfinished reply
            self.say(CUT)

    def end(self) -> None:
        with contextlib.suppress(OSError):
            self.socket.close()
        self.hop.has_interrupted = True


def _context(chain: tuple[Issued, ...], sni: list[str | None]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as name:
        path = pathlib.Path(name, "chain.pem")
        path.write_bytes(chain[0].key_pem + b"".join(c.pem for c in chain))
        context.load_cert_chain(path)
    context.sni_callback = lambda _socket, name, _context: sni.append(name)
    return context


def wait_until(condition, seconds: float = 10) -> None:
    """Until another thread has written down what it saw; fails when it never does."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "never happened"
        time.sleep(0.005)
