"""Handshakes: few a minute for a stranger, few at once for all (A-50, A-51)."""

import asyncio
import contextlib
import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.intake import entrance, handshakes
from gateway.intake.handshakes import Handshakes, Pressure
from gateway.intake.places import BALANCER, Guest
from gateway.limits import Limits
from tests.unit.intake.intake_desk import (
    IMPLICIT,
    STARTTLS,
    USER,
    Talker,
    client_context,
    settings,
)

HERE = USER + '[[client]]\nid = "mta"\nmunicipality = "zwolle"\nnetworks = ["{}"]\n'


def stranger(address="192.0.2.1"):
    return Guest(address, None)


def made(**limits):
    return Handshakes(Limits(**limits))


def spend(table, guest, count, now):
    """What so many handshakes one after another came to."""
    answers = []
    for _ in range(count):
        answers.append(table.begin(guest, now))
        if answers[-1] is None:
            table.end(guest)
    return answers


def test_a51_stranger_has_so_many_a_minute_and_gets_them_back_with_time():
    table = made(handshakes_per_minute=6)
    assert spend(table, stranger(), 7, 100.0) == [None] * 6 + [Pressure.RATE]
    assert spend(table, stranger(), 1, 109.0) == [Pressure.RATE]
    assert spend(table, stranger(), 2, 110.0) == [None, Pressure.RATE]
    assert spend(table, stranger(), 7, 500.0) == [None] * 6 + [Pressure.RATE]


def test_a51_another_address_is_another_and_an_ipv6_site_is_one():
    table = made(handshakes_per_minute=1)
    for address, expected in (
        ("192.0.2.1", None),
        ("192.0.2.2", None),
        ("2001:db8::1", None),
        ("2001:db8::2", Pressure.RATE),
        ("2001:db8:0:1::1", None),
    ):
        assert spend(table, stranger(address), 1, 0.0) == [expected]


def test_a51_client_has_no_rate():
    table = made(handshakes_per_minute=1)
    for guest in (Guest("192.0.2.1", "mta"), Guest("192.0.2.1", BALANCER)):
        assert spend(table, guest, 500, 0.0) == [None] * 500


def test_a51_what_is_remembered_is_bounded_and_the_oldest_goes_first(monkeypatch):
    monkeypatch.setattr(handshakes, "REMEMBERED", 100)
    table = made(handshakes_per_minute=1)
    for host in range(100):
        spend(table, stranger(f"192.0.2.{host}"), 1, 0.0)
    assert spend(table, stranger("192.0.2.0"), 1, 1.0) == [Pressure.RATE]
    spend(table, stranger("198.51.100.1"), 1, 1.0)
    assert len(table._buckets) == 100
    assert spend(table, stranger("192.0.2.0"), 1, 1.0) == [
        Pressure.RATE
    ]  # was heard of
    assert spend(table, stranger("192.0.2.1"), 1, 1.0) == [None]


def test_a51_strangers_at_once_leave_room_for_a_client():
    table = made(sessions=40)
    taken = [table.begin(stranger(f"192.0.2.{host}"), 0.0) for host in range(20)]
    assert taken == [None] * 10 + [Pressure.AT_ONCE] * 10
    assert table.begin(Guest("203.0.113.7", "mta"), 0.0) is None
    table.end(stranger())
    table.end(stranger())
    assert table.begin(stranger("192.0.2.99"), 0.0) is None


@given(st.lists(st.floats(0, 10_000), max_size=300))
def test_a51_in_no_minute_more_than_twice_the_rate(times):
    table = made(handshakes_per_minute=5, sessions=1000)
    allowed = [at for at in sorted(times) if spend(table, stranger(), 1, at) == [None]]
    for at in allowed:
        assert sum(at <= other < at + 60 for other in allowed) <= 10


# --- on the wire ------------------------------------------------------------------
async def test_a51_starttls_over_the_rate_is_put_off_and_the_session_goes_on(
    intake, connect
):
    desk = await intake(configuration=settings(USER, handshakes_per_minute=2))
    for expected in ("220 2.0.0", "220 2.0.0", "454 4.7.0"):
        talker = await connect(desk, STARTTLS)
        await talker.greet()
        assert await talker.code("STARTTLS") == expected
    assert await talker.code("NOOP") == "250 2.0.0"
    assert ("intake-handshake-refused", {"network": "127.0.0.0/24"}) in desk.log


async def test_a51_implicit_tls_over_the_rate_is_closed_before_the_handshake(
    intake, connect
):
    desk = await intake(configuration=settings(USER, handshakes_per_minute=2))
    for _ in range(2):
        talker = await connect(desk, IMPLICIT, tls=True)
        assert talker.greeting.startswith("220 ")
    reader, writer = await asyncio.open_connection("127.0.0.1", desk.port(IMPLICIT))
    assert await reader.read() == b""
    writer.close()
    assert desk.ends() == [("handshake-rate", "handshake")]


