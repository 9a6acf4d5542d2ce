"""The door to clamd: INSTREAM over a socket of this machine (R18, BIO2 8.07.04).

Only the one reply that says so makes a message clean. No answer, half an answer,
another answer, or a size that clamd does not take: not scanned. Only where nobody took
the connection was the scanner silent; whatever fails later may be for the message. What
stands in a reply beyond a short name goes nowhere. The protocol is that of clamd(8),
"INSTREAM": chunks, each behind its length in four octets, and a length of zero at the
end.

Sockets and no streams: clamd that has seen enough (too large) answers and closes while
we still write, and its answer must be read all the same.
"""

import asyncio
import contextlib
import datetime
import email.utils
import re
import socket
from collections.abc import AsyncIterator, Callable, Iterator

from gateway.model.octets import Octets, chunks_of
from gateway.model.scan import Clean, Infected, Scan, ScanFault, Unscanned
from gateway.services import Malware

_MAX_REPLY = 1024
_READ_AT_ONCE = 4 * 1024
_MAX_NAME = 64
_FOUND = re.compile(r"stream: (.+) FOUND", re.DOTALL)
_CLEAN = "stream: OK"
_TOO_LARGE = "INSTREAM size limit exceeded. ERROR"
_ABSENT = (ConnectionRefusedError, FileNotFoundError, PermissionError)
_UNSAFE = re.compile(r"[^A-Za-z0-9._:/+-]")

Log = Callable[..., None]


class _NobodyThere(OSError):  # noqa: N818 - the field's word
    """The connection was refused, or there is no such socket."""


class ClamdScanner:
    """Asks one clamd (ports.Scanner); a connection for each message."""

    def __init__(self, settings: Malware, log: Log) -> None:
        self._settings = settings
        self._log = log

    async def scan(self, octets: Octets) -> Scan:
        """Have it scanned, within the time of the settings; see ports.Scanner."""
        result = await self._ask_in_time(octets)
        match result:
            case Unscanned(fault=fault):
                self._log("scan-failed", fault=fault.value)
            case Infected():
                self._log("scan-infected")
            case Clean():
                pass
        return result

    async def _ask_in_time(self, octets: Octets) -> Scan:
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                async with _connected(self._settings) as connection:
                    reply = await _exchange(connection, octets)
        except _NobodyThere:
            return Unscanned(ScanFault.UNREACHABLE)
        except TimeoutError:
            return Unscanned(ScanFault.TIMEOUT)
        except OSError:
            return Unscanned(ScanFault.LOST)
        return judge(reply)

    async def version(self) -> str | None:
        """What it answers to VERSION: "engine/signatures/date"; None: no answer.

        It says the date of signatures that it got as a database of ClamAV only.
        """
        reply = await self._command(b"zVERSION\0")
        return reply if reply and reply.startswith("ClamAV ") else None

    async def answers(self) -> bool:
        """Whether it answers PING."""
        return await self._command(b"zPING\0") == "PONG"

    async def _command(self, command: bytes) -> str | None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                async with _connected(self._settings) as connection:
                    await loop.sock_sendall(connection, command)
                    return await _read_reply(connection)
        except OSError:  # TimeoutError is one
            return None


def judge(reply: str | None) -> Scan:
    """What a reply to INSTREAM means; None: there was no whole one."""
    if reply is None:
        return Unscanned(ScanFault.LOST)
    if reply == _CLEAN:
        return Clean()
    if reply == _TOO_LARGE:
        return Unscanned(ScanFault.TOO_LARGE)
    found = _FOUND.fullmatch(reply)
    if found is None:
        return Unscanned(ScanFault.ERROR)
    return Infected(_UNSAFE.sub("_", found[1])[:_MAX_NAME])


def signed_at(version: str) -> datetime.datetime | None:
    """Of when the signatures are, by a reply to VERSION; None: it does not say.

    The day and hour are of the scanner's clock: taken as UTC they are right to a day.
    """
    parsed = email.utils.parsedate(version.rpartition("/")[2])
    if parsed is None:
        return None
    try:
        return datetime.datetime(*parsed[:6], tzinfo=datetime.UTC)
    except ValueError:
        return None


@contextlib.asynccontextmanager
async def _connected(settings: Malware) -> AsyncIterator[socket.socket]:
    """A connection, non-blocking, closed at the end whatever happens.

    Raises:
        _NobodyThere: When nobody takes it. One that is not taken in time is no such
            case: a listener with too much to do looks the same.
    """
    loop = asyncio.get_running_loop()
    path, address = settings.socket, settings.address
    by_address = socket.AF_INET6 if ":" in address else socket.AF_INET
    family = by_address if path is None else socket.AF_UNIX
    with socket.socket(family, socket.SOCK_STREAM) as connection:
        connection.setblocking(False)
        where = (address, settings.port) if path is None else path
        try:
            await loop.sock_connect(connection, where)
        except _ABSENT as error:
            raise _NobodyThere from error
        yield connection


async def _exchange(connection: socket.socket, octets: Octets) -> str | None:
    """Hand over all of it and read what comes back.

    None also for a reply to half a message that would be one to the whole: clean.
    """
    loop, whole = asyncio.get_running_loop(), False
    with contextlib.suppress(ConnectionError):  # it may say why before it closes
        await loop.sock_sendall(connection, b"zINSTREAM\0")
        async for chunk in _chunks(octets):
            length = len(chunk).to_bytes(4, "big")
            await loop.sock_sendall(connection, length + chunk)
        await loop.sock_sendall(connection, bytes(4))
        whole = True
    reply = await _read_reply(connection)
    return reply if whole or reply != _CLEAN else None


async def _chunks(octets: Octets) -> AsyncIterator[bytes]:
    """All octets, never none at a time: a length of zero would end the stream."""
    chunks: Iterator[bytes] = chunks_of(octets)
    if isinstance(octets, bytes):
        for chunk in chunks:
            yield chunk
        return

    def following() -> bytes | None:
        return next(chunks, None)

    # What is kept is read beside the event loop.
    while (kept := await asyncio.to_thread(following)) is not None:
        if kept:
            yield kept


async def _read_reply(connection: socket.socket) -> str | None:
    """One reply, which ends in NUL; None when it does not end, or is too long."""
    loop = asyncio.get_running_loop()
    reply = b""
    while not reply.endswith(b"\0"):
        more = await loop.sock_recv(connection, _READ_AT_ONCE)
        reply += more
        if not more or len(reply) > _MAX_REPLY:
            return None
    return reply[:-1].decode("ascii", "replace")
