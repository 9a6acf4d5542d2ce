import contextlib

import pytest

from tests.unit.intake.intake_desk import OPEN, Talker, client_context, running


@pytest.fixture
async def intake(tmp_path):
    """`desk = await intake(...)` runs an intake until the test ends."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(**arguments):
            return await stack.enter_async_context(running(tmp_path, **arguments))

        yield start


@pytest.fixture
async def connect():
    """`talker = await connect(desk, listener)` is closed when the test ends."""
    talkers = []

    async def open_one(desk, listener=OPEN, *, tls=False, source="127.0.0.1"):
        context = client_context() if tls else None
        talker = await Talker.connect(desk.port(listener), context, source)
        talkers.append(talker)
        return talker

    yield open_one
    for talker in talkers:
        await talker.close()
