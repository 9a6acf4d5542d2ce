import threading

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from gateway.model.errors import ConfigError
from gateway.store import engine, migrate, tables


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path}/ketenmail.db"


def test_the_migrations_make_exactly_the_tables_of_the_code(url):
    migrate.migrate(url)

    engines = engine.create_engines(url)
    with engines[1].connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        differences = compare_metadata(context, tables.metadata)
    for each in engines:
        each.dispose()
    assert differences == []


def test_the_head_that_the_code_needs_is_the_last_migration(url):
    settings = Config()
    settings.set_main_option("script_location", str(migrate._SCRIPTS))
    settings.set_main_option("path_separator", "os")

    assert ScriptDirectory.from_config(settings).get_current_head() == tables.HEAD


def test_a_database_is_current_only_after_its_migration(url, tmp_path):
    assert not migrate.schema_current(url)
    assert not (tmp_path / "ketenmail.db").exists()

    migrate.migrate(url)

    assert migrate.schema_current(url)


def test_an_empty_file_is_not_current(url, tmp_path):
    (tmp_path / "ketenmail.db").touch()

    assert not migrate.schema_current(url)


def test_migrating_twice_and_at_once_is_harmless(url):
    errors = []

    def run():
        try:
            migrate.migrate(url)
        except Exception as error:
            errors.append(error)

    # Two processes would be told apart by the same lock file; alembic's context is per
    # process, so here they come one after another.
    for _ in range(2):
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()

    assert errors == []
    assert migrate.schema_current(url)


def test_a_database_of_a_newer_version_is_refused(url):
    migrate.migrate(url)
    writing, reading = engine.create_engines(url)
    with writing.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    writing.dispose()
    reading.dispose()

    assert not migrate.schema_current(url)
    with pytest.raises(ConfigError, match="newer"):
        migrate.migrate(url)
