"""What every unit of work promises; a subclass gives `store`, `queue`, `spool`."""

import asyncio
import dataclasses

import pytest

from gateway.model.errors import TemporaryFailure
from gateway.model.ids import MessageId
from gateway.model.job import JobState
from tests.contract.store_bed import (
    NOW,
    OWNER,
    SECOND,
    accept,
    make_accepted,
    make_job,
)


class WorkContract:
    async def test_a_unit_is_there_when_the_block_ended(
        self, store, queue, spool, evidence
    ):
        job = await accept(store, "1", b"inhoud\r\n")

        assert job == await queue.load_job(job.id)
        assert await spool.load(job.message) == b"inhoud\r\n"
        found = await evidence.records_of_message(job.message)
        assert [record.event for record in found] == ["accepted", "intent"]

    async def test_an_error_in_the_block_writes_nothing(self, store, queue, spool):
        job = make_job("1")

        with pytest.raises(LookupError):  # noqa: PT012
            async with store.work() as work:
                await work.spool.save(job.message, OWNER, b"inhoud")
                await work.queue.add(job)
                raise LookupError

        assert await queue.load_job(job.id) is None
        with pytest.raises(TemporaryFailure):
            await spool.load(job.message)

    async def test_nothing_is_written_before_the_block_ends(self, store, queue):
        job = make_job("1")

        async with store.work() as work:
            await work.queue.add(job)
            seen = await queue.load_job(job.id)

        assert seen is None

    async def test_an_empty_unit_is_no_fault(self, store):
        async with store.work() as work:
            await work.queue.add()
            await work.evidence.append()

    async def test_a_unit_with_a_known_id_is_refused_whole(
        self, store, queue, evidence
    ):
        job = await accept(store, "1")
        again = make_accepted("b", "m-2")

        with pytest.raises(TemporaryFailure):  # noqa: PT012
            async with store.work() as work:
                await work.evidence.append(again)
                await work.queue.add(make_job("other"), job)

        assert not await evidence.records_of_message(MessageId("m-2"))

    async def test_one_bad_unit_does_not_fail_the_others_of_its_batch(
        self, store, queue
    ):
        await accept(store, "20")

        results = await asyncio.gather(
            *(accept(store, str(n)) for n in range(50)), return_exceptions=True
        )

        failed = [n for n, r in enumerate(results) if isinstance(r, Exception)]
        assert failed == [20]
        assert isinstance(results[20], TemporaryFailure)
        assert (await queue.counts())[JobState.READY] == 50

    async def test_a_cancelled_caller_leaves_all_of_its_unit(
        self, store, queue, spool, evidence
    ):
        async def cancelled(n):
            task = asyncio.create_task(accept(store, str(n)))
            await asyncio.sleep(0)  # it now waits for the commit
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        await asyncio.gather(*(cancelled(n) for n in range(200)))
        await accept(store, "last")  # commits after whatever was handed over

        for n in range(200):
            message = MessageId(f"m-{n}")
            assert len(await queue.jobs_of_message(message)) == 1
            assert len(await evidence.records_of_message(message)) == 2
            assert await spool.load(message) == b"x" * 4096

    async def test_settling_adds_notices_and_evidence_in_one_unit(
        self, store, queue, evidence
    ):
        await accept(store, "1")
        (job,) = await queue.lease("w", 1, NOW, NOW + SECOND)
        notice = make_job("n")

        async with store.work() as work:
            await work.queue.update(dataclasses.replace(job, state=JobState.DONE))
            await work.spool.save(notice.message, OWNER, b"bericht")
            await work.queue.add(notice)
            await work.evidence.append(make_accepted("x", job.message))

        counts = await queue.counts()
        assert (counts[JobState.DONE], counts[JobState.READY]) == (1, 1)
        assert len(await evidence.records_of_message(job.message)) == 3