async def test_a51_client_is_served_while_strangers_are_not(intake, connect):
    clients = HERE.format("127.0.0.1/32")
    desk = await intake(configuration=settings(clients, handshakes_per_minute=1))
    for _ in range(5):
        with contextlib.suppress(OSError):
            await connect(desk, IMPLICIT, tls=True, source="127.0.0.2")
    for _ in range(5):
        talker = await connect(desk, IMPLICIT, tls=True)
        await talker.begin()
    assert desk.ends() == [("handshake-rate", "handshake")] * 4


@pytest.fixture
async def silent():
    """`await silent(desk, count, source)`: connections that never begin to shake."""
    writers = []

    async def open_them(desk, count, source):
        for _ in range(count):
            _, writer = await asyncio.open_connection(
                "127.0.0.1", desk.port(IMPLICIT), local_addr=(source, 0)
            )
            writers.append(writer)

    yield open_them
    for writer in writers:
        writer.close()


async def until(condition):
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


async def test_a50_who_does_not_shake_hands_holds_a_place_of_its_address_only(
    intake, connect, silent
):
    clients = HERE.format("127.0.0.1/32")
    desk = await intake(configuration=settings(clients, sessions_per_stranger=3))
    await silent(desk, 5, "127.0.0.2")
    await until(lambda: desk.ends() == [("no-place", "handshake")] * 2)
    await silent(desk, 1, "127.0.0.3")
    await (await connect(desk, IMPLICIT, tls=True)).begin()
    assert len(desk.ends()) == 2


async def test_a51_handshakes_that_never_end_do_not_keep_a_client_out(
    intake, connect, silent
):
    clients = HERE.format("127.0.0.1/32")
    desk = await intake(configuration=settings(clients, sessions=40))
    for host in range(2, 6):
        await silent(desk, 5, f"127.0.0.{host}")
    await until(lambda: len(desk.ends()) == 10)
    assert set(desk.ends()) == {("handshakes-at-once", "handshake")}
    await (await connect(desk, IMPLICIT, tls=True)).begin()


async def test_a50_end_of_a_handshake_frees_place_and_handshake(intake, silent):
    desk = await intake(configuration=settings(USER))
    reader, writer = await asyncio.open_connection("127.0.0.1", desk.port(IMPLICIT))
    writer.write(b"EHLO x\r\n" * 10)
    with contextlib.suppress(OSError):
        await reader.read()
    writer.close()
    await until(lambda: desk.ends() == [("tls-failed", "handshake")])
    await until(lambda: desk.intake.places._room._free == 200)
    assert desk.intake.handshakes._room._free == 100
    talker = await Talker.connect(desk.port(IMPLICIT), client_context())
    assert desk.intake.handshakes._room._free == 100
    await talker.close()
    await until(lambda: desk.intake.places._room._free == 200)


async def test_fault_at_the_door_closes_the_connection_and_is_told(
    intake, connect, monkeypatch
):
    desk = await intake()

    def broken(*arguments):
        raise RuntimeError("hunter2")

    with monkeypatch.context() as patch:
        patch.setattr(desk.intake.clients, "identify", broken)
        assert (await connect(desk)).greeting == ""
    assert desk.ends() == [("fault", "greeting")]
    assert desk.log[-2][0] == "intake-fault"
    assert "hunter2" not in str(desk.log)
    assert (await connect(desk)).greeting.startswith("220 ")


async def test_door_opens_again_when_descriptors_were_short(
    intake, connect, monkeypatch
):
    monkeypatch.setattr(entrance, "_PAUSE_S", 0.01)
    loop, short = asyncio.get_running_loop(), [True, True]
    accept = loop.sock_accept

    async def scarce(listening):
        if short:
            short.pop()
            raise OSError(errno.EMFILE, "too many open files")
        return await accept(listening)

    monkeypatch.setattr(loop, "sock_accept", scarce)
    desk = await intake()
    assert (await connect(desk)).greeting.startswith("220 ")
    assert desk.ends() == [("no-descriptor", "greeting")] * 2


async def test_a14_stop_does_not_wait_for_who_is_in_a_handshake(intake, silent):
    desk = await intake(configuration=settings(USER))
    await silent(desk, 3, "127.0.0.1")
    await until(lambda: desk.intake.places._room._free == 197)
    async with asyncio.timeout(10):
        await desk.intake.stop(0.2)
    assert desk.intake.places._room._free == 200
