"""The logs: durable records get their place in a tree, and the tree is signed.

`integrate` gives records of a log consecutive indices in commit order. It runs in a
write transaction, under the sequencer's lease; what it returns from is durable. `sign`
puts a note over what was durable before, and stores it only while the lease is still
ours (its `fence` is as we know it) and no checkpoint of that size is there: two
sequencers never leave two roots of equal size (F-22), and no checkpoint is over entries
that a crash can take back (F-21).

The tree's frontier is kept in memory and built again from leaf rows at the start, when
another sequencer went on, or when a write failed. Where it passes the last checkpoint
its root must be the signed one; a log that is shorter, or other, than what was signed
stops the gateway (EvidenceError).
"""

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import BindParameter, bindparam, func, insert, select, update
from sqlalchemy.engine import Connection

from gateway.evidence.checkpoint import Checkpoint, sign_note
from gateway.evidence.tree import Frontier, leaf_hash
from gateway.model.errors import EvidenceError, LeaseLost
from gateway.model.ids import MessageId, RecordId
from gateway.ports import CheckpointSigner
from gateway.store import evidence_reading as reading
from gateway.store.tables import (
    evidence_checkpoint,
    evidence_leaf,
    evidence_record,
    microseconds,
    sequencer,
)
from gateway.store.work import Store

LEASE = datetime.timedelta(seconds=5)  # how long a dead sequencer is waited for
_ORIGIN: BindParameter[str] = bindparam("of")
_LAST_SEQ = (
    select(evidence_leaf.c.record_seq)
    .where(evidence_leaf.c.origin == _ORIGIN)
    .order_by(evidence_leaf.c.leaf_index.desc())
    .limit(1)
    .scalar_subquery()
)
_PENDING = (
    select(evidence_record.c.seq, evidence_record.c.leaf)
    .where(evidence_record.c.origin == _ORIGIN)
    .where(evidence_record.c.seq > func.coalesce(_LAST_SEQ, 0))
    .order_by(evidence_record.c.seq)
    .limit(bindparam("most"))
)
_HASHES_FROM = (
    select(evidence_leaf.c.leaf_index, evidence_leaf.c.leaf_hash)
    .where(evidence_leaf.c.origin == _ORIGIN)
    .where(evidence_leaf.c.leaf_index >= bindparam("first"))
    .order_by(evidence_leaf.c.leaf_index)
)
_LEASE_ROW = select(sequencer).where(sequencer.c.origin == _ORIGIN)
_TAKE_LEASE = (
    update(sequencer)
    .where(sequencer.c.origin == _ORIGIN)
    .values(owner=bindparam("by"), until=bindparam("ends"), fence=bindparam("number"))
)
_GIVE_UP_LEASE = (
    update(sequencer).where(sequencer.c.owner == bindparam("by")).values(until=0)
)


