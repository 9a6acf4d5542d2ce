"""What every queue promises; a subclass gives `store` and `queue` fixtures."""

import dataclasses
import datetime

import pytest

from gateway.model.address import ReversePath
from gateway.model.errors import LeaseLost
from gateway.model.ids import Code, JobId
from gateway.model.job import JobKind, JobState, RecipientStatus
from tests.contract.store_bed import NOW, SECOND, make_job

UNTIL = NOW + 60 * SECOND
LATER = NOW + 61 * SECOND


async def add(store, *jobs):
    async with store.work() as work:
        await work.queue.add(*jobs)


async def update(store, job):
    async with store.work() as work:
        await work.queue.update(job)


class QueueContract:
    async def test_a_leased_job_equals_what_was_added_but_for_its_lease(
        self, store, queue
    ):
        job = make_job("1")

        await add(store, job)

        expected = dataclasses.replace(job, state=JobState.LEASED, lease_token=1)
        assert [expected] == list(await queue.lease("w", 10, NOW, UNTIL))

    async def test_every_field_survives_an_update(self, store, queue):
        await add(store, make_job("1"))
        (job,) = await queue.lease("w", 10, NOW, UNTIL)
        changed = dataclasses.replace(
            job,
            recipients=tuple(
                dataclasses.replace(r, status=RecipientStatus.FAILED, uncertain=True)
                for r in job.recipients
            ),
            reverse_path=ReversePath(None),
            partner=None,
            regimes=frozenset(),
            attempts=3,
            unknowns=2,
            crashes=1,
            intent_at=NOW + SECOND,
            hold_code=Code("K302"),
            delay_notice_sent=True,
            last_cause="tls",
            next_attempt_at=NOW + 7 * SECOND,
            expires_at=NOW + 9 * SECOND,
            state=JobState.WAITING,
        )

        await update(store, changed)

        assert changed == await queue.load_job(job.id)

    async def test_a_leased_job_is_not_leased_again(self, store, queue):
        await add(store, make_job("1"))
        await queue.lease("w", 10, NOW, UNTIL)

        assert list(await queue.lease("v", 10, NOW, UNTIL)) == []

    async def test_a_lease_that_ran_out_is_taken_again_as_a_crash(self, store, queue):
        await add(store, make_job("1"))
        await queue.lease("w", 10, NOW, UNTIL)

        (job,) = await queue.lease("v", 10, LATER, LATER + 60 * SECOND)

        assert (job.lease_token, job.crashes) == (2, 1)

    async def test_a_first_lease_is_no_crash(self, store, queue):
        await add(store, make_job("1", state=JobState.WAITING))

        (job,) = await queue.lease("w", 10, NOW, UNTIL)

        assert job.crashes == 0

    async def test_a_result_under_an_old_token_is_refused_and_nothing_is_written(
        self, store, queue
    ):
        await add(store, make_job("1"))
        (stale,) = await queue.lease("w", 10, NOW, UNTIL)
        (held,) = await queue.lease("v", 10, LATER, LATER + 60 * SECOND)

        with pytest.raises(LeaseLost):  # noqa: PT012
            async with store.work() as work:
                await work.queue.add(make_job("2"))
                await work.queue.update(dataclasses.replace(stale, state=JobState.DONE))

        assert held == await queue.load_job(held.id)
        assert await queue.load_job(JobId("2")) is None

    async def test_a_settled_job_cannot_be_settled_again(self, store, queue):
        await add(store, make_job("1"))
        (job,) = await queue.lease("w", 10, NOW, UNTIL)
        await update(store, dataclasses.replace(job, state=JobState.WAITING))

        with pytest.raises(LeaseLost):
            await update(store, dataclasses.replace(job, state=JobState.DONE))

    async def test_an_update_that_stays_leased_keeps_the_lease(self, store, queue):
        await add(store, make_job("1"))
        (job,) = await queue.lease("w", 10, NOW, UNTIL)

        await update(store, dataclasses.replace(job, intent_at=NOW))

        assert list(await queue.lease("v", 10, NOW + SECOND, LATER)) == []
        assert {job.id} == await queue.renew({job.id: job.lease_token}, LATER)

    async def test_a_waiting_job_is_due_at_its_next_attempt_and_not_before(
        self, store, queue
    ):
        due = NOW + 10 * SECOND
        await add(store, make_job("1", state=JobState.WAITING, next_attempt_at=due))

        assert list(await queue.lease("w", 1, due - SECOND, due)) == []
        assert len(await queue.lease("w", 1, due, due + SECOND)) == 1

    async def test_a_ready_job_is_due_even_when_the_clock_was_set_back(
        self, store, queue
    ):
        await add(store, make_job("1"))
        yesterday = NOW - datetime.timedelta(days=1)

        assert len(await queue.lease("w", 1, yesterday, yesterday + SECOND)) == 1

    async def test_the_longest_due_come_first_and_the_limit_holds(self, store, queue):
        jobs = [
            make_job(
                str(n),
                state=JobState.WAITING if n % 2 else JobState.READY,
                next_attempt_at=NOW - n * SECOND,
            )
            for n in (2, 4, 1, 3)
        ]
        await add(store, *jobs)

        assert [j.id for j in await queue.lease("w", 2, NOW, UNTIL)] == ["4", "3"]
        assert [j.id for j in await queue.lease("w", 9, NOW, UNTIL)] == ["2", "1"]

    async def test_held_and_done_jobs_are_never_leased(self, store, queue):
        await add(
            store,
            make_job("1", state=JobState.HELD, expires_at=NOW),
            make_job("2", state=JobState.DONE),
        )
        later = NOW + datetime.timedelta(days=400)

        assert list(await queue.lease("w", 10, later, later + SECOND)) == []

    async def test_an_expired_hold_is_leased_once_and_stays_held(self, store, queue):
        await add(store, make_job("1", state=JobState.HELD, expires_at=NOW))

        (hold,) = await queue.lease_expired_holds("w", 10, NOW, UNTIL)

        assert (hold.state, hold.lease_token, hold.crashes) == (JobState.HELD, 1, 0)
        assert list(await queue.lease_expired_holds("v", 10, NOW, UNTIL)) == []
        assert list(await queue.lease("v", 10, LATER, LATER + SECOND)) == []

    async def test_a_hold_whose_lease_ran_out_is_taken_again_as_a_crash(
        self, store, queue
    ):
        await add(store, make_job("1", state=JobState.HELD, expires_at=NOW))
        await queue.lease_expired_holds("w", 10, NOW, UNTIL)

        (hold,) = await queue.lease_expired_holds("v", 10, LATER, LATER + SECOND)

        assert (hold.lease_token, hold.crashes) == (2, 1)

    async def test_a_hold_that_has_not_expired_is_left_alone(self, store, queue):
        await add(store, make_job("1", state=JobState.HELD, expires_at=NOW + SECOND))

        assert list(await queue.lease_expired_holds("w", 10, NOW, UNTIL)) == []

    async def test_a_held_job_is_updated_under_the_token_it_has(self, store, queue):
        held = make_job("1", state=JobState.HELD)
        await add(store, held)

        await update(store, dataclasses.replace(held, state=JobState.READY))

        assert len(await queue.lease("w", 10, NOW, UNTIL)) == 1

    async def test_a_person_cannot_release_a_hold_that_is_being_expired(
        self, store, queue
    ):
        seen = make_job("1", state=JobState.HELD, expires_at=NOW)
        await add(store, seen)
        await queue.lease_expired_holds("w", 10, NOW, UNTIL)

        with pytest.raises(LeaseLost):
            await update(store, dataclasses.replace(seen, state=JobState.READY))

    async def test_renewing_prolongs_and_answers_only_what_is_held(self, store, queue):
        await add(store, make_job("1"), make_job("2"))
        first, second = await queue.lease("w", 10, NOW, UNTIL)
        leases = {first.id: first.lease_token, second.id: second.lease_token + 1}

        held = await queue.renew(leases, LATER + 60 * SECOND)

        assert {first.id} == held
        assert [second.id] == [j.id for j in await queue.lease("v", 9, LATER, LATER)]

    async def test_renewing_after_another_took_it_answers_nothing(self, store, queue):
        await add(store, make_job("1"))
        (stale,) = await queue.lease("w", 10, NOW, UNTIL)
        await queue.lease("v", 10, LATER, LATER + 60 * SECOND)

        assert not await queue.renew({stale.id: stale.lease_token}, LATER)

    async def test_renewing_a_settled_job_answers_nothing(self, store, queue):
        await add(store, make_job("1"))
        (job,) = await queue.lease("w", 10, NOW, UNTIL)
        await update(store, dataclasses.replace(job, state=JobState.DONE))

        assert not await queue.renew({job.id: job.lease_token}, LATER)

    async def test_a_new_job_cannot_be_leased_already(self, store, queue):
        with pytest.raises(ValueError):
            await add(store, make_job("1", state=JobState.LEASED))

    async def test_looking_shows_jobs_by_message_and_counts_by_state(
        self, store, queue
    ):
        first, second = make_job("1", "m"), make_job("2", "m", kind=JobKind.NOTICE)
        other = make_job("3", state=JobState.DONE, next_attempt_at=NOW - SECOND)
        await add(store, first, second, other)

        counts = await queue.counts()

        assert [first, second] == list(await queue.jobs_of_message(first.message))
        assert tuple(
            counts[state] for state in (JobState.READY, JobState.DONE, JobState.HELD)
        ) == (2, 1, 0)
        assert [other] == list(await queue.list_jobs(1))
        done = frozenset({JobState.DONE})
        assert [other] == list(await queue.list_jobs(9, done))
        assert await queue.load_job(JobId("unknown")) is None
