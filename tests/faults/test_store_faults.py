"""What a working disk and a living process cannot be made to do."""

import asyncio
import contextlib
import errno
import fcntl
import os
import pathlib
import signal
import subprocess
import sys

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import OperationalError

from gateway.model.errors import LeaseLost, StoreFull, TemporaryFailure
from gateway.model.ids import MessageId
from gateway.model.job import JobState
from gateway.model.octets import whole_of
from gateway.store import tables, writer
from gateway.store.evidence import SqlEvidence
from gateway.store.queue import SqlQueue
from gateway.store.spool import SqlSpool
from tests.contract.store_bed import (
    CANARY_BODY,
    CANARY_DOMAIN,
    CANARY_LOCAL,
    NOW,
    OWNER,
    SECOND,
    Bed,
    accept,
    make_job,
    make_octets,
    origin_of,
)

ROOT = pathlib.Path(__file__).parents[2]
LARGE = 1024 * 1024 + 1
BEFORE = ["begin", "operation", "commit"]
FILED = ["spool-open", "spool-sync", "spool-name", "spool-sync-directory"]
AFTER_FILE = ["spool-saved"]
FAULTS = [
    OSError(errno.ENOSPC, "injected"),
    OSError(errno.EACCES, "injected"),
    RuntimeError("injected"),
]


class Fault:
    """Raises once, at a step, when armed."""

    def __init__(self):
        self._armed = {}

    def arm(self, step, error):
        self._armed[step] = error

    def __call__(self, step):
        error = self._armed.pop(step, None)
        if error is not None:
            raise error


@pytest.fixture
def bed(tmp_path):
    bed = Bed(tmp_path).prepare()
    yield bed
    bed.close()


@pytest.fixture
def fault():
    return Fault()


@pytest.fixture
def store(bed, fault):
    return bed.open(fault)


async def rows(store):
    """How many messages, jobs and records there are."""
    counted = [
        select(func.count()).select_from(table)
        for table in (tables.message, tables.job, tables.evidence_record)
    ]
    return await store.read(lambda c: tuple(c.execute(q).scalar() for q in counted))


def spool_files(bed):
    return list((bed.place / "spool").iterdir())


@pytest.mark.parametrize("error", FAULTS, ids=str)
@pytest.mark.parametrize("step", [*BEFORE, *FILED, *AFTER_FILE])
async def test_a_write_that_fails_before_it_persists_leaves_nothing_and_can_be_repeated(
    bed, store, fault, step, error
):
    octets = make_octets(LARGE)
    fault.arm(step, error)

    with pytest.raises(TemporaryFailure):
        await accept(store, "1", octets)

    assert await rows(store) == (0, 0, 0)
    assert spool_files(bed) == []
    await accept(store, "1", octets)
    assert await rows(store) == (1, 1, 2)
    assert octets == whole_of(await SqlSpool(store).load(MessageId("m-1")))


@pytest.mark.parametrize("error", FAULTS, ids=str)
async def test_a_commit_that_persists_and_fails_all_the_same_counts_as_done(
    store, fault, error
):
    octets = make_octets(LARGE)
    fault.arm("committed", error)

    await accept(store, "1", octets)

    assert await rows(store) == (1, 1, 2)
    assert octets == whole_of(await SqlSpool(store).load(MessageId("m-1")))


async def test_a_commit_whose_outcome_nobody_can_see_fails_and_loses_nothing(
    bed, store, fault
):
    octets = make_octets(LARGE)
    fault.arm("committed", RuntimeError("injected"))
    fault.arm("look", RuntimeError("injected"))

    with pytest.raises(writer.OutcomeUnknown):
        await accept(store, "1", octets)

    # It was there all the same: the worst is a message that its sender sends again.
    assert octets == whole_of(await SqlSpool(store).load(MessageId("m-1")))
    assert (await SqlSpool(store).reconcile()).removed == 0


async def test_a_commit_that_failed_for_certain_keeps_no_file_for_later(
    bed, store, fault
):
    fault.arm("commit", RuntimeError("injected"))
    fault.arm("look", RuntimeError("injected"))

    with pytest.raises(TemporaryFailure) as caught:
        await accept(store, "1", make_octets(LARGE))

    assert not isinstance(caught.value, writer.OutcomeUnknown)
    assert spool_files(bed) == []


async def test_a_failed_commit_fails_every_unit_of_its_batch(store, fault):
    fault.arm("commit", OSError(errno.ENOSPC, "injected"))

    results = await asyncio.gather(
        *(accept(store, str(n)) for n in range(10)), return_exceptions=True
    )

    failed = [r for r in results if isinstance(r, Exception)]
    assert failed
    assert all(isinstance(r, StoreFull) for r in failed)
    assert 10 - len(failed) == (await rows(store))[0]


