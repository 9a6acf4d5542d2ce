"""The database: which library may open it, how every connection is set, whose turn.

SQLite before 3.51.3 can corrupt a WAL database that several connections write (G-03),
so the start refuses it. Every connection gets its settings from one listener, because
a setting made once on a pooled connection is missing on the next (G-02). Processes that
want to write take turns over a lock file (`Turn`); ADR 0002 has the measurements.
"""

import fcntl
import os
import pathlib
import types
from typing import Any, Self

import sqlalchemy
from pysqlite3 import dbapi2
from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.pool import NullPool, QueuePool

from gateway.model.errors import ConfigError
from gateway.store import tables

_READERS = 4
_BUSY_TIMEOUT_MS = 10_000
_SETTINGS = (
    "PRAGMA page_size=16384",  # heeded by an empty database only
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
    "PRAGMA foreign_keys=ON",
    f"PRAGMA busy_timeout={_BUSY_TIMEOUT_MS}",
    "PRAGMA secure_delete=ON",
)
_FIRST_FIXED = (3, 51, 3)
_WITHDRAWN = (3, 52)
_BACKPORTS = {(3, 50): 7, (3, 44): 6}  # branch: first patch with the fix


def check_library(version: str = dbapi2.sqlite_version) -> None:
    """Refuse a SQLite library with the WAL-reset bug.

    Args:
        version: As the library says it, e.g. "3.53.4".

    Raises:
        ConfigError: For any version that is not known to have the fix.

    Source: G-03; fixed in 3.51.3 and 3.53.0, back-ported to 3.50.7 and 3.44.6;
    3.52.0 was withdrawn.
    """
    major, minor, patch = (int(part) for part in version.split(".")[:3])
    branch = (major, minor)
    fixed = (*branch, patch) >= _FIRST_FIXED and branch != _WITHDRAWN
    if fixed or patch >= _BACKPORTS.get(branch, patch + 1):
        return
    raise ConfigError(
        "SQLite library",
        f"is {version}, which can corrupt a database with several writers",
        "install the pysqlite3 wheel of requirements.lock (SQLite 3.51.3 or later)",
    )


def database_path(url: str) -> pathlib.Path:
    """The database file that a store URL names.

    Raises:
        ConfigError: For anything else than a SQLite file with an absolute path.
    """
    try:
        parsed = sqlalchemy.make_url(url)
    except sqlalchemy.exc.ArgumentError:
        parsed = None
    if parsed is None or parsed.get_backend_name() != "sqlite" or not parsed.database:
        raise ConfigError(
            "store.url", "is not a SQLite file", "write sqlite:////path/ketenmail.db"
        )
    path = pathlib.Path(parsed.database)
    if not path.is_absolute():
        raise ConfigError("store.url", "is not absolute", "write sqlite:////path/...")
    return path


def create_engines(url: str) -> tuple[Engine, Engine]:
    """The engine that writes and the one that reads; the file is made when missing.

    Statements are logged nowhere, and error texts hide their parameters (INV-8).
    """
    path = database_path(url)
    try:
        # SQLite gives -wal and -shm the mode of the database itself.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise ConfigError(
            "store.url", f"cannot be opened: {error.strerror}", "check directory, owner"
        ) from error
    writing = sqlalchemy.create_engine(
        url, module=dbapi2, poolclass=NullPool, hide_parameters=True
    )
    reading = sqlalchemy.create_engine(
        url,
        module=dbapi2,
        poolclass=QueuePool,
        pool_size=_READERS,
        connect_args={"check_same_thread": False},
        hide_parameters=True,
    )
    event.listen(writing, "connect", _set_up)
    event.listen(writing, "begin", _begin_immediate)
    event.listen(reading, "connect", _set_up_reader)
    event.listen(reading, "begin", _begin)
    return writing, reading


def _set_up(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # we begin transactions ourselves (G-04)
    for setting in _SETTINGS:
        connection.execute(setting).fetchall()


def _set_up_reader(connection: Any, record: object) -> None:
    _set_up(connection, record)
    connection.execute("PRAGMA query_only=ON").fetchall()


def _begin_immediate(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")


def is_current(engine: Engine) -> bool:
    """Whether the tables are those that this code needs."""
    with engine.connect() as connection:
        if not sqlalchemy.inspect(connection).has_table("alembic_version"):
            return False
        found = connection.exec_driver_sql("SELECT version_num FROM alembic_version")
        return [row[0] for row in found] == [tables.HEAD]


class Turn:
    """Whose turn it is to write, among processes on one machine; a context manager.

    SQLite's own busy handler sleeps and looks again, so that under load one process may
    wait for seconds while another writes time after time. A lock on `<database>-turn`
    is handed to who waited. The kernel frees it when a process dies.
    """

    def __init__(self, database: pathlib.Path) -> None:
        path = database.with_name(f"{database.name}-turn")
        self._lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def __enter__(self) -> Self:
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: types.TracebackType | None,
    ) -> None:
        fcntl.flock(self._lock, fcntl.LOCK_UN)

    def close(self) -> None:
        """Give the lock file back; it is left for the next."""
        os.close(self._lock)
