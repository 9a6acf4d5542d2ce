"""R18, BIO2 8.07.04: what a real clamd says, and what counts as no answer."""

import asyncio
import contextlib
import dataclasses
import pathlib
import socket
import tempfile

import pytest

from gateway.model.errors import TemporaryFailure
from gateway.model.octets import CHUNK_OCTETS
from gateway.model.scan import Clean, Infected, ScanFault, Unscanned
from gateway.scan.clamd import ClamdScanner, judge, signed_at
from gateway.services import Malware
from tests.peers import clamd

FOUND = Infected(f"{clamd.NAME}.UNOFFICIAL")


@dataclasses.dataclass
class Logged:
    lines: list

    def __call__(self, event, **fields):
        self.lines.append((event, fields))


@pytest.fixture
def log():
    return Logged([])


@pytest.fixture(scope="module")
def server():
    with clamd.run("2M") as running:
        yield running


def by_socket(server, log, **more):
    return ClamdScanner(Malware(str(server.socket), None, **more), log)


def by_port(server, log, **more):
    return ClamdScanner(Malware(None, server.port, **more), log)


class Kept:
    """Octets that are not in memory (model.octets.Kept), in chunks of a given size."""

    def __init__(self, *chunks, error=None):
        self._chunks = chunks
        self._error = error
        self.size_octets = sum(map(len, chunks))

    def chunks(self):
        yield from self._chunks
        if self._error is not None:
            raise self._error


@pytest.mark.parametrize("way", [by_socket, by_port])
async def test_clean_passes_and_infected_is_named(server, log, way):
    scanner = way(server, log)
    assert await scanner.scan(b"Subject: x\r\n\r\nniets\r\n") == Clean()
    assert log.lines == []
    assert await scanner.scan(b"Subject: x\r\n\r\n" + clamd.MALWARE) == FOUND
    assert log.lines == [("scan-infected", {})]


async def test_the_signature_is_found_across_chunks_and_in_the_last_octets(server, log):
    before = b"x" * (CHUNK_OCTETS - 7)
    scanner = by_socket(server, log)
    assert await scanner.scan(before + clamd.MALWARE + b"y" * CHUNK_OCTETS) == FOUND
    assert await scanner.scan(before * 3 + clamd.MALWARE) == FOUND


async def test_kept_octets_are_read_by_chunks_and_an_empty_one_ends_nothing(
    server, log
):
    """A length of zero ends the stream: what came behind it would not be looked at."""
    scanner = by_socket(server, log)
    assert await scanner.scan(Kept(b"x" * 100, b"", clamd.MALWARE)) == FOUND
    assert await scanner.scan(Kept(b"x" * 100, b"", b"niets")) == Clean()


async def test_octets_that_cannot_be_read_are_our_fault(server, log):
    unreadable = Kept(b"x" * 100, error=TemporaryFailure("the disk is away"))
    with pytest.raises(TemporaryFailure):
        await by_socket(server, log).scan(unreadable)


@pytest.mark.parametrize("way", [by_socket, by_port])
async def test_what_is_too_large_for_it_is_never_clean(server, log, way):
    too_large = Unscanned(ScanFault.TOO_LARGE)
    scanner = way(server, log)
    for size in (2 * 2**20 + 1, 20 * 2**20):
        assert await scanner.scan(b"x" * size) == too_large
    assert log.lines[0] == ("scan-failed", {"fault": "too-large"})
    assert await scanner.scan(b"x" * 2**20) == Clean()


async def test_many_at_once_each_get_their_own_answer(server, log):
    scanner = by_socket(server, log)
    asked = [b"a" * n + (clamd.MALWARE if n % 2 else b"") for n in range(24)]
    answers = await asyncio.gather(*map(scanner.scan, asked))
    assert answers == [FOUND if n % 2 else Clean() for n in range(24)]


async def test_it_says_that_it_lives_and_what_it_is(server, log):
    scanner = by_socket(server, log)
    assert await scanner.answers()
    assert (await scanner.version()).startswith("ClamAV ")


async def test_nobody_there_is_not_scanned(tmp_path, log):
    scanner = ClamdScanner(Malware(str(tmp_path / "no.sock"), None), log)
    assert await scanner.scan(b"x") == Unscanned(ScanFault.UNREACHABLE)
    assert not await scanner.answers()
    assert await scanner.version() is None
    assert log.lines == [("scan-failed", {"fault": "unreachable"})]


# --- another server than clamd, or one that is not well ------------------------------
@contextlib.asynccontextmanager
async def answering(reply: bytes, *, reads: bool = True):
    """A server that gives this reply; answers the path of its socket."""

    async def serve(reader, writer):
        while reads and (head := await reader.read(65536)):
            if head.endswith(bytes(4)):
                break
        writer.write(reply)
        with contextlib.suppress(OSError):
            await writer.drain()
        writer.close()

    with tempfile.TemporaryDirectory(prefix="ketenmail-scan-") as place:
        path = str(pathlib.Path(place) / "s")
        async with await asyncio.start_unix_server(serve, path):
            yield path