async def test_a_lost_lease_fails_alone_in_its_batch(store, fault):
    job = await accept(store, "1")
    queue = SqlQueue(store)
    await queue.lease("w", 1, NOW, NOW + SECOND)

    async def settle_stale():
        async with store.work() as work:
            await work.queue.add(make_job("never"))
            await work.queue.update(job)

    results = await asyncio.gather(
        *(accept(store, f"x{n}") for n in range(9)),
        settle_stale(),
        *(accept(store, f"y{n}") for n in range(9)),
        return_exceptions=True,
    )

    failed = [r for r in results if isinstance(r, Exception)]
    assert [LeaseLost] == [type(r) for r in failed]
    assert await rows(store) == (19, 19, 38)


async def test_a_full_database_refuses_and_recovers_without_a_restart(bed):
    full = []

    def limit(connection):
        # SQLite takes the present size when the limit is below it: not one page more.
        most = 1 if full else 1_000_000
        connection.exec_driver_sql(f"PRAGMA max_page_count={most}")

    store = bed.open()
    await accept(store, "1")
    full.append(True)
    await store.write(limit)

    with pytest.raises(StoreFull):
        await accept(store, "2", make_octets(900_000))
    assert await rows(store) == (1, 1, 2)

    full.clear()
    await store.write(limit)
    await accept(store, "2")
    assert await rows(store) == (2, 2, 4)
    assert not store.is_broken


async def test_an_input_output_error_stops_all_writing_until_a_new_start(
    bed, store, fault
):
    fault.arm("commit", OSError(errno.EIO, "injected"))
    with pytest.raises(TemporaryFailure):
        await accept(store, "1")

    with pytest.raises(TemporaryFailure, match="stopped"):
        await accept(store, "2")

    assert store.is_broken
    assert await rows(store) == (0, 0, 0)
    await accept(bed.open(), "2")


async def test_a_spool_file_that_cannot_be_synced_stops_the_process(bed, store, fault):
    fault.arm("spool-sync", OSError(errno.EIO, "injected"))
    with pytest.raises(TemporaryFailure):
        await accept(store, "1", make_octets(LARGE))

    assert store.is_broken
    with pytest.raises(TemporaryFailure, match="stopped"):
        await accept(store, "2", make_octets(LARGE))
    assert spool_files(bed) == []


async def test_a_closed_store_has_written_all_and_takes_no_more(bed, store):
    waiting = [asyncio.create_task(accept(store, str(n))) for n in range(50)]
    await asyncio.sleep(0)
    await asyncio.to_thread(store._writer.close)

    await asyncio.gather(*waiting)
    with pytest.raises(TemporaryFailure, match="closed"):
        await accept(store, "late")
    assert await rows(store) == (50, 50, 100)


def test_error_texts_hold_no_parameters_and_no_path():
    error = OperationalError(
        "INSERT", {"x": CANARY_LOCAL}, ValueError("x"), hide_parameters=True
    )

    for each in (error, OSError(errno.EACCES, "no", "/geheim/pad"), KeyError("geheim")):
        text = str(writer.failure(each))
        assert "geheim" not in text
        assert CANARY_LOCAL not in text


async def test_error_chains_hold_no_address(store):
    await accept(store, "1")

    with pytest.raises(TemporaryFailure) as caught:
        await accept(store, "1")

    cause = caught.value
    while cause is not None:
        assert CANARY_LOCAL not in f"{cause}{cause!r}"
        cause = cause.__cause__


def test_no_file_of_the_store_holds_an_address_or_content(bed):
    async def use():
        store = bed.open()
        for n in range(20):
            await accept(store, str(n), make_octets(3000))
        await accept(store, "large", make_octets(LARGE))
        queue, evidence = SqlQueue(store), SqlEvidence(store, "s")
        await queue.lease("w", 5, NOW, NOW + SECOND)
        await evidence.integrate(origin_of(OWNER), NOW, 100)
        signer = bed.keys.signer(origin_of(OWNER))
        await evidence.sign(origin_of(OWNER), signer, NOW)
        return snapshot(bed)

    seen = asyncio.run(use())
    bed.close()

    assert any(name.endswith("-wal") for name in seen)
    for name, octets in [*seen.items(), *snapshot(bed).items()]:
        for canary in (CANARY_LOCAL, CANARY_DOMAIN, "wvggz", "kliniek"):
            for encoding in ("utf-8", "utf-16-le", "utf-16-be"):
                assert canary.encode(encoding) not in octets, name
        assert CANARY_BODY not in octets, name


def snapshot(bed):
    return {
        path.name: path.read_bytes() for path in bed.place.rglob("*") if path.is_file()
    }


@contextlib.contextmanager
def child(what, bed, name, *more):
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.contract.store_child", what, bed.place, name]
        + [str(each) for each in more],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stdin.close()


def go(process):
    process.stdin.write("go\n")
    process.stdin.flush()


def test_a_killed_writer_loses_no_acknowledged_unit_and_leaves_no_half_one(bed):
    begun, done = set(), set()
    for round_number in range(20):
        with child("for-ever", bed, f"r{round_number}") as process:
            go(process)
            for _ in range(5 + 9 * round_number):
                note(process.stdout.readline(), begun, done)
            os.kill(process.pid, signal.SIGKILL)
            for line in process.stdout:  # what it said before it died
                note(line, begun, done)

    asyncio.run(check_whole(bed, begun, done))


