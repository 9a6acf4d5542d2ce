"""Every session that ends oddly says why and where, and nothing of what was said."""

import asyncio
import socket
import struct

import pytest

from gateway import telemetry
from gateway.intake.ending import Reason, Where
from tests.unit.intake.intake_desk import HEAD, IMPLICIT, OPEN, PASSWORD, settings

MAIL = "MAIL FROM:<jan@gem.nl>"
RESET = struct.pack("ii", 1, 0)


async def until_ended(desk, count=1):
    async with asyncio.timeout(20):
        while len(desk.ends()) < count:
            await asyncio.sleep(0.001)
    return desk.ends()


def reset(talker):
    """Close so that the peer gets RST."""
    sock = talker.writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    talker.writer.transport.abort()


async def greeted(talker):
    pass


async def said(talker):
    await talker.greet()


async def opened(talker):
    await talker.begin()


async def sending(talker):
    await talker.begin()
    await talker.do("DATA")
    talker.send(HEAD)


STATES = [
    (greeted, "greeting"),
    (said, "command"),
    (opened, "transaction"),
    (sending, "content"),
]


@pytest.mark.parametrize(("prepare", "where"), STATES)
async def test_client_that_goes_away(intake, connect, prepare, where):
    desk = await intake()
    for leave, reason in (
        (lambda talker: talker.writer.close(), "closed-by-client"),
        (reset, "reset-by-client"),
    ):
        talker = await connect(desk)
        await prepare(talker)
        if where == "content":
            await asyncio.sleep(0.05)  # until it was read: else nothing came yet
        leave(talker)
        await until_ended(desk)
        assert desk.ends() == [(reason, where)]
        desk.log.clear()


@pytest.mark.parametrize(("prepare", "where"), STATES)
async def test_client_that_says_nothing_more(intake, connect, prepare, where):
    desk = await intake(configuration=settings(idle_s=0.2))
    talker = await connect(desk)
    await prepare(talker)
    assert (await talker.rest())[-1].startswith("421 4.4.2")
    assert await until_ended(desk) == [("idle-timeout", where)]


async def test_deadlines(intake, connect):
    desk = await intake(configuration=settings(data_s=0.2))
    talker = await connect(desk)
    await sending(talker)
    assert (await talker.rest())[-1].startswith("421 4.4.2")
    assert await until_ended(desk) == [("data-too-slow", "content")]
    desk = await intake(configuration=settings(session_s=0.2))
    talker = await connect(desk)
    assert (await talker.rest())[-1].startswith("421 4.4.2")
    assert await until_ended(desk) == [("session-deadline", "greeting")]


@pytest.mark.parametrize(
    ("octets", "reason"),
    [
        (b"FOO\r\n" * 10, "too-many-errors"),
        (b"NOOP\n", "broken-line"),
        (b"x" * 200_000, "line-too-long"),
        (b"BDAT 1 LAST\r\n", "refused-and-closed"),
        (b"STARTTLS\r\nNOOP\r\n", "refused-and-closed"),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\n", "refused-and-closed"),
    ],
)
async def test_session_that_we_end(intake, connect, octets, reason):
    desk = await intake()
    talker = await connect(desk)
    await talker.greet()
    talker.send(octets)
    await talker.rest()
    assert await until_ended(desk) == [(reason, "command")]


async def test_auth_failures_and_a_client_that_leaves_in_auth(intake, connect):
    desk = await intake()
    talker = await connect(desk, IMPLICIT, tls=True)
    await talker.greet()
    for _ in range(3):
        await talker.do("AUTH PLAIN AGFhYQBi")
    await talker.do("AUTH PLAIN AGFhYQBi")
    assert await until_ended(desk) == [("too-many-auth-failures", "auth")]
    desk.log.clear()
    talker = await connect(desk, IMPLICIT, tls=True)
    await talker.greet()
    await talker.do("AUTH LOGIN")
    await talker.close()
    assert await until_ended(desk) == [("closed-by-client", "auth")]
    assert PASSWORD not in str(desk.log)


async def test_tls_that_fails(intake, connect):
    desk = await intake()
    talker = await connect(desk, OPEN)
    await talker.greet()
    await talker.do("STARTTLS")
    talker.send(b"NOOP\r\n" * 50)
    await talker.rest()
    assert await until_ended(desk) == [("tls-failed", "handshake")]


async def test_client_that_takes_no_reply(intake):
    """Its window is closed, ours is full: the reply waits, and in the end we do not."""
    desk = await intake(configuration=settings(idle_s=0.3))
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(("127.0.0.1", desk.port(OPEN)))
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        flood = asyncio.create_task(loop.sock_sendall(sock, b"EHLO x\r\n" * 1_000_000))
        assert await until_ended(desk) == [("client-not-reading", "command")]
        flood.cancel()
        await asyncio.gather(flood, return_exceptions=True)


async def test_full_house_and_fault(intake, connect, monkeypatch):
    desk = await intake(configuration=settings(sessions_per_address=1))
    first, second = await connect(desk), await connect(desk)
    assert second.greeting.startswith("421 4.7.0")
    assert await until_ended(desk) == [("no-place", "greeting")]
    desk.log.clear()
    monkeypatch.setattr(desk.intake.clients, "identify", None)
    await first.greet()
    await first.do(MAIL)
    assert await until_ended(desk) == [("fault", "command")]


async def test_quit_is_told_only_in_a_transaction(intake, connect):
    desk = await intake()
    talker = await connect(desk)
    await talker.begin()
    await talker.data(HEAD + b"x\r\n.\r\n")
    await talker.do("QUIT")
    talker = await connect(desk)
    await talker.do("QUIT")
    talker = await connect(desk)
    await talker.begin()
    await talker.do("QUIT")
    assert await until_ended(desk) == [("quit-in-transaction", "transaction")]


async def test_stop_and_cut(intake, connect):
    class Stuck:
        def __init__(self):
            self.go = asyncio.Event()

        async def __call__(self, message, peer):
            await self.go.wait()
            raise ValueError

    stuck = Stuck()
    desk = await intake(receive=stuck)
    idle, busy, half = [await connect(desk) for _ in range(3)]
    await busy.begin()
    await busy.do("DATA")
    busy.send(HEAD + b"x\r\n.\r\n")
    await half.greet()
    half.send(b"NO")
    await asyncio.sleep(0.05)
    asyncio.get_running_loop().call_later(0.3, stuck.go.set)
    await desk.intake.stop(0.1)
    assert sorted(desk.ends()) == [
        ("cut-at-shutdown", "command"),
        ("cut-at-shutdown", "commit"),
        ("shutdown", "greeting"),
    ]
    assert (await idle.rest())[-1].startswith("421 4.3.2")


async def test_event_has_no_address_and_no_content(intake, connect):
    desk = await intake()
    talker = await connect(desk)
    await talker.begin("canary@b.nl")
    talker.writer.close()
    await until_ended(desk)
    (event,) = [each for each in desk.log if each[0] == "intake-session-ended"]
    assert event[1] == {
        "reason": "closed-by-client",
        "where": "transaction",
        "client": "mta",
    }
    assert event[0] in telemetry.EVENTS
    assert event[1].keys() <= telemetry.FIELDS


def test_lists_are_closed_and_their_words_fit_a_metric():
    words = [each.value for each in (*Reason, *Where)]
    assert len(words) == len(set(words))
    assert all(word.replace("-", "").isalpha() and word.islower() for word in words)
