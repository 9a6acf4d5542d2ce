import asyncio
import dataclasses
import os
import threading

import pytest

from gateway.model.errors import StoreFull, TemporaryFailure
from gateway.model.ids import MessageId
from gateway.model.job import JobState
from gateway.model.octets import head_of, keyed_digest, whole_of
from gateway.store import tables
from gateway.store.spoolfile import SpoolDirectory
from tests.contract.store_bed import (
    NOW,
    OWNER,
    SECOND,
    accept,
    make_job,
    make_octets,
)

LARGE = 1024 * 1024 + 1


def files(bed):
    return list((bed.place / "spool").iterdir())


async def test_small_content_makes_no_file_and_large_content_one(bed, store):
    await accept(store, "small", make_octets(LARGE - 1))
    assert files(bed) == []

    await accept(store, "large", make_octets(LARGE))
    assert len(files(bed)) == 1


async def test_a_spool_file_is_removed_with_its_message(bed, store, queue):
    await accept(store, "1", make_octets(LARGE))
    (job,) = await queue.lease("w", 1, NOW, NOW + SECOND)

    async with store.work() as work:
        await work.queue.update(dataclasses.replace(job, state=JobState.DONE))
        await work.spool.discard(job.message)

    assert files(bed) == []


async def test_a_spool_file_stays_when_the_discarding_unit_failed(bed, store, spool):
    octets = make_octets(LARGE)
    async with store.work() as work:
        await work.spool.save(MessageId("m"), OWNER, octets)

    with pytest.raises(TemporaryFailure):  # noqa: PT012
        async with store.work() as work:
            await work.spool.discard(MessageId("m"))
            await work.spool.save(MessageId("m"), OWNER, b"")

    assert octets == whole_of(await spool.load(MessageId("m")))


async def test_the_start_removes_files_that_no_row_points_to(bed, store, spool):
    await accept(store, "kept", make_octets(LARGE))
    for name in ("ab" * 32, "cd" * 32 + ".new"):
        (bed.place / "spool" / name).write_bytes(b"rest")

    found = await spool.reconcile()

    assert (found.removed, found.missing) == (2, ())
    assert len(files(bed)) == 1
    assert await spool.load(MessageId("m-kept"))


async def test_the_start_reports_rows_whose_file_is_lost(bed, store, spool):
    await accept(store, "1", make_octets(LARGE))
    files(bed)[0].unlink()

    found = await spool.reconcile()

    assert (found.removed, found.missing) == (0, ("m-1",))
    with pytest.raises(TemporaryFailure):
        await spool.load(MessageId("m-1"))


async def test_a_file_whose_unit_is_under_way_is_left_alone(bed):
    reached, go_on = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def probe(step):
        if step == "spool-saved":
            loop.call_soon_threadsafe(reached.set)
            asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result(10)

    from gateway.store.spool import SqlSpool

    store = bed.open(probe)
    octets = make_octets(LARGE)
    saving = asyncio.create_task(accept(store, "1", octets))
    await reached.wait()
    found = await SqlSpool(store).reconcile()
    go_on.set()
    await saving

    assert found.removed == 0
    assert octets == whole_of(await SqlSpool(store).load(MessageId("m-1")))


async def test_a_caller_cancelled_while_its_file_is_written_leaves_all_of_it(bed):
    reached, go_on = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def probe(step):
        if step == "spool-sync":
            loop.call_soon_threadsafe(reached.set)
            asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result(10)

    from gateway.store.queue import SqlQueue
    from gateway.store.spool import SqlSpool

    store = bed.open(probe)
    octets = make_octets(LARGE)
    saving = asyncio.create_task(accept(store, "1", octets))
    await reached.wait()
    saving.cancel()
    await asyncio.gather(saving, return_exceptions=True)
    assert saving.cancelled()
    go_on.set()
    await asyncio.gather(*store._tasks)

    assert octets == whole_of(await SqlSpool(store).load(MessageId("m-1")))
    assert len(await SqlQueue(store).jobs_of_message(MessageId("m-1"))) == 1


async def test_new_mail_is_refused_while_there_is_room_for_the_rest(
    store, queue, monkeypatch
):
    await accept(store, "1")
    (job,) = await queue.lease("w", 1, NOW, NOW + SECOND)
    monkeypatch.setattr(SpoolDirectory, "free_octets", lambda _self: 64 * 1024 * 1024)

    with pytest.raises(StoreFull):
        await accept(store, "2")

    # A settlement and the notice that goes with it still find room.
    async with store.work() as work:
        await work.queue.update(dataclasses.replace(job, state=JobState.DONE))
        await work.spool.save(MessageId("notice"), OWNER, b"bericht")
        await work.queue.add(make_job("notice", "notice"))
    assert job.id != (await queue.lease("w", 9, NOW, NOW + SECOND))[0].id


