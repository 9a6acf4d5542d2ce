"""The store, and the unit of work that use cases see.

Inside `async with store.work() as work` nothing is written: operations are noted, and
the end of the block hands them to the writer as one unit. An error in the block hands
over nothing. From then on the unit commits wholly or not at all, whatever becomes of
the task that waits for it (A-02). Sealing and encoding happen before the hand-over, so
that a transaction holds nothing but SQL.
"""

import asyncio
import concurrent.futures
import contextlib
import dataclasses
import functools
import os
import pathlib
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any, Self, TypeVar

from sqlalchemy import bindparam, insert, update
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from gateway import ports
from gateway.evidence import encode
from gateway.limits import RESERVE_OCTETS
from gateway.model.classification import Level
from gateway.model.errors import ConfigError, LeaseLost, StoreFull, TemporaryFailure
from gateway.model.ids import JobId, MessageId, MunicipalityId
from gateway.model.job import Job, JobState
from gateway.model.octets import Octets
from gateway.model.record import Accepted, JobRecord, Record
from gateway.store import codec, content, engine, sealed, tables
from gateway.store.draft import Drafts
from gateway.store.spoolfile import Drafted, SpoolDirectory
from gateway.store.writer import (
    Operation,
    Probe,
    Settle,
    Writer,
    failure,
    is_disk_failure,
)

T = TypeVar("T")
_READERS = 4
_SECRET_OCTETS = 32
_ORDINARY = "ordinary"
_SENSITIVE = "sensitive"
_HELD_BY_LEASE = (JobState.LEASED.value, JobState.HELD.value)

_ADD_JOB = insert(tables.job)
_ADD_RECORD = insert(tables.evidence_record)
_UPDATE_JOB = (
    update(tables.job)
    .where(tables.job.c.id == bindparam("of"))
    .where(tables.job.c.lease_token == bindparam("token"))
    .where(tables.job.c.state.in_(_HELD_BY_LEASE))
)
_GIVE_UP_LEASE = {"lease_owner": None, "lease_until": None}


def _nothing(_step: str) -> None:
    """The probe of ordinary life."""


@dataclasses.dataclass(frozen=True, slots=True)
class Setting:
    """What a store must know of the house.

    `origin_of` names the evidence log of a municipality, "_gateway" included;
    `software` is the version that each record cites.
    """

    origin_of: Callable[[MunicipalityId], str]
    software: str
    probe: Probe = _nothing
    reserve_octets: int = RESERVE_OCTETS


