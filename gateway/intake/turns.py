"""Whose message is dealt with, and when it may be read as a whole (A-50, INV-9).

To be looked at, a message must be in memory, and what was read of it as well. So a
small one goes at once, a few of the middle size at a time in each process, and a large
one alone, in all processes together. Who waits is served client by client: many of one
do not put off the one of another. No timer of a session runs while it waits, and who
went away waits no longer: his message is let go, and nobody was promised anything.
"""

import asyncio
import collections
import contextlib
import fcntl
import os
import pathlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

from gateway.intake.room import Room
from gateway.model.octets import Octets, size_of

_SMALL_OCTETS = 64 * 1024
_LARGE_OCTETS = 1024 * 1024
_AT_ONCE = 2  # as many as there are cores, and some tens of megabytes each


class Lane:
    """So many at a time; the next is the first of the client whose turn it is."""

    def __init__(self, slots: int) -> None:
        self._free = slots
        # In the order of their turns. While anybody waits, no slot is free.
        self._waiting: dict[str, collections.deque[asyncio.Future[None]]] = {}

    async def enter(self, client: str) -> None:
        """Wait for a slot; `leave` must follow, unless this raises."""
        if self._free:
            self._free -= 1
            return
        place = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(client, collections.deque()).append(place)
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self.leave()  # it was given the slot in the same moment
            raise

    def leave(self) -> None:
        """Give the slot to the next, or free."""
        while self._waiting:
            client = next(iter(self._waiting))
            places = self._waiting.pop(client)
            place = places.popleft()
            if places:
                self._waiting[client] = places  # behind the others now
            if not place.done():  # it may have been cancelled
                place.set_result(None)
                return
        self._free += 1


class Turns:
    """The turns of one process."""

    def __init__(self, lock: pathlib.Path | None, most: int) -> None:
        """Begin.

        Args:
            lock: A file that all processes lock for a large message; None: there is
                only this one.
            most: So many messages are dealt with at a time, shared fairly.
        """
        self._lock = lock
        self._room = Room(most)
        self._middle, self._large = Lane(_AT_ONCE), Lane(1)
        self._patient: set[asyncio.Task[Any]] = set()

    def take(self, client: str) -> bool:
        """Begin to deal with a message of a client, if it may have one more."""
        return self._room.take(client, 1)

    def give_back(self, client: str) -> None:
        """A message was dealt with."""
        self._room.give_back(client, 1)

    def give_up(self, task: "asyncio.Task[Any]") -> None:
        """End a task that still waits for its turn; another one goes on."""
        if task in self._patient:
            task.cancel()

    @contextlib.asynccontextmanager
    async def wait(self, octets: Octets, client: str) -> AsyncIterator[None]:
        """Wait until these octets may be read as a whole; they may until the end."""
        size = size_of(octets)
        if size <= _SMALL_OCTETS:
            yield
            return
        is_large = size > _LARGE_OCTETS
        lane = self._large if is_large else self._middle
        await self._enter(lane, client)
        try:
            with contextlib.ExitStack() as stack:
                if is_large and self._lock is not None:
                    descriptor = stack.enter_context(_opened(self._lock))
                    await asyncio.to_thread(fcntl.flock, descriptor, fcntl.LOCK_EX)
                yield
        finally:
            lane.leave()

    async def _enter(self, lane: Lane, client: str) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - we are in it
        self._patient.add(task)
        try:
            await lane.enter(client)
        finally:
            self._patient.discard(task)


@contextlib.contextmanager
def _opened(path: pathlib.Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
