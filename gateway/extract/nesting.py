"""Whether markup is cheap to parse: the parser is not linear in every way.

It looks through all open elements at a closing tag, through all attributes of a tag at
each new one, and opens formatting that was never closed anew in each block. All three
are counted here before, in linear time and rather too high than too low: a closing tag
that we would not count as a browser does is not believed.
"""

import re

MAX_NESTING = 4_000  # open elements; 4,000 take 20 ms
_MAX_ATTRIBUTES = 48
_FREE = 20_000  # elements opened anew that need no look, some 25 ms
_FORMATS_PER_TAG = 6
_ATTRIBUTE = (
    r"[\s/]*+(?:=[^\s/>=]*+|[^\s/>=]++)"
    r"(?:\s*+=\s*+(?:\"[^\"]*+\"|'[^']*+'|[^\s>\"'][^\s>]*+)?+)?+"
)
_CROWDED = re.compile(rf"<[^\s/><]*+[\s/](?:{_ATTRIBUTE}){{{_MAX_ATTRIBUTES}}}")
_TOKEN = re.compile(
    rf"<!--(?P<comment>.*?)(?:-->|\Z)"
    rf"|<(?P<close>/?)(?P<name>[A-Za-z][^\s/>]*+)(?:{_ATTRIBUTE})*+",
    re.DOTALL,
)
_VOID = frozenset(
    {
        "area",
        "base",
        "br",
        "col",
        "embed",
        "hr",
        "img",
        "input",
        "link",
        "meta",
        "param",
        "source",
        "track",
        "wbr",
    }
)
_FORMATS = frozenset(
    {
        "a",
        "b",
        "big",
        "code",
        "em",
        "font",
        "i",
        "nobr",
        "s",
        "small",
        "strike",
        "strong",
        "tt",
        "u",
    }
)
_FORMAT = re.compile(rf"<(?:{'|'.join(_FORMATS)})[\s/>]", re.IGNORECASE)
# Elements that a new one of their kind ends.
_CELLS = frozenset({"td", "th", "tr", "tbody", "thead", "tfoot"})
_SELF_ENDING = {
    "p": frozenset({"p"}),
    "li": frozenset({"li"}),
    "dd": frozenset({"dd", "dt"}),
    "dt": frozenset({"dd", "dt"}),
    **dict.fromkeys(_CELLS, _CELLS),
}
_SKIPPED = _FORMATS.union(_SELF_ENDING)
# In these the reading of tags changes, so that closing tags may not be believed.
_OTHER_RULES = re.compile(
    r"<(?:svg|math|select|frameset|plaintext|xmp|iframe|noembed|noframes|textarea)\b",
    re.IGNORECASE,
)
_LOOK_BACK = 16


def is_too_complex(html: str) -> bool:
    """Whether parsing could take much more time than the length asks for."""
    if _CROWDED.search(html):
        return True
    tags = html.count("<")
    formats = len(_FORMAT.findall(html))
    if tags < MAX_NESTING and formats * tags < _FREE:
        return False
    return _Count(believe=not _OTHER_RULES.search(html)).exceeds(html, tags)


class _Count:
    """Open elements, as far as closing tags can be believed."""

    def __init__(self, *, believe: bool) -> None:
        self._believe = believe
        self._stack: list[str] = []
        self._formats = 0  # open ones, and those that outlive their parents

    def exceeds(self, html: str, tags: int) -> bool:
        most_formats = _FREE // tags + _FORMATS_PER_TAG
        for token in _TOKEN.finditer(html):
            name = (token["name"] or "").lower()
            if token["close"]:
                self._close(name)
            elif name and name not in _VOID:
                self._open(name)
            if len(self._stack) > MAX_NESTING or self._formats > most_formats:
                return True
        return False

    def _open(self, name: str) -> None:
        if name in _SELF_ENDING and self._believe:
            self._end(name, _SELF_ENDING[name] | {"p"} | _FORMATS)
        self._stack.append(name)
        self._formats += name in _FORMATS

    def _close(self, name: str) -> None:
        if self._believe and self._end(name, _SKIPPED):
            self._formats -= name in _FORMATS

    def _end(self, name: str, over: frozenset[str]) -> bool:
        """Close the nearest element of that name, looking over some others only."""
        stack, at = self._stack, len(self._stack) - 1
        least = max(0, at - _LOOK_BACK)
        while at >= least and stack[at] != name and stack[at] in over:
            at -= 1
        if at < least or stack[at] != name:
            return False
        self._formats -= _formats_in_cells(stack[at:])
        del stack[at:]
        return True


def _formats_in_cells(names: list[str]) -> int:
    """How many open formats end with the cell that they stand in."""
    cell = next((at for at, name in enumerate(names) if name in {"td", "th"}), None)
    return 0 if cell is None else sum(name in _FORMATS for name in names[cell:])
