"""A message to the Document that the classifier reads. Pure; never raises.

Everything that a recipient could read is a segment. What cannot be read is said, with
the reason, and never taken for harmless (A-47, R2). The tree is walked in order; parts
are numbered as they come, and a place names the kind of text and that number. The
parser is that of the standard library under the compat32 policy: the newer policies
raise on hostile fields. Where programs of recipients differ (a field given twice, an
unknown transfer encoding, a multipart without boundary) we read what we can and count
the part as unreadable.
"""

import dataclasses
import email
import email.policy
import re
from email.message import Message
from email.parser import BytesHeaderParser

from gateway.extract import image
from gateway.extract.author import authors_of
from gateway.extract.charset import decode_base64, decode_text
from gateway.extract.header import decode_field, field_text, parameters
from gateway.extract.markup import meta_charset, read_html
from gateway.model.document import Document, Segment, UnreadablePart

MAX_PARTS = 1000
MAX_DEPTH = 20
MAX_FIELDS = 1000
MAX_HEADER_OCTETS = 256 * 1024
_MAX_BOUNDARIES = 20_000  # lines that may be a boundary; the parser builds them all
_MAX_MESSAGE_ID = 998
_HUMAN_FIELDS = ("comments", "keywords", "thread-topic", "content-description")
_PEOPLE_FIELDS = ("from", "sender", "reply-to", "to", "cc")
_ADDRESS = re.compile(r"<[^<>]*>|[^\s<>,;]+@[^\s<>,;]+")
_SIGNATURES = frozenset(
    {
        "application/pgp-signature",
        "application/pgp-keys",
        "application/pkcs7-signature",
        "application/x-pkcs7-signature",
    }
)
_SIGNATURE_STARTS = (
    b"-----BEGIN PGP SIGNATURE-----",
    b"-----BEGIN PGP PUBLIC KEY BLOCK-----",
    b"0\x80",  # BER and DER of a CMS SignedData
    b"0\x81",
    b"0\x82",
    b"0\x83",
)
_MAX_SIGNATURE_OCTETS = 64 * 1024
_REPORT_TYPES = frozenset(
    {"message/delivery-status", "message/disposition-notification"}
)
_MESSAGE_TYPES = frozenset({"message/rfc822", "message/global"})
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
_NAMELESS = frozenset({"application/octet-stream", "application/x-unknown"})
_MARKUP = frozenset({"html", "xml", "xhtml+xml", "svg+xml"})
_PLAIN_CTE = frozenset({"", "7bit", "8bit", "binary"})
_KNOWN_CTE = _PLAIN_CTE | {"base64", "quoted-printable", "x-uuencode", "uuencode"}
_KIND = {"plain": "body", "html": "html", "calendar": "calendar", "csv": "csv"}
_SAFE_TYPE = re.compile(r"[a-z0-9.+-]+/[a-z0-9.+-]+\Z")
_PGP_BLOCK = "-----BEGIN PGP MESSAGE-----"


def read(octets: bytes) -> Document:
    """Read a whole message.

    Args:
        octets: As accepted.

    Returns:
        What was read and what was not; hostile input gives unreadable parts.
    """
    reading = _Reading()
    message = None
    try:
        message = _parse(octets, reading)
        reading.walk(message, depth=0)
    except Exception:  # noqa: BLE001 - a parser that breaks is an unreadable part
        reading.miss("message", "parser-failure")
    return _document(message, reading)


def _parse(octets: bytes, reading: "_Reading") -> "Message[str, str]":
    """Parse; with too many lines that may be a boundary, the header fields only.

    The parser would build a part for each before we could count them. Then the rest
    is read as one text.
    """
    head_end = octets.find(b"\r\n\r\n")
    head = octets[: head_end if head_end >= 0 else len(octets)]
    if len(head) > MAX_HEADER_OCTETS or head.count(b"\n") >= MAX_FIELDS:
        reading.miss("header", "limit")
    policy = email.policy.compat32
    if octets.count(b"\n--") > _MAX_BOUNDARIES:
        reading.miss("message", "limit")
        return BytesHeaderParser(policy=policy).parsebytes(octets)
    return email.message_from_bytes(octets, policy=policy)


def _document(message: "Message[str, str] | None", reading: "_Reading") -> Document:
    segments, unreadable = tuple(reading.segments), tuple(reading.unreadable)
    try:
        if message is not None:
            authors, faulty = authors_of(message)
            return Document(
                segments,
                unreadable,
                authors,
                faulty,
                _message_id(message),
                _is_auto_submitted(message),
            )
    except Exception:  # noqa: BLE001 - fields that break a parser name no author
        unreadable += (UnreadablePart("header", "parser-failure"),)
    return Document(segments, unreadable, authors_faulty=True)


