"""Shares of the room, places for sessions, and the least rate."""

import asyncio
import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.intake.pace import Pace
from gateway.intake.places import Guest, Places
from gateway.intake.room import Room
from gateway.limits import Limits
from tests.unit.intake.intake_desk import IMPLICIT, PASSWORD, USER, settings

HERE = """
[[client]]
id = "mta"
municipality = "zwolle"
networks = ["127.0.0.1/32"]
"""
PLAIN = base64.b64encode(f"\0scanner\0{PASSWORD}".encode()).decode()


# --- room ---------------------------------------------------------------------------
def test_one_user_alone_comes_to_half_and_leaves_the_next_a_quarter():
    room = Room(100)
    assert room.take("a", 50)
    assert not room.take("a", 1)
    assert room.take("b", 25)
    assert not room.take("b", 1)
    room.give_back("a", 50)
    assert room.take("b", 12)
    assert not room.take("c", 64)


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(1, 40))))
def test_whatever_others_hold_there_is_room_for_one_who_holds_nothing(takes):
    room = Room(1000)
    held = [take for take in takes if room.take(*take)]
    assert room.take("new", 1)
    room.give_back("new", 1)
    for take in held:
        room.give_back(*take)
    assert room._free == 1000
    assert not room._held


def test_what_is_passed_on_counts_for_the_other_if_he_may_have_it():
    room = Room(4)
    assert room.take("a", 1)
    assert room.take("b", 1)
    assert room.pass_on("a", "b", 1)
    assert room.take("a", 1)
    assert not room.pass_on("a", "b", 1)  # two of it, and one is left free
    room.give_back("a", 1)
    room.give_back("b", 2)
    assert room._free == 4
    assert not room._held


# --- places -----------------------------------------------------------------------------
def places(**limits):
    return Places(Limits(**limits))


def test_address_that_is_no_clients_has_few_places():
    few = places(sessions_per_stranger=2, sessions_per_address=3)
    stranger, client = Guest("192.0.2.1", None), Guest("192.0.2.1", "mta")
    assert [few.take(stranger) for _ in range(3)] == [True, True, False]
    assert [few.take(client) for _ in range(4)] == [True, True, True, False]
    assert few.take(Guest("192.0.2.2", None))
    few.give_back(stranger)
    assert few.take(stranger)


def test_addresses_of_one_ipv6_site_are_one():
    few = places(sessions_per_stranger=1)
    assert few.take(Guest("2001:db8::1", None))
    assert not few.take(Guest("2001:db8::2", None))
    assert few.take(Guest("2001:db8:0:1::2", None))


def test_strangers_from_everywhere_never_take_the_last_places():
    many = places(sessions=100)
    taken = [many.take(Guest(f"192.0.2.{at}", None)) for at in range(100)]
    assert sum(taken) == 50
    assert many.take(Guest("198.51.100.1", "mta"))


def test_stranger_who_proves_to_be_a_client_makes_place_for_another():
    few = places(sessions_per_stranger=1, sessions_per_address=1)
    stranger, client = Guest("192.0.2.1", None), Guest("192.0.2.1", "mta")
    assert few.take(stranger)
    assert few.recognise(stranger, client) == client
    assert few.take(stranger)
    assert few.recognise(stranger, client) == stranger  # the client has its one place
    few.give_back(client)
    assert few.recognise(stranger, client) == client
    assert few.recognise(client, client) == client
    few.give_back(client)
    assert not few._origins
    assert few._room._free == 200


def test_strangers_cannot_prove_themselves_over_the_share_of_their_client():
    crowd = places(sessions=10, sessions_per_stranger=100)
    guests = [Guest(f"192.0.2.{at}", None) for at in range(5)]
    assert all(map(crowd.take, guests))
    known = [crowd.recognise(guest, Guest(guest.address, "mta")) for guest in guests]
    assert [guest.client for guest in known] == ["mta"] * 5
    more = Guest("192.0.2.9", None)
    assert crowd.take(more)
    assert crowd.recognise(more, Guest(more.address, "mta")) == more


# --- pace --------------------------------------------------------------------------------
def test_rate_is_looked_at_when_a_window_ends_and_counts_that_window_only():
    pace = Pace(Limits(data_octets_per_s=100, data_window_s=60), 1000.0)
    assert pace.ends_at == 1060
    assert pace.keeps_up(0, 1059.9)
    assert pace.keeps_up(6000, 1060)
    assert pace.ends_at == 1120
    assert not pace.keeps_up(11_999, 1120)
    fast = Pace(Limits(data_octets_per_s=100, data_window_s=60), 0.0)
    assert fast.keeps_up(1_000_000, 60)
    assert not fast.keeps_up(1_000_001, 120)


# --- sessions on the wire -------------------------------------------------------------------
async def test_session_without_a_place_is_turned_away_and_a_freed_place_is_free(
    intake, connect
):
    desk = await intake(configuration=settings(sessions_per_address=3))
    first = [await connect(desk) for _ in range(3)]
    over = await connect(desk)
    assert over.greeting.startswith("421 4.7.0")
    assert await over.rest() == []
    assert desk.log[-2] == (
        "intake-full",
        {"sessions": 3, "client": "mta", "network": "127.0.0.0/24"},
    )
    assert await first[0].code("QUIT") == "221 2.0.0"
    async with asyncio.timeout(10):
        while len(desk.intake.sessions) == 3:
            await asyncio.sleep(0)
    assert (await connect(desk)).greeting.startswith("220 ")


async def test_strangers_who_hold_all_they_can_do_not_keep_a_client_out(
    intake, connect
):
    desk = await intake(configuration=settings(HERE, sessions=20))
    greetings = []
    for source in ("127.0.0.2", "127.0.0.3"):
        greetings += [(await connect(desk, source=source)).greeting for _ in range(10)]
    assert [text[:3] for text in greetings] == ["220"] * 10 + ["421"] * 10
    client = await connect(desk)
    await client.begin()


async def test_stranger_who_authenticates_gives_its_place_to_the_next(intake, connect):
    desk = await intake(configuration=settings(USER, sessions_per_stranger=1))
    for _ in range(3):
        talker = await connect(desk, IMPLICIT, tls=True)
        assert talker.greeting.startswith("220 ")
        with pytest.raises(OSError):  # at the door
            await connect(desk, IMPLICIT, tls=True)
        await talker.greet()
        assert await talker.code(f"AUTH PLAIN {PLAIN}") == "235 2.7.0"


@pytest.mark.parametrize("listener", [0, IMPLICIT])
async def test_every_end_of_a_session_frees_its_place(intake, connect, listener):
    desk = await intake(configuration=settings(USER, sessions_per_stranger=1))
    for end in ("QUIT", "close", "garbage"):
        talker = await connect(desk, listener, tls=listener == IMPLICIT)
        assert talker.greeting.startswith("220 "), end
        if end == "QUIT":
            await talker.do("QUIT")
        elif end == "garbage":
            talker.send(b"\n")
        await talker.close()
        async with asyncio.timeout(10):
            while desk.intake.sessions:
                await asyncio.sleep(0)
    assert desk.intake.places._room._free == 200
