"""Who may read a message as a whole, and when: large ones one at a time (A-50).

To be looked at, a message must be in memory, and what was read of it as well. So a
small one goes at once, a few of the middle size at a time in each process, and a large
one alone, in all processes together. No timer of the session runs while it waits.
"""

import asyncio
import contextlib
import fcntl
import os
import pathlib
from collections.abc import AsyncIterator, Iterator

from gateway.model.octets import Octets, size_of

_SMALL_OCTETS = 64 * 1024
_LARGE_OCTETS = 1024 * 1024
_AT_ONCE = 4


class Turns:
    """The turns of one process."""

    def __init__(self, lock: pathlib.Path | None) -> None:
        """Begin.

        Args:
            lock: A file that all processes lock for a large message; None: there is
                only this one.
        """
        self._lock = lock
        self._middle = asyncio.Semaphore(_AT_ONCE)
        self._large = asyncio.Semaphore(1)

    @contextlib.asynccontextmanager
    async def wait(self, octets: Octets) -> AsyncIterator[None]:
        """Wait until these octets may be read as a whole; they may until the end."""
        size = size_of(octets)
        if size <= _SMALL_OCTETS:
            yield
        elif size <= _LARGE_OCTETS:
            async with self._middle:
                yield
        else:
            async with self._large:
                with contextlib.ExitStack() as stack:
                    if self._lock is not None:
                        descriptor = stack.enter_context(_opened(self._lock))
                        await asyncio.to_thread(fcntl.flock, descriptor, fcntl.LOCK_EX)
                    yield


@contextlib.contextmanager
def _opened(path: pathlib.Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
