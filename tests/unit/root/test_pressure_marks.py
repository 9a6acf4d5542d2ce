"""A-50, G-15: when new mail is put off, and when it is welcome again."""

import asyncio
import dataclasses
import os
import subprocess

import pytest

from gateway.limits import RESERVE_OCTETS, Limits
from gateway.model.errors import TemporaryFailure
from gateway.model.job import JobState
from gateway.pressure import MOST_WAITING, STALLED_S, Look, Mark, Pressure, judge
from gateway.store import work as store_work
from gateway.store.gauges import SqlGauges
from tests.contract import store_bed
from tests.peers import daemon

LIMITS = Limits(open_jobs=100, disk_free_octets=1000 * 2**20)
FINE = Look(free_octets=2000 * 2**20, open_jobs=0, waiting_units=0, stalled_s=0)
MIB = 2**20


def marks(before: set[Mark] = frozenset(), **changes) -> set[Mark]:
    return set(judge(dataclasses.replace(FINE, **changes), LIMITS, frozenset(before)))


def test_with_room_for_all_nothing_is_put_off():
    assert marks() == set()


@pytest.mark.parametrize(
    ("mark", "name", "fine", "passed", "not_yet", "over"),
    [
        (Mark.DISK, "free_octets", 1000 * MIB, 1000 * MIB - 1, 1099 * MIB, 1100 * MIB),
        (Mark.JOBS, "open_jobs", 99, 100, 91, 90),
        (Mark.WRITER, "waiting_units", 256, 257, 233, 232),
    ],
)
def test_a_mark_is_passed_at_its_value_and_over_with_a_tenth_more_room(
    mark, name, fine, passed, not_yet, over
):
    """The answer does not change with each message that leaves."""
    assert marks(**{name: fine}) == set()
    assert marks(**{name: passed}) == {mark}
    assert marks({mark}, **{name: fine}) == {mark}
    assert marks({mark}, **{name: not_yet}) == {mark}
    assert marks({mark}, **{name: over}) == set()


def test_marks_are_judged_apart():
    both = marks(free_octets=0, open_jobs=1000)
    assert both == {Mark.DISK, Mark.JOBS}
    assert marks(both, free_octets=0) == {Mark.DISK}
    assert marks({Mark.JOBS}, free_octets=1050 * MIB) == set()


def test_a_writer_that_writes_nothing_is_too_slow_however_few_wait():
    assert marks(waiting_units=1, stalled_s=STALLED_S - 1) == set()
    assert marks(waiting_units=1, stalled_s=STALLED_S) == {Mark.WRITER}


def test_the_water_mark_lies_above_the_reserve_of_the_store():
    assert store_work.Setting.__dataclass_fields__["reserve_octets"].default == (
        RESERVE_OCTETS
    )
    assert Limits().disk_free_octets > RESERVE_OCTETS


# --- over a real store ----------------------------------------------------------------
@pytest.fixture
def bed(tmp_path):
    made = store_bed.Bed(tmp_path).prepare()
    yield made
    made.close()


def watching(store, **limits):
    lines = []
    wanted = Limits(**{"disk_free_octets": 100 * MIB} | limits)
    gauges = SqlGauges(store)
    return Pressure(gauges, wanted, lambda *a, **k: lines.append((a, k))), lines


def said(*changes):
    return [
        (("intake-pressure",), {"status": status, "reason": reason})
        for reason, status in changes
    ]


async def test_open_jobs_put_new_mail_off_until_they_are_done(bed):
    store = bed.open()
    pressure, lines = watching(store, open_jobs=2)
    await store_bed.accept(store, "1")
    await store_bed.accept(store, "held", state=JobState.HELD)
    await pressure.look()
    assert pressure.reason == "jobs"
    await pressure.look()
    for at, state in enumerate((JobState.READY, JobState.HELD)):
        assert await SqlGauges(store).count_open(10) == 2 - at
        await finish(store, "1" if state is JobState.READY else "held")
    await pressure.look()
    assert pressure.reason is None
    assert lines == said(("jobs", "on"), ("jobs", "off"))


async def finish(store, name):
    """End a job as if it had been leased and delivered."""
    from sqlalchemy import update

    from gateway.store.tables import job

    done = update(job).where(job.c.id == f"j-{name}").values(state="done", due_at=None)
    await store.write(lambda connection: connection.execute(done))