@pytest.mark.parametrize(
    ("reply", "fault"),
    [
        (b"", ScanFault.LOST),
        (b"stream: OK", ScanFault.LOST),  # it did not end
        (b"stream: OK\0" + b"x" * 2000, ScanFault.LOST),
        (b"stream: OK\0stream: OK\0", ScanFault.ERROR),
        (b"stream: OK\n\0", ScanFault.ERROR),
        (b"OK\0", ScanFault.ERROR),
        (b"\0", ScanFault.ERROR),
        (b"UNKNOWN COMMAND\0", ScanFault.ERROR),
        (b"stream: Can't allocate memory ERROR\0", ScanFault.ERROR),
        (b"INSTREAM size limit exceeded. ERROR\0", ScanFault.TOO_LARGE),
    ],
)
@pytest.mark.parametrize("reads", [True, False])
async def test_only_the_one_reply_is_clean(log, reply, fault, reads):
    async with answering(reply, reads=reads) as path:
        scanner = ClamdScanner(Malware(path, None, timeout_s=20), log)
        assert await scanner.scan(b"x" * 300_000) == Unscanned(fault)


async def test_who_calls_half_a_message_clean_is_not_believed(log):
    async with answering(b"stream: OK\0", reads=False) as path:
        scanner = ClamdScanner(Malware(path, None, timeout_s=20), log)
        asked = scanner.scan(b"x" * 20_000_000)
        assert await asked == Unscanned(ScanFault.LOST)


async def test_who_does_not_answer_in_time_has_not_scanned(log):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        port = silent.getsockname()[1]
        scanner = ClamdScanner(Malware(None, port, timeout_s=1), log)
        assert await scanner.scan(b"x" * 20_000_000) == Unscanned(ScanFault.TIMEOUT)
        assert not await scanner.answers()


async def test_r18_no_sender_can_choose_to_go_unscanned(log):
    """What kills the scanner, or takes it too long, is about this message: no silence.

    Only silence goes on with `malware.down = "accept"` (K902).
    """
    async with answering(b"") as path:
        scanner = ClamdScanner(Malware(path, None, timeout_s=20), log)
        dies_of_it = await scanner.scan(b"x" * 300_000)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        port = silent.getsockname()[1]
        slow = await ClamdScanner(Malware(None, port, timeout_s=1), log).scan(b"x")
    nobody = await ClamdScanner(Malware(None, port, timeout_s=20), log).scan(b"x")
    given = [dies_of_it, slow, nobody]
    assert given == [
        Unscanned(ScanFault.LOST),
        Unscanned(ScanFault.TIMEOUT),
        Unscanned(ScanFault.UNREACHABLE),
    ]
    assert [each.fault.is_silence for each in given] == [False, False, True]


@pytest.mark.parametrize("family", [socket.AF_UNIX, socket.AF_INET])
async def test_r18_a_flood_of_connections_is_no_silence(log, family, tmp_path):
    """Who takes no connection because of too many may have them all of one sender."""
    by_path = family == socket.AF_UNIX
    with contextlib.ExitStack() as stack:
        full = stack.enter_context(socket.socket(family))
        full.bind(str(tmp_path / "s") if by_path else ("127.0.0.1", 0))
        full.listen(0)
        for _ in range(4):
            other = stack.enter_context(socket.socket(family))
            other.setblocking(False)
            other.connect_ex(full.getsockname())
        path = full.getsockname() if by_path else None
        port = None if by_path else full.getsockname()[1]
        scanner = ClamdScanner(Malware(path, port, timeout_s=1), log)
        result = await scanner.scan(b"x")
    assert isinstance(result, Unscanned)
    assert not result.fault.is_silence


async def test_r18_a_scanner_that_was_stopped_is_silent():
    lines = Logged([])
    with clamd.run("2M") as running:
        assert await by_socket(running, lines).scan(b"x") == Clean()
        running.stop()
        for way in (by_socket, by_port):
            result = await way(running, lines).scan(b"x")
            assert result == Unscanned(ScanFault.UNREACHABLE)


def test_a_name_is_short_and_holds_nothing_that_does_harm():
    assert judge("stream: Win.Test.EICAR_HDB-1 FOUND") == Infected(
        "Win.Test.EICAR_HDB-1"
    )
    assert judge("stream: a\r\nb{x} c\xe9 FOUND") == Infected("a__b_x__c_")
    assert judge(f"stream: {'x' * 900} FOUND") == Infected("x" * 64)
    assert judge("stream: FOUND") == Unscanned(ScanFault.ERROR)
    assert judge("stream:  FOUND") == Unscanned(ScanFault.ERROR)


@pytest.mark.parametrize(
    ("version", "day"),
    [
        ("ClamAV 1.4.6/27800/Wed Nov 25 10:27:53 2026", "2026-11-25"),
        ("ClamAV 1.4.6/27471/Thu Jan  1 08:34:17 2026", "2026-01-01"),
        ("ClamAV 1.4.6", None),
        ("ClamAV 1.4.6/27800/Wed Nov 99 10:27:53 2026", None),
        ("ClamAV 1.4.6/27800/", None),
    ],
)
def test_the_day_of_the_signatures_is_read_from_its_version(version, day):
    found = signed_at(version)
    assert (found and found.date().isoformat()) == day