def _message_id(message: "Message[str, str]") -> str | None:
    fields = message.get_all("message-id", [])
    if len(fields) != 1:
        return None
    value = str(fields[0]).strip()
    usable = value.isascii() and value.isprintable() and len(value) <= _MAX_MESSAGE_ID
    return value if value and usable else None


def _is_auto_submitted(message: "Message[str, str]") -> bool:
    """RFC 3834 5: anything but "no" was not sent by a person."""
    values = message.get_all("auto-submitted", [])
    words = (str(value).partition(";")[0].strip().lower() for value in values)
    return any(word != "no" for word in words)


@dataclasses.dataclass(frozen=True, slots=True)
class _Part:
    """One part with what its header says, read once."""

    message: "Message[str, str]"
    number: int
    kind: str  # media type, lower-case
    parameters: dict[str, str]
    disposition: str
    names: tuple[str, ...]

    @property
    def place(self) -> str:
        """For an unreadable part: its number and type, no name."""
        kind = self.kind if _SAFE_TYPE.match(self.kind) else "unknown"
        return f"part/{self.number}:{kind[:60]}"


class _Reading:
    """What was gathered while walking one message."""

    def __init__(self) -> None:
        self.segments: list[Segment] = []
        self.unreadable: list[UnreadablePart] = []
        self.parts = 0

    def miss(self, place: str, reason: str) -> None:
        """Say that a part could not be read."""
        self.unreadable.append(UnreadablePart(place, reason))

    def add(self, place: str, text: str) -> None:
        """Keep a text, when there is one."""
        if text.strip():
            self.segments.append(Segment(place, text))

    def walk(self, message: "Message[str, str]", depth: int) -> None:
        """Read the header of a message, then its part tree."""
        number = self.parts
        suffix = f"/{number}" if number else ""
        for value in message.get_all("subject", []):
            self.add(f"subject{suffix}", decode_field(str(value)))
        for name in _HUMAN_FIELDS:
            for value in message.get_all(name, []):
                self.add(f"header:{name}{suffix}", decode_field(str(value)))
        for name in _PEOPLE_FIELDS:
            for value in message.get_all(name, []):
                names = _ADDRESS.sub(" ", decode_field(str(value))).strip("\"', ")
                self.add(f"header:{name}{suffix}", names)
        self.tree(message, depth)

    def tree(self, message: "Message[str, str]", depth: int) -> None:
        """Read one part and what is in it; a part that breaks us is unreadable."""
        self.parts += 1
        if self.parts > MAX_PARTS or depth > MAX_DEPTH:
            if self.parts <= MAX_PARTS + 1:
                self.miss(f"part/{self.parts}", "limit")
            return
        number = self.parts
        try:
            self._part(_describe(message, number), depth)
        except Exception:  # noqa: BLE001 - never an exception for hostile input
            self.miss(f"part/{number}", "parser-failure")

    def _part(self, part: _Part, depth: int) -> None:
        for name in part.names:
            self.add(f"filename/{part.number}", name)
        if _is_ambiguous(part.message):
            self.miss(part.place, "parser-failure")
        if _is_encrypted(part):
            self.miss(part.place, "encrypted")
        elif part.message.is_multipart():
            self._inside(part, depth)
        else:
            self._leaf(part, depth)

    def _inside(self, part: _Part, depth: int) -> None:
        """A multipart, or a message within the message."""
        for text in (part.message.preamble, part.message.epilogue):
            self.add(f"hidden/{part.number}", str(text or ""))
        children = part.message.get_payload()
        nested = part.kind.startswith("message/")
        for child in children if isinstance(children, list) else []:
            if not isinstance(child, Message):
                continue
            if nested and part.kind not in _REPORT_TYPES:
                self.walk(child, depth + 1)
                self._encoded_message(part, child, depth)
            else:
                for name, value in child.items() if nested else ():
                    self.add(f"text/{part.number}", f"{name}: {decode_field(value)}")
                self.tree(child, depth + 1)

    def _encoded_message(
        self, part: _Part, child: "Message[str, str]", depth: int
    ) -> None:
        """A message in base64 is not allowed, yet programs open it."""
        payload = child.get_payload()
        if _encoding(part.message) == "base64" and isinstance(payload, str):
            octets = decode_base64(payload.encode("utf-8", "surrogateescape"))
            self.walk(_parse(octets, self), depth + 1)

    def _leaf(self, part: _Part, depth: int) -> None:
        octets = _octets(part)
        main, _, subtype = part.kind.partition("/")
        if _is_signature(part, octets):
            return
        if part.kind in _MESSAGE_TYPES:
            # An attached message that the parser did not take for one, e.g. base64.
            self.walk(_parse(octets, self), depth + 1)
        elif main in {"text", "multipart"} or subtype in _MARKUP:
            self._text(part, octets, subtype)
            if main == "multipart":
                self.miss(part.place, "parser-failure")
        elif main == "image":
            inline = "content-id" in part.message and part.disposition != "attachment"
            if image.may_carry_text(octets, subtype, inline=inline):
                self.miss(part.place, "unknown-format")
        elif octets:
            self.miss(part.place, "unknown-format")

    def _text(self, part: _Part, octets: bytes, subtype: str) -> None:
        label = part.parameters.get("charset")
        if label is None and subtype in _MARKUP:
            label = meta_charset(octets)
        decoded = decode_text(octets, label)
        if not decoded.known:
            self.miss(part.place, "charset")
        if _PGP_BLOCK in decoded.text:
            self.miss(part.place, "encrypted")
        if subtype in _MARKUP:
            markup = read_html(decoded.text)
            self.add(f"html/{part.number}", markup.visible)
            self.add(f"hidden/{part.number}", markup.hidden)
            if not markup.complete:
                self.miss(part.place, "limit")
        else:
            text = _unfold(decoded.text) if subtype in _FOLDED else decoded.text
            self.add(f"{_KIND.get(subtype, 'text')}/{part.number}", text)