async def test_no_more_jobs_are_counted_than_the_mark_asks(bed):
    store = bed.open()
    for name in "abc":
        await store_bed.accept(store, name)
    assert await SqlGauges(store).count_open(2) == 2
    assert await SqlGauges(store).count_open(5) == 3


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 160 MiB."""
    if os.geteuid() != 0:
        pytest.fail("run as root: a file system is mounted")
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=160m", "none", place], check=True
    )
    yield place
    subprocess.run(["umount", place], check=True)


async def test_a_full_disk_puts_new_mail_off_and_what_is_owed_is_still_written(
    small_disk,
):
    """G-15: notices, state and evidence go on within the reserve."""
    bed = store_bed.Bed(small_disk).prepare()
    try:
        store = bed.open()
        pressure, lines = watching(store)
        await pressure.look()
        assert pressure.reason is None
        ballast = small_disk / "ballast"
        ballast.write_bytes(bytes(70 * MIB))
        await pressure.look()
        assert pressure.reason == "disk"
        async with store.work() as work:  # evidence of what happens now
            await work.evidence.append(store_bed.make_accepted("a-1", "m-1"))
        ballast.write_bytes(bytes(55 * MIB))  # a little room is not enough
        await pressure.look()
        assert pressure.reason == "disk"
        ballast.unlink()
        await pressure.look()
        assert pressure.reason is None
        assert lines == said(("disk", "on"), ("disk", "off"))
        await store_bed.accept(store, "2")
    finally:
        bed.close()


async def test_a_disk_without_room_for_files_is_full(bed, tmp_path):
    """G-15: inodes can run out before octets do; the database may lie elsewhere."""
    if os.geteuid() != 0:
        pytest.fail("run as root: a file system is mounted")
    place = tmp_path / "files"
    place.mkdir()
    options = "size=200m,nr_inodes=1500"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", place], check=True)
    try:
        gauges = SqlGauges(bed.open(), place)
        assert 0 < gauges.free_octets() <= 200 * MIB  # less than where the spool is
        for number in range(600):
            (place / str(number)).touch()
        assert gauges.free_octets() == 0
    finally:
        subprocess.run(["umount", place], check=True)


async def test_a_store_that_cannot_be_seen_or_is_broken_takes_nothing_more(bed):
    store = bed.open()
    pressure, lines = watching(store)
    await pressure.look()

    async def away(_question):
        raise TemporaryFailure("store: away")

    read, store.read = store.read, away
    await pressure.look()
    assert pressure.reason == "store"
    store.read = read
    await pressure.look()
    assert pressure.reason is None
    assert lines == said(("store", "on"), ("store", "off"))
    store._broken = True
    assert pressure.reason == "store"  # at once, before the next look


async def test_units_that_wait_while_the_writer_stands_still_are_seen(bed):
    """What was taken in and is not written yet is counted until it is."""
    store = bed.open()
    assert store.progress == (0, 0)
    with bed.open()._turn:  # another process has its turn, and keeps it
        tasks = [
            asyncio.create_task(store_bed.accept(store, str(number)))
            for number in range(MOST_WAITING + 1)
        ]
        while store.progress[0] <= MOST_WAITING:
            await asyncio.sleep(0.01)
        pressure, _ = watching(store)
        await pressure.look()
        assert pressure.reason == "writer"
    await asyncio.gather(*tasks)
    assert store.progress == (0, MOST_WAITING + 1)
    await pressure.look()
    assert pressure.reason is None


async def test_looking_goes_on_whatever_comes_up(bed):
    store = bed.open()
    pressure, _ = watching(store)
    looks = []

    class Odd:
        is_broken = False
        progress = (0, 0)

        def free_octets(self):
            looks.append(1)
            raise ZeroDivisionError

    pressure._gauges = Odd()
    task = asyncio.create_task(pressure.run(every_s=0.01))
    while len(looks) < 3:
        await asyncio.sleep(0.01)
    assert pressure.reason == "store"
    task.cancel()
    assert await asyncio.gather(task, return_exceptions=True)
    assert daemon.until(task.cancelled, 1)
