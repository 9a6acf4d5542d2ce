"""Large messages: on the disk as they come, octet for octet, and nothing half stays."""

import asyncio
import hashlib
import socket
import struct

import pytest

from gateway.intake.turns import Lane, Turns
from gateway.model.message import Body
from gateway.model.octets import head_of, size_of
from gateway.queue.notice import header_of
from tests.unit.intake.intake_desk import HEAD, OK, first_of, settings
from tests.unit.intake.test_intake_data import until

MEGABYTE = 1024 * 1024
LINE = b"0123456789abcde" * 60 + b"\r\n"


def text(octets, line=LINE):
    """So many octets of whole lines, about."""
    return line * (octets // len(line))


async def begun(desk, connect):
    talker = await connect(desk)
    await talker.begin()
    assert (await talker.do("DATA")).startswith("354 ")
    return talker


async def test_a50_a_large_message_is_kept_octet_for_octet_and_not_in_memory(
    intake, connect
):
    desk = await intake()
    talker = await begun(desk, connect)
    content = HEAD + text(5 * MEGABYTE) + b".\r\n..\r\n" + text(MEGABYTE)
    talker.send(content.replace(b"\r\n.", b"\r\n..") + b".\r\n")
    assert await talker.reply() == OK.render()
    assert desk.content() == content
    (message,) = desk.messages
    assert not isinstance(message.octets, bytes)
    assert size_of(message.octets) == len(desk.contents[0])
    assert message.envelope.body is Body.SEVEN_BIT
    assert header_of(head_of(message.octets)).endswith(HEAD[:-2])
    assert desk.intake.room._free == settings().limits.memory_octets
    await until(lambda: desk.drafted() == [])


async def test_inv8_what_lies_on_the_disk_meanwhile_is_sealed(intake, connect):
    desk = await intake()
    talker = await begun(desk, connect)
    talker.send(HEAD + text(3 * MEGABYTE))
    await talker.writer.drain()
    await until(lambda: desk.drafted() and desk.drafted()[0].stat().st_size > MEGABYTE)
    (draft,) = desk.drafted()
    assert draft.stat().st_mode & 0o777 == 0o600
    octets = draft.read_bytes()
    assert LINE[:40] not in octets
    assert b"jan@gem.nl" not in octets
    talker.send(b".\r\n")
    assert await talker.reply() == OK.render()


async def test_a44_the_header_of_a_large_message_is_stripped_as_any_other(
    intake, connect
):
    desk = await intake()
    talker = await begun(desk, connect)
    content = HEAD + text(2 * MEGABYTE)
    talker.send(b"Bcc: secret@b.nl\r\n" + content + b".\r\n")
    assert await talker.reply() == OK.render()
    assert desk.content() == content
    assert desk.messages[0].removed == (("bcc", 1),)


async def test_a23_eight_bit_octets_far_down_are_seen(intake, connect):
    desk = await intake()
    talker = await begun(desk, connect)
    talker.send(HEAD + text(3 * MEGABYTE) + b"\xff\r\n.\r\n")
    assert await talker.reply() == OK.render()
    assert desk.messages[0].envelope.body is Body.EIGHT_BIT


@pytest.mark.parametrize(
    ("front", "end", "code"),
    [
        (b"From: a@gem.nl\r\n", b"", "550 5.6.0"),
        (b"X: \xc3\xa9\r\n", b"", "553 5.6.7"),
        (b"", b"a\nb\r\n", "554 5.5.2"),
        (b"", b"a\0b\r\n", "550 5.6.0"),
        (b"", text(60 * MEGABYTE), "552 5.3.4"),
    ],
    ids=["header", "8-bit header", "bare LF", "NUL", "too big"],
)
async def test_what_is_wrong_with_a_large_message_leaves_no_file(
    intake, connect, front, end, code
):
    desk = await intake()
    talker = await begun(desk, connect)
    talker.send(front + HEAD + text(2 * MEGABYTE) + end)
    await talker.writer.drain()
    talker.send(b".\r\n")
    assert first_of(await talker.reply()) == code
    assert desk.messages == []
    await until(lambda: desk.drafted() == [])
    await talker.begin()
    assert await talker.data(HEAD + b".\r\n") == OK.render()


async def test_a02_a_client_that_goes_in_the_middle_leaves_no_file(intake, connect):
    desk = await intake()
    talker = await begun(desk, connect)
    talker.send(HEAD + text(3 * MEGABYTE))
    await talker.writer.drain()
    await until(desk.drafted)
    talker.writer.transport.abort()
    await until(lambda: desk.drafted() == [])
    assert desk.messages == []


async def test_a20_without_room_on_the_disk_a_large_message_is_put_off(intake, connect):
    desk = await intake(reserve_octets=1 << 60)
    talker = await begun(desk, connect)
    talker.send(HEAD + text(3 * MEGABYTE) + b".\r\n")
    assert first_of(await talker.reply()) == "452 4.3.1"
    assert desk.drafted() == []
    await talker.begin()  # a small one needs no file
    assert await talker.data(HEAD + b".\r\n") == OK.render()


async def test_a03_a_disk_that_fails_is_451_and_nothing_of_it_is_told(intake, connect):
    desk = await intake()
    talker = await begun(desk, connect)
    (desk.place / "spool").rmdir()
    talker.send(HEAD + text(3 * MEGABYTE) + b".\r\n")
    reply = await talker.reply()
    assert reply == "451 4.3.0 Local error, try again later"
    assert ("intake-fault" in {event for event, _ in desk.log}) is True
    (desk.place / "spool").mkdir()


async def test_a_faulty_reception_in_a_hundred_does_not_disturb_the_others(
    intake, connect
):
    """Ends cut at any octet: whole or absent, and no file stays."""
    desk = await intake()
    content = HEAD + text(2 * MEGABYTE)
    digests = []
    for at in range(12):
        talker = await begun(desk, connect)
        whole = content + b".\r\n"
        cut = len(whole) - at if at % 2 else len(whole)
        talker.send(whole[:cut])
        await talker.writer.drain()
        if cut == len(whole):
            assert await talker.reply() == OK.render()
            digests.append(hashlib.sha256(desk.content()).digest())
        else:
            talker.writer.transport.abort()
    assert set(digests) == {hashlib.sha256(content).digest()}
    await until(lambda: desk.drafted() == [])


# --- turns -----------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "most"), [(1000, 10), (100_000, 2), (2_000_000, 1)])
async def test_a50_so_many_are_read_at_a_time(tmp_path, size, most):
    turns = Turns(tmp_path / "lock", 100)
    inside, seen = set(), []

    async def read(number):
        async with turns.wait(b"x" * size, "mta"):
            inside.add(number)
            seen.append(len(inside))
            await asyncio.sleep(0.01)
            inside.discard(number)

    await asyncio.gather(*map(read, range(10)))
    assert max(seen) == most


async def test_a50_a_large_one_waits_for_the_other_process(tmp_path):
    lock, large = tmp_path / "lock", b"x" * 2_000_000
    ours, theirs = Turns(lock, 100), Turns(lock, 100)
    entered = asyncio.Event()

    async def enter():
        async with theirs.wait(large, "mta"):
            entered.set()

    async with ours.wait(large, "mta"):
        waiting = asyncio.create_task(enter())
        await asyncio.sleep(0.05)
        assert not entered.is_set()
    await waiting
    assert entered.is_set()


async def test_inv9_who_waits_is_served_client_by_client():
    turns, large, order = Turns(None, 100), b"x" * 2_000_000, []

    async def read(client):
        async with turns.wait(large, client):
            order.append(client)
            await asyncio.sleep(0)

    async with turns.wait(large, "first"):
        tasks = [asyncio.create_task(read(name)) for name in "aaaabbc"]
        await asyncio.sleep(0)
    await asyncio.gather(*tasks)
    assert "".join(order) == "abcabaa"


async def test_a50_who_went_away_waits_no_longer():
    turns, large, order = Turns(None, 100), b"x" * 2_000_000, []

    async def read(name):
        async with turns.wait(large, name):
            order.append(name)

    async with turns.wait(large, "first"):
        gone, last = (asyncio.create_task(read(name)) for name in ("gone", "last"))
        await asyncio.sleep(0)
        turns.give_up(gone)
    await asyncio.gather(gone, last, return_exceptions=True)
    assert (gone.cancelled(), order) == (True, ["last"])


async def test_a50_who_went_in_the_moment_of_its_turn_gives_it_to_the_next():
    lane = Lane(1)
    await lane.enter("a")
    gone, last = (asyncio.create_task(lane.enter(name)) for name in "bc")
    await asyncio.sleep(0)
    lane.leave()
    gone.cancel()
    await last
    assert gone.cancelled()
    lane.leave()
    await lane.enter("d")


async def test_a02_who_went_after_its_turn_began_is_dealt_with_to_the_end():
    turns = Turns(None, 100)
    go_on = asyncio.Event()

    async def read():
        async with turns.wait(b"x" * 2_000_000, "a"):
            await go_on.wait()
            return True

    task = asyncio.create_task(read())
    await asyncio.sleep(0)
    turns.give_up(task)
    go_on.set()
    assert await task


@pytest.fixture
def holding():
    """Set at the end of a test at the latest, or the intake would wait for ever."""
    event = asyncio.Event()
    yield event
    event.set()


def reset(talker):
    """Gone at once, and the other end knows."""
    raw = talker.writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    talker.writer.transport.abort()


async def large_upload(desk, connect):
    talker = await begun(desk, connect)
    talker.send(HEAD + text(2 * MEGABYTE) + b".\r\n")
    return talker


async def test_a50_a_client_that_went_is_not_waited_for_and_its_file_goes(
    intake, connect, holding
):
    turns = []

    async def receive(message, peer):
        async with turns[0].wait(message.octets, peer.client):
            await holding.wait()
        return OK

    desk = await intake(receive=receive)
    turns.append(desk.turns)
    first = await large_upload(desk, connect)
    await until(lambda: len(desk.drafted()) == 1 and desk.turns._large._free == 0)
    others = [await large_upload(desk, connect) for _ in range(5)]
    await until(lambda: len(desk.turns._patient) == 5)
    for other in others:
        reset(other)
    await until(lambda: len(desk.drafted()) == 1)
    holding.set()
    assert await first.reply() == OK.render()
    assert len(desk.messages) == 1


async def test_a50_memory_is_counted_until_the_message_is_dealt_with(
    intake, connect, holding
):
    """The dot, then a reset: the octets are still there, whoever is not."""

    async def receive(message, peer):
        await holding.wait()
        return OK

    desk = await intake(receive=receive)
    running = desk.intake.handler._running
    for number in range(1, 11):
        talker = await begun(desk, connect)
        talker.send(HEAD + text(MEGABYTE // 2) + b".\r\n")
        await talker.writer.drain()
        await until(lambda number=number: len(running) == number)
        reset(talker)
    await until(lambda: not desk.intake.sessions)
    assert len(running) == 10
    limit = desk.intake.limits.memory_octets
    in_memory = 10 - len(desk.drafted())
    assert in_memory > 0
    assert desk.intake.room.held >= in_memory * 500_000
    assert desk.intake.room.held <= limit
    holding.set()
    await until(lambda: desk.intake.room._free == limit)


async def test_a50_no_client_has_more_messages_under_way_than_sessions(
    intake, connect, holding
):

    async def receive(message, peer):
        await holding.wait()
        return OK

    desk = await intake(
        receive=receive, configuration=settings(sessions=6, sessions_per_address=6)
    )
    said = []
    for _ in range(5):
        talker = await connect(desk)
        await talker.begin()
        await talker.do("DATA")
        talker.send(HEAD + b"x\r\n.\r\n")
        await talker.writer.drain()
        if len(said) == 0:
            reply = asyncio.create_task(talker.reply())
            done, _ = await asyncio.wait({reply}, timeout=0.3)
            if done:
                said.append(first_of(reply.result()))
        reset(talker)
        await until(lambda: len(desk.intake.sessions) == 0)
    assert said == ["452 4.3.1"]
    assert len(desk.intake.handler._running) == 3
    holding.set()
    await until(lambda: not desk.intake.handler._running)
