"""One part with what its header says: type, names, encoding; read once."""

import binascii
import dataclasses
import re

from gateway.extract import formats
from gateway.extract.charset import decode_base64
from gateway.extract.entity import Entity
from gateway.extract.header import parameters, unfold

_NAMED_TEXT = {  # what a nameless type is by its file name
    "txt": "text/plain",
    "text": "text/plain",
    "md": "text/plain",
    "log": "text/plain",
    "csv": "text/csv",
    "ics": "text/calendar",
    "vcf": "text/vcard",
    "htm": "text/html",
    "html": "text/html",
    "eml": "message/rfc822",
}
_ALIASES = {  # other names for types that we read
    "application/ics": "text/calendar",
    "application/csv": "text/csv",
    "application/x-csv": "text/csv",
    "application/vcard": "text/vcard",
    "application/x-vcard": "text/vcard",
    "application/json": "text/plain",
}
_NAMELESS = frozenset({"application/octet-stream", "application/x-unknown"})
_MARKUP_NAMES = frozenset(
    {"htm", "html", "shtml", "xhtml", "xht", "hta", "mht", "svg", "xml"}
)
# Text that is said in markup; of all other subtypes only TEXTS are what they look like.
MARKUP = frozenset(
    {"html", "xml", "xhtml+xml", "svg+xml", "x-amp-html", "watch-html", "vnd.wap.wml"}
)
ENRICHED = frozenset({"enriched", "richtext"})
FOLDED = frozenset({"calendar", "vcard", "x-vcard", "directory", "x-vcalendar"})
TEXTS = (
    FOLDED
    | ENRICHED
    | frozenset(
        {
            "plain",
            "csv",
            "markdown",
            "x-markdown",
            "tab-separated-values",
            "comma-separated-values",
            "x-comma-separated-values",
            "rfc822-headers",
            "x-log",
            "x-diff",
            "x-patch",
            "css",
            "x-amp-text",
            "delivery-status",
            "disposition-notification",
            "feedback-report",
            "global-headers",
            "global-delivery-status",
            "global-disposition-notification",
            "tracking-status",
            "x-moz-deleted",
            "x-web-markdown",
        }
    )
)
# Parts that are fields of a header themselves, with encoded words in them.
HEADERS = frozenset(
    {
        "message/delivery-status",
        "message/disposition-notification",
        "message/feedback-report",
        "message/global-headers",
        "message/global-delivery-status",
        "message/tracking-status",
        "message/global-disposition-notification",
        "text/rfc822-headers",
    }
)
PLAIN_CTE = frozenset({"", "7bit", "8bit", "binary"})
_UUENCODE = frozenset({"x-uuencode", "uuencode", "x-uue", "uue"})
KNOWN_CTE = PLAIN_CTE | _UUENCODE | {"base64", "quoted-printable"}
_TYPE = re.compile(r"[a-z0-9!#$%&'*+.^_`{|}~-]+/[a-z0-9!#$%&'*+.^_`{|}~-]+\Z")
_SAFE_TYPE = re.compile(r"[a-z0-9.+-]+/[a-z0-9.+-]+\Z")
_COMMENT = re.compile(r"\([^()]*\)")
_CONTENT_FOLD = re.compile(r"\r?\n[ \t]")
_CONTENT_ESCAPE = re.compile(r"\\([nN,;\\])")
_UU_LINE_OCTETS = 0x3F


@dataclasses.dataclass(frozen=True, slots=True)
class Part:
    """`regular` is False when its type is not written as a type should be."""

    entity: Entity
    number: int
    kind: str  # media type, lower-case
    parameters: dict[str, str]
    disposition: str
    names: tuple[str, ...]
    regular: bool

    @property
    def place(self) -> str:
        """For an unreadable part: its number and type, no name."""
        kind = self.kind if _SAFE_TYPE.match(self.kind) else "unknown"
        return f"part/{self.number}:{kind[:60]}"

    @property
    def boundary(self) -> bytes:
        """Of a multipart, as octets; empty when there is none."""
        text = self.parameters.get("boundary", "")
        return text.encode("utf-8", "surrogateescape").rstrip(b" \t\r\n")

    @property
    def named_markup(self) -> bool:
        """Whether its file name makes a program show it as markup."""
        return any(_extension(name) in _MARKUP_NAMES for name in self.names)

    def hides_container(self, octets: bytes) -> bool:
        """Whether it is a document or archive under the type of a text or picture."""
        named = any(formats.names_container(name) for name in self.names)
        return named or formats.is_container(octets)


def describe(entity: Entity, number: int, implied: str) -> Part:
    """What the header of a part says.

    Args:
        entity: The part.
        number: In the order of the walk.
        implied: The type of a part that names none (RFC 2046 5.1.5).
    """
    content_type = entity.first("content-type") or ""
    disposition = entity.first("content-disposition") or ""
    declared, shown = parameters(content_type), parameters(disposition)
    names = dict.fromkeys(
        name
        for name in (shown.get("filename"), declared.get("name"))
        if name and name.strip()
    )
    kind, regular = _media_type(content_type, implied)
    if kind in _NAMELESS:
        known = (_NAMED_TEXT[e] for e in map(_extension, names) if e in _NAMED_TEXT)
        kind = next(known, kind)
    word = disposition.partition(";")[0].strip().lower()
    return Part(entity, number, kind, declared, word, tuple(names), regular)


def _media_type(content_type: str, implied: str) -> tuple[str, bool]:
    written = _COMMENT.sub("", unfold(content_type).partition(";")[0])
    kind = "".join(written.split()).lower()
    if kind in {"", "text"}:  # the latter by old programs, for plain text
        return implied, True
    if _TYPE.match(kind):
        return _ALIASES.get(kind, kind), True
    # Most programs take it for plain text, some guess what was meant.
    return ("text/plain" if kind.startswith(("multipart", "text")) else kind), False


def _extension(name: str) -> str:
    return name.rpartition(".")[2].strip().lower()


def encoding_of(entity: Entity) -> str:
    """The transfer encoding as written, lower-case, without comments."""
    value = entity.first("content-transfer-encoding") or ""
    return _COMMENT.sub("", unfold(value)).strip().lower()


def body_octets(entity: Entity) -> bytes:
    """The body with its transfer encoding undone; an unknown one stays."""
    encoding = encoding_of(entity)
    if encoding == "base64":
        return decode_base64(entity.octets, entity.body, entity.end)
    if encoding == "quoted-printable":
        return binascii.a2b_qp(entity.content)
    if encoding in _UUENCODE:
        return _uudecode(entity.content)
    return entity.content


def _uudecode(octets: bytes) -> bytes:
    """Lines that do not decode are left out, as most programs do."""
    pieces: list[bytes] = []
    for line in octets.splitlines():
        if not line.startswith((b"begin ", b"end")):
            length = ((line[0] - 32) & _UU_LINE_OCTETS) if line else 0
            pieces.append(_uu_line(line, length))
    return b"".join(pieces)


def _uu_line(line: bytes, length: int) -> bytes:
    try:
        return binascii.a2b_uu(line[: 1 + (length * 4 + 5) // 3])
    except binascii.Error:
        return b""


def unfold_content(text: str) -> str:
    """Content lines of RFC 5545 and 6350 as a reader sees them."""
    joined = _CONTENT_FOLD.sub("", text)
    return _CONTENT_ESCAPE.sub(lambda m: "\n" if m[1] in "nN" else m[1], joined)
