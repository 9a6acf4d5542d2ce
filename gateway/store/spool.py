"""Reading kept octets, and keeping only those that are needed (ports.Spool)."""

import dataclasses
import datetime
import os
import pathlib
from collections.abc import Iterator

from sqlalchemy import bindparam, exists, select
from sqlalchemy.engine import Connection

from gateway import clock
from gateway.model.errors import TemporaryFailure
from gateway.model.ids import MessageId
from gateway.model.job import JobState
from gateway.model.octets import HEAD_OCTETS, Octets
from gateway.store import sealed
from gateway.store.spoolfile import SealedFile, opened
from gateway.store.tables import job, message
from gateway.store.work import Store

_LOAD = select(
    message.c.municipality,
    message.c.size_octets,
    message.c.epoch,
    message.c.wrapped_key,
    message.c.content,
).where(message.c.id == bindparam("of"))
_UNNEEDED = select(message.c.id).where(
    ~exists().where(
        job.c.message_id == message.c.id, job.c.state != JobState.DONE.value
    )
)
_FILED = select(message.c.id).where(message.c.content.is_(None))


@dataclasses.dataclass(frozen=True, slots=True)
class Reconciled:
    """What the start found in the spool directory."""

    removed: int  # files without a row: their 250 was never given
    missing: tuple[MessageId, ...]  # rows without a file: content is lost


class SqlSpool:
    """Reading kept octets (ports.Spool)."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def load(self, message: MessageId) -> Octets:
        """The octets exactly as saved; see ports.Spool."""
        return await self._store.read(
            lambda connection: self._load(connection, message)
        )

    def _load(self, connection: Connection, of: MessageId) -> Octets:
        row = connection.execute(_LOAD, {"of": of}).one_or_none()
        if row is None:
            raise TemporaryFailure("store: no such message")
        key = self._store.keys.unwrap(row.epoch, row.wrapped_key)
        name = sealed.label("message", row.municipality, of)
        if row.content is None:
            path = self._store.directory.path(of)
            head = _head(opened(path, name, key, row.size_octets))
            return SealedFile(path, name, key, row.size_octets, head)
        chunks = sealed.split_chunks(row.content)
        content = b"".join(sealed.open_chunks(key, name, chunks))
        if len(content) != row.size_octets:
            raise TemporaryFailure("store: content has another size than its row")
        return content

    async def sweep(self, limit: int = 500) -> int:
        """Forget the octets of messages that no open job needs; how many they were."""
        unneeded = _UNNEEDED.limit(limit)
        found = await self._store.read(lambda c: c.execute(unneeded).scalars().all())
        if found:
            async with self._store.work() as work:
                for of in found:
                    await work.spool.discard(MessageId(of))
        return len(found)

    async def reconcile(
        self, left_for: datetime.timedelta = datetime.timedelta()
    ) -> Reconciled:
        """Remove spool files without a row, and find rows without a file.

        For the start of the gateway, and now and then; harmless while others write.

        Args:
            left_for: Only files that nobody wrote to for so long.
        """
        return await self._store.run_reader(lambda: self._reconcile(left_for))

    def _reconcile(self, left_for: datetime.timedelta) -> Reconciled:
        removed = 0
        for path, descriptor in self._store.directory.orphans():
            written = os.fstat(descriptor).st_mtime
            if clock.now().timestamp() - written < left_for.total_seconds():
                continue
            # Only now that no writer holds it: what it committed is seen below.
            if path not in self._expected():
                path.unlink(missing_ok=True)
                removed += 1
        missing = tuple(
            of for path, of in self._expected().items() if not path.exists()
        )
        return Reconciled(removed, missing)

    def _expected(self) -> dict[pathlib.Path, MessageId]:
        with self._store.reading() as connection:
            rows = connection.execute(_FILED).scalars().all()
        return {self._store.directory.path(MessageId(of)): MessageId(of) for of in rows}


def _head(chunks: Iterator[bytes]) -> bytes:
    """The first chunks, as many as may have the header in them; or all there are."""
    head = bytearray()
    for chunk in chunks:
        head += chunk
        if len(head) >= HEAD_OCTETS:
            break
    return bytes(head)
