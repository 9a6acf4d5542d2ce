"""What every spool promises; a subclass gives `store`, `queue` and `spool`."""

import asyncio
import dataclasses

import pytest

from gateway.model.errors import TemporaryFailure
from gateway.model.ids import MessageId
from gateway.model.job import JobState
from gateway.model.octets import whole_of
from tests.contract.store_bed import NOW, OWNER, SECOND, make_job, make_octets

KIB = 1024
SIZES = (0, 1, 64 * KIB - 1, 64 * KIB, 64 * KIB + 1, 1024 * KIB, 1024 * KIB + 1)


async def save(store, name, octets):
    async with store.work() as work:
        await work.spool.save(MessageId(name), OWNER, octets)


class SpoolContract:
    @pytest.mark.parametrize("size", [*SIZES, 5 * 1024 * KIB])
    async def test_octets_come_back_exactly_as_saved(self, store, spool, size):
        octets = make_octets(size)[:size]

        await save(store, "m", octets)

        assert octets == whole_of(await spool.load(MessageId("m")))

    async def test_an_unknown_message_is_a_fault_of_ours(self, spool):
        with pytest.raises(TemporaryFailure):
            await spool.load(MessageId("unknown"))

    @pytest.mark.parametrize("size", [10, 2048 * KIB])
    async def test_discarded_octets_are_gone(self, store, spool, size):
        await save(store, "m", make_octets(size))

        async with store.work() as work:
            await work.spool.discard(MessageId("m"))

        with pytest.raises(TemporaryFailure):
            await spool.load(MessageId("m"))

    @pytest.mark.parametrize("size", [10, 2048 * KIB])
    async def test_a_message_saved_twice_keeps_its_first_octets(
        self, store, spool, size
    ):
        first = make_octets(size)
        await save(store, "m", first)

        with pytest.raises(TemporaryFailure):
            await save(store, "m", make_octets(size))

        assert first == whole_of(await spool.load(MessageId("m")))

    async def test_octets_stay_while_another_job_of_the_message_is_open(
        self, store, queue, spool
    ):
        await save(store, "m", b"inhoud")
        async with store.work() as work:
            await work.queue.add(make_job("1", "m"), make_job("2", "m"))
        first, second = await queue.lease("w", 2, NOW, NOW + SECOND)

        async def end(job):
            async with store.work() as work:
                await work.spool.discard(job.message)
                await work.queue.update(dataclasses.replace(job, state=JobState.DONE))

        await end(first)
        assert await spool.load(MessageId("m")) == b"inhoud"
        await end(second)
        with pytest.raises(TemporaryFailure):
            await spool.load(MessageId("m"))

    async def test_a_sweep_forgets_what_no_open_job_needs_and_nothing_else(
        self, store, spool
    ):
        for name in ("open", "held", "done"):
            await save(store, name, b"inhoud")
        async with store.work() as work:
            await work.queue.add(
                make_job("1", "open"),
                make_job("2", "held", state=JobState.HELD),
                make_job("3", "done", state=JobState.DONE),
            )

        assert await spool.sweep() == 1
        assert await spool.sweep() == 0

        assert await spool.load(MessageId("open")) == b"inhoud"
        assert await spool.load(MessageId("held")) == b"inhoud"
        with pytest.raises(TemporaryFailure):
            await spool.load(MessageId("done"))

    async def test_many_large_messages_at_once_come_back(self, store, spool):
        contents = {f"m{n}": make_octets(1024 * KIB + n + 1) for n in range(6)}

        await asyncio.gather(*(save(store, n, o) for n, o in contents.items()))

        for name, octets in contents.items():
            assert octets == whole_of(await spool.load(MessageId(name)))
