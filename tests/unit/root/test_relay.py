"""The way of a message over the real store: what is durable when, and what is not done."""

import dataclasses
import json

import pytest

from gateway import relay
from gateway.model.address import Mailbox
from gateway.model.assurance import TlsResult
from gateway.model.destination import Absent, Dnssec, Present, Tlsa, Unavailable
from gateway.model.errors import LeaseLost, TemporaryFailure
from gateway.model.ids import Code, MessageId
from gateway.model.job import JobState, RecipientStatus
from gateway.model.partner import PartnerState
from gateway.model.reply import Cause, Status
from tests.unit.queue import queue_desk as desk
from tests.unit.root import relay_bed
from tests.unit.root.relay_bed import TO

SUSPECT = "Is de crisismaatregel van die meneer al verlopen?\n"
ORDINARY = "De vergadering begint om tien uur.\n"
HELD_TO = "iemand@onbekend.example"


@pytest.fixture
def house(tmp_path):
    house = relay_bed.House(tmp_path)
    yield house
    house.close()


@pytest.fixture
async def ready(house):
    """A house with a crisismaatregel for a verified partner, leased."""
    house.partner = await house.register(relay_bed.partner())
    assert (await house.receive()).code == 250
    (house.leased,) = await house.lease()
    return house


async def facts_of(house, event):
    """The opened facts of the last record of an event."""
    found = [r for r in await house.records() if r.event == event]
    openings = json.loads(found[-1].openings)
    return {name: opening["value"] for name, opening in openings.items()}


# --- receive ----------------------------------------------------------------


async def test_what_was_answered_250_is_durable_for_every_other_process(house):
    await house.register(relay_bed.partner())
    reply = await house.receive()
    assert (reply.code, reply.enhanced) == (250, "2.0.0")
    job = await house.job()
    assert job.state is JobState.READY
    assert job.regimes == {desk.WVGGZ}
    assert await house.spool.load(job.message) == relay_bed.octets()
    assert await house.events() == ["accepted"]


async def test_the_answer_is_given_after_the_commit_and_not_before(house):
    await house.register(relay_bed.partner())
    steps = []
    work = house.relay.ports.work

    class Watched:
        def __init__(self):
            self._inner = work()

        async def __aenter__(self):
            return await self._inner.__aenter__()

        async def __aexit__(self, *what):
            await self._inner.__aexit__(*what)
            steps.append(await house.events())

    watched = house.over(work=Watched)
    await relay.receive(relay_bed.message(), relay_bed.PEER, watched)
    assert steps == [["accepted"]]


@pytest.mark.parametrize("step", ["begin", "operation", "commit"])
async def test_a_commit_that_fails_is_no_answer_and_leaves_nothing(house, step):
    await house.register(relay_bed.partner())
    house.fault.arm(step, OSError(28, "injected"))
    with pytest.raises(TemporaryFailure):
        await house.receive()
    assert await house.jobs() == []
    assert await house.events() == []
    with pytest.raises(TemporaryFailure):
        await house.spool.load(MessageId("m-1"))


async def test_a_door_that_fails_before_the_commit_is_no_answer(house):
    class Broken:
        async def load(self, *_args):
            raise TemporaryFailure("registry")

    with pytest.raises(TemporaryFailure):
        await relay.receive(
            relay_bed.message(), relay_bed.PEER, house.over(facts=Broken())
        )
    assert await house.events() == []


async def test_a_refusal_leaves_only_evidence(house):
    reply = await house.receive("iemand@onbekend.example")
    assert (reply.code, reply.enhanced) == (550, "5.7.1")
    assert await house.jobs() == []
    assert await house.events() == ["refused"]
    with pytest.raises(TemporaryFailure):
        await house.spool.load(MessageId("m-1"))


async def test_a_hold_and_its_notice_are_durable_together(house):
    reply = await house.receive(HELD_TO, text=SUSPECT)
    assert reply.code == 250
    job = await house.job()
    assert (job.state, job.hold_code) == (JobState.HELD, "K302")
    (notice,) = await house.notices()
    assert notice.recipients[0].mailbox == desk.SENDER
    assert b"multipart/report" in await house.spool.load(notice.message)
    assert await house.events() == ["accepted", "held", "notice-sent"]


# --- attempt: what goes right -----------------------------------------------


