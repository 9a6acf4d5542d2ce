"""Reading one TOML table of ours: takes keys, and refuses what is left over.

Each error names the place, what is wrong and the remedy; its class says what kind of
file it is about (settings, rule pack).
"""

import enum
import tomllib
from typing import Any, TypeVar

from gateway.model.errors import ConfigError

T = TypeVar("T")
E = TypeVar("E", bound=enum.Enum)


class Table:
    """Keys of one table, taken one by one."""

    def __init__(
        self, place: str, value: Any, error: type[ConfigError] = ConfigError
    ) -> None:
        self._place = place
        self._error = error
        if not isinstance(value, dict):
            raise error(place, "is not a table", "write it as [table]")
        self._left: dict[str, Any] = dict(value)

    @classmethod
    def parse(
        cls, text: str, place: str, error: type[ConfigError] = ConfigError
    ) -> "Table":
        """The root table of a TOML text; `place` is the file's name, or empty."""
        try:
            return cls(place, tomllib.loads(text), error)
        except tomllib.TOMLDecodeError as fault:
            problem = f"is not TOML: {fault}"
            raise error(place or "file", problem, "correct it") from fault

    @property
    def is_empty(self) -> bool:
        """Whether no key is left to take."""
        return not self._left

    def place(self, key: str) -> str:
        """Where a key stands, for an error."""
        return f"{self._place}.{key}" if self._place else key

    def wrong(self, key: str, problem: str, remedy: str) -> ConfigError:
        """An error about a key."""
        return self._error(self.place(key), problem, remedy)

    def take(self, key: str, kind: type[T], default: T | None = None) -> T:
        """A required key, or one with a default."""
        value = self._left.pop(key, default)
        if value is None:
            raise self.wrong(key, "is missing", f"add {key} ({kind.__name__})")
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            found = type(value).__name__
            raise self.wrong(key, f"is of type {found}", f"write a {kind.__name__}")
        return value

    def maybe(self, key: str, kind: type[T]) -> T | None:
        """An optional key without default."""
        return self.take(key, kind) if key in self._left else None

    def positive(self, key: str, default: int | None = None) -> int:
        """A whole number above zero."""
        value = self.take(key, int, default)
        if value <= 0:
            raise self.wrong(key, "is not above zero", "write a number > 0")
        return value

    def choice(self, key: str, kind: type[E], default: E | None = None) -> E:
        """One of the values of an enumeration, as text."""
        text = self.take(key, str, None if default is None else default.value)
        try:
            return kind(text)
        except ValueError:
            choices = ", ".join(str(member.value) for member in kind)
            problem = f"is {text!r}"
            raise self.wrong(key, problem, f"choose one of: {choices}") from None

    def texts(self, key: str, *, required: bool = False) -> tuple[str, ...]:
        """A list of texts that are not empty."""
        items = self.take(key, list, None if required else [])
        if not all(isinstance(item, str) and item.strip() for item in items):
            raise self.wrong(key, "holds something else than texts", "list texts")
        if required and not items:
            raise self.wrong(key, "is empty", "list at least one")
        return tuple(items)

    def table(self, key: str) -> "Table":
        """A table within this one; missing is empty."""
        return Table(self.place(key), self._left.pop(key, {}), self._error)

    def tables(self, key: str) -> "list[Table]":
        """A list of tables; missing is empty."""
        items = self.take(key, list, [])
        return [
            Table(f"{self.place(key)}[{n}]", value, self._error)
            for n, value in enumerate(items, 1)
        ]

    def finish(self) -> None:
        """Refuse keys that nobody took."""
        for key in self._left:
            raise self.wrong(key, "is not a known key", "correct or remove it")
