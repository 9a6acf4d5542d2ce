"""Reading one TOML table of a rule file: takes keys, and refuses what is left over."""

import tomllib
from typing import Any, TypeVar

from gateway.model.errors import RulebookError

T = TypeVar("T")


class Table:
    """Keys taken one by one; each error names the place, what is wrong, the remedy."""

    def __init__(self, place: str, value: Any) -> None:
        if not isinstance(value, dict):
            raise RulebookError(place, "is not a table", "write it as a table")
        self._place = place
        self._left: dict[str, Any] = dict(value)

    @classmethod
    def parse(cls, text: str, place: str) -> "Table":
        """The root table of a TOML text."""
        try:
            return cls(place, tomllib.loads(text))
        except tomllib.TOMLDecodeError as error:
            raise RulebookError(place, f"is no TOML: {error}", "correct it") from error

    def place(self, key: str) -> str:
        """Where a key stands, for an error."""
        return f"{self._place}: {key}"

    def wrong(self, key: str, problem: str, remedy: str) -> RulebookError:
        """An error about a key."""
        return RulebookError(self.place(key), problem, remedy)

    def take(self, key: str, kind: type[T], default: T | None = None) -> T:
        """A required key, or one with a default."""
        value = self._left.pop(key, default)
        if value is None:
            raise self.wrong(key, "is missing", f"add {key} ({kind.__name__})")
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            found = type(value).__name__
            raise self.wrong(key, f"is of type {found}", f"write a {kind.__name__}")
        return value

    def positive(self, key: str, default: int | None = None) -> int:
        """A whole number above zero."""
        value = self.take(key, int, default)
        if value <= 0:
            raise self.wrong(key, "is not above zero", "write a number > 0")
        return value

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
        return Table(self.place(key), self._left.pop(key, {}))

    def tables(self, key: str) -> "list[Table]":
        """A list of tables; missing is empty."""
        items = self.take(key, list, [])
        return [Table(f"{self.place(key)}[{n}]", v) for n, v in enumerate(items, 1)]

    def finish(self) -> None:
        """Refuse keys that nobody took."""
        for key in self._left:
            raise self.wrong(key, "is not a known key", "correct or remove it")