async def test_a_delivery_is_written_with_its_intent_and_result(ready):
    await relay.attempt(ready.leased, ready.relay)
    job = await ready.job()
    assert job.state is JobState.DONE
    assert [r.status for r in job.recipients] == [RecipientStatus.DELIVERED]
    assert await ready.events() == ["accepted", "intent", "delivered"]
    (parcel,) = ready.far.seen
    assert parcel.octets == relay_bed.octets()
    assert (parcel.reverse_path, parcel.recipients) == (
        str(desk.SENDER),
        (Mailbox.parse(TO),),
    )


async def test_the_intent_is_durable_before_the_dot(ready):
    seen = []

    async def look():
        seen.append(((await ready.job()).intent_at, await ready.events()))

    ready.far.at["dot"] = look
    await relay.attempt(ready.leased, ready.relay)
    assert seen == [(ready.now, ["accepted", "intent"])]


async def test_a_notice_goes_over_the_own_route_with_the_null_reverse_path(house):
    await house.receive(HELD_TO, text=SUSPECT)
    (notice,) = await house.lease()
    await relay.attempt(notice, house.relay)
    ((hops, parcel),) = house.far.dialled
    assert (hops[0].host, hops[0].port) == ("127.0.0.1", 2525)
    assert parcel.reverse_path == ""
    assert parcel.recipients == (desk.SENDER,)


# --- attempt: what may not go -----------------------------------------------


async def test_a_partner_suspended_since_stops_the_message_and_nothing_is_dialled(
    ready,
):
    suspended = relay_bed.partner(state=PartnerState.SUSPENDED)
    await ready.register(suspended, ready.partner)
    await relay.attempt(ready.leased, ready.relay)
    assert ready.far.dialled == []
    assert ready.dns.asked == []
    job = await ready.job()
    assert job.state is JobState.DONE
    assert [r.status for r in job.recipients] == [RecipientStatus.FAILED]
    assert await ready.events() == ["accepted", "failed", "notice-sent"]
    assert (await facts_of(ready, "failed"))["recipients/1/code"] == "K303"
    (notice,) = await ready.notices()
    told = desk.Opened(await ready.spool.load(notice.message))
    assert "GGZ Voorbeeld" in told.text


async def test_a_held_job_leased_by_mistake_raises_and_nothing_is_dialled(ready):
    held = dataclasses.replace(ready.leased, hold_code=Code("K302"))
    before = await ready.job()
    with pytest.raises(TemporaryFailure):
        await relay.attempt(held, ready.relay)
    assert ready.far.dialled == []
    assert await ready.job() == before
    assert await ready.events() == ["accepted"]


async def test_content_that_cannot_be_read_is_our_fault_and_nothing_is_dialled(ready):
    class Unreadable:
        async def load(self, _message):
            raise TemporaryFailure("store: no key")

    with pytest.raises(TemporaryFailure):
        await relay.attempt(ready.leased, ready.over(spool=Unreadable()))
    assert ready.far.dialled == []
    assert (await ready.job()).state is JobState.LEASED


@pytest.mark.parametrize(
    ("tlsa", "events", "code"),
    [
        (Unavailable(True, "bogus"), ["accepted", "deferred"], "K402"),
        (
            Absent(Dnssec.SECURE, True, 60),
            ["accepted", "failed", "notice-sent"],
            "K401",
        ),
    ],
    ids=["bogus", "no-tlsa"],
)
async def test_a_route_that_cannot_be_proven_is_not_dialled(ready, tlsa, events, code):
    ready.dns.tlsa = tlsa
    await relay.attempt(ready.leased, ready.relay)
    assert ready.far.dialled == []
    assert await ready.events() == events
    assert (await facts_of(ready, events[1]))["recipients/1/code"] == code


# --- attempt: losing the lease ----------------------------------------------


async def test_a_lease_lost_before_the_dot_means_no_dot_and_nothing_written(ready):
    taken = []

    async def another_takes_it():
        ready.later(seconds=61)
        taken.extend(await ready.lease("v"))

    ready.far.at["intent"] = another_takes_it
    with pytest.raises(LeaseLost):
        await relay.attempt(ready.leased, ready.relay)
    assert ready.far.seen == []
    assert await ready.events() == ["accepted"]
    assert [await ready.job()] == taken


async def test_an_intent_that_cannot_be_written_means_no_dot(ready):
    async def disk_fails():
        ready.fault.arm("commit", OSError(13, "injected"))

    ready.far.at["intent"] = disk_fails
    await relay.attempt(ready.leased, ready.relay)
    assert ready.far.seen == []
    assert (await ready.job()).state is JobState.WAITING
    assert await ready.events() == ["accepted", "deferred"]


