"""The one thread of a process that writes: many units, one transaction, one fsync.

A unit is a list of operations on a connection. The thread waits for a unit, waits for
its turn among the processes (`Turn`), takes all units that wait by then and writes them
in one `BEGIN IMMEDIATE` transaction, each in a savepoint: a unit that fails is rolled
back alone (G-06). Nobody is told of success before COMMIT returned.

When COMMIT itself raises, it may have happened all the same. So each batch leaves
a random token in `commit_marker`; a fresh connection looks whether it is there, and the
turn is kept until then, so no other batch can have replaced it (R29). When even that
cannot be seen, the units fail and what they left is not cleaned up. After an I/O error
the store is broken until the process is started anew (G-01): the kernel may have
forgotten the pages that it could not write. A full disk is not such an error (G-15).
"""

import asyncio
import contextlib
import dataclasses
import errno
import os
import queue
import threading
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from gateway.model.errors import GatewayError, StoreFull, TemporaryFailure
from gateway.store.engine import Turn
from gateway.store.tables import commit_marker

MAX_UNITS = 256
MAX_OCTETS = 16 * 1024 * 1024
_TOKEN_OCTETS = 16
_SQLITE_IOERR = 10
_SQLITE_FULL = 13
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})
_MARK = update(commit_marker).where(commit_marker.c.id == 1)
_MARKED = select(commit_marker.c.token).where(commit_marker.c.id == 1)

Operation = Callable[[Connection], Any]
Probe = Callable[[str], None]  # called at each named step; a test makes it raise
Settle = Callable[[bool | None], None]  # told: committed, not committed, or unknown


class OutcomeUnknown(TemporaryFailure):
    """COMMIT failed and nobody could see whether it happened all the same."""


@dataclasses.dataclass(slots=True, eq=False)
class Unit:
    """What is written wholly or not at all; `result` is that of the last operation."""

    operations: Sequence[Operation]
    size_octets: int
    settle: Sequence[Settle]
    loop: asyncio.AbstractEventLoop
    future: "asyncio.Future[Any]"
    result: Any = None
    error: Exception | None = None


def failure(error: BaseException) -> GatewayError:
    """What a caller sees of an error of database or disk: no path, no parameters."""
    if isinstance(error, GatewayError):
        return error
    if isinstance(error, DBAPIError):
        code = getattr(error.orig, "sqlite_errorcode", 0) & 0xFF
        if code == _SQLITE_FULL:
            return StoreFull("store: no room")
        return TemporaryFailure(f"store: {type(error.orig).__name__} {code}")
    if isinstance(error, OSError) and error.errno in _NO_ROOM:
        return StoreFull("store: no room")
    return TemporaryFailure(f"store: {type(error).__name__}")


def is_disk_failure(error: BaseException) -> bool:
    """Whether the disk may have lost what was written before (G-01)."""
    if isinstance(error, DBAPIError):
        code: int = getattr(error.orig, "sqlite_errorcode", 0)
        return code & 0xFF == _SQLITE_IOERR
    return isinstance(error, OSError) and error.errno == errno.EIO