async def test_content_of_another_size_than_its_row_is_refused(store, spool):
    await accept(store, "1", b"inhoud")
    await store.write(
        lambda c: c.execute(tables.message.update().values(size_octets=5))
    )

    with pytest.raises(TemporaryFailure, match="size"):
        await spool.load(MessageId("m-1"))


async def test_content_without_its_epoch_key_is_a_fault_of_ours(bed, store, spool):
    await accept(store, "1", b"inhoud")
    await store.write(
        lambda c: c.execute(tables.message.update().values(epoch="f" * 32))
    )

    with pytest.raises(TemporaryFailure, match="epoch key"):
        await spool.load(MessageId("m-1"))


async def test_free_room_is_that_of_the_file_system(bed):
    room = os.statvfs(bed.place)
    directory = SpoolDirectory(bed.place / "spool", lambda _step: None)

    assert abs(directory.free_octets() - room.f_bavail * room.f_frsize) < 10**9


async def test_a_draft_whose_client_went_while_it_was_opened_leaves_no_file(bed):
    loop = asyncio.get_running_loop()
    reached, go_on = asyncio.Event(), threading.Event()

    def probe(step):
        if step == "spool-open":
            loop.call_soon_threadsafe(reached.set)
            go_on.wait(10)

    store = bed.open(probe)
    beginning = asyncio.create_task(store.drafts.begin(MessageId("m"), OWNER))
    await reached.wait()
    beginning.cancel()
    with pytest.raises(asyncio.CancelledError):
        await beginning
    go_on.set()
    async with asyncio.timeout(10):
        while asyncio.all_tasks() - {asyncio.current_task()} or files(bed):
            await asyncio.sleep(0)


async def test_a_draft_becomes_the_file_of_its_message(bed, store, spool):
    octets = make_octets(LARGE)
    draft = await store.drafts.begin(MessageId("m"), OWNER)
    for at in range(0, LARGE, 50_000):
        await draft.write(octets[at : at + 50_000])
    kept = await draft.finish(octets[:1000])
    assert whole_of(kept) == octets
    assert await keyed_digest(kept, b"k" * 32) == await keyed_digest(octets, b"k" * 32)
    async with store.work() as work:
        await work.spool.save(MessageId("m"), OWNER, kept)
    draft.discard()  # too late: a unit has it
    loaded = await spool.load(MessageId("m"))
    assert whole_of(loaded) == octets
    assert head_of(loaded) == octets[: len(head_of(loaded))]
    assert len(files(bed)) == 1
    assert (await spool.reconcile()).removed == 0


@pytest.mark.parametrize("small", [0, 1, 5000])
async def test_a_small_draft_is_a_file_too(bed, store, spool, small):
    octets = make_octets(small)
    draft = await store.drafts.begin(MessageId("m"), OWNER)
    await draft.write(octets)
    kept = await draft.finish(octets)
    async with store.work() as work:
        await work.spool.save(MessageId("m"), OWNER, kept)
    assert whole_of(await spool.load(MessageId("m"))) == octets
    assert len(files(bed)) == 1


async def test_a_draft_under_way_is_no_orphan_and_one_that_is_left_is(
    bed, store, spool
):
    draft = await store.drafts.begin(MessageId("m"), OWNER)
    await draft.write(make_octets(LARGE))
    assert (await spool.reconcile()).removed == 0
    assert len(files(bed)) == 1
    draft.discard()
    draft.discard()
    async with asyncio.timeout(10):
        while files(bed):
            await asyncio.sleep(0)


@pytest.mark.parametrize("how", ["cut", "flip", "grow"])
async def test_g01_a_changed_spool_file_never_reads_as_the_message(
    bed, store, spool, how
):
    await accept(store, "1", make_octets(LARGE))
    (path,) = files(bed)
    sealed_octets = bytearray(path.read_bytes())
    if how == "cut":
        del sealed_octets[-70_000:]
    elif how == "grow":
        sealed_octets += bytes(70_000)
    else:
        sealed_octets[-100] ^= 1
    path.write_bytes(sealed_octets)
    with pytest.raises(TemporaryFailure):
        whole_of(await spool.load(MessageId("m-1")))