class SqlEvidence:
    """The evidence of one store, for one sequencer.

    Args:
        store: Where records lie.
        owner: Names this sequencer, fresh at each start of a process.
    """

    def __init__(self, store: Store, owner: str) -> None:
        self._store = store
        self._owner = owner
        self._frontiers: dict[str, Frontier] = {}  # durable trees only
        self._fences: dict[str, int] = {}

    async def integrate(self, origin: str, now: datetime.datetime, limit: int) -> int:
        """Put waiting records of a log in its tree.

        Returns:
            How many; 0 also while another sequencer has the lease.

        Raises:
            EvidenceError: When the leaves do not lead to the last checkpoint.
        """
        pending = {"of": origin, "most": limit}
        waiting = await self._store.read(lambda c: c.execute(_PENDING, pending).first())
        if waiting is None and origin in self._frontiers:
            return 0
        known = self._frontiers.pop(origin, None)
        if known is None:  # the long way, while others may write
            known = await self._store.read(
                lambda c: _catch_up(c, origin, Frontier.empty())
            )

        def extend(connection: Connection) -> tuple[int, int, Frontier] | None:
            fence = self._lease(connection, origin, now)
            if fence is None:
                return None
            frontier = _catch_up(connection, origin, known)
            rows = connection.execute(_PENDING, pending).all()
            return fence, len(rows), _extend(connection, origin, frontier, rows)

        answer = await self._store.write(extend)
        if answer is None:
            return 0
        # Only now is it durable; after an error the frontier is built again.
        self._fences[origin], count, self._frontiers[origin] = answer
        return count

    async def sign(
        self, origin: str, signer: CheckpointSigner, now: datetime.datetime
    ) -> str | None:
        """Sign the tree when it grew since the last checkpoint.

        Returns:
            The note, stored durably before anybody sees it; None when nothing is new
            or another sequencer has the lease.
        """
        frontier = self._frontiers.get(origin)
        if frontier is None or not frontier.size:
            return None
        latest = await self.latest_checkpoint(origin)
        if latest is not None and latest.size >= frontier.size:
            return None
        note = sign_note(Checkpoint(origin, frontier.size, frontier.root()), signer)
        row = {
            "origin": origin,
            "size": frontier.size,
            "root": frontier.root(),
            "note": note,
            "at": microseconds(now),
        }

        def keep(connection: Connection) -> None:
            if self._lease(connection, origin, now) != self._fences[origin]:
                raise LeaseLost("another sequencer has this log")
            connection.execute(insert(evidence_checkpoint), row)

        try:
            await self._store.write(keep)
        except LeaseLost:
            self._frontiers.pop(origin)
            return None
        return note

    def _lease(
        self, connection: Connection, origin: str, now: datetime.datetime
    ) -> int | None:
        """Take or keep the lease; its fence, or None while it is another's."""
        row = connection.execute(_LEASE_ROW, {"of": origin}).one_or_none()
        values = {"by": self._owner, "ends": microseconds(now + LEASE)}
        if row is None:
            connection.execute(
                insert(sequencer),
                {
                    "origin": origin,
                    "owner": self._owner,
                    "until": values["ends"],
                    "fence": 1,
                },
            )
            return 1
        ours = row.owner == self._owner
        if not ours and row.until > microseconds(now):
            return None
        fence: int = row.fence + (not ours)
        connection.execute(_TAKE_LEASE, {"of": origin, "number": fence, **values})
        return fence

    async def release(self) -> None:
        """Let another sequencer go on at once; for the end of a process."""
        await self._store.write(
            lambda connection: connection.execute(_GIVE_UP_LEASE, {"by": self._owner})
        )

    async def origins(self) -> Sequence[str]:
        """The logs that have records, ordered."""
        return await self._store.read(reading.origins)

    async def size(self, origin: str) -> int:
        """How many leaves the tree of a log has."""
        return await self._store.read(lambda c: reading.size(c, origin))

    async def leaves(self, origin: str, first: int, past: int) -> Sequence[bytes]:
        """Leaves first ... past-1 as committed, fewer when the log ends before."""
        return await self._store.read(lambda c: reading.leaves(c, origin, first, past))

    async def leaf_hashes(self, origin: str, size: int) -> Sequence[bytes]:
        """Leaf hashes 0 ... size-1.

        Raises:
            EvidenceError: When the log has fewer.
        """
        return await self._store.read(lambda c: reading.leaf_hashes(c, origin, size))

    async def openings(
        self, records: Sequence[RecordId]
    ) -> Mapping[RecordId, bytes | None]:
        """Openings of records, JSON as `evidence.encode` made it; None when erased."""
        keys = self._store.keys
        return await self._store.read(lambda c: reading.openings(c, keys, records))

    async def records_of_message(
        self, message: MessageId
    ) -> Sequence[reading.StoredRecord]:
        """The records of a message in the order they were committed."""
        keys = self._store.keys
        return await self._store.read(
            lambda c: reading.records_of_message(c, keys, message)
        )

    async def latest_checkpoint(self, origin: str) -> reading.StoredCheckpoint | None:
        """The last signed checkpoint of a log."""
        return await self._store.read(lambda c: reading.latest_checkpoint(c, origin))

    async def checkpoints(self, origin: str) -> Sequence[reading.StoredCheckpoint]:
        """All signed checkpoints of a log, smallest first."""
        return await self._store.read(lambda c: reading.checkpoints(c, origin))


def _catch_up(connection: Connection, origin: str, known: Frontier) -> Frontier:
    """The frontier over all leaf rows, checked against the last checkpoint."""
    latest = reading.latest_checkpoint(connection, origin)
    size = reading.size(connection, origin)
    if size < known.size or (latest is not None and size < latest.size):
        raise EvidenceError(f"log {origin} is shorter than what was signed of it")
    if size == known.size:
        return known
    values = {"of": origin, "first": known.size}
    frontier = known
    for index, leaf in connection.execute(_HASHES_FROM, values):
        if index != frontier.size:
            raise EvidenceError(f"log {origin} has a gap")
        frontier = frontier.append(leaf)
        if (
            latest is not None
            and frontier.size == latest.size
            and frontier.root() != latest.root
        ):
            raise EvidenceError(f"log {origin} is not the one that was signed")
    return frontier


def _extend(
    connection: Connection, origin: str, frontier: Frontier, rows: Sequence[Any]
) -> Frontier:
    leaves = []
    for row in rows:
        leaf = leaf_hash(row.leaf)
        leaves.append(
            {
                "origin": origin,
                "leaf_index": frontier.size,
                "record_seq": row.seq,
                "leaf_hash": leaf,
            }
        )
        frontier = frontier.append(leaf)
    if leaves:
        connection.execute(insert(evidence_leaf), leaves)
    return frontier
