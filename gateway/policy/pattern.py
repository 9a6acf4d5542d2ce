"""Many RE2 patterns over one text: one pass says which can match, those run alone.

RE2 takes linear time whatever the pattern, so that no rule of ours or of a municipality
can hold up mail (A-48). Texts are octets (`Normal.clean_ascii`), so that positions are
those of the text.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import re2

from gateway.model.errors import RulebookError

# After a match the search goes on a little further on: rules count once in a stretch of
# text, and a text of one word repeated must not cost a match for each.
STRIDE = 60
_SET_MEMORY_OCTETS = 64 * 1024 * 1024
_CANARY = b"(?s:.)"  # matches whatever is not empty


def compile_pattern(pattern: str, place: str) -> Any:
    """Compile a pattern.

    Raises:
        RulebookError: When RE2 does not know the syntax, or it matches an empty text.
    """
    options = re2.Options()
    options.log_errors = False
    try:
        compiled = re2.compile(pattern.encode(), options)
    except re2.error as error:
        raise RulebookError(
            place, f"pattern is no RE2: {error}", "see github.com/google/re2 syntax"
        ) from error
    if compiled.search(b""):
        raise RulebookError(place, "pattern matches an empty text", "make it narrower")
    return compiled


Accept = Callable[[Any, bytes], bool]


def _accept_all(_match: Any, _octets: bytes) -> bool:
    return True


class PatternSet:
    """Patterns compiled together; finding is free of side effects."""

    def __init__(self, patterns: Sequence[tuple[str, str]]) -> None:
        """Compile patterns, each with the place that an error names."""
        self._compiled = [compile_pattern(text, place) for text, place in patterns]
        options = re2.Options()
        options.max_mem = _SET_MEMORY_OCTETS
        self._set = re2.Set.SearchSet(options)
        for text, _ in patterns:
            self._set.Add(text.encode())
        self._canary = len(patterns)
        self._set.Add(_CANARY)
        self._set.Compile()

    def matching(self, octets: bytes) -> list[int]:
        """Numbers of the patterns that match somewhere.

        When the set gives up for lack of memory it answers nothing at all, not even the
        canary; then every pattern is tried.
        """
        found: list[int] = self._set.Match(octets) or []
        if octets and self._canary not in found:
            return list(range(len(self._compiled)))
        return [number for number in found if number != self._canary]

    def matches(self, number: int, octets: bytes) -> Iterator[Any]:
        """All matches of one pattern, one after the other, none overlapping."""
        match: Iterator[Any] = self._compiled[number].finditer(octets)
        return match

    def positions(
        self, number: int, octets: bytes, accept: Accept = _accept_all
    ) -> Iterator[int]:
        """Where one pattern matches, at most once in each short stretch.

        Args:
            number: Of the pattern.
            octets: The text.
            accept: Says of a match whether it counts; one that does not is passed.
        """
        pattern, at = self._compiled[number], 0
        while at < len(octets):
            match = pattern.search(octets, at)
            if match is None:
                return
            at = match.end()
            if accept(match, octets):
                yield match.start()
                at += STRIDE
