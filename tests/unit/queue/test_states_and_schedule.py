"""The table of moves, and the clock of tries."""

import datetime
import itertools

import pytest

from gateway.config import Clock
from gateway.model.address import Mailbox, ReversePath
from gateway.model.assurance import Assurance
from gateway.model.classification import Level
from gateway.model.job import Job, JobKind, JobRecipient, JobState, RecipientStatus
from gateway.model.message import Body
from gateway.model.partner import Route, RouteMethod
from gateway.queue import schedule
from gateway.queue.states import TERMINAL, ImpossibleMoveError, Move, move

NOW = datetime.datetime(2026, 11, 25, 12, 0, tzinfo=datetime.UTC)
MINUTE = datetime.timedelta(minutes=1)
EXPECTED = {
    (JobState.READY, Move.LEASE): JobState.LEASED,
    (JobState.WAITING, Move.LEASE): JobState.LEASED,
    (JobState.LEASED, Move.LEASE): JobState.LEASED,
    (JobState.LEASED, Move.RETRY): JobState.WAITING,
    (JobState.LEASED, Move.FINISH): JobState.DONE,
    (JobState.HELD, Move.EXPIRE_HOLD): JobState.DONE,
}
POSSIBLE = set(EXPECTED)
CLOCK = Clock((MINUTE, 5 * MINUTE), 15 * MINUTE, 240 * MINUTE)


def job(**changes):
    values = {
        "id": "j",
        "message": "m",
        "municipality": "gem",
        "kind": JobKind.MESSAGE,
        "state": JobState.LEASED,
        "reverse_path": ReversePath(Mailbox.parse("a@gem.example")),
        "recipients": (JobRecipient(Mailbox.parse("b@ggz.example")),),
        "route": Route(RouteMethod.MX, Assurance.AUTHENTICATED),
        "partner": "ggz",
        "level": Level.CERTAIN,
        "regimes": frozenset({"wvggz"}),
        "body": Body.SEVEN_BIT,
        "smtputf8": False,
        "size_octets": 100,
        "policy": "d" * 64,
        "accepted_at": NOW,
        "next_attempt_at": NOW,
        "expires_at": NOW + CLOCK.expire_after,
    }
    return Job(**values | changes)


@pytest.mark.parametrize(
    ("state", "what", "expected"), [(*key, value) for key, value in EXPECTED.items()]
)
def test_the_table_moves_a_job_on(state, what, expected):
    assert move(state, what) is expected


def test_every_other_move_is_impossible():
    impossible = 0
    for state, what in set(itertools.product(JobState, Move)) - POSSIBLE:
        with pytest.raises(ImpossibleMoveError, match=f"{state.value} cannot"):
            move(state, what)
        impossible += 1
    assert impossible == 20 - 6


def test_a_held_job_is_never_leased_for_delivery():
    with pytest.raises(ImpossibleMoveError):
        move(JobState.HELD, Move.LEASE)


def test_only_todo_is_not_terminal():
    assert frozenset(RecipientStatus) - TERMINAL == {RecipientStatus.TODO}


@pytest.mark.parametrize(("attempts", "minutes"), [(0, 1), (1, 5), (2, 5), (9, 5)])
def test_the_last_interval_repeats_with_at_most_a_fifth_more(attempts, minutes):
    due = schedule.next_attempt_at(job(attempts=attempts), CLOCK, NOW)
    assert minutes * MINUTE <= due - NOW <= minutes * MINUTE * 1.2


def test_the_same_state_gives_the_same_instant_and_others_are_spread():
    first = schedule.next_attempt_at(job(), CLOCK, NOW)
    assert first == schedule.next_attempt_at(job(), CLOCK, NOW)
    spread = {schedule.next_attempt_at(job(id=str(n)), CLOCK, NOW) for n in range(50)}
    assert len(spread) > 20


def test_the_last_attempt_comes_at_the_expiry_and_not_after():
    late = job(attempts=3, expires_at=NOW + MINUTE)
    assert schedule.next_attempt_at(late, CLOCK, NOW) == NOW + MINUTE
    past = job(attempts=3, expires_at=NOW - MINUTE)
    assert schedule.next_attempt_at(past, CLOCK, NOW) == NOW


def test_expiry_needs_age_and_an_attempt():
    over = NOW + CLOCK.expire_after
    assert not schedule.is_expired(job(attempts=0), over)
    assert not schedule.is_expired(job(attempts=1), over - MINUTE)
    assert schedule.is_expired(job(attempts=1), over)


def test_the_warning_is_due_once():
    at = NOW + CLOCK.warn_after
    assert not schedule.is_warning_due(job(), CLOCK, at - MINUTE)
    assert schedule.is_warning_due(job(), CLOCK, at)
    assert not schedule.is_warning_due(job(delay_notice_sent=True), CLOCK, at)
