"""Taking jobs out of the queue, and looking at it (ports.Queue).

A lease is one UPDATE: it picks due jobs, raises their token and names the owner, inside
the one write transaction, so two workers never get the same job. A HELD job stays HELD
when its expiry is leased: no way leads from there to delivery.
"""

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import (
    BindParameter,
    Select,
    bindparam,
    case,
    func,
    select,
    union_all,
    update,
)
from sqlalchemy.engine import Connection, RowMapping

from gateway.model.ids import JobId, MessageId, MunicipalityId
from gateway.model.job import Job, JobState
from gateway.store import codec, sealed
from gateway.store.tables import job, microseconds
from gateway.store.work import Store

_READY, _LEASED, _HELD = JobState.READY, JobState.LEASED, JobState.HELD
_NOW: BindParameter[int] = bindparam("now")
_MOST: BindParameter[int] = bindparam("most")


def _first(condition: Any, order: Any) -> Select[Any]:
    chosen = select(job.c.id, job.c.next_attempt_at).where(condition)
    return select(chosen.order_by(order).limit(_MOST).subquery())


# READY is due whatever the clock says: a clock set back may not stall new mail (G-11).
_DUE = union_all(
    _first(job.c.due_at <= _NOW, job.c.due_at),
    _first(job.c.state == _READY.value, job.c.next_attempt_at),
).subquery()
_LEASE = (
    update(job)
    .where(
        job.c.id.in_(
            select(_DUE.c.id)
            .group_by(_DUE.c.id, _DUE.c.next_attempt_at)
            .order_by(_DUE.c.next_attempt_at)
            .limit(_MOST)
        )
    )
    .values(
        state=_LEASED.value,
        # The old state counts here: a lease that ran out is a crash (G-14).
        crashes=job.c.crashes + case((job.c.state == _LEASED.value, 1), else_=0),
        lease_token=job.c.lease_token + 1,
        lease_owner=bindparam("owner"),
        lease_until=bindparam("until"),
        due_at=bindparam("until"),
    )
    .returning(job)
)
_EXPIRED_HOLDS = (
    select(job.c.id)
    .where(job.c.state == _HELD.value, job.c.expires_at <= _NOW)
    .where((job.c.lease_until.is_(None)) | (job.c.lease_until <= _NOW))
    .order_by(job.c.expires_at)
    .limit(_MOST)
)
_LEASE_HOLDS = (
    update(job)
    .where(job.c.id.in_(_EXPIRED_HOLDS))
    .values(
        crashes=job.c.crashes + case((job.c.lease_until.is_not(None), 1), else_=0),
        lease_token=job.c.lease_token + 1,
        lease_owner=bindparam("owner"),
        lease_until=bindparam("until"),
    )
    .returning(job)
)
_RENEW = (
    update(job)
    .where(job.c.id == bindparam("of"), job.c.lease_token == bindparam("token"))
    .where(job.c.state.in_((_LEASED.value, _HELD.value)))
    .where(job.c.lease_owner.is_not(None))
    .values(
        lease_until=bindparam("until"),
        due_at=case((job.c.state == _LEASED.value, bindparam("until")), else_=None),
    )
)
_COUNT = select(job.c.state, func.count()).group_by(job.c.state)

_OPEN_OF = (
    select(job.c.municipality).where(job.c.state != JobState.DONE.value).distinct()
)


class SqlQueue:
    """The queue of one store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def lease(
        self, owner: str, limit: int, now: datetime.datetime, until: datetime.datetime
    ) -> Sequence[Job]:
        """Take due jobs, the longest due first; see ports.Queue."""
        return await self._take(_LEASE, owner, limit, now, until)

    async def lease_expired_holds(
        self, owner: str, limit: int, now: datetime.datetime, until: datetime.datetime
    ) -> Sequence[Job]:
        """Take HELD jobs that nobody decided in time; they stay HELD."""
        return await self._take(_LEASE_HOLDS, owner, limit, now, until)

    async def _take(
        self,
        statement: Any,
        owner: str,
        limit: int,
        now: datetime.datetime,
        until: datetime.datetime,
    ) -> Sequence[Job]:
        values = {
            "owner": owner,
            "most": limit,
            "now": microseconds(now),
            "until": microseconds(until),
        }
        if not await self._store.read(lambda c: _is_any(c, statement, values)):
            return ()  # an idle queue costs no write
        rows = await self._store.write(
            lambda connection: connection.execute(statement, values).mappings().all()
        )
        jobs = [self._open(row) for row in rows]
        return sorted(jobs, key=lambda taken: taken.next_attempt_at)

    async def renew(
        self, leases: Mapping[JobId, int], until: datetime.datetime
    ) -> frozenset[JobId]:
        """Prolong leases; answers those that are still held."""

        def prolong(connection: Connection) -> frozenset[JobId]:
            return frozenset(
                of
                for of, token in leases.items()
                if connection.execute(
                    _RENEW, {"of": of, "token": token, "until": microseconds(until)}
                ).rowcount
            )

        return await self._store.write(prolong) if leases else frozenset()

    async def list_jobs(
        self, limit: int, states: frozenset[JobState] = frozenset(JobState)
    ) -> Sequence[Job]:
        """Jobs in these states, the one due first first."""
        chosen = job.c.state.in_([state.value for state in states])
        return await self._find(
            select(job).where(chosen).order_by(job.c.next_attempt_at).limit(limit)
        )

    async def jobs_of_message(self, message: MessageId) -> Sequence[Job]:
        """All jobs of a message, in the order of their ids."""
        return await self._find(
            select(job).where(job.c.message_id == message).order_by(job.c.id)
        )

    async def load_job(self, of: JobId) -> Job | None:
        """One job, or None."""
        return next(iter(await self._find(select(job).where(job.c.id == of))), None)

    async def counts(self) -> Mapping[JobState, int]:
        """How many jobs stand in each state; states without any are there, with 0."""
        rows = await self._store.read(lambda c: c.execute(_COUNT).all())
        found = {JobState(state): count for state, count in rows}
        return {state: found.get(state, 0) for state in JobState}

    async def municipalities(self) -> frozenset[MunicipalityId]:
        """Those that have a job which is not done."""
        found = await self._store.read(lambda c: c.execute(_OPEN_OF).scalars().all())
        return frozenset(map(MunicipalityId, found))

    async def _find(self, question: Select[Any]) -> Sequence[Job]:
        return await self._store.read(
            lambda c: [self._open(row) for row in c.execute(question).mappings()]
        )

    def _open(self, row: RowMapping) -> Job:
        key = self._store.keys.unwrap(row["epoch"], row["wrapped_key"])
        name = sealed.label("job", row["municipality"], row["id"])
        return codec.parse_job(row, sealed.unseal(key, name, row["sealed"]))


def _is_any(connection: Connection, statement: Any, values: dict[str, Any]) -> bool:
    question = select(_DUE.c.id).limit(1) if statement is _LEASE else _EXPIRED_HOLDS
    return connection.execute(question, values).first() is not None
