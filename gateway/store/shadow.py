"""Counts of shadow mode: kept by day, and bounded (R3).

Of one day at most `MOST_NAMES` names of a kind and verdict are kept, with the highest
counts; those that fall out are summed under `other`. A name that comes later begins
anew, so its count may be too low, never too high. Old days are forgotten.
"""

import datetime
from collections.abc import Iterator, Sequence

from sqlalchemy import bindparam, delete, func, select
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import Connection

from gateway.model.ids import MunicipalityId
from gateway.model.tally import OTHER, Counted, CountKind, Seen, Tally
from gateway.store.tables import shadow_count
from gateway.store.work import Store

MOST_NAMES = 200
KEEP_DAYS = 400
_MAX_NAME = 253

_GROUP = (
    shadow_count.c.municipality == bindparam("owner"),
    shadow_count.c.day == bindparam("on"),
    shadow_count.c.kind == bindparam("of"),
    shadow_count.c.verdict == bindparam("seen"),
)
_HOW_MANY = select(func.count()).select_from(shadow_count).where(*_GROUP)
_RAREST_FIRST = (
    select(shadow_count.c.name, shadow_count.c.total)
    .where(*_GROUP, shadow_count.c.name != OTHER)
    .order_by(shadow_count.c.total, shadow_count.c.name.desc())
    .limit(bindparam("most"))
)
_DROP = delete(shadow_count).where(
    *_GROUP, shadow_count.c.name.in_(bindparam("names", expanding=True))
)
_FORGET = delete(shadow_count).where(
    shadow_count.c.municipality == bindparam("owner"),
    shadow_count.c.day < bindparam("before"),
)
_SINCE = (
    select(shadow_count)
    .where(
        shadow_count.c.municipality == bindparam("owner"),
        shadow_count.c.day >= bindparam("since"),
    )
    .order_by(shadow_count.c.day)
)


class SqlShadow:
    """The counts of one store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def add(
        self, municipality: MunicipalityId, day: datetime.date, tally: Tally
    ) -> None:
        """Add to what was counted that day; durable when it returns."""
        await self._store.write(
            lambda connection: _add(connection, municipality, day, tally)
        )

    async def since(
        self, municipality: MunicipalityId, day: datetime.date
    ) -> Sequence[tuple[datetime.date, Counted, int]]:
        """All that was counted on this day and later, oldest first."""
        values = {"owner": municipality, "since": day.isoformat()}
        rows = await self._store.read(
            lambda connection: connection.execute(_SINCE, values).mappings().all()
        )
        return [
            (
                datetime.date.fromisoformat(row["day"]),
                Counted(CountKind(row["kind"]), Seen(row["verdict"]), row["name"]),
                row["total"],
            )
            for row in rows
        ]


def _add(
    connection: Connection, owner: MunicipalityId, day: datetime.date, tally: Tally
) -> None:
    for counted, count in tally.items():
        _count(connection, owner, day, counted, count)
    for kind, seen in _groups(tally):
        _bound(connection, owner, day, Counted(kind, seen))
    before = day - datetime.timedelta(days=KEEP_DAYS)
    connection.execute(_FORGET, {"owner": owner, "before": before.isoformat()})


def _groups(tally: Tally) -> Iterator[tuple[CountKind, Seen]]:
    yield from {(counted.kind, counted.seen) for counted in tally}


def _count(
    connection: Connection,
    owner: MunicipalityId,
    day: datetime.date,
    counted: Counted,
    count: int,
) -> None:
    row = sqlite.insert(shadow_count).values(
        municipality=owner,
        day=day.isoformat(),
        kind=counted.kind.value,
        verdict=counted.seen.value,
        name=counted.name[:_MAX_NAME],
        total=count,
    )
    connection.execute(
        row.on_conflict_do_update(
            index_elements=list(shadow_count.primary_key.columns),
            set_={"total": shadow_count.c.total + row.excluded["total"]},
        )
    )


def _bound(
    connection: Connection, owner: MunicipalityId, day: datetime.date, group: Counted
) -> None:
    """Sum the rarest names up, when there are more than may be."""
    values = {
        "owner": owner,
        "on": day.isoformat(),
        "of": group.kind.value,
        "seen": group.seen.value,
    }
    over = connection.execute(_HOW_MANY, values).scalar_one() - MOST_NAMES
    if over <= 0:
        return
    # One more makes room for the row `other`, and a quarter so that it is rarely done.
    most = over + 1 + MOST_NAMES // 4
    rare = connection.execute(_RAREST_FIRST, {**values, "most": most}).all()
    names = [name for name, _ in rare]
    connection.execute(_DROP, {**values, "names": names})
    lost = sum(total for _, total in rare)
    other = Counted(group.kind, group.seen, OTHER)
    _count(connection, owner, day, other, lost)
