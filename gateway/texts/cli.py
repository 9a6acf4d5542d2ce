"""The words of the command line, from `cli_nl.toml` and `cli_en.toml`.

A key is dotted: table, then name (`doctor.disk_low`). Both files have the same keys and
placeholders; a key that is missing is a bug of ours, so it raises.
"""

import functools
import importlib.resources
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

LANGUAGES = ("nl", "en")


def _sentences(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in table.items():
        if isinstance(value, dict):
            yield from _sentences(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


@functools.cache
def sentences(language: str) -> Mapping[str, str]:
    """All sentences of one language, by dotted key."""
    source = importlib.resources.files("gateway.texts") / f"cli_{language}.toml"
    return dict(_sentences(tomllib.loads(source.read_text(encoding="utf-8"))))


def word(key: str, language: str, /, **parameters: object) -> str:
    """The sentence for a key in one language, with its parameters filled in.

    Raises:
        KeyError: For a key that the file does not have: a bug of ours.
    """
    return sentences(language)[key].format(**parameters)


def name_of(table: str, value: str, language: str) -> str:
    """The name people use for a value of ours (`state.held`); else the value itself."""
    return sentences(language).get(f"{table}.{value}", value)
