"""When to try again, when to warn, when to give up (G-10). All pure."""

import datetime
import hashlib

from gateway.config import Clock
from gateway.model.job import Job

_JITTER = 0.2  # share of the interval that is spread, against herds


def next_attempt_at(
    job: Job, clock: Clock, now: datetime.datetime
) -> datetime.datetime:
    """The instant of the next attempt: the clock's interval with up to 20 % more.

    The spread follows from job and attempt, so the same state gives the same instant.
    It never lies past the expiry, so that the last attempt comes before giving up.
    """
    at = min(job.attempts, len(clock.retry) - 1)
    seed = hashlib.sha256(f"{job.id}/{job.attempts}".encode()).digest()[0] / 255
    due = now + clock.retry[at] * (1 + _JITTER * seed)
    return min(due, max(job.expires_at, now))


def is_expired(job: Job, now: datetime.datetime) -> bool:
    """Whether to give up: the time has passed and at least one attempt was made (G-11).

    A clock that jumped forward must not expire what was never tried.
    """
    return now >= job.expires_at and job.attempts > 0


def is_warning_due(job: Job, clock: Clock, now: datetime.datetime) -> bool:
    """Whether the sender must be told now that it takes long; at most once."""
    return not job.delay_notice_sent and now >= job.accepted_at + clock.warn_after