def note(line, begun, done):
    if line.endswith("\n"):
        what, name = line.split()
        (begun if what == "begun" else done).add(name)


async def check_whole(bed, begun, done):
    store = bed.open()
    queue, spool = SqlQueue(store), SqlSpool(store)
    evidence = SqlEvidence(store, "s")
    found = await spool.reconcile()
    there = set()
    for name in begun:
        message = MessageId(f"m-{name}")
        jobs = await queue.jobs_of_message(message)
        records = await evidence.records_of_message(message)
        assert (len(jobs), len(records)) in {(0, 0), (1, 2)}
        if jobs:
            octets = whole_of(await spool.load(message))
            assert octets.startswith(CANARY_BODY)
            assert octets.endswith(CANARY_BODY)
            there.add(name)
    assert len(done) > 100
    assert done <= there
    assert found.missing == ()
    counted = await rows(store)
    assert (len(there), len(there), 2 * len(there)) == counted
    assert (await spool.reconcile()).removed == 0


async def check_many(bed, count):
    store = bed.open()
    assert (count, count, 2 * count) == await rows(store)
    check = await store.read(
        lambda c: c.exec_driver_sql("PRAGMA integrity_check").scalar()
    )
    assert check == "ok"
    evidence = SqlEvidence(store, "s")
    assert 2 * count == await evidence.integrate(origin_of(OWNER), NOW, 10 * count)


def test_two_processes_write_at_once_and_nothing_is_lost_or_doubled(bed):
    with child("many", bed, "a", 2000) as a, child("many", bed, "b", 2000) as b:
        go(a)
        go(b)
        # b's pipe is read by its own thread of communicate, so neither blocks.
        said = [a.communicate(timeout=120)[0], b.communicate(timeout=120)[0]]
        assert (a.returncode, b.returncode) == (0, 0)

    done = [line for text in said for line in text.splitlines()]
    assert 4000 == len(done) == len(set(done))
    asyncio.run(check_many(bed, 4000))


def test_two_processes_never_lease_the_same_job(bed):
    async def fill():
        store = bed.open()
        await asyncio.gather(*(accept(store, str(n), b"x") for n in range(600)))
        bed.close()

    asyncio.run(fill())
    with child("lease", bed, "a") as a, child("lease", bed, "b") as b:
        go(a)
        go(b)
        said = [a.communicate(timeout=60)[0], b.communicate(timeout=60)[0]]

    taken = [text.splitlines() for text in said]
    assert 600 == len({*taken[0], *taken[1]}) == len(taken[0]) + len(taken[1])
    assert all(line.endswith(" 1") for lines in taken for line in lines)


async def test_a_killed_lease_holder_is_followed_when_its_lease_ran_out(bed):
    store = bed.open()
    await accept(store, "1")
    with child("lease", bed, "dead") as process:
        go(process)
        assert process.stdout.readline() == "j-1 1\n"
        os.kill(process.pid, signal.SIGKILL)

    queue = SqlQueue(store)
    assert list(await queue.lease("w", 1, NOW + 59 * SECOND, NOW + 70 * SECOND)) == []
    (job,) = await queue.lease("w", 1, NOW + 60 * SECOND, NOW + 70 * SECOND)
    assert (job.crashes, job.lease_token, job.state) == (1, 2, JobState.LEASED)


async def test_a_turn_that_cannot_be_had_fails_the_batch_and_the_next_goes_on(
    store, monkeypatch
):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "injected")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(TemporaryFailure):
        await accept(store, "1")
    monkeypatch.undo()

    await accept(store, "1")
    assert await rows(store) == (1, 1, 2)


async def test_a_unit_that_ended_the_transaction_takes_no_other_with_it_in_silence(
    store,
):
    def end(connection):
        connection.exec_driver_sql("ROLLBACK")  # as SQLite itself does without room
        raise StoreFull("injected")

    results = await asyncio.gather(
        *(accept(store, f"x{n}") for n in range(5)),
        store.write(end),
        *(accept(store, f"y{n}") for n in range(5)),
        return_exceptions=True,
    )

    failed = [r for r in results if isinstance(r, Exception)]
    assert all(isinstance(r, StoreFull) for r in failed)
    assert await rows(store) == tuple((11 - len(failed)) * n for n in (1, 1, 2))


async def test_a_second_file_that_fails_takes_the_first_with_it(bed):
    opened = []

    def probe(step):
        if step == "spool-open":
            opened.append(step)
            if len(opened) == 2:
                raise OSError(errno.ENOSPC, "injected")

    store = bed.open(probe)
    with pytest.raises(StoreFull):  # noqa: PT012
        async with store.work() as work:
            for name in ("a", "b"):
                await work.spool.save(MessageId(name), OWNER, make_octets(LARGE))

    assert spool_files(bed) == []


def test_a_spool_file_that_is_gone_when_looked_at_is_no_fault(bed, store):
    for name in ("a", "b"):
        (bed.place / "spool" / name).touch()
    seen = []
    for path, _ in store.directory.orphans():
        seen.append(path.name)
        (bed.place / "spool" / "b").unlink()

    assert seen == ["a"]
