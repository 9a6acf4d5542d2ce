"""The loops of a worker, over the real queue; the far side answers when a test says so."""

import asyncio

import pytest

from gateway import worker
from gateway.model.errors import EvidenceError, TemporaryFailure
from gateway.model.job import JobState
from tests.unit.root import relay_bed
from tests.unit.root.relay_bed import TO

SUSPECT = "Is de crisismaatregel van die meneer al verlopen?\n"
PATIENCE_S = 20.0
SHORT_S = 0.01


async def until(condition) -> None:
    """Wait for something that must come; only how long it may take is bounded."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            found = condition()
            if asyncio.iscoroutine(found):
                found = await found
            if found:
                return
            await asyncio.sleep(0.005)


class Gate:
    """Attempts wait here, right after the intent; counts how many do at once."""

    def __init__(self):
        self.open = asyncio.Event()
        self.inside = self.most = self.passed = 0

    async def __call__(self):
        self.inside += 1
        self.most = max(self.most, self.inside)
        try:
            await self.open.wait()
            self.passed += 1
        finally:
            self.inside -= 1


class Watched:
    """The real queue; counts calls, and a test may put something in front of one."""

    def __init__(self, queue):
        self._queue = queue
        self.calls = {"lease": 0, "renew": 0, "lease_expired_holds": 0}
        self.before = {}
        self.limits = []
        self.renewed = []

    async def _pass(self, name, *args):
        self.calls[name] += 1
        if name in self.before:
            await self.before[name]()
        return await getattr(self._queue, name)(*args)

    async def lease(self, owner, limit, now, until):
        self.limits.append(limit)
        return await self._pass("lease", owner, limit, now, until)

    async def lease_expired_holds(self, owner, limit, now, until):
        self.limits.append(limit)
        return await self._pass("lease_expired_holds", owner, limit, now, until)

    async def renew(self, leases, until):
        self.renewed.append(dict(leases))
        return await self._pass("renew", leases, until)


@pytest.fixture
async def house(tmp_path):
    house = relay_bed.House(tmp_path)
    await house.register(relay_bed.partner())
    house.watched = Watched(house.relay.ports.queue)
    house.lines = []
    yield house
    house.close()


def loop_of(house, **more):
    def log(event, **fields):
        house.lines.append((event, fields))

    return worker.DeliveryLoop(house.over(queue=house.watched), "w", log, **more)


@pytest.fixture
async def running(house):
    """Starts loops, and ends those that a test left running."""
    started = []

    async def start(**more):
        loop = loop_of(house, **more)
        task = asyncio.create_task(loop.run())
        started.append((loop, task))
        return loop, task

    yield start
    for loop, task in started:
        await loop.stop(0)
        await asyncio.wait_for(task, PATIENCE_S)


async def accept(house, count=1, to=TO, **more):
    for number in range(1, count + 1):
        assert (await house.receive(to, name=f"m-{number}", **more)).code == 250


async def count(house, state):
    return (await house.queue.counts())[state]


async def has(house, state, number):
    return await count(house, state) == number


def events(house):
    return [event for event, _ in house.lines]


async def test_what_is_due_is_attempted(house, running):
    await accept(house, 3)
    await running()
    await until(lambda: len(house.far.seen) == 3)
    await until(lambda: has(house, JobState.DONE, 3))
    assert house.lines == []


async def test_waking_the_loop_makes_it_look_now(house, running, monkeypatch):
    monkeypatch.setattr(worker, "_IDLE_S", 3600)
    loop, _ = await running()
    await until(lambda: house.watched.calls["lease"] == 1)
    await accept(house)
    loop.wake()
    await until(lambda: len(house.far.seen) == 1)


async def test_without_being_woken_it_looks_by_itself(house, running, monkeypatch):
    monkeypatch.setattr(worker, "_IDLE_S", SHORT_S)
    await running()
    await until(lambda: house.watched.calls["lease"] > 2)
    await accept(house)
    await until(lambda: len(house.far.seen) == 1)


async def test_an_expired_hold_is_ended_by_the_loop(house, running):
    await accept(house, to="iemand@onbekend.example", text=SUSPECT)
    house.later(hours=3)
    await running()

    async def ended():
        return "hold-expired" in await house.events()

    await until(ended)


async def test_there_are_never_more_attempts_at_once_than_the_limit(house, running):
    gate = house.far.at["dot"] = Gate()
    await accept(house, 5)
    for number in range(3):
        await house.receive("iemand@onbekend.example", name=f"h-{number}", text=SUSPECT)
    notices = await house.notices()
    house.later(hours=3)
    await running(most_at_once=2)
    await until(lambda: gate.inside == 2)
    assert await count(house, JobState.LEASED) == 2
    gate.open.set()
    # Five messages, three notices of holds, three of their end.
    await until(lambda: len(house.far.seen) == 11)
    assert gate.most == 2
    assert max(house.watched.limits) == 2
    assert len(notices) == 3


async def test_ending_holds_leaves_less_room_for_attempts(house, running):
    gate = asyncio.Event()

    class SlowSpool:
        async def load(self, _message):
            await gate.wait()
            raise TemporaryFailure("enough")

    await accept(house, 2)
    await house.receive("iemand@onbekend.example", name="h-1", text=SUSPECT)
    house.later(hours=3)
    house.relay = house.over(spool=SlowSpool())
    await running(most_at_once=3)
    await until(lambda: house.watched.calls["lease"] > 0)
    assert house.watched.limits[:2] == [3, 2]
    gate.set()


async def test_a_crash_in_one_attempt_is_logged_and_the_others_go_on(house, running):
    crashed = []

    async def crash_once():
        if not crashed:
            crashed.append(True)
            raise RuntimeError(f"about {TO}")

    house.far.at["dialled"] = crash_once
    await accept(house, 3)
    await running()
    await until(lambda: len(house.far.seen) == 2)
    ((event, fields),) = house.lines
    assert (event, fields["error"]) == ("attempt-crashed", "RuntimeError")
    assert "@" not in str(house.lines)
    await until(lambda: has(house, JobState.DONE, 2))
    assert await count(house, JobState.LEASED) == 1


async def test_a_fault_of_a_door_is_logged_and_the_job_stays_leased(house, running):
    class Unreadable:
        async def load(self, _message):
            raise TemporaryFailure("store: no key")

    await accept(house)
    house.relay = house.over(spool=Unreadable())
    await running()
    await until(lambda: house.lines)
    ((event, fields),) = house.lines
    job = await house.job()
    assert (event, fields) == (
        "attempt-failed",
        {"job": job.id, "error": "TemporaryFailure"},
    )
    assert job.state is JobState.LEASED


async def test_a_lost_lease_is_logged(house, running):
    async def another_takes_it():
        house.later(seconds=61)
        assert len(await house.lease("v")) == 1

    house.far.at["intent"] = another_takes_it
    await accept(house)
    await running(most_at_once=1)  # so that it does not take the job again itself
    await until(lambda: house.lines)
    job = await house.job()
    assert house.lines == [("lease-lost", {"job": job.id})]


@pytest.mark.parametrize("name", ["lease", "lease_expired_holds"])
@pytest.mark.parametrize("error", [TemporaryFailure("busy"), RuntimeError("a bug")])
async def test_a_queue_that_fails_is_asked_again(
    house, running, monkeypatch, name, error
):
    monkeypatch.setattr(worker, "_IDLE_S", SHORT_S)

    async def fail_once():
        del house.watched.before[name]
        raise error

    house.watched.before[name] = fail_once
    await accept(house)
    await running()
    await until(lambda: len(house.far.seen) == 1)
    assert house.lines == [("queue-unavailable", {"error": type(error).__name__})]


async def test_what_was_leased_is_worked_on_though_the_next_question_fails(
    house, running
):
    async def fail():
        raise TemporaryFailure("busy")

    house.watched.before["lease"] = fail
    await accept(house, to="iemand@onbekend.example", text=SUSPECT)
    house.later(hours=3)
    await running()

    async def ended():
        return "hold-expired" in await house.events()

    await until(ended)


# --- renewal ----------------------------------------------------------------


async def test_a_long_attempt_keeps_its_lease(house, running):
    gate = house.far.at["dot"] = Gate()
    await accept(house)
    await running(renew_every_s=SHORT_S)
    await until(lambda: gate.inside == 1)
    house.later(seconds=45)
    renewals = house.watched.calls["renew"]
    # The second from now certainly began after the clock went on.
    await until(lambda: house.watched.calls["renew"] >= renewals + 3)
    house.later(seconds=30)  # past the first lease, within the renewed one
    assert await house.lease("v") == []
    gate.open.set()
    await until(lambda: gate.passed == 1)

    async def done():
        return (await house.job()).state is JobState.DONE

    await until(done)
    assert (await house.job()).crashes == 0


async def test_nothing_is_renewed_while_nothing_runs(house, running):
    await running(renew_every_s=SHORT_S)
    await until(lambda: house.watched.calls["lease"] > 0)
    await accept(house)
    await until(lambda: len(house.far.seen) == 1)
    assert {} not in house.watched.renewed


@pytest.mark.parametrize("error", [TemporaryFailure("busy"), RuntimeError("a bug")])
async def test_a_renewal_that_fails_is_logged_and_tried_again(house, running, error):
    gate = house.far.at["dot"] = Gate()

    async def fail_once():
        del house.watched.before["renew"]
        raise error

    house.watched.before["renew"] = fail_once
    await accept(house)
    await running(renew_every_s=SHORT_S)
    await until(lambda: house.watched.calls["renew"] > 2)
    assert house.lines[0] == ("queue-unavailable", {"error": type(error).__name__})
    gate.open.set()


async def test_a_lease_that_is_found_lost_at_renewal_is_logged(house, running):
    gate = house.far.at["dot"] = Gate()

    async def another_takes_it():
        del house.watched.before["renew"]
        house.later(seconds=61)
        assert len(await house.lease("v")) == 1

    house.watched.before["renew"] = another_takes_it
    await accept(house)
    await running(renew_every_s=SHORT_S, most_at_once=1)
    await until(lambda: house.lines)
    assert house.lines[0] == ("lease-lost", {"job": (await house.job()).id})
    gate.open.set()


async def test_a_worker_that_slept_through_its_lease_may_work_on_a_job_twice(
    house, running
):
    gate = house.far.at["intent"] = Gate()
    await accept(house)
    loop, _ = await running(renew_every_s=3600)
    await until(lambda: gate.inside == 1)
    house.later(seconds=61)
    loop.wake()
    await until(lambda: gate.inside == 2)
    gate.open.set()
    await until(lambda: len(house.far.seen) == 1)

    async def done():
        return (await house.job()).state is JobState.DONE

    await until(done)
    await until(lambda: "lease-lost" in events(house))
    assert len(house.far.seen) == 1
    assert events(house) == ["lease-lost"]


# --- stopping ---------------------------------------------------------------


async def test_stopping_lets_what_runs_end_and_takes_nothing_new(house):
    gate = house.far.at["dot"] = Gate()
    await accept(house)
    loop = loop_of(house)
    running = asyncio.create_task(loop.run())
    await until(lambda: gate.inside == 1)
    stopping = asyncio.create_task(loop.stop(PATIENCE_S))
    await asyncio.wait_for(running, PATIENCE_S)
    await house.receive(name="m-2")
    loop.wake()
    assert not stopping.done()
    gate.open.set()
    await asyncio.wait_for(stopping, PATIENCE_S)
    assert (await house.job("m-1")).state is JobState.DONE
    assert (await house.job("m-2")).state is JobState.READY


async def test_what_does_not_end_in_time_is_cut_off_and_stays_leased(house):
    gate = house.far.at["dot"] = Gate()
    await accept(house)
    loop = loop_of(house)
    running = asyncio.create_task(loop.run())
    await until(lambda: gate.inside == 1)
    await asyncio.wait_for(loop.stop(SHORT_S), PATIENCE_S)
    await asyncio.wait_for(running, PATIENCE_S)
    job = await house.job()
    assert (gate.inside, gate.passed) == (0, 0)
    assert (job.state, job.intent_at is not None) == (JobState.LEASED, True)


async def test_jobs_that_were_being_leased_when_it_was_stopped_are_waited_for(house):
    leasing, go_on = asyncio.Event(), asyncio.Event()

    async def take_long():
        leasing.set()
        await go_on.wait()

    house.watched.before["lease"] = take_long
    await accept(house)
    loop = loop_of(house)
    running = asyncio.create_task(loop.run())
    await asyncio.wait_for(leasing.wait(), PATIENCE_S)
    stopping = asyncio.create_task(loop.stop(PATIENCE_S))
    await asyncio.sleep(0)
    go_on.set()
    await asyncio.wait_for(stopping, PATIENCE_S)
    assert (await house.job()).state is JobState.DONE
    await asyncio.wait_for(running, PATIENCE_S)


async def test_stopping_between_two_questions_takes_nothing(house):
    loop = loop_of(house)

    async def stop_meanwhile():
        loop._stopping = True

    house.watched.before["lease_expired_holds"] = stop_meanwhile
    await accept(house)
    await asyncio.wait_for(loop.run(), PATIENCE_S)
    assert house.watched.calls["lease"] == 0
    assert (await house.job()).state is JobState.READY


async def test_stopping_an_idle_loop_ends_it_at_once(house, monkeypatch):
    monkeypatch.setattr(worker, "_IDLE_S", 3600)
    loop = loop_of(house)
    running = asyncio.create_task(loop.run())
    await until(lambda: house.watched.calls["lease"] == 1)
    await loop.stop(PATIENCE_S)
    await asyncio.wait_for(running, PATIENCE_S)


# --- the sequencer ----------------------------------------------------------


class Rounds:
    """What a sequencer does; `stop_at` is the round in which it is told to stop."""

    def __init__(self, stopping, stop_at, errors=None):
        self._stopping = stopping
        self._stop_at = stop_at
        self._errors = errors or {}
        self.advanced = self.swept = 0

    async def advance(self):
        self.advanced += 1
        if self.advanced == self._stop_at:
            self._stopping.set()
        if self.advanced in self._errors:
            raise self._errors[self.advanced]
        return 1

    async def sweep(self):
        self.swept += 1
        return 0


async def sequence(stop_at, every_s=0.0, errors=None):
    lines = []
    stopping = asyncio.Event()
    rounds = Rounds(stopping, stop_at, errors)

    def log(event, **fields):
        lines.append((event, fields))

    running = worker.run_sequencer(rounds, log, stopping, every_s)
    await asyncio.wait_for(running, PATIENCE_S)
    return rounds, lines


async def test_the_sequencer_ends_after_one_more_round():
    rounds, lines = await sequence(stop_at=3)
    assert (rounds.advanced, rounds.swept) == (4, 4)
    assert lines == []


async def test_being_stopped_cuts_the_pause_short():
    rounds, _ = await sequence(stop_at=1, every_s=3600)
    assert rounds.advanced == 2


async def test_a_sequencer_that_was_stopped_before_it_began_makes_one_round():
    stopping = asyncio.Event()
    stopping.set()
    rounds = Rounds(stopping, 0)
    running = worker.run_sequencer(rounds, lambda *_a, **_k: None, stopping)
    await asyncio.wait_for(running, PATIENCE_S)
    assert rounds.advanced == 1


@pytest.mark.parametrize("error", [TemporaryFailure("busy"), EvidenceError("a fork")])
async def test_a_round_that_fails_is_logged_and_the_next_one_comes(error):
    rounds, lines = await sequence(stop_at=3, errors={1: error})
    assert (rounds.advanced, rounds.swept) == (4, 3)
    assert lines == [("sequencer-failed", {"error": type(error).__name__})]


async def test_a_bug_in_the_sequencer_ends_its_process():
    with pytest.raises(RuntimeError):
        await sequence(stop_at=3, errors={1: RuntimeError("a bug")})