_FOLDED = frozenset({"calendar", "vcard", "x-vcard", "directory"})
_CALENDAR_FOLD = re.compile(r"\r?\n[ \t]")
_CALENDAR_ESCAPE = re.compile(r"\\([nN,;\\])")


def _unfold(text: str) -> str:
    """Content lines of RFC 5545 and 6350 as a reader sees them."""
    joined = _CALENDAR_FOLD.sub("", text)
    return _CALENDAR_ESCAPE.sub(lambda m: "\n" if m[1] in "nN" else m[1], joined)


def _describe(message: "Message[str, str]", number: int) -> _Part:
    content_type = field_text(message, "content-type") or ""
    disposition = field_text(message, "content-disposition") or ""
    declared, shown = parameters(content_type), parameters(disposition)
    names = dict.fromkeys(
        name
        for name in (shown.get("filename"), declared.get("name"))
        if name and name.strip()
    )
    kind = message.get_content_type()
    if kind in _NAMELESS:
        extensions = (name.rpartition(".")[2].lower() for name in names)
        known = (_NAMED_TEXT[e] for e in extensions if e in _NAMED_TEXT)
        kind = next(known, kind)
    word = disposition.partition(";")[0].strip().lower()
    return _Part(message, number, kind, declared, word, tuple(names))


def _is_ambiguous(message: "Message[str, str]") -> bool:
    """Whether recipients' programs may see another part than we do."""
    encoding = _encoding(message)
    return (
        len(message.get_all("content-type", [])) > 1
        or len(message.get_all("content-transfer-encoding", [])) > 1
        or encoding not in _KNOWN_CTE
        or (message.is_multipart() and encoding not in _PLAIN_CTE)
    )


def _encoding(message: "Message[str, str]") -> str:
    value = field_text(message, "content-transfer-encoding") or ""
    return re.sub(r"\([^()]*\)", "", value).strip().lower()


def _is_encrypted(part: _Part) -> bool:
    if part.kind == "multipart/encrypted":
        return True
    if part.kind in {"application/pkcs7-mime", "application/x-pkcs7-mime"}:
        # Opaque signing hides the text in a container that we do not open yet.
        return "signed" not in part.parameters.get("smime-type", "").lower()
    return False


def _is_signature(part: _Part, octets: bytes) -> bool:
    """A signature carries no text; something else under its name is no signature."""
    if part.kind not in _SIGNATURES or len(octets) > _MAX_SIGNATURE_OCTETS:
        return False
    return octets.lstrip().startswith(_SIGNATURE_STARTS)


def _octets(part: _Part) -> bytes:
    if _encoding(part.message) == "base64":
        payload = part.message.get_payload()
        return decode_base64(str(payload).encode("utf-8", "surrogateescape"))
    decoded = part.message.get_payload(decode=True)
    return decoded if isinstance(decoded, bytes) else b""