async def test_a_result_that_comes_too_late_is_evidence_and_no_state(ready):
    taken = []

    async def another_takes_it():
        ready.later(seconds=61)
        taken.extend(await ready.lease("v"))

    ready.far.at["dot"] = another_takes_it
    with pytest.raises(LeaseLost):
        await relay.attempt(ready.leased, ready.relay)
    assert [await ready.job()] == taken
    assert await ready.events() == ["accepted", "intent", "delivered"]
    assert (await facts_of(ready, "delivered"))["possible_duplicate"] is True


async def test_a_late_deferral_is_of_no_interest(ready):
    async def another_takes_it():
        ready.later(seconds=61)
        await ready.lease("v")

    ready.far.status = Status.DEFERRED
    ready.far.at["dot"] = another_takes_it
    with pytest.raises(LeaseLost):
        await relay.attempt(ready.leased, ready.relay)
    assert await ready.events() == ["accepted", "intent"]


# --- attempt: after a crash -------------------------------------------------


async def crash_around_the_dot(house):
    """The worker dies after its intent; the lease runs out; another worker leases."""

    async def die():
        raise RuntimeError("crash")

    house.far.at["dot"] = die
    with pytest.raises(RuntimeError):
        await relay.attempt(house.leased, house.relay)
    del house.far.at["dot"]
    house.later(seconds=61)
    (job,) = await house.lease("v")
    return job


async def test_an_intent_without_a_result_is_written_as_unknown_before_dialling_again(
    ready,
):
    job = await crash_around_the_dot(ready)
    assert job.intent_at is not None
    seen = []

    async def look():
        now = await ready.job()
        seen.append((await ready.events(), now.unknowns, now.intent_at))

    ready.far.at["dialled"] = look
    await relay.attempt(job, ready.relay)
    assert seen == [(["accepted", "intent", "delivery-unknown"], 1, None)]
    assert (await ready.events())[3:] == ["intent", "delivered"]
    assert (await facts_of(ready, "delivered"))["possible_duplicate"] is True
    done = await ready.job()
    assert (done.state, done.unknowns, done.attempts) == (JobState.DONE, 1, 2)


async def test_an_unknown_that_cannot_be_written_means_no_second_copy(ready):
    job = await crash_around_the_dot(ready)
    ready.fault.arm("commit", OSError(13, "injected"))
    with pytest.raises(TemporaryFailure):
        await relay.attempt(job, ready.relay)
    assert len(ready.far.dialled) == 1
    assert (await ready.job()).intent_at is not None


async def test_a_job_that_only_crashes_is_given_up_after_its_time_unread(ready):
    class Poison:
        async def load(self, _message):
            raise AssertionError("its octets were touched")

    ready.later(days=1)
    poison = dataclasses.replace(ready.leased, crashes=relay.CRASHES_BEFORE_GIVING_UP)
    await relay.attempt(poison, ready.over(spool=Poison()))
    assert ready.far.dialled == []
    job = await ready.job()
    assert [r.status for r in job.recipients] == [RecipientStatus.EXPIRED]
    assert (await ready.events())[-2:] == ["expired", "notice-sent"]


@pytest.mark.parametrize(
    ("crashes", "days"), [(relay.CRASHES_BEFORE_GIVING_UP - 1, 1), (99, 0)]
)
async def test_few_crashes_or_a_fresh_job_are_no_reason_to_give_up(
    ready, crashes, days
):
    ready.later(days=days)
    job = dataclasses.replace(ready.leased, crashes=crashes)
    await relay.attempt(job, ready.relay)
    assert len(ready.far.seen) == 1


async def test_giving_up_after_an_intent_says_that_it_may_have_arrived(ready):
    job = await crash_around_the_dot(ready)
    ready.later(days=1)
    poison = dataclasses.replace(job, crashes=relay.CRASHES_BEFORE_GIVING_UP)
    await relay.attempt(poison, ready.relay)
    assert "delivery-unknown" in await ready.events()
    (notice,) = await ready.notices()
    told = desk.Opened(await ready.spool.load(notice.message))
    assert "misschien is het bericht toch aangekomen" in told.text


# --- attempt: a mismatch asks DNS anew (B-23) -------------------------------

MISMATCH = {
    "status": Status.DEFERRED,
    "cause": Cause.TLS,
    "tls_result": TlsResult.VALIDATION_FAILURE,
    "code": Code("K404"),
}
ROLLED = Present(frozenset({Tlsa(3, 1, 1, b"y" * 32)}), Dnssec.SECURE, 60)


