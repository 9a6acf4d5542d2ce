"""What a real mail server cannot be made to do: a man in the middle, or a broken front.

A proxy stands before a real server and passes every command and reply on, one at a
time, until it does its one fault. Without a credential it sees what is in clear and
passes TLS through; with one it is the server's TLS front (the server behind it then has
none) and sees everything, also the final dot. It records what the client said.
"""

import contextlib
import dataclasses
import enum
import pathlib
import select
import socket
import ssl
import tempfile
import threading
from collections.abc import Iterator

from tests import certs
from tests.peers import loopback

_BLOCK = 65536
_PATIENCE_S = 30


class Fault(enum.Enum):
    """The one thing that goes wrong."""

    NONE = "nothing: it only records"
    STRIP_STARTTLS = "STARTTLS is taken out of the answer to EHLO"
    REFUSE_STARTTLS = "STARTTLS is answered 454"
    INJECT_AFTER_STARTTLS = "a reply in clear follows the 220 in the same segment"
    CUT_IN_HANDSHAKE = "the connection ends after the 220 to STARTTLS"
    CUT_BEFORE_DOT_IS_PASSED_ON = "the server never gets the dot; no reply"
    CUT_AFTER_DOT = "the server has taken the message; its reply is lost"
    SILENT_AFTER_DOT = "as before, but the connection stays open until the client ends"
    GARBAGE_AFTER_DOT = "the server has taken the message; the reply is no SMTP"
    CUT_AFTER_MAIL = "the connection ends at MAIL, without a reply"
    DEFER_AFTER_DOT = "the dot is answered 451; the server never gets it"


@dataclasses.dataclass
class Recorded:
    """What one client said: commands, and the octets of its content."""

    commands: list[str] = dataclasses.field(default_factory=list)
    content: bytes = b""  # without the dots that SMTP doubles
    tls: bool = False  # TLS began on this connection
    tls_version: str | None = None  # when the proxy itself is the TLS server

    @property
    def verbs(self) -> tuple[str, ...]:
        return tuple(command.split(" ", 1)[0].upper() for command in self.commands)

    @property
    def envelope_seen(self) -> bool:
        """Whether any part of an envelope came in a form that the proxy could read."""
        return not {"MAIL", "RCPT", "DATA", "BDAT"}.isdisjoint(self.verbs)


class _Ended(Exception):
    """This connection is over."""