class Writer:
    """The thread; made and closed by `Store`.

    Args:
        engine: The engine that writes.
        turn: Held for each transaction; None where the database arranges turns itself.
        probe: Called with the name of each step.
    """

    def __init__(self, engine: Engine, turn: Turn | None, probe: Probe) -> None:
        self._engine = engine
        self._turn = contextlib.nullcontext() if turn is None else turn
        self._probe = probe
        self._queue: queue.SimpleQueue[Unit | None] = queue.SimpleQueue()
        self._lock = threading.Lock()  # nothing may come behind the closing None
        self._closed = False
        self._draining = False
        self._connection: Connection | None = None
        self.broken = False
        self._submitted = 0
        self._settled = 0  # written by the thread only
        self._thread = threading.Thread(target=self._run, name="store", daemon=True)
        self._thread.start()

    async def submit(
        self,
        operations: Sequence[Operation],
        size_octets: int = 0,
        settle: Sequence[Settle] = (),
    ) -> Any:
        """Write one unit; returns when it is durable.

        Cancelling the caller does not cancel the unit (A-02).

        Returns:
            What the last operation returned.

        Raises:
            LeaseLost: From an operation; nothing of the unit was written.
            TemporaryFailure: Nothing was written, or (OutcomeUnknown) nobody knows.
        """
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        unit = Unit(operations, size_octets, settle, loop, future)
        with self._lock:
            taken = not self._closed
            if taken:
                self._submitted += 1
                self._queue.put(unit)
        if not taken:
            _settle(unit, committed=False)
            raise TemporaryFailure("store: closed")
        return await future  # cancelled, it is left: the unit is the thread's

    @property
    def progress(self) -> tuple[int, int]:
        """Units that wait or are being written now, and those that are done."""
        settled = self._settled
        return self._submitted - settled, settled

    def close(self) -> None:
        """Write what waits, then end the thread."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while not self._draining:
            first = self._queue.get()
            if first is None:
                break
            batch = [first]
            try:
                with self._turn:
                    self._gather(batch)
                    committed = self._transact(batch)
            except Exception as error:  # noqa: BLE001 - no unit may wait for ever
                for unit in batch:
                    unit.error = unit.error or error
                committed = False
            self._report(batch, committed)
        if self._connection is not None:
            self._connection.close()

    def _gather(self, batch: list[Unit]) -> None:
        """Add what waits; done when it is our turn, so that more had time to come."""
        size = batch[0].size_octets
        while len(batch) < MAX_UNITS and size < MAX_OCTETS:
            try:
                unit = self._queue.get_nowait()
            except queue.Empty:
                return
            if unit is None:
                self._draining = True
                return
            batch.append(unit)
            size += unit.size_octets

    def _transact(self, batch: Sequence[Unit]) -> bool | None:
        """Write a batch; True when it is durable, None when nobody knows."""
        token = os.urandom(_TOKEN_OCTETS)
        committing = False
        try:
            connection = self._begin()
            for unit in batch:
                self._apply(connection, unit)
            connection.execute(_MARK, {"token": token})
            self._probe("commit")
            committing = True
            connection.commit()
            self._probe("committed")
        except Exception as error:  # noqa: BLE001 - whatever it was, all must be told
            self._forget_connection()
            self.broken = self.broken or is_disk_failure(error)
            committed = self._was_committed(token) if committing else False
            if committed is not True:
                for unit in batch:
                    unit.error = unit.error or _explain(error, committed)
            return committed
        return True

    def _begin(self) -> Connection:
        if self.broken:
            raise TemporaryFailure("store: stopped after an I/O error")
        self._probe("begin")
        if self._connection is None:
            self._connection = self._engine.connect()
        self._connection.begin()
        return self._connection

    def _apply(self, connection: Connection, unit: Unit) -> None:
        connection.exec_driver_sql("SAVEPOINT unit")
        try:
            for operation in unit.operations:
                unit.result = operation(connection)
                self._probe("operation")
        except Exception as error:
            unit.error = error
            if is_disk_failure(error):
                raise
            # SQLite may have ended the whole transaction (no room, no memory). Then
            # there is no savepoint to go back to, and the whole batch fails.
            try:
                connection.exec_driver_sql("ROLLBACK TO unit")
            except SQLAlchemyError:
                raise error from None
        connection.exec_driver_sql("RELEASE unit")

    def _forget_connection(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(SQLAlchemyError):
                connection.invalidate()
                connection.close()

    def _was_committed(self, token: bytes) -> bool | None:
        try:
            self._probe("look")
            with self._engine.connect() as connection:
                return connection.execute(_MARKED).scalar() == token
        except Exception:  # noqa: BLE001 - then nobody knows
            return None

    def _report(self, batch: Sequence[Unit], committed: bool | None) -> None:
        waiting: dict[asyncio.AbstractEventLoop, list[Unit]] = {}
        for unit in batch:
            _settle(unit, committed if unit.error is None else committed and False)
            waiting.setdefault(unit.loop, []).append(unit)
        self._settled += len(batch)
        for loop, units in waiting.items():
            with contextlib.suppress(RuntimeError):  # that loop was closed
                loop.call_soon_threadsafe(_resolve, units)


def _explain(error: Exception, committed: bool | None) -> Exception:
    if committed is None:
        unknown = OutcomeUnknown("store: outcome of a commit is unknown")
        unknown.__cause__ = error
        return unknown
    return error


def _settle(unit: Unit, committed: bool | None) -> None:
    for told in unit.settle:
        # A spool file that stays is found at the next start; the unit is decided.
        with contextlib.suppress(OSError):
            told(committed)


def _resolve(units: Sequence[Unit]) -> None:
    for unit in units:
        if unit.future.done():
            continue
        if unit.error is None:
            unit.future.set_result(unit.result)
        else:
            error = failure(unit.error)
            if error is not unit.error:
                error.__cause__ = unit.error
            unit.future.set_exception(error)
