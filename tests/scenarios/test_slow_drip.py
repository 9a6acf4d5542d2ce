"""Whoever keeps connections open and sends next to nothing (A-49, A-51).

Here it is shown that a normal client is served meanwhile, and that the server ends the
drips by its own deadlines. How fast it is served is measured by `bench/slow_drip.py`.
"""

import asyncio
import contextlib
import time

import pytest

from gateway.limits import Limits
from tests.peers import gateway
from tests.scenarios import siege
from tests.scenarios.drip import Drip, Point, drips

pytestmark = [pytest.mark.peers, pytest.mark.xdist_group("slow-drip")]

_DRIPS = 300
_FLOOD = 200
_MESSAGES = 20
_PATIENCE_S = 240  # generous: a deadline that fails to come is what it finds
# Time enough on a busy machine to see 300 of them at once; a handshake has 30 s.
LIMITS = {"idle_s": 30, "data_window_s": 30}


def deliver(running: gateway.Gateway, number: int) -> str:
    """What a normal client does for one message."""
    with siege.calling(running, siege.client(number % 3)) as caller:
        reference = caller.deliver(siege.compose(f"normal{number}"))
        assert caller.ask("QUIT").startswith("221 ")
    return reference


@contextlib.asynccontextmanager
async def dripping(running: gateway.Gateway, made: list[Drip]):
    """All of them at once, each at the point where it drips; their tasks."""
    tasks = [asyncio.create_task(each.run(running.address)) for each in made]
    try:
        async with asyncio.timeout(_PATIENCE_S):
            await asyncio.gather(*(each.begun.wait() for each in made))
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_A_49_a_normal_client_is_served_and_300_drips_are_cut(ca, start):
    running = start(siege.besieged(ca, limits=LIMITS))
    made = drips(_DRIPS)
    async with dripping(running, made) as tasks:
        references = [
            await asyncio.to_thread(deliver, running, n) for n in range(_MESSAGES)
        ]
        # The caps turn some away, most of them handshakes.
        assert sum(each.is_open for each in made) > _DRIPS / 2
        _, pending = await asyncio.wait(tasks, timeout=_PATIENCE_S)
        assert not pending
        await asyncio.gather(*tasks)
        references.append(await asyncio.to_thread(deliver, running, _MESSAGES))
    kept = await asyncio.to_thread(siege.stored, str(running.config))
    assert set(references) <= set(kept)
    for each in made:
        if each.turned_away:
            continue
        if each.point in {Point.COMMAND, Point.DATA}:
            assert each.last_word.startswith(b"421 4.4.2 "), each
        else:
            assert b"220" not in each.last_word, each


async def test_A_51_a_normal_client_is_served_beside_200_unfinished_handshakes(
    ca, start
):
    """Half of them behind STARTTLS, half on implicit TLS; not one octet comes."""
    running = start(siege.besieged(ca))
    points = (Point.STARTTLS_HELLO, Point.IMPLICIT_HELLO)
    made = [
        Drip(points[at % 2], siege.stranger(at // 8), interval_s=_PATIENCE_S)
        for at in range(_FLOOD)
    ]
    async with dripping(running, made):
        began = time.monotonic()
        for number in range(_MESSAGES):
            await asyncio.to_thread(deliver, running, number)
        open_now = sum(each.is_open for each in made)
        # The caps let in a part; all are gone when sending took as long as 20 s.
        assert open_now >= _FLOOD / 4 or time.monotonic() - began > 20


async def test_A_50_connections_without_a_handshake_are_counted_on_implicit_tls_too(
    ca, start
):
    """Each costs a descriptor and the buffers of TLS, whoever it is."""
    running = start(siege.besieged(ca))
    most = 2 * Limits().sessions_per_stranger  # two workers
    made = [
        Drip(Point.IMPLICIT_HELLO, siege.stranger(1), interval_s=_PATIENCE_S)
        for _ in range(5 * most)
    ]
    async with dripping(running, made):
        async with asyncio.timeout(20):  # before the deadline of the handshake
            while sum(each.is_open for each in made) > most:
                await asyncio.sleep(0.1)
        await asyncio.to_thread(deliver, running, 1)
