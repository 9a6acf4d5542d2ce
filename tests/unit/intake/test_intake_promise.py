"""The reply is a promise: commits, faults, timers, caps and the graceful stop."""

import asyncio
import dataclasses
import socket

import pytest

from gateway.intake.server import listen
from gateway.model.errors import StoreFull, TemporaryFailure
from gateway.model.reply import Reply
from tests.unit.intake.intake_desk import (
    HEAD,
    IMPLICIT,
    OK,
    OPEN,
    STARTTLS,
    Talker,
    server_context,
    settings,
)

CONTENT = b"From: jan@gem.nl\r\nSubject: x\r\n\r\nbody\r\n.\r\n"
PIPELINED = (
    b"EHLO x\r\nMAIL FROM:<jan@gem.nl>\r\nRCPT TO:<a@b.nl>\r\nDATA\r\n" + CONTENT
)


class Slow:
    """A `receive` that waits to be let go, as a slow store does."""

    def __init__(self):
        self.started = asyncio.Event()
        self.go = asyncio.Event()

    async def __call__(self, message, peer):
        self.started.set()
        await self.go.wait()
        return OK


# --- A-02 ---------------------------------------------------------------------
async def test_half_close_after_the_dot_still_gets_its_reply_fifty_times(intake):
    async def yielding(message, peer):
        for _ in range(5):
            await asyncio.sleep(0)
        return OK

    desk = await intake(receive=yielding)
    for _ in range(50):
        talker = await Talker.connect(desk.port(OPEN))
        talker.send(PIPELINED)
        talker.writer.write_eof()
        replies = await talker.rest()
        assert [reply[:3] for reply in replies] == ["250", "250", "250", "354", "250"]
        await talker.close()
    assert len(desk.messages) == 50


async def test_reset_after_the_dot_cannot_cancel_the_commit(intake):
    slow = Slow()
    desk = await intake(receive=slow)
    talker = await Talker.connect(desk.port(OPEN))
    talker.send(PIPELINED)
    await slow.started.wait()
    linger = b"\1\0\0\0\0\0\0\0"  # close with RST
    talker.writer.get_extra_info("socket").setsockopt(
        socket.SOL_SOCKET, socket.SO_LINGER, linger
    )
    talker.writer.transport.abort()
    while desk.intake.sessions:
        await asyncio.sleep(0)
    assert desk.messages == []
    slow.go.set()
    await desk.intake.handler.settled()
    assert len(desk.messages) == 1


async def test_tls_close_after_the_dot_cannot_cancel_the_commit(intake, connect):
    slow = Slow()
    desk = await intake(receive=slow)
    talker = await connect(desk, IMPLICIT, tls=True)
    talker.send(PIPELINED)
    await slow.started.wait()
    await talker.close()
    while desk.intake.sessions:
        await asyncio.sleep(0)
    slow.go.set()
    await desk.intake.handler.settled()
    assert len(desk.messages) == 1


async def test_message_without_its_dot_is_no_message(intake):
    desk = await intake()
    for cut in range(PIPELINED.index(b"DATA"), len(PIPELINED) - 1, 3):
        talker = await Talker.connect(desk.port(OPEN))
        talker.send(PIPELINED[:cut])
        talker.writer.write_eof()
        await talker.rest()
        await talker.close()
    assert desk.messages == []


async def test_reply_leaves_only_after_receive_has_come_back(intake, connect):
    slow = Slow()
    desk = await intake(receive=slow)
    talker = await connect(desk)
    await talker.begin()
    await talker.do("DATA")
    talker.send(CONTENT)
    reply = asyncio.create_task(talker.reply())
    await slow.started.wait()
    done, _ = await asyncio.wait([reply], timeout=0.05)
    assert not done
    slow.go.set()
    assert await reply == "250 2.0.0 Accepted as 1"


