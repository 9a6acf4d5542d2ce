"""Bringing a database to the tables that this code needs.

Alembic is imported only when something is to be changed: the start of a worker merely
compares the version (`engine.is_current`).
"""

import pathlib

from gateway.model.errors import ConfigError
from gateway.store import engine

_SCRIPTS = pathlib.Path(__file__).parent / "migrations"


def schema_current(url: str) -> bool:
    """Whether a store has the tables that this code needs; makes no file."""
    if not engine.database_path(url).exists():
        return False
    writing, reading = engine.create_engines(url)
    try:
        return engine.is_current(reading)
    finally:
        reading.dispose()
        writing.dispose()


def migrate(url: str) -> None:
    """Bring a store to the present tables; makes the file when it is missing.

    Safe to run twice, and by two processes at once: they take turns.

    Raises:
        ConfigError: For a library or URL that may not be used.
    """
    from alembic import command  # noqa: PLC0415 - slow, and rarely needed
    from alembic.config import Config  # noqa: PLC0415
    from alembic.util import CommandError  # noqa: PLC0415

    engine.check_library()
    path = engine.database_path(url)
    writing, reading = engine.create_engines(url)
    turn = engine.Turn(path)
    settings = Config()
    settings.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    settings.set_main_option("path_separator", "os")
    try:
        with turn, writing.begin() as connection:
            settings.attributes["connection"] = connection
            command.upgrade(settings, "head")
    except CommandError as error:
        raise ConfigError(
            "store.url", "was made by a newer version", "install that version"
        ) from error
    finally:
        turn.close()
        reading.dispose()
        writing.dispose()
