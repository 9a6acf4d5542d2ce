"""Sealed spool files: one for each large message, written before its row (R11).

A file is written and synced under another name, given its own, and its directory
synced, before the row that points to it commits (G-01). While that is under way its
writer holds a lock on it. So whatever file can be locked and has no row is an orphan,
whichever process asks, and `reconcile` removes it; a row without its file is reported.
"""

import asyncio
import contextlib
import dataclasses
import fcntl
import hashlib
import hmac
import os
import pathlib
import threading
from collections.abc import Iterable, Iterator

from gateway.model.errors import TemporaryFailure
from gateway.model.ids import MessageId
from gateway.store import sealed
from gateway.store.writer import Probe

_TEMPORARY = ".new"


class SpoolFile:
    """A file whose row is not yet committed; its lock is held until it is settled.

    Threads write to it, and it may be abandoned at any time: each call holds a lock of
    its own, so that no octet goes to a descriptor that was closed and given out anew.
    """

    def __init__(self, path: pathlib.Path, descriptor: int, probe: Probe) -> None:
        self._path = path
        self._temporary = path.with_suffix(_TEMPORARY)
        self._descriptor = descriptor
        self._probe = probe
        self._lock = threading.Lock()
        self._named = False
        self._open = True

    @property
    def present_path(self) -> pathlib.Path:
        """Where it is while it is being written."""
        return self._path if self._named else self._temporary

    def write(self, chunks: Iterable[bytes]) -> None:
        """Append sealed chunks.

        Raises:
            OSError: They are not all there; the file is to be abandoned.
        """
        with self._lock:
            if not self._open:
                raise OSError("the spool file was abandoned")
            for chunk in chunks:
                view = memoryview(chunk)
                while view:
                    view = view[os.write(self._descriptor, view) :]

    def publish(self) -> None:
        """Sync it, give it its name, sync the directory; from then on a unit has it.

        Raises:
            OSError: It has not got its name; the file is to be abandoned.
        """
        with self._lock:
            if not self._open:
                raise OSError("the spool file was abandoned")
            try:
                self._sync_and_name()
            except BaseException:
                if self._named:
                    self._named = False
                    self._path.unlink(missing_ok=True)
                raise

    def _sync_and_name(self) -> None:
        self._probe("spool-sync")
        os.fsync(self._descriptor)
        self._probe("spool-name")
        # Unlike rename, this never replaces the file of another unit.
        self._path.hardlink_to(self._temporary)
        self._named = True
        self._temporary.unlink()
        self._probe("spool-sync-directory")
        _sync_directory(self._path.parent)
        self._probe("spool-saved")

    def settle(self, committed: bool | None) -> None:
        """Let go; remove it when the unit certainly was not written."""
        with self._lock:
            try:
                if committed is False and self._open:
                    self._path.unlink(missing_ok=True)
            finally:
                self._close()

    def abandon(self) -> None:
        """Remove it, unless a unit has it by now, or it was settled.

        Raises:
            OSError: It is left as an orphan that nobody holds.
        """
        with self._lock:
            if self._named or not self._open:
                return
            try:
                self._temporary.unlink(missing_ok=True)
            finally:
                self._close()

    def _close(self) -> None:
        if self._open:
            self._open = False
            os.close(self._descriptor)


def _sync_directory(place: pathlib.Path) -> None:
    descriptor = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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

    def begin(self, of: MessageId) -> SpoolFile:
        """Open the file of a message for writing, under its temporary name, locked.

        Raises:
            OSError: It is not there.
        """
        path = self.path(of)
        self._probe("spool-open")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        descriptor = os.open(path.with_suffix(_TEMPORARY), flags, 0o600)
        file = SpoolFile(path, descriptor, self._probe)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except BaseException:
            file.abandon()
            raise
        return file

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
class SealedFile:
    """Content in a spool file (model.octets.Kept)."""

    path: pathlib.Path
    name: bytes  # the label it was sealed under
    plain_key: bytes = dataclasses.field(repr=False)
    size_octets: int
    head: bytes = dataclasses.field(repr=False)

    def chunks(self) -> Iterator[bytes]:
        """The content; see model.octets.Kept."""
        return opened(self.path, self.name, self.plain_key, self.size_octets)

    async def keyed_digest(self, key: bytes) -> str:
        """See model.octets.keyed_digest."""
        return await asyncio.to_thread(self._keyed_digest, key)

    def _keyed_digest(self, key: bytes) -> str:
        digest = hmac.new(key, digestmod="sha256")
        for chunk in self.chunks():
            digest.update(chunk)
        return digest.hexdigest()


@dataclasses.dataclass(frozen=True, slots=True)
class Drafted(SealedFile):
    """Content whose file is written, but belongs to no unit yet."""

    key: sealed.Key
    file: SpoolFile = dataclasses.field(repr=False)


def opened(
    path: pathlib.Path, name: bytes, plain_key: bytes, size_octets: int
) -> Iterator[bytes]:
    """The content of a spool file, chunk by chunk.

    Raises:
        TemporaryFailure: When it is gone, changed, or not as long as it was.
    """
    seen = 0
    try:
        with path.open("rb") as file:
            step = sealed.CHUNK_OCTETS + sealed.TAG_OCTETS
            pieces = iter(lambda: file.read(step), b"")
            for chunk in sealed.open_chunks(plain_key, name, pieces):
                seen += len(chunk)
                yield chunk
    except OSError as error:
        raise TemporaryFailure("store: a spool file cannot be read") from error
    if seen != size_octets:
        raise TemporaryFailure("store: content has another size than its row")


def release(file: SpoolFile) -> None:
    """Abandon a file; what cannot be removed now, the next start removes."""
    with contextlib.suppress(OSError):
        file.abandon()