# --- A-03 -----------------------------------------------------------------------
@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (RuntimeError("db\r\n250 2.0.0 OK\r\npassword=hunter2"), "451 4.3.0"),
        (TemporaryFailure("jan@gem.nl"), "451 4.3.0"),
        (TimeoutError("hunter2"), "451 4.3.0"),
        (ConnectionResetError("hunter2"), "451 4.3.0"),
        (asyncio.IncompleteReadError(b"", 1), "451 4.3.0"),
        (StoreFull("hunter2"), "452 4.3.1"),
    ],
)
async def test_fault_of_ours_is_one_fixed_line_and_tells_nothing(
    intake, connect, error, expected
):
    async def broken(message, peer):
        raise error

    desk = await intake(receive=broken)
    talker = await connect(desk)
    await talker.begin()
    reply = await talker.data(CONTENT)
    assert reply.startswith(expected)
    assert "\n" not in reply
    assert await talker.do("NOOP") == "250 2.0.0 OK"
    assert desk.log
    for secret in ("hunter2", "jan@gem.nl"):
        assert secret not in reply + str(desk.log)


async def test_fault_in_a_verb_is_451_and_ends_the_session(
    intake, connect, monkeypatch
):
    desk = await intake()
    talker = await connect(desk)
    await talker.greet()

    def broken(*arguments):
        raise RuntimeError("hunter2")

    monkeypatch.setattr(desk.intake.clients, "identify", broken)
    talker.send(b"MAIL FROM:<jan@gem.nl>\r\nNOOP\r\n")
    assert await talker.rest() == ["451 4.3.0 Local error, try again later"]
    assert [name for name, _ in desk.log[-2:]] == [
        "intake-fault",
        "intake-session-ended",
    ]
    assert "hunter2" not in str(desk.log)


async def test_reply_of_the_use_case_is_made_fit_for_the_wire(intake, connect):
    long = "y" * 600

    async def odd(message, peer):
        return Reply(550, "5.7.1", ("a\r\n250 2.0.0 OK", "Privé", long))

    desk = await intake(receive=odd)
    talker = await connect(desk)
    await talker.begin()
    reply = await talker.data(CONTENT)
    assert reply.splitlines()[:2] == [
        "550-5.7.1 a??250 2.0.0 OK",
        "550-5.7.1 Priv?",
    ]
    assert reply.splitlines()[2].startswith("550 5.7.1 yyyy")


# --- A-49, A-50 --------------------------------------------------------------------
async def test_idle_client_is_told_and_closed(intake, connect):
    desk = await intake(configuration=settings(idle_s=1))
    talker = await connect(desk)
    assert await talker.rest() == ["421 4.4.2 Timeout, closing connection"]


async def test_session_has_an_end_even_when_it_never_idles(intake, connect):
    desk = await intake(configuration=settings(session_s=1))
    talker = await connect(desk)

    async def chat():
        while (reply := await talker.do("NOOP")) == "250 2.0.0 OK":
            await asyncio.sleep(0.02)
        return reply

    assert (await chat())[:9] == "421 4.4.2"


async def test_dripping_data_is_cut_at_its_deadline(intake, connect):
    desk = await intake(configuration=settings(data_s=1, idle_s=30))
    talker = await connect(desk)
    await talker.begin()
    await talker.do("DATA")
    answer = asyncio.create_task(talker.reply())
    while not answer.done():
        talker.send(b"x")
        await asyncio.sleep(0.05)
    assert (await answer)[:9] == "421 4.4.2"
    assert desk.messages == []


async def test_content_below_the_least_rate_is_cut_long_before_its_deadline(
    intake, connect
):
    limits = {"data_octets_per_s": 100, "data_window_s": 1}
    desk = await intake(configuration=settings(**limits))
    talker = await connect(desk)
    await talker.begin()
    await talker.do("DATA")
    reply = asyncio.create_task(talker.reply())
    while not reply.done():
        talker.send(b"x")  # never idle, and 20 octets a second
        await asyncio.sleep(0.05)
    assert (await reply)[:9] == "421 4.4.2"
    assert await talker.rest() == []
    assert desk.messages == []


