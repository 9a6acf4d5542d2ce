"""How the command line speaks: answers on standard output, faults on the other.

Every fault says place, problem and remedy, in the reader's language, and as JSON when
JSON was asked. Exit codes: 0 done, 1 the answer is no or a finding, 2 usage or
configuration, 3 the system failed (design section 11).
"""

import contextlib
import dataclasses
import errno
import json
import os
import pathlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NoReturn

import typer

from gateway.texts import cli as texts

DONE, NO, USAGE, FAILED = 0, 1, 2, 3


class Refusal(Exception):  # noqa: N818 - an answer to a person, not an error of ours
    """Ends a command with place, problem and remedy, ready to be read."""

    def __init__(self, status: int, place: str, problem: str, remedy: str) -> None:
        super().__init__(place, problem, remedy)
        self.status = status
        self.place = place
        self.problem = problem
        self.remedy = remedy


@dataclasses.dataclass(slots=True)
class Speaker:
    """One command's voice: language, settings file, and whether it answers in JSON."""

    language: str
    config_path: str
    json: bool = False
    debug: bool = False
    gave: bool = False  # the one JSON value was printed

    def word(self, key: str, /, **parameters: object) -> str:
        """A sentence of the command line in the chosen language."""
        return texts.word(key, self.language, **parameters)

    def name_of(self, table: str, value: str) -> str:
        """What people call one of our values, e.g. a state."""
        return texts.name_of(table, value, self.language)

    def say(self, text: str) -> None:
        """A line for a person; nothing when the answer is JSON."""
        if not self.json:
            print(text)

    def give(self, value: Any) -> None:
        """The answer as JSON, when that was asked."""
        if self.json:
            self.gave = True
            print(json.dumps(value, ensure_ascii=False, indent=2))

    def table(self, rows: Sequence[Sequence[object]], indent: str = "") -> None:
        """Aligned columns for a person; the last column is as wide as it needs."""
        if self.json or not rows:
            return
        cells = [[str(cell) for cell in row] for row in rows]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        for row in cells:
            pairs = zip(row, widths, strict=True)
            line = "  ".join(cell.ljust(width) for cell, width in pairs)
            print(f"{indent}{line}".rstrip())

    def end(self, status: int) -> NoReturn:
        """End the command; what there was to say was said."""
        raise typer.Exit(status)

    def refuse(
        self, status: int, key: str, place: str, /, **parameters: object
    ) -> NoReturn:
        """End the command with `refusal.<key>` of the texts."""
        problem = self.word(f"refusal.{key}.problem", **parameters)
        remedy = self.word(f"refusal.{key}.remedy", **parameters)
        raise Refusal(status, place, problem, remedy)


def speaker_of(context: typer.Context, *, json: bool = False) -> Speaker:
    """The voice of this command: that of the root, with the command's own `--json`."""
    speaker: Speaker = context.obj
    speaker.json = speaker.json or json
    return speaker


def language_of(choice: str | None) -> str:
    """The chosen language, else that of the environment when English, else Dutch."""
    if choice is not None:
        return choice
    lang = os.environ.get("LANG", "")  # noqa: TID251 - the terminal's own setting
    return "en" if lang.startswith("en") else "nl"


def read_text(speaker: Speaker, path: pathlib.Path) -> str:
    """The text of a file that the user named.

    Raises:
        OSError: When it cannot be read.
        Refusal: When it is no text.
    """
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        speaker.refuse(USAGE, "no_text", str(path))


def one_of(
    speaker: Speaker, option: str, value: str, known: Iterable[str], key: str
) -> str:
    """The value, when it is one that exists; else the command ends, naming those."""
    names = list(known)
    if value not in names:
        speaker.refuse(
            USAGE, key, f"{option} {value}", known=", ".join(names) or "-", value=value
        )
    return value


@contextlib.contextmanager
def written_whole(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """A file beside `path`, for this user only, that gets its name when it is whole.

    Opened before the block runs, so that a folder one may not write in is found first.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "")
        os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except OSError as error:
        error.filename = str(path)
        raise
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
