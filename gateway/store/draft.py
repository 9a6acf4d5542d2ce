"""Taking a large message in: sealed on its way to the disk (ports.Drafts).

What a client sends goes into the spool file of the message as it comes, so that no
process ever holds more of it than a chunk or two. Sealing and writing take place in
threads of their own: a slow disk holds up the sessions that send much, and nobody else.
"""

import asyncio
import concurrent.futures
from collections.abc import Callable
from typing import TypeVar

from gateway import ports
from gateway.model.errors import StoreFull
from gateway.model.ids import MessageId, MunicipalityId
from gateway.store import sealed
from gateway.store.spoolfile import Drafted, SpoolDirectory, SpoolFile, release
from gateway.store.writer import failure

T = TypeVar("T")
_THREADS = 2


class Drafts:
    """Begins drafts in a spool directory (ports.Drafts)."""

    def __init__(
        self,
        directory: SpoolDirectory,
        keys: ports.KeyWrapper,
        reserve_octets: int,
        failed: Callable[[BaseException], None],
    ) -> None:
        """Use a directory.

        Args:
            directory: Where the files go.
            keys: Wraps the key of each message.
            reserve_octets: What must stay free on the disk (G-15).
            failed: Told of each error of the disk (G-01).
        """
        self._directory = directory
        self._keys = keys
        self._reserve = reserve_octets
        self._failed = failed
        self._threads = concurrent.futures.ThreadPoolExecutor(
            _THREADS, thread_name_prefix="draft"
        )

    async def begin(self, message: MessageId, municipality: MunicipalityId) -> "Draft":
        """See ports.Drafts."""
        key = sealed.Key.fresh(self._keys, municipality, sealed.CONTENT)
        name = sealed.label("message", municipality, message)

        def open_file() -> SpoolFile:
            self.check_room()
            return self._directory.begin(message)

        opening = asyncio.ensure_future(self.run(open_file))
        try:
            file = await asyncio.shield(opening)
        except asyncio.CancelledError:  # the client is gone, the file may yet come
            opening.add_done_callback(self._forget)
            raise
        return Draft(self, file, key, name)

    def _forget(self, opening: "asyncio.Future[SpoolFile]") -> None:
        if not opening.cancelled() and opening.exception() is None:
            file = opening.result()
            self.run_later(lambda: release(file))

    def close(self) -> None:
        """Wait for what is being written."""
        self._threads.shutdown()

    def check_room(self) -> None:
        """Refuse what would use up the reserve.

        Raises:
            StoreFull: It would.
        """
        if self._directory.free_octets() < self._reserve:
            raise StoreFull("store: no room")

    async def run(self, work: Callable[[], T]) -> T:
        """Run something on the disk in a thread."""
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._threads, work)
        except OSError as error:
            self._failed(error)
            raise failure(error) from error

    def run_later(self, work: Callable[[], None]) -> None:
        """The same, and nobody waits for it."""
        try:
            self._threads.submit(work)
        except RuntimeError:  # closing down
            work()


class Draft:
    """One message that is coming in (ports.Draft)."""

    def __init__(
        self, drafts: Drafts, file: SpoolFile, key: sealed.Key, name: bytes
    ) -> None:
        self._drafts = drafts
        self._file = file
        self._key = key
        self._name = name
        self._sealer = sealed.Sealer(key, name)
        self._size = 0

    async def write(self, octets: bytes) -> None:
        """See ports.Draft."""
        self._size += len(octets)

        def seal_and_write() -> None:
            self._drafts.check_room()  # each time: hundreds write side by side
            self._file.write(self._sealer.add(octets))

        await self._drafts.run(seal_and_write)

    async def finish(self, head: bytes) -> Drafted:
        """See ports.Draft."""
        await self._drafts.run(lambda: self._file.write((self._sealer.finish(),)))
        return Drafted(
            path=self._file.present_path,
            name=self._name,
            plain_key=self._key.plain,
            size_octets=self._size,
            head=head,
            key=self._key,
            file=self._file,
        )

    def discard(self) -> None:
        """See ports.Draft."""
        self._drafts.run_later(lambda: release(self._file))