class _Wire:
    """One side of a connection, read by lines."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._kept = b""

    def read_line(self) -> bytes:
        while b"\n" not in self._kept:
            block = self.sock.recv(_BLOCK)
            if not block:
                raise _Ended
            self._kept += block
        line, _, self._kept = self._kept.partition(b"\n")
        return line + b"\n"

    def read_reply(self) -> bytes:
        reply = self.read_line()
        while reply.rsplit(b"\r\n", 2)[-2][3:4] == b"-":
            reply += self.read_line()
        return reply

    def write(self, octets: bytes) -> None:
        self.sock.sendall(octets)


class Proxy:
    """A running proxy; `fault` may be changed while it runs."""

    def __init__(
        self,
        target: tuple[str, int],
        fault: Fault,
        credential: certs.Credential | None,
        address: str | None,
        port: int,
    ) -> None:
        self.target = target
        self.fault = fault
        self.address = loopback.claim() if address is None else address
        self.port = port
        self.sessions: list[Recorded] = []
        self.errors: list[Exception] = []  # faults of the proxy itself: always empty
        self._tls = None if credential is None else _context(credential)
        self._listener = socket.create_server((self.address, self.port))
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._closing = False
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def stop(self) -> None:
        """Close every connection; returns when no thread is left."""
        self._closing = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for sock in self._open:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(_PATIENCE_S)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(sock,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, sock: socket.socket) -> None:
        session = _Connection(self.fault, self._tls)
        self.sessions.append(session.recorded)
        try:
            server = socket.create_connection(self.target, timeout=_PATIENCE_S)
        except OSError:
            sock.close()
            return
        sock.settimeout(_PATIENCE_S)
        with self._lock:
            self._open |= {sock, server}
        try:
            session.run(sock, server)
        except (_Ended, OSError):
            pass  # either side may end at any time
        except Exception as error:
            self.errors.append(error)
        finally:
            with self._lock:
                self._open -= {sock, server}
            for each in (session.client_sock or sock, server):
                each.close()


class _Connection:
    """One client's connection and the one to the server that belongs to it."""

    def __init__(self, fault: Fault, tls: ssl.SSLContext | None) -> None:
        self.recorded = Recorded()
        self.client_sock: socket.socket | None = None
        self._fault = fault
        self._tls = tls

    def run(self, client: socket.socket, server: socket.socket) -> None:
        self.client_sock = client
        self._client, self._server = _Wire(client), _Wire(server)
        self._client.write(self._server.read_reply())
        while True:
            line = self._client.read_line()
            command = line.rstrip(b"\r\n").decode("utf-8", "backslashreplace")
            self.recorded.commands.append(command)
            verb = command.split(" ", 1)[0].upper()
            step = {
                "EHLO": self._ehlo,
                "STARTTLS": self._starttls,
                "MAIL": self._mail,
                "DATA": self._data,
            }.get(verb, self._pass_on)
            step(line)

    def _pass_on(self, line: bytes) -> None:
        self._server.write(line)
        self._client.write(self._server.read_reply())

    def _ehlo(self, line: bytes) -> None:
        self._server.write(line)
        lines = self._server.read_reply().split(b"\r\n")[:-1]
        words = [each[4:] for each in lines]
        if self._fault is Fault.STRIP_STARTTLS:
            words = [each for each in words if each.upper() != b"STARTTLS"]
        elif self._tls is not None and not self.recorded.tls:
            words.append(b"STARTTLS")
        head = [b"250-" + each for each in words[:-1]]
        self._client.write(b"\r\n".join([*head, b"250 " + words[-1], b""]))

    def _starttls(self, line: bytes) -> None:
        if self._fault is Fault.STRIP_STARTTLS:
            self._client.write(b"502 5.5.1 Command not implemented\r\n")
            return
        if self._fault is Fault.REFUSE_STARTTLS:
            self._client.write(b"454 4.7.0 TLS not available\r\n")
            return
        reply = b"220 2.0.0 Ready to start TLS\r\n"
        if self._tls is None:
            self._server.write(line)
            reply = self._server.read_reply()
        if self._fault is Fault.INJECT_AFTER_STARTTLS:
            reply += b"250-injected\r\n250 SIZE 1\r\n"
        self._client.write(reply)
        if self._fault is Fault.CUT_IN_HANDSHAKE:
            raise _Ended
        if not reply.startswith(b"220"):
            return
        self.recorded.tls = True
        if self._tls is None:
            self._pass_through()
        self._wrap()

    def _wrap(self) -> None:
        wrapped = self._tls.wrap_socket(self._client.sock, server_side=True)
        self.client_sock = wrapped
        self._client = _Wire(wrapped)
        self.recorded.tls_version = wrapped.version()

    def _pass_through(self) -> None:
        """Carry opaque octets both ways until either side ends."""
        pair = (self._client.sock, self._server.sock)
        while True:
            ready, _, _ = select.select(pair, (), (), _PATIENCE_S)
            if not ready:
                raise _Ended
            for source in ready:
                block = source.recv(_BLOCK)
                if not block:
                    raise _Ended
                pair[1 if source is pair[0] else 0].sendall(block)

    def _mail(self, line: bytes) -> None:
        if self._fault is Fault.CUT_AFTER_MAIL:
            raise _Ended
        self._pass_on(line)

    def _data(self, line: bytes) -> None:
        self._server.write(line)
        reply = self._server.read_reply()
        self._client.write(reply)
        if not reply.startswith(b"354"):
            return
        content = bytearray()
        while (read := self._client.read_line()) != b".\r\n":
            content += read
        unstuffed = bytes(content).replace(b"\r\n.", b"\r\n").removeprefix(b".")
        self.recorded.content += unstuffed
        if self._fault is Fault.CUT_BEFORE_DOT_IS_PASSED_ON:
            raise _Ended
        if self._fault is Fault.DEFER_AFTER_DOT:
            self._client.write(b"451 4.3.0 Try again later\r\n")
            raise _Ended
        self._server.write(bytes(content) + b".\r\n")
        self._answer_dot(self._server.read_reply())

    def _answer_dot(self, reply: bytes) -> None:
        if self._fault is Fault.CUT_AFTER_DOT:
            raise _Ended
        if self._fault is Fault.GARBAGE_AFTER_DOT:
            self._client.write(b"\x00\xff this is no reply\r\n")
            raise _Ended
        if self._fault is Fault.SILENT_AFTER_DOT:
            while self._client.sock.recv(_BLOCK):
                pass
            raise _Ended
        self._client.write(reply)


def _context(credential: certs.Credential) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory(prefix="ketenmail-proxy-") as folder:
        files = credential.write(pathlib.Path(folder))
        context.load_cert_chain(files.certificate, files.key)
    return context


@contextlib.contextmanager
def before(
    target: tuple[str, int],
    fault: Fault = Fault.NONE,
    *,
    credential: certs.Credential | None = None,
    address: str | None = None,
    port: int = 25,
) -> Iterator[Proxy]:
    """Run a proxy before a server.

    Args:
        target: Address and port of the real server.
        fault: What goes wrong, on every connection.
        credential: The proxy is the TLS server itself, with this certificate; the real
            server must not offer STARTTLS.
        address: A claimed loopback address; default: a fresh one.
        port: 25 for a server that is found by MX.
    """
    proxy = Proxy(target, fault, credential, address, port)
    try:
        yield proxy
    finally:
        proxy.stop()
    if proxy.errors:
        raise proxy.errors[0]
