"""A message or a part of one as a range of octets: its fields, and where its parts are.

Our own splitter instead of the parser of the standard library, whose cost is lines
times open multiparts and which knows no limit. Nothing is copied, each octet is looked
at once for each level, and all limits hold before the work is done (A-48). Fields are
read by the grammar of RFC 5322 2.2 with its obsolete form; what programs of recipients
read each in their own way makes an entity `faulty`, and never disappears (A-43, A-47).
"""

import dataclasses
import re
from collections.abc import Iterator

MAX_FIELDS = 1000  # lines
MAX_HEADER_OCTETS = 256 * 1024
MAX_NEAR_MISSES = 1000
_FIELD = re.compile(rb"([!-9;-~]+)([ \t]*):")
_MBOX = re.compile(rb">?From ")
_VISIBLE = re.compile(rb"\S")
_HEADER_END = re.compile(rb"\n\r?\n")
_BOUNDARY_TAIL = 200


@dataclasses.dataclass(frozen=True, slots=True)
class Entity:
    """Fields with lower-case names in order, and the range of the body.

    `faulty`: a program may see other fields, or another end of them, than we do.
    `complete` is False when there were more fields than the limit; the others are
    unread.
    """

    octets: bytes = dataclasses.field(repr=False)
    start: int
    body: int
    end: int
    fields: tuple[tuple[str, str], ...] = dataclasses.field(repr=False)
    faulty: bool = False
    complete: bool = True

    def values_of(self, name: str) -> list[str]:
        """All fields of a name; raw 8-bit octets are surrogate escapes."""
        return [value for key, value in self.fields if key == name]

    def first(self, name: str) -> str | None:
        """The first field of a name, or None."""
        return next(iter(self.values_of(name)), None)

    @property
    def header(self) -> bytes:
        """The header as it came."""
        return self.octets[self.start : self.body]

    @property
    def content(self) -> bytes:
        """The body as it came, transfer encoding and all."""
        return self.octets[self.body : self.end]

    @property
    def is_blank(self) -> bool:
        """Whether there is nothing in the body but white space."""
        return _VISIBLE.search(self.octets, self.body, self.end) is None


def with_line_ends(octets: bytes) -> bytes:
    """A bare CR is a line end to some programs, so it is to us."""
    if octets.count(b"\r") == octets.count(b"\r\n"):
        return octets
    return octets.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def parse_entity(octets: bytes, start: int = 0, end: int | None = None) -> Entity:
    """Read the fields of the entity in a range of octets; never raises."""
    end = len(octets) if end is None else end
    for empty in (b"\r\n", b"\n"):
        if octets.startswith(empty, start, end):
            return Entity(octets, start, start + len(empty), end, ())
    found = _HEADER_END.search(octets, start, end)
    stop, body = (end, end) if found is None else (found.start(), found.end())
    cut = min(stop, start + MAX_HEADER_OCTETS)
    lines = octets[start:cut].split(b"\n", MAX_FIELDS)
    complete = cut == stop and len(lines) <= MAX_FIELDS
    if not _FIELD.match(lines[0]) and not _MBOX.match(lines[0]):
        # No header at all: what stands there is text, whatever the rest looks like.
        return Entity(octets, start, start, end, (), faulty=stop > start)
    fields, faulty = _fields(lines[:MAX_FIELDS])
    return Entity(octets, start, body, end, fields, faulty, complete)


def _fields(lines: list[bytes]) -> tuple[tuple[tuple[str, str], ...], bool]:
    fields: list[tuple[bytes, list[bytes]]] = []
    faulty = blank = False
    for at, line in enumerate(line.rstrip(b"\r") for line in lines):
        if line[:1] in {b" ", b"\t"} and fields:
            # A fold of white space only ends the header for some; that matters when
            # the form of the body is said behind it.
            blank = blank or not line.strip()
            fields[-1][1].append(line)
        elif match := _FIELD.match(line):
            name = match[1].lower()
            obsolete = bool(match[2])  # `Name :`, where other parsers end the header
            faulty = faulty or obsolete or (blank and name.startswith(b"content-"))
            fields.append((name, [line[match.end() :]]))
        elif at or not _MBOX.match(line):
            faulty = True
    texts = tuple(
        (_text(name), _text(b"\r\n".join(value)).strip(" \t\r\n"))
        for name, value in fields
    )
    return texts, faulty


def _text(octets: bytes) -> str:
    return octets.decode("ascii", "surrogateescape")


@dataclasses.dataclass(frozen=True, slots=True)
class Split:
    """The ranges of a multipart. The last part of too many holds all the rest.

    `near` are the ends of lines that begin as a delimiter does and go on: to some
    programs they are one, for others they belong to another multipart.
    """

    preamble: tuple[int, int]
    parts: tuple[tuple[int, int], ...]
    epilogue: tuple[int, int]
    near: frozenset[bytes]
    complete: bool


def split_multipart(entity: Entity, boundary: bytes, most: int) -> Split | None:
    """Find the parts of a multipart.

    Args:
        entity: The multipart.
        boundary: As declared, without the two hyphens.
        most: How many parts may be found; one more holds the rest.

    Returns:
        The ranges, or None when there is no delimiter at all.

    Source: RFC 2046 5.1.1.
    """
    octets, end = entity.octets, entity.end
    starts: list[int] = []
    ends: list[int] = []
    near: set[bytes] = set()
    close = end
    misses = 0
    for at, past, tail in _delimiters(entity, b"--" + boundary):
        if tail and tail != b"--":
            near.add(tail)
            misses += 1
            if misses > MAX_NEAR_MISSES:
                break
            continue
        ends.append(_before_line_end(octets, at, starts[-1] if starts else entity.body))
        if tail:
            close = past
            break
        starts.append(past)
        if len(starts) > most:
            break
    if not starts:
        return None
    ends = [*ends[1:], end][: len(starts)]
    complete = len(starts) <= most and misses <= MAX_NEAR_MISSES
    first = _before_line_end(octets, starts[0], entity.body)
    preamble_end = octets.rfind(b"\n", entity.body, first) + 1 or entity.body
    return Split(
        (entity.body, preamble_end),
        tuple(zip(starts, ends, strict=True)),
        (close, end),
        frozenset(near),
        complete,
    )


def _before_line_end(octets: bytes, at: int, start: int) -> int:
    """Where a line ends whose successor begins at `at`; not before `start`."""
    if at > start and octets[at - 1] == 0x0A:  # noqa: PLR2004 - LF
        at -= 1
        if at > start and octets[at - 1] == 0x0D:  # noqa: PLR2004 - CR
            at -= 1
    return at


def _delimiters(entity: Entity, dashes: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Lines that begin like a delimiter: start, start of the next, what follows."""
    octets, end = entity.octets, entity.end
    at = entity.body if octets.startswith(dashes, entity.body, end) else -1
    if at < 0:
        at = octets.find(b"\n" + dashes, entity.body, end) + 1 or -1
    while at >= 0:
        line_end = octets.find(b"\n", at, end)
        past = end if line_end < 0 else line_end + 1
        tail_at = at + len(dashes)
        tail = octets[tail_at : min(past, tail_at + _BOUNDARY_TAIL)]
        yield at, past, tail.rstrip(b" \t\r\n")
        at = octets.find(b"\n" + dashes, past - 1, end) + 1 or -1
