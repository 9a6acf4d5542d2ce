"""The one table of job states and what moves a job on.

READY and WAITING jobs are taken by a worker's lease; a LEASED one whose lease ran out
is taken again, because its worker died or froze. HELD is left by a person or by time,
never by the delivery loop: no lease for delivery is ever given on it. DONE is final:
then, and only then, every recipient has exactly one terminal status (INV-4).
"""

import enum

from gateway.model.errors import GatewayError
from gateway.model.job import JobState, RecipientStatus


class Move(enum.Enum):
    """What can happen to a job."""

    LEASE = "lease"  # a worker takes it
    RETRY = "retry"  # some recipients are to be tried again
    FINISH = "finish"  # no recipient is open any more
    EXPIRE_HOLD = "expire-hold"  # nobody decided in time


_TABLE = {
    (JobState.READY, Move.LEASE): JobState.LEASED,
    (JobState.WAITING, Move.LEASE): JobState.LEASED,
    (JobState.LEASED, Move.LEASE): JobState.LEASED,  # the earlier lease ran out
    (JobState.LEASED, Move.RETRY): JobState.WAITING,
    (JobState.LEASED, Move.FINISH): JobState.DONE,
    (JobState.HELD, Move.EXPIRE_HOLD): JobState.DONE,
}

TERMINAL = frozenset(RecipientStatus) - {RecipientStatus.TODO}


class ImpossibleMoveError(GatewayError):
    """A move that the table does not know: a bug of ours, so nothing is written."""


def move(state: JobState, what: Move) -> JobState:
    """The state after a move.

    Raises:
        ImpossibleMoveError: When the table has no such move.
    """
    try:
        return _TABLE[state, what]
    except KeyError:
        raise ImpossibleMoveError(f"{state.value} cannot {what.value}") from None