async def test_what_failed_once_is_asked_for_anew(ready):
    again = dataclasses.replace(ready.leased, attempts=1)
    await relay.attempt(again, ready.relay)
    assert [fresh for _, fresh in ready.dns.asked] == [True]


async def test_a_record_that_was_rolled_over_is_asked_anew_and_tried_in_the_same_attempt(
    ready,
):
    ready.far.before_the_dot = [(MISMATCH, desk.hop(detail="mismatch")), None]
    ready.dns.renewed = ROLLED
    await relay.attempt(ready.leased, ready.relay)
    assert [fresh for _, fresh in ready.dns.asked] == [False, True]
    assert len(ready.far.dialled) == 2
    assert await ready.events() == ["accepted", "intent", "delivered"]
    facts = await facts_of(ready, "delivered")
    assert facts["hops/1/detail"] == "mismatch"
    assert "hops/2/host" in facts


@pytest.mark.parametrize(
    "renewed", [None, Unavailable(False, "time-out")], ids=["the-same", "unavailable"]
)
async def test_a_mismatch_that_dns_confirms_is_not_tried_again(ready, renewed):
    ready.far.before_the_dot = [(MISMATCH,)]
    ready.dns.renewed = renewed
    await relay.attempt(ready.leased, ready.relay)
    assert len(ready.far.dialled) == 1
    assert await ready.events() == ["accepted", "deferred"]
    assert (await facts_of(ready, "deferred"))["recipients/1/code"] == "K404"


@pytest.mark.parametrize(
    "change",
    [
        {"status": Status.FAILED},
        {"cause": Cause.UNREACHABLE},
        {"tls_result": TlsResult.STARTTLS_NOT_SUPPORTED},
        {"tls_result": TlsResult.CERTIFICATE_EXPIRED},
    ],
    ids=str,
)
async def test_another_trouble_does_not_ask_dns_anew(ready, change):
    ready.far.before_the_dot = [(MISMATCH | change,)]
    ready.dns.renewed = ROLLED
    await relay.attempt(ready.leased, ready.relay)
    assert len(ready.far.dialled) == len(ready.dns.asked) == 1


# --- expire_hold ------------------------------------------------------------


async def expired_hold(house, owner="w"):
    await house.receive(HELD_TO, text=SUSPECT)
    house.later(hours=3)
    until = house.now + relay_bed.LEASE
    (hold,) = await house.queue.lease_expired_holds(owner, 10, house.now, until)
    return hold


async def test_a_hold_that_expired_ends_as_rejected_and_a_notice_waits(house):
    hold = await expired_hold(house)
    await relay.expire_hold(hold, house.relay)
    job = await house.job()
    assert (job.state, job.recipients[0].status) == (
        JobState.DONE,
        RecipientStatus.REJECTED,
    )
    assert (await house.events())[-2:] == ["hold-expired", "notice-sent"]
    assert len(await house.notices()) == 2  # held, and expired
    assert house.far.dialled == []


async def test_a_hold_that_another_worker_took_is_not_ended_twice(house):
    stale = await expired_hold(house)
    house.later(seconds=61)
    until = house.now + relay_bed.LEASE
    await house.queue.lease_expired_holds("v", 10, house.now, until)
    with pytest.raises(LeaseLost):
        await relay.expire_hold(stale, house.relay)
    assert (await house.job()).state is JobState.HELD
    assert len(await house.notices()) == 1


# --- the whole life ---------------------------------------------------------


async def test_a_message_that_nobody_takes_is_warned_of_once_and_expires(ready):
    ready.far.before_the_dot = [
        ({"status": Status.DEFERRED, "code": Code("K406")},) for _ in range(99)
    ]
    job = ready.leased
    for _ in range(99):
        await relay.attempt(job, ready.relay)
        if (await ready.job()).state is JobState.DONE:
            break
        ready.now = (await ready.job()).next_attempt_at
        leased = await ready.lease()
        (job,) = [each for each in leased if each.message == "m-1"]
    events = await ready.events()
    assert events.count("notice-sent") == 2
    assert events[-2:] == ["expired", "notice-sent"]
    assert ready.now == desk.NOW + 4 * desk.HOUR
    assert (await ready.job()).recipients[0].status is RecipientStatus.EXPIRED


async def test_ordinary_mail_goes_without_a_partner(house):
    await house.receive("info@x-y.example", text=ORDINARY)
    (job,) = await house.lease()
    assert (job.partner, job.regimes) == (None, frozenset())
    await relay.attempt(job, house.relay)
    assert len(house.far.seen) == 1
