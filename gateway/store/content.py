"""Message octets: in the store up to 1 MiB, above it in sealed spool files (R11).

A spool file is written and synced under another name, given its own, and its directory
synced, before the row that points to it commits (G-01). While that is under way its
writer holds a lock on it. So whatever file can be locked and has no row is an orphan,
whichever process asks, and `reconcile` removes it; a row without its file is reported.
"""

import contextlib
import dataclasses
import fcntl
import hashlib
import os
import pathlib
from collections.abc import Iterable, Iterator, Sequence

from sqlalchemy import bindparam, delete, exists, insert
from sqlalchemy.engine import Connection

from gateway.model.ids import MessageId, MunicipalityId
from gateway.model.job import JobState
from gateway.store import sealed
from gateway.store.tables import job, message
from gateway.store.writer import Probe

IN_STORE_OCTETS = 1024 * 1024
_TEMPORARY = ".new"
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
    octets: bytes = dataclasses.field(repr=False)
    key: sealed.Key

    @property
    def is_filed(self) -> bool:
        """Whether the octets go into a spool file."""
        return len(self.octets) > IN_STORE_OCTETS

    def chunks(self) -> Iterator[bytes]:
        """The sealed octets."""
        name = sealed.label("message", self.municipality, self.message)
        return sealed.seal_chunks(self.key, name, self.octets)

    def insert(self, connection: Connection) -> None:
        """Write the row, with the octets unless they are in a file."""
        connection.execute(
            _INSERT,
            {
                "id": self.message,
                "municipality": self.municipality,
                "size_octets": len(self.octets),
                "epoch": self.key.epoch,
                "wrapped_key": self.key.wrapped,
                "content": None if self.is_filed else b"".join(self.chunks()),
            },
        )


class SpoolDirectory:
    """The directory of sealed spool files, one for each large message."""

    def __init__(self, place: pathlib.Path, probe: Probe) -> None:
        self._place = place
        self._probe = probe
        place.mkdir(mode=0o700, parents=True, exist_ok=True)

    def free_octets(self) -> int:
        """Room for us on the file system of the store."""
        room = os.statvfs(self._place)
        return room.f_bavail * room.f_frsize

    def path(self, of: MessageId) -> pathlib.Path:
        """Where the octets of a message lie."""
        return self._place / hashlib.sha256(of.encode()).hexdigest()

    def save(self, content: Content) -> "SpoolFile":
        """Write a file and sync it and its directory; it stays locked.

        Raises:
            OSError: Nothing is left of it, or an orphan that nobody holds.
        """
        path = self.path(content.message)
        temporary = path.with_suffix(_TEMPORARY)
        self._probe("spool-open")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        file = SpoolFile(path, os.open(temporary, flags, 0o600))
        named = False
        try:
            fcntl.flock(file.descriptor, fcntl.LOCK_EX)
            _write(file.descriptor, content.chunks())
            self._probe("spool-sync")
            os.fsync(file.descriptor)
            self._probe("spool-name")
            # Unlike rename, this never replaces the file of another unit.
            path.hardlink_to(temporary)
            named = True
            temporary.unlink()
            self._probe("spool-sync-directory")
            _sync_directory(self._place)
            self._probe("spool-saved")
        except BaseException:
            temporary.unlink(missing_ok=True)
            file.settle(committed=False if named else None)
            raise
        return file

    def load(self, of: MessageId) -> bytes:
        """The sealed octets of a file."""
        return self.path(of).read_bytes()

    def remove(self, of: MessageId) -> None:
        """Remove the file of a message, when there is one."""
        self.path(of).unlink(missing_ok=True)

    def orphans(self) -> Iterator[tuple[pathlib.Path, int]]:
        """Files that no writer holds, each locked while the caller looks at it."""
        for path in sorted(self._place.iterdir()):
            try:
                descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:  # its writer has just renamed or removed it
                continue
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                yield path, descriptor
            except BlockingIOError:
                pass
            finally:
                os.close(descriptor)


@dataclasses.dataclass(frozen=True, slots=True)
class SpoolFile:
    """A file whose row is not yet committed."""

    path: pathlib.Path
    descriptor: int

    def settle(self, committed: bool | None) -> None:
        """Let go; remove it when the unit certainly was not written."""
        try:
            if committed is False:
                self.path.unlink(missing_ok=True)
        finally:
            os.close(self.descriptor)


def _write(descriptor: int, chunks: Iterable[bytes]) -> None:
    for chunk in chunks:
        view = memoryview(chunk)
        while view:
            view = view[os.write(descriptor, view) :]


def _sync_directory(place: pathlib.Path) -> None:
    descriptor = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def save_all(
    spool: SpoolDirectory, contents: Sequence[Content]
) -> tuple[SpoolFile, ...]:
    """Write the files of a unit, all or none."""
    files: list[SpoolFile] = []
    try:
        for content in contents:
            if content.is_filed:
                files.append(spool.save(content))  # noqa: PERF401 - undone below
    except BaseException:
        for file in files:
            with contextlib.suppress(OSError):
                file.settle(committed=False)
        raise
    return tuple(files)


def discard(connection: Connection, of: MessageId) -> bool:
    """Delete the row of a message that no open job needs; whether it was there."""
    return connection.execute(_DISCARD, {"of": of}).rowcount > 0
