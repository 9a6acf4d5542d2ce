"""The words of the command line, from `cli_nl.toml` and `cli_en.toml`."""

import functools
import importlib.resources
import tomllib
from collections.abc import Mapping

LANGUAGES = ("nl", "en")


@functools.cache
def _table(language: str) -> Mapping[str, str]:
    source = importlib.resources.files("gateway.texts") / f"cli_{language}.toml"
    return tomllib.loads(source.read_text(encoding="utf-8"))


def word(key: str, language: str, **parameters: object) -> str:
    """The sentence for a key in one language, with its parameters filled in.

    Raises:
        KeyError: For a key that the file does not have: a bug of ours.
    """
    return _table(language)[key].format(**parameters)
