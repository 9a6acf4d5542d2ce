"""How full the store is: what back-pressure and metrics look at each second.

So every question walks an index over open jobs or over what is not in the tree yet,
never over all that was ever stored.
"""

import dataclasses
import datetime
import os
import pathlib
from collections.abc import Mapping

from sqlalchemy import bindparam, func, literal_column, select
from sqlalchemy.engine import Connection

from gateway.model.job import JobState
from gateway.store import evidence_reading
from gateway.store.tables import evidence_leaf, evidence_record, job, microseconds
from gateway.store.work import Store

OPEN_STATES = tuple(state for state in JobState if state is not JobState.DONE)
_MICROSECONDS = 1_000_000
_LEAST_FILES = 1000  # inodes: a large message takes two

_OPEN = job.c.state.in_([state.value for state in OPEN_STATES])
_COUNT_OPEN = select(func.count()).select_from(
    select(literal_column("1")).where(_OPEN).limit(bindparam("most")).subquery()
)
_BY_STATE = select(job.c.state, func.count()).where(_OPEN).group_by(job.c.state)
# As `queue` takes them: READY at once, the others when `due_at` has passed.
_OLDEST_DUE = select(func.min(job.c.due_at)).where(job.c.due_at <= bindparam("now"))
_OLDEST_READY = select(func.min(job.c.next_attempt_at)).where(
    job.c.state == JobState.READY.value
)
_LAST_IN_TREE = (
    select(evidence_leaf.c.record_seq)
    .where(evidence_leaf.c.origin == bindparam("of"))
    .order_by(evidence_leaf.c.leaf_index.desc())
    .limit(1)
)
_BEHIND = select(func.count(), func.min(evidence_record.c.at)).where(
    evidence_record.c.origin == bindparam("of"),
    evidence_record.c.seq > bindparam("last"),
)


@dataclasses.dataclass(frozen=True, slots=True)
class Figures:
    """The store at one instant; ages in seconds, 0 when there is nothing."""

    jobs: Mapping[JobState, int]  # the open states
    oldest_due_s: float  # how long the job that waits longest could have been tried
    unsigned_records: int  # of evidence, durable and in no tree yet
    oldest_unsigned_s: float


class SqlGauges:
    """Looks at one store.

    `places` are directories that must have room: of spool and database, which may lie
    on file systems of their own.
    """

    def __init__(self, store: Store, *places: pathlib.Path) -> None:
        self._store = store
        self._places = places

    def free_octets(self) -> int:
        """Room for us where there is least; none where no file can be made.

        Raises:
            OSError: When that cannot be seen.
        """
        return min((self._store.directory.free_octets(), *map(_room, self._places)))

    @property
    def is_broken(self) -> bool:
        """Whether the store saw an I/O error (G-01)."""
        return self._store.is_broken

    @property
    def progress(self) -> tuple[int, int]:
        """Units that wait to be written here, and how many were done."""
        return self._store.progress

    async def count_open(self, most: int) -> int:
        """How many jobs are open; does not count beyond `most`.

        Raises:
            TemporaryFailure: When the store cannot be read.
        """
        found: int = await self._store.read(
            lambda c: c.execute(_COUNT_OPEN, {"most": most}).scalar_one()
        )
        return found

    async def figures(self, now: datetime.datetime) -> Figures:
        """What metrics show.

        Raises:
            TemporaryFailure: When the store cannot be read.
        """
        return await self._store.read(lambda c: _figures(c, microseconds(now)))


def _room(place: pathlib.Path) -> int:
    """Octets; none when the files run out first (where their number is bounded)."""
    room = os.statvfs(place)
    if room.f_files and room.f_favail < _LEAST_FILES:
        return 0
    return room.f_bavail * room.f_frsize


def _figures(connection: Connection, now: int) -> Figures:
    counted = {JobState(s): count for s, count in connection.execute(_BY_STATE)}
    due = [
        connection.execute(_OLDEST_DUE, {"now": now}).scalar(),
        connection.execute(_OLDEST_READY).scalar(),
    ]
    behind = [
        _behind(connection, origin) for origin in evidence_reading.origins(connection)
    ]
    return Figures(
        {state: counted.get(state, 0) for state in OPEN_STATES},
        _age_s(due, now),
        sum(count for count, _ in behind),
        _age_s([at for _, at in behind], now),
    )


def _behind(connection: Connection, origin: str) -> tuple[int, int | None]:
    last = connection.execute(_LAST_IN_TREE, {"of": origin}).scalar() or 0
    count, at = connection.execute(_BEHIND, {"of": origin, "last": last}).one()
    return count, at


def _age_s(instants: list[int | None], now: int) -> float:
    """Since the earliest; a clock that was set back does not make it negative."""
    known = [at for at in instants if at is not None]
    return max(0, now - min(known)) / _MICROSECONDS if known else 0.0
