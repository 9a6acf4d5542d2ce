"""How the command line speaks: a table or JSON on standard output, errors on the other.

Exit codes: 0 done, 1 the answer is no or a finding, 2 usage or configuration, 3 the
system failed (design section 11).
"""

import contextlib
import dataclasses
import json
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

import typer

from gateway.model.errors import ConfigError, GatewayError
from gateway.texts import cli as texts

DONE, NO, USAGE, FAILED = 0, 1, 2, 3


@dataclasses.dataclass(slots=True)
class Speaker:
    """One command's voice: language, and whether the answer is JSON."""

    language: str
    config_path: str
    json: bool = False

    def word(self, key: str, **parameters: object) -> str:
        """A sentence of the command line in the chosen language."""
        return texts.word(key, self.language, **parameters)

    def say(self, text: str) -> None:
        """A line for a person; nothing when the answer is JSON."""
        if not self.json:
            print(text)

    def give(self, value: Any) -> None:
        """The answer as JSON, when that was asked."""
        if self.json:
            print(json.dumps(value, ensure_ascii=False, indent=2))

    def table(self, rows: Sequence[Sequence[object]]) -> None:
        """Aligned columns for a person; the first row is the heading."""
        if self.json or not rows:
            return
        cells = [[str(cell) for cell in row] for row in rows]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        for row in cells:
            pairs = zip(row, widths, strict=True)
            print("  ".join(cell.ljust(width) for cell, width in pairs).rstrip())

    def end(self, status: int, text: str | None = None) -> NoReturn:
        """End the command, with a line on standard error when there is one."""
        if text is not None:
            print(text, file=sys.stderr)
        raise typer.Exit(status)


def language_of(choice: str | None) -> str:
    """The chosen language, else that of the environment when English, else Dutch."""
    if choice is not None:
        return choice
    lang = os.environ.get("LANG", "")  # noqa: TID251 - the terminal's own setting
    return "en" if lang.startswith("en") else "nl"


@contextlib.contextmanager
def errors_told(speaker: Speaker) -> Iterator[None]:
    """Turn our errors into a clear line and the right exit status."""
    try:
        yield
    except ConfigError as error:
        if speaker.json:
            fault = {
                "place": error.place,
                "problem": error.problem,
                "remedy": error.remedy,
            }
            speaker.give({"error": fault})
        lines = (
            speaker.word("config_error"),
            f"  {speaker.word('place')}: {error.place}",
            f"  {speaker.word('problem')}: {error.problem}",
            f"  {speaker.word('remedy')}: {error.remedy}",
        )
        speaker.end(USAGE, "\n".join(lines))
    except GatewayError as error:
        speaker.end(FAILED, speaker.word("failed", what=error))
    except BrokenPipeError:  # the reader has seen enough, as in `... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        speaker.end(DONE)
    except OSError as error:
        what = f"{error.strerror}: {error.filename}" if error.filename else error
        speaker.end(FAILED, speaker.word("failed", what=what))
