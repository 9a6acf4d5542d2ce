"""Clients that leave behind the dot: a message is there whole, or not at all (A-02).

A client may half-close (over TLS with or without a word of TLS), or reset the
connection, at once or while the commit runs. Nothing listens at the next hop, so that
what was accepted stays: content, state of each recipient, and first evidence.
"""

import asyncio
import collections
import concurrent.futures
import contextlib
import dataclasses
import random
import socket
import struct
import time

import pytest

from gateway import app
from gateway.store.spool import SqlSpool
from tests.peers import gateway
from tests.scenarios import siege

pytestmark = [pytest.mark.peers, pytest.mark.xdist_group("half-close")]

_AT_ONCE = 12  # clients
_RECIPIENTS = ("crisis@ggz.test", "acuut@ggz.test")
_FILED_EACH = 40  # one in so many is so large that it gets a spool file
_FILED_OCTETS = 1_200_000
_LONGEST_PAUSE_S = 0.03  # about what a commit takes


@dataclasses.dataclass(frozen=True)
class Departure:
    """One message, and how its sender leaves."""

    number: int
    way: str
    tls: bool
    pause_s: float

    @property
    def name(self) -> str:
        return f"{self.way}{self.number}"

    @property
    def octets(self) -> bytes:
        large = self.number % _FILED_EACH == 0
        line = b"x" * 78 + b"\r\n"
        return siege.compose(self.name, body=line * (_FILED_OCTETS // 80 * large))


def half_close(caller: siege.Caller) -> str:
    caller.half_close()
    return caller.reply()


def close_notify(caller: siege.Caller) -> str:
    """What TLS has for it; the server may send no more then."""
    with contextlib.suppress(OSError):
        caller.sock.unwrap()
    return ""


def reset(caller: siege.Caller) -> str:
    linger = struct.pack("ii", 1, 0)
    caller.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    caller.sock.close()
    return ""


# How one leaves, and whether on sessions with TLS, without, or both.
WAYS = {
    "half-close": (half_close, (False, True)),
    "close-notify": (close_notify, (True,)),
    "reset": (reset, (False, True)),
    "unfinished": (half_close, (False, True)),  # the dot is not complete
}


def leave(running: gateway.Gateway, departure: Departure) -> str:
    """Hand a message over up to the dot, and leave; the reply if one was seen."""
    source = siege.client(departure.number % 40)
    with siege.calling(running, source, tls=departure.tls) as caller:
        caller.begin(*_RECIPIENTS)
        octets = siege.stuffed(departure.octets)
        most = len(octets)
        if departure.way == "unfinished":
            most -= 1 + departure.number % 5
        caller.send(octets[:most])
        time.sleep(departure.pause_s)
        return WAYS[departure.way][0](caller)


def departures(counts: dict[str, int], chance: random.Random) -> list[Departure]:
    """So many of each way, mixed; half of them leave at once."""
    planned = []
    for way, count in counts.items():
        for at in range(count):
            pause = chance.choice((0.0, chance.uniform(0, _LONGEST_PAUSE_S)))
            tls = WAYS[way][1]
            planned.append(Departure(at, way, tls[at % len(tls)], pause))
    chance.shuffle(planned)
    return planned


def storm(ca, counts: dict[str, int], seed: int) -> collections.Counter[str]:
    """Let them all leave; answers how many messages of each way are there."""
    planned = departures(counts, random.Random(seed))
    with siege.besieged(ca, retry_s=3600) as running:
        with concurrent.futures.ThreadPoolExecutor(_AT_ONCE) as clients:
            replies = clients.map(lambda each: leave(running, each), planned)
            said = {d.name: r for d, r in zip(planned, replies, strict=True)}
        running.stop()  # waits for the commits that run
        assert "intake-fault" not in running.log
        kept = siege.stored(str(running.config))
        spool = reconcile(str(running.config))
    assert (spool.removed, spool.missing) == (0, ())
    return check(planned, said, kept)


def reconcile(config_path: str):
    with app.opened(config_path) as installation:
        return asyncio.run(SqlSpool(installation.store).reconcile())


def check(planned, said, kept) -> collections.Counter[str]:
    by_name = {found.name: found for found in kept.values()}
    assert len(by_name) == len(kept)  # none is there twice
    assert set(by_name) <= {each.name for each in planned}
    there: collections.Counter[str] = collections.Counter()
    for each in planned:
        if each.name in by_name:
            siege.assert_complete(by_name[each.name], each.octets, _RECIPIENTS)
            there[each.way] += 1
        answer = said[each.name]
        # A reply is a promise; and over plain TCP a half-close is none of its business.
        assert answer.startswith("250 2.0.0") <= (each.name in by_name)
        if each.way == "half-close" and not each.tls:
            assert answer.startswith("250 2.0.0"), answer
    return there


def test_A_02_after_1000_half_closes_and_500_resets_all_is_complete_or_absent(ca):
    counts = {"half-close": 1000, "close-notify": 200, "reset": 500}
    there = storm(ca, {**counts, "unfinished": 100}, seed=20261125)
    assert set(there) == set(counts)  # of each way some, and none without its dot
    assert there["half-close"] >= 500  # all those without TLS