class Store:
    """Engines, writer thread, spool directory; open one for each process."""

    def __init__(
        self,
        engines: tuple[Engine, Engine],
        turn: engine.Turn | None,
        directory: SpoolDirectory,
        keys: ports.KeyWrapper,
        setting: Setting,
    ) -> None:
        self.directory = directory
        self.keys = keys
        self.setting = setting
        self._writing, self._reading = engines
        self._turn = turn
        self._broken = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._readers = concurrent.futures.ThreadPoolExecutor(
            _READERS, thread_name_prefix="store-reader"
        )
        self._writer = Writer(self._writing, turn, setting.probe)
        self.drafts = Drafts(directory, keys, setting.reserve_octets, self._saw)

    @classmethod
    def open(
        cls,
        url: str,
        state_dir: str,
        keys: ports.KeyWrapper,
        origin_of: Callable[[MunicipalityId], str],
        software: str,
        probe: Probe = _nothing,
    ) -> Self:
        """Open the store of an installation.

        Args:
            url: `sqlite:////absolute/path`; migrated already.
            state_dir: Where `spool/` lies.
            keys: Wraps the keys of rows and content.
            origin_of: Names the evidence log of a municipality.
            software: The version that evidence records cite.
            probe: For tests: called with the name of each step of a write.

        Raises:
            ConfigError: For a library, URL or schema that may not be used.
        """
        engine.check_library()
        path = engine.database_path(url)
        if not path.exists():  # an empty one would be a new log under an old name
            raise ConfigError("store.url", "has no database", "run: ketenmail init")
        engines = engine.create_engines(url)
        try:
            current = engine.is_current(engines[1])
            if not current:
                raise ConfigError(
                    "store.url", "has another schema", "run: ketenmail init"
                )
            directory = SpoolDirectory(pathlib.Path(state_dir) / "spool", probe)
            turn = engine.Turn(path)
        except (OSError, SQLAlchemyError) as error:
            raise ConfigError(
                "store", f"cannot be opened: {type(error).__name__}", "check its files"
            ) from error
        return cls(engines, turn, directory, keys, Setting(origin_of, software, probe))

    def close(self) -> None:
        """Write what waits, then let go of everything."""
        self.drafts.close()
        self._writer.close()
        self._readers.shutdown()
        self._reading.dispose()
        self._writing.dispose()
        if self._turn is not None:
            self._turn.close()

    @property
    def is_broken(self) -> bool:
        """Whether an I/O error was seen: the process is to end (G-01)."""
        return self._broken or self._writer.broken

    def _saw(self, error: BaseException) -> None:
        """Look at an error of the disk (G-01)."""
        self._broken = self._broken or is_disk_failure(error)

    @property
    def progress(self) -> tuple[int, int]:
        """Units that wait to be written, and how many were done since the start."""
        return self._writer.progress

    @contextlib.asynccontextmanager
    async def work(self) -> AsyncIterator[ports.Work]:
        """One unit; see ports.Work.

        Raises:
            LeaseLost: A job was updated under a token that is not its own any more.
            StoreFull: No room; nothing was written.
            TemporaryFailure: Nothing was written, or the outcome cannot be known.
        """
        unit = SqlWork(self)
        yield unit
        await unit.commit()

    async def write(self, operation: Callable[[Connection], T]) -> T:
        """Run one operation in the next transaction; answers when it is durable."""
        result: T = await self._writer.submit([operation])
        return result

    async def write_with_records(
        self, operation: Operation, records: Sequence[Record]
    ) -> None:
        """Run one operation and append the evidence of it, as one unit."""
        unit = SqlWork(self)
        unit.operations.append(operation)
        await unit.evidence.append(*records)
        await unit.commit()

    async def submit(
        self,
        operations: list[Operation],
        contents: list[content.Content],
        settle: Settle,
    ) -> None:
        """Write a unit with its content; see `Writer.submit`."""
        size = sum(each.size_octets for each in contents)
        if not any(each.is_filed for each in contents):
            await self._writer.submit(operations, size, [settle])
            return
        # A task of its own, that no cancelled session takes along between file and row.
        task = asyncio.create_task(self._submit_filed(operations, contents, settle))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        await asyncio.shield(task)

    async def _submit_filed(
        self,
        operations: list[Operation],
        contents: list[content.Content],
        settle: Settle,
    ) -> None:
        if self._broken:
            raise TemporaryFailure("store: stopped after an I/O error")
        try:
            files = await asyncio.to_thread(content.save_all, self.directory, contents)
        except Exception as error:
            self._saw(error)
            raise failure(error) from error
        settles = [settle, *(file.settle for file in files)]
        await self._writer.submit(operations, settle=settles)

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection that sees one committed state and can write nothing."""
        with self._reading.connect() as connection, connection.begin():
            yield connection

    async def read(self, question: Callable[[Connection], T]) -> T:
        """Ask committed state something, in a thread for reading."""

        def ask() -> T:
            with self.reading() as connection:
                return question(connection)

        return await self.run_reader(ask)

    async def run_reader(self, question: Callable[[], T]) -> T:
        """Run something that reads in a thread for reading."""
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._readers, question)
        except (SQLAlchemyError, OSError) as error:
            raise failure(error) from error


class SqlWork:
    """What a unit will write (ports.Work); each part notes, nothing is written yet."""

    def __init__(self, store: Store) -> None:
        self.spool: ports.SpoolWriter = _SpoolNotes(self)
        self.queue: ports.QueueWriter = _QueueNotes(self)
        self.evidence: ports.EvidenceWriter = _EvidenceNotes(self)
        self.store = store
        self.contents: list[content.Content] = []
        self.operations: list[Operation] = []
        self.records: list[Record] = []
        self.discarded: list[MessageId] = []
        self.levels: dict[str, Level] = {}
        self.settles_jobs = False

    async def commit(self) -> None:
        """Hand all that was noted to the writer."""
        contents, discarded = self.contents, self.discarded
        operations: list[Operation] = [each.insert for each in contents]
        operations += self.operations
        if self.records:
            rows = [self._row(record) for record in self.records]
            operations.append(functools.partial(_execute, _ADD_RECORD, rows))
        gone: list[MessageId] = []
        if discarded:
            operations.append(lambda connection: _discard(connection, discarded, gone))
        if operations:
            self._check_room()
            settle = functools.partial(_remove, self.store.directory, gone)
            await self.store.submit(operations, contents, settle)

    def _check_room(self) -> None:
        """Refuse new mail while there still is room for what must be written (G-15)."""
        if not self.contents or self.settles_jobs:
            return
        needed = 2 * sum(each.octets_to_write for each in self.contents)
        if (
            self.store.directory.free_octets()
            < needed + self.store.setting.reserve_octets
        ):
            raise StoreFull("store: no room")

    def _row(self, record: Record) -> dict[str, Any]:
        setting = self.store.setting
        origin = setting.origin_of(record.municipality)
        encoded = encode.encode(
            record,
            origin=origin,
            software=setting.software,
            secret=functools.partial(os.urandom, _SECRET_OCTETS),
        )
        retention = self._retention_class(record)
        key = sealed.Key.fresh(self.store.keys, record.municipality, retention)
        name = sealed.label("evidence", record.municipality, record.id)
        return {
            "id": record.id,
            "origin": origin,
            "municipality": record.municipality,
            "message_id": record.message,
            "at": tables.microseconds(record.at),
            "event": record.event,
            "retention_class": retention,
            "leaf": encoded.leaf,
            "epoch": key.epoch,
            "wrapped_key": key.wrapped,
            "openings": sealed.seal(key, name, encoded.openings),
        }

    def _retention_class(self, record: Record) -> str:
        """`ordinary` only where the level is known to be `none`."""
        match record:
            case Accepted(level=level):
                ordinary = level == Level.NONE.word
            case JobRecord(job=job):
                ordinary = self.levels.get(job) is Level.NONE
            case _:
                ordinary = False
        return _ORDINARY if ordinary else _SENSITIVE


class _SpoolNotes:
    def __init__(self, unit: SqlWork) -> None:
        self._unit = unit

    async def save(
        self, message: MessageId, municipality: MunicipalityId, octets: Octets
    ) -> None:
        if isinstance(octets, Drafted):  # sealed already, under a key of its own
            key = octets.key
        else:
            key = sealed.Key.fresh(self._unit.store.keys, municipality, sealed.CONTENT)
        self._unit.contents.append(content.Content(message, municipality, octets, key))

    async def discard(self, message: MessageId) -> None:
        self._unit.discarded.append(message)


class _QueueNotes:
    def __init__(self, unit: SqlWork) -> None:
        self._unit = unit

    async def add(self, *jobs: Job) -> None:
        rows = []
        for job in jobs:
            if job.state is JobState.LEASED:
                raise ValueError("a new job cannot be leased")
            rows.append(
                codec.job_identity(job)
                | codec.job_columns(job)
                | _GIVE_UP_LEASE
                | self._sealed(job)
            )
        if rows:
            operation = functools.partial(_execute, _ADD_JOB, rows)
            self._unit.operations.append(operation)

    async def update(self, job: Job) -> None:
        values = codec.job_columns(job) | self._sealed(job)
        if job.state is not JobState.LEASED:
            values |= _GIVE_UP_LEASE
        values |= {"of": job.id, "token": job.lease_token}
        self._unit.operations.append(functools.partial(_update_job, job.id, values))
        self._unit.settles_jobs = True

    def _sealed(self, job: Job) -> dict[str, Any]:
        self._unit.levels[job.id] = job.level
        key = sealed.Key.fresh(self._unit.store.keys, job.municipality, sealed.CONTENT)
        name = sealed.label("job", job.municipality, job.id)
        return {
            "epoch": key.epoch,
            "wrapped_key": key.wrapped,
            "sealed": sealed.seal(key, name, codec.job_secret(job)),
        }


class _EvidenceNotes:
    def __init__(self, unit: SqlWork) -> None:
        self._unit = unit

    async def append(self, *records: Record) -> None:
        self._unit.records.extend(records)


def _execute(
    statement: Any, rows: list[dict[str, Any]], connection: Connection
) -> None:
    connection.execute(statement, rows)


def _update_job(of: JobId, values: dict[str, Any], connection: Connection) -> None:
    if connection.execute(_UPDATE_JOB, values).rowcount != 1:
        raise LeaseLost(f"job {of} is held by another worker, or was settled")


def _discard(
    connection: Connection, discarded: list[MessageId], gone: list[MessageId]
) -> None:
    gone.extend(of for of in discarded if content.discard(connection, of))


def _remove(
    directory: SpoolDirectory, gone: list[MessageId], committed: bool | None
) -> None:
    """After the commit: remove the spool files of discarded messages."""
    if committed:
        for of in gone:
            directory.remove(of)
