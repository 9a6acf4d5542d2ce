"""Questions to the logs: leaves, openings, checkpoints."""

import dataclasses
import datetime
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.engine import Connection, RowMapping

from gateway.model.errors import EvidenceError
from gateway.model.ids import MessageId, RecordId
from gateway.ports import KeyWrapper
from gateway.store import sealed
from gateway.store.tables import (
    evidence_checkpoint,
    evidence_leaf,
    evidence_record,
    instant,
)


@dataclasses.dataclass(frozen=True, slots=True)
class StoredRecord:
    """A record as it is kept. `index` is None until it has its place in the tree."""

    id: RecordId
    origin: str
    at: datetime.datetime
    event: str
    index: int | None
    leaf: bytes = dataclasses.field(repr=False)
    openings: bytes | None = dataclasses.field(repr=False)  # JSON; None: erased


@dataclasses.dataclass(frozen=True, slots=True)
class StoredCheckpoint:
    """A signed checkpoint; `note` is the whole signed note."""

    origin: str
    size: int
    root: bytes
    note: str
    at: datetime.datetime


def origins(connection: Connection) -> Sequence[str]:
    """The logs that have records."""
    # One look-up per log: DISTINCT would walk the whole index each second.
    found: list[str] = []
    last = ""
    while True:
        following = connection.execute(
            select(func.min(evidence_record.c.origin)).where(
                evidence_record.c.origin > last
            )
        ).scalar()
        if following is None:
            return found
        last = following
        found.append(last)


def size(connection: Connection, origin: str) -> int:
    """The number of leaves."""
    last: int | None = connection.execute(
        select(func.max(evidence_leaf.c.leaf_index)).where(
            evidence_leaf.c.origin == origin
        )
    ).scalar()
    return 0 if last is None else last + 1


def leaves(
    connection: Connection, origin: str, first: int, past: int
) -> Sequence[bytes]:
    """Leaves in order."""
    question = (
        select(evidence_record.c.leaf)
        .join(evidence_leaf, evidence_leaf.c.record_seq == evidence_record.c.seq)
        .where(evidence_leaf.c.origin == origin)
        .where(evidence_leaf.c.leaf_index >= first, evidence_leaf.c.leaf_index < past)
        .order_by(evidence_leaf.c.leaf_index)
    )
    return connection.execute(question).scalars().all()


def leaf_hashes(connection: Connection, origin: str, past: int) -> Sequence[bytes]:
    """The first leaf hashes in order."""
    question = (
        select(evidence_leaf.c.leaf_hash)
        .where(evidence_leaf.c.origin == origin, evidence_leaf.c.leaf_index < past)
        .order_by(evidence_leaf.c.leaf_index)
    )
    found = connection.execute(question).scalars().all()
    if len(found) != past:
        raise EvidenceError(f"log {origin} has fewer leaves than {past}")
    return found


def openings(
    connection: Connection, keys: KeyWrapper, records: Sequence[RecordId]
) -> Mapping[RecordId, bytes | None]:
    """Openings by record id; ids that are not there are left out."""
    question = select(evidence_record).where(evidence_record.c.id.in_(records))
    return {
        RecordId(row["id"]): _open(row, keys)
        for row in connection.execute(question).mappings()
    }


def records_of_message(
    connection: Connection, keys: KeyWrapper, message: MessageId
) -> Sequence[StoredRecord]:
    """The records of one message in commit order."""
    question = (
        select(evidence_record, evidence_leaf.c.leaf_index)
        .outerjoin(evidence_leaf, evidence_leaf.c.record_seq == evidence_record.c.seq)
        .where(evidence_record.c.message_id == message)
        .order_by(evidence_record.c.seq)
    )
    return [
        StoredRecord(
            id=RecordId(row["id"]),
            origin=row["origin"],
            at=instant(row["at"]),
            event=row["event"],
            index=row["leaf_index"],
            leaf=row["leaf"],
            openings=_open(row, keys),
        )
        for row in connection.execute(question).mappings()
    ]


def _open(row: RowMapping, keys: KeyWrapper) -> bytes | None:
    if row["wrapped_key"] is None or row["openings"] is None:
        return None
    key = keys.unwrap(row["epoch"], row["wrapped_key"])
    name = sealed.label("evidence", row["municipality"], row["id"])
    return sealed.unseal(key, name, row["openings"])


def latest_checkpoint(connection: Connection, origin: str) -> StoredCheckpoint | None:
    """The checkpoint with the largest size."""
    largest = evidence_checkpoint.c.size.desc()
    return next(iter(_checkpoints(connection, origin, largest, 1)), None)


def checkpoints(connection: Connection, origin: str) -> Sequence[StoredCheckpoint]:
    """All checkpoints by size."""
    return _checkpoints(connection, origin, evidence_checkpoint.c.size, None)


def _checkpoints(
    connection: Connection, origin: str, order: Any, limit: int | None
) -> Sequence[StoredCheckpoint]:
    question = (
        select(evidence_checkpoint)
        .where(evidence_checkpoint.c.origin == origin)
        .order_by(order)
        .limit(limit)
    )
    return [
        StoredCheckpoint(row.origin, row.size, row.root, row.note, instant(row.at))
        for row in connection.execute(question)
    ]
