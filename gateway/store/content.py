"""Message octets as a row of the store, with a file beside it when they are many (R11).

Up to 1 MiB they lie in the store, above it in a sealed spool file (`spoolfile.py`). So
do those that came in while the process had no memory left for them, however few.
"""

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence

from sqlalchemy import bindparam, delete, exists, insert
from sqlalchemy.engine import Connection

from gateway.model.ids import MessageId, MunicipalityId
from gateway.model.job import JobState
from gateway.model.octets import Octets, chunks_of, size_of
from gateway.store import sealed
from gateway.store.spoolfile import Drafted, SpoolDirectory, SpoolFile
from gateway.store.tables import job, message

IN_STORE_OCTETS = 1024 * 1024
_INSERT = insert(message)
# Two jobs of one message may end at the same time in two processes. Whichever commits
# last sees no open job any more, and only then the octets go.
_DISCARD = (
    delete(message)
    .where(message.c.id == bindparam("of"))
    .where(
        ~exists().where(
            job.c.message_id == bindparam("of"), job.c.state != JobState.DONE.value
        )
    )
)


@dataclasses.dataclass(frozen=True, slots=True)
class Content:
    """Octets to be kept with a unit, and how they are sealed."""

    message: MessageId
    municipality: MunicipalityId
    octets: Octets = dataclasses.field(repr=False)
    key: sealed.Key

    @property
    def size_octets(self) -> int:
        """How many octets there are."""
        return size_of(self.octets)

    @property
    def is_filed(self) -> bool:
        """Whether the octets go into a spool file, or are in one."""
        drafted = isinstance(self.octets, Drafted)
        return drafted or self.size_octets > IN_STORE_OCTETS

    @property
    def octets_to_write(self) -> int:
        """How many octets the disk does not have yet."""
        return 0 if isinstance(self.octets, Drafted) else self.size_octets

    def chunks(self) -> Iterator[bytes]:
        """The sealed octets."""
        name = sealed.label("message", self.municipality, self.message)
        return sealed.seal_chunks(self.key, name, chunks_of(self.octets))

    def insert(self, connection: Connection) -> None:
        """Write the row, with the octets unless they are in a file."""
        connection.execute(
            _INSERT,
            {
                "id": self.message,
                "municipality": self.municipality,
                "size_octets": self.size_octets,
                "epoch": self.key.epoch,
                "wrapped_key": self.key.wrapped,
                "content": None if self.is_filed else b"".join(self.chunks()),
            },
        )

    def save(self, spool: SpoolDirectory) -> SpoolFile:
        """Write the file and give it its name; it stays locked.

        Raises:
            OSError: Nothing is left of it, or an orphan that nobody holds.
        """
        if isinstance(self.octets, Drafted):
            file = self.octets.file
        else:
            file = spool.begin(self.message)
        try:
            if not isinstance(self.octets, Drafted):
                file.write(self.chunks())
            file.publish()
        except BaseException:
            file.abandon()
            raise
        return file


def save_all(
    spool: SpoolDirectory, contents: Sequence[Content]
) -> tuple[SpoolFile, ...]:
    """Write the files of a unit, all or none."""
    files: list[SpoolFile] = []
    try:
        for content in contents:
            if content.is_filed:
                files.append(content.save(spool))  # noqa: PERF401 - undone below
    except BaseException:
        for file in files:
            with contextlib.suppress(OSError):
                file.settle(committed=False)
        raise
    return tuple(files)


def discard(connection: Connection, of: MessageId) -> bool:
    """Delete the row of a message that no open job needs; whether it was there."""
    return connection.execute(_DISCARD, {"of": of}).rowcount > 0
