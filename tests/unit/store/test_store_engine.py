import contextlib
import os
import stat
import threading

import pytest
from sqlalchemy.exc import OperationalError

from gateway.model.errors import ConfigError
from gateway.store import engine
from gateway.store.work import Store
from tests.contract.store_bed import Bed, accept, make_octets, origin_of


@pytest.mark.parametrize(
    "version", ["3.53.4", "3.53.0", "3.51.3", "3.50.7", "3.50.9", "3.44.6", "4.0.0"]
)
def test_a_library_with_the_fix_is_taken(version):
    engine.check_library(version)


@pytest.mark.parametrize(
    "version",
    ["3.51.2", "3.51.0", "3.50.6", "3.49.9", "3.44.5", "3.40.1", "3.52.0", "3.45.8"],
)
def test_a_library_without_the_fix_is_refused_with_a_remedy(version):
    with pytest.raises(ConfigError, match="pysqlite3"):
        engine.check_library(version)


def test_the_bundled_library_is_taken():
    engine.check_library()


def test_the_start_looks_at_the_library(bed, monkeypatch):
    def refuse():
        raise ConfigError("SQLite library", "is old", "renew")

    monkeypatch.setattr(engine, "check_library", refuse)

    with pytest.raises(ConfigError, match="SQLite library"):
        bed.open()


@pytest.mark.parametrize(
    "url",
    ["postgresql+psycopg://h/db", "sqlite://", "sqlite:///relative.db", "no url", ""],
)
def test_another_url_is_refused(url):
    with pytest.raises(ConfigError, match=r"store\.url"):
        engine.database_path(url)


def test_a_missing_directory_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="cannot be opened"):
        engine.create_engines(f"sqlite:///{tmp_path}/none/x.db")


SETTINGS = {
    "journal_mode": "wal",
    "synchronous": 2,
    "foreign_keys": 1,
    "secure_delete": 1,
    "busy_timeout": 10_000,
    "page_size": 16384,
}


def settings_of(connection):
    found = {
        name: connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in SETTINGS
    }
    driver = connection.connection.dbapi_connection
    assert driver.isolation_level is None  # the driver begins no transactions (G-04)
    return found


def test_every_connection_has_all_settings(bed):
    writing, reading = engine.create_engines(bed.url)
    found = []
    for _ in range(2):
        with writing.connect() as connection:
            found.append(settings_of(connection))
    with contextlib.ExitStack() as stack:
        pooled = [stack.enter_context(reading.connect()) for _ in range(4)]
        found += map(settings_of, pooled)
    writing.dispose()
    reading.dispose()

    assert found == [SETTINGS] * 6


async def test_a_reading_connection_cannot_write(store):
    with store.reading() as connection, pytest.raises(OperationalError):
        connection.exec_driver_sql("DELETE FROM job")


async def test_database_log_and_spool_files_are_the_gateways_alone(bed):
    store = bed.open()
    await accept(store, "1", make_octets(2_000_000))

    modes = {
        path.name: stat.S_IMODE(path.stat().st_mode)
        for path in bed.place.rglob("*")
        if path.is_file() and path.suffix != ".pub"
    }

    assert {"ketenmail.db", "ketenmail.db-wal"} <= modes.keys()
    assert not [name for name, mode in modes.items() if mode & 0o077]


def test_a_database_without_tables_is_refused(tmp_path):
    bed = Bed(tmp_path)

    with pytest.raises(ConfigError, match="ketenmail init"):
        Store.open(bed.url, str(tmp_path), None, origin_of, "0")


def test_an_unusable_state_directory_is_refused(bed):
    (bed.place / "file").write_text("")

    with pytest.raises(ConfigError, match="store"):
        Store.open(bed.url, str(bed.place / "file"), None, origin_of, "0")


def test_a_file_that_is_no_database_is_refused(tmp_path):
    (tmp_path / "ketenmail.db").write_bytes(os.urandom(9000))
    bed = Bed(tmp_path)

    with pytest.raises(ConfigError):
        Store.open(bed.url, str(tmp_path), None, origin_of, "0")


def test_a_turn_is_waited_for_and_then_had(tmp_path):
    first, second = (engine.Turn(tmp_path / "db") for _ in range(2))
    order = []

    def wait():
        with second:
            order.append("second")

    thread = threading.Thread(target=wait)
    with first:
        thread.start()
        order.append("first")
    thread.join(10)

    assert order == ["first", "second"]
    first.close()
    second.close()