async def test_content_above_the_least_rate_may_take_its_time(intake, connect):
    limits = {"data_octets_per_s": 1, "data_window_s": 2}
    desk = await intake(configuration=settings(**limits))
    talker = await connect(desk)
    await talker.begin()
    await talker.do("DATA")
    talker.send(HEAD)
    until = asyncio.get_running_loop().time() + 2.5  # over a window
    while asyncio.get_running_loop().time() < until:
        talker.send(b"x" * 98 + b"\r\n")
        await asyncio.sleep(0.05)
    talker.send(b".\r\n")
    assert (await talker.reply())[:9] == "250 2.0.0"


async def test_no_timer_runs_during_the_commit(intake, connect):
    async def slow(message, peer):
        await asyncio.sleep(1.3)  # longer than every limit below
        return OK

    desk = await intake(
        receive=slow, configuration=settings(idle_s=1, data_s=1, session_s=1)
    )
    talker = await connect(desk)
    await talker.begin()
    assert (await talker.data(CONTENT)).startswith("250 2.0.0")


# --- A-14 ---------------------------------------------------------------------------
async def test_stop_tells_idle_sessions_at_once_and_waits_for_the_commit(
    intake, connect
):
    slow = Slow()
    desk = await intake(receive=slow)
    idle, busy = await connect(desk), await connect(desk)
    secure = await connect(desk, IMPLICIT, tls=True)
    port = desk.port(OPEN)
    busy.send(PIPELINED + b"NOOP\r\n")
    await slow.started.wait()

    stopping = asyncio.create_task(desk.intake.stop(10))

    assert [reply[:9] for reply in await idle.rest()] == ["421 4.3.2"]
    assert [reply[:9] for reply in await secure.rest()] == ["421 4.3.2"]
    with pytest.raises(ConnectionError):
        await asyncio.open_connection("127.0.0.1", port)
    assert not stopping.done()
    slow.go.set()
    await stopping
    replies = [reply[:9] for reply in await busy.rest()]
    assert replies[-2:] == ["250 2.0.0", "421 4.3.2"]
    assert len(desk.messages) == 1


async def test_stop_cuts_who_does_not_go_but_never_a_commit(intake, connect):
    slow = Slow()
    desk = await intake(receive=slow)
    talker, sluggard = await connect(desk), await connect(desk)
    await sluggard.begin()
    await sluggard.do("DATA")
    talker.send(PIPELINED)
    await slow.started.wait()
    stopping = asyncio.create_task(desk.intake.stop(0))
    assert await sluggard.rest() == []
    assert not stopping.done()
    slow.go.set()
    await stopping
    assert len(desk.messages) == 1


async def test_second_process_can_share_the_listener(intake, tmp_path):
    desk = await intake()
    configuration = settings()
    listener = configuration.listeners[0].__class__(
        address="127.0.0.1",
        port=desk.port(STARTTLS),
        tls=configuration.listeners[1].tls,
        certificate="x",
        key="x",
        client_ca=None,
        require_tls=True,
    )
    other = await listen(
        configuration.__class__(
            **{
                field: getattr(configuration, field)
                for field in configuration.__slots__
                if field != "listeners"
            },
            listeners=(listener,),
        ),
        [server_context(tmp_path)],
        desk.intake.clients,
        desk.intake.handler,
        desk.write_log,
    )
    assert other.servers[0].sockets
    await other.stop(0)


async def test_listening_fails_whole_when_one_address_cannot_be_bound(intake, tmp_path):
    configuration = settings()
    desk = await intake()
    with socket.create_server(("127.0.0.1", 0)) as once:
        free = once.getsockname()[1]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports = (free, taken.getsockname()[1], 0)
        listeners = tuple(
            dataclasses.replace(listener, port=port)
            for listener, port in zip(configuration.listeners, ports, strict=True)
        )
        with pytest.raises(OSError, match="in use"):
            await listen(
                dataclasses.replace(configuration, listeners=listeners),
                [server_context(tmp_path)] * 3,
                desk.intake.clients,
                desk.intake.handler,
                desk.write_log,
            )
    with socket.create_server(("127.0.0.1", free)):
        pass  # what was opened is closed again
