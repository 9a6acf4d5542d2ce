"""A message to the Document that the classifier reads. Pure; never raises.

Everything that a recipient could read is a segment. What cannot be read is said, with
the reason, and never taken for harmless (A-47, R2). The tree is walked in order; parts
are numbered as they come, and a place names the kind of text and that number. Where
programs of recipients differ (a field or a boundary given twice, an unknown transfer
encoding, a multipart without boundary) we read what we can and count the part as
unreadable. All work is linear in the size, and the text kept has a limit (A-48).
"""

import re

from gateway.extract import formats, image
from gateway.extract.author import authors_of
from gateway.extract.charset import decode_text, is_pure_base64
from gateway.extract.entity import (
    Entity,
    Split,
    parse_entity,
    split_multipart,
    with_line_ends,
)
from gateway.extract.header import decode_field, names_twice
from gateway.extract.markup import meta_charset, read_html, without_tags
from gateway.extract.part import (
    ENRICHED,
    FOLDED,
    HEADERS,
    KNOWN_CTE,
    MARKUP,
    PLAIN_CTE,
    TEXTS,
    Part,
    body_octets,
    describe,
    encoding_of,
    unfold_content,
)
from gateway.model.document import Document, Segment, UnreadablePart

MAX_PARTS = 1000
MAX_DEPTH = 20
MAX_TEXT = 4_000_000  # characters and octets of text that are read of one message
MAX_TAGS = 100_000
_MAX_MESSAGE_ID = 998
_HUMAN_FIELDS = ("comments", "keywords", "thread-topic", "content-description")
_PEOPLE_FIELDS = ("from", "sender", "reply-to", "to", "cc")
# Read only where they hold a sentence: machines write them, and their numbers would
# pass for those of persons.
_MACHINE_FIELDS = re.compile(
    r"(?:received|date|mime-version|content-.*|return-path|dkim-signature|arc-.*"
    r"|x-google-dkim-signature|authentication-results|resent-date)\Z"
)
_SENTENCE = re.compile(r"(?<![A-Za-z])(?:[A-Za-z]{2,}+[ ,]++){6}")
_IN_ANGLES = re.compile(r"<[^<>\s]*>")
_WORD = re.compile(r"[^\s<>,;]++")
_SIGNATURES = frozenset(
    {
        "application/pgp-signature",
        "application/pgp-keys",
        "application/pkcs7-signature",
        "application/x-pkcs7-signature",
    }
)
_MESSAGES = frozenset(
    {"message/rfc822", "message/global", "message/news", "message/external-body"}
)
_KIND = {"plain": "body", "html": "html", "calendar": "calendar", "csv": "csv"}
_PGP_BLOCK = "-----BEGIN PGP MESSAGE-----"
_DELIMITER_LIKE = re.compile(rb"(?:\A|\n)--+[^\s-]")
_BACKWARDS = "\u202e"


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
        message = parse_entity(with_line_ends(octets))
        reading.walk(message, depth=0)
        reading.finish()
    except Exception:  # noqa: BLE001 - a parser that breaks is an unreadable part
        reading.miss("message", "parser-failure")
    return _document(message, reading)


def _document(message: Entity | None, reading: "_Reading") -> Document:
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


def _message_id(message: Entity) -> str | None:
    fields = message.values_of("message-id")
    if len(fields) != 1:
        return None
    value = fields[0].strip()
    usable = value.isascii() and value.isprintable() and len(value) <= _MAX_MESSAGE_ID
    return value if value and usable else None


def _is_auto_submitted(message: Entity) -> bool:
    """RFC 3834 5: anything but "no" was not sent by a person."""
    values = message.values_of("auto-submitted")
    words = (value.partition(";")[0].strip().lower() for value in values)
    return any(word != "no" for word in words)


class _Reading:
    """What was gathered while walking one message."""

    def __init__(self) -> None:
        self.segments: list[Segment] = []
        self.unreadable: dict[UnreadablePart, None] = {}
        self.parts = 0
        self._later: list[tuple[str, str]] = []
        self._room = MAX_TEXT
        self._tags = MAX_TAGS
        self._boundaries: set[bytes] = set()
        self._near: set[bytes] = set()

    def miss(self, place: str, reason: str) -> None:
        """Say that a part could not be read."""
        self.unreadable[UnreadablePart(place, reason)] = None

    def add(self, place: str, text: str) -> None:
        """Keep a text, when there is one and there is room."""
        if not text or text.isspace():
            return
        if len(text) > self._room:
            self.miss("message", "limit")
            text = text[: self._room]
        self._room -= len(text)
        if text:
            self.segments.append(Segment(place, text))
        if _BACKWARDS in text:
            self.add(f"hidden/{self.parts}", text.replace(_BACKWARDS, "")[::-1])

    def raw(self, place: str, octets: bytes) -> None:
        """Keep octets as the text that they would be without any structure."""
        text = decode_text(self._cut(octets), None).text
        self.add(place, text)
        self.add(f"hidden/{self.parts}", "\n".join(formats.base64_texts(text)))

    def _cut(self, octets: bytes) -> bytes:
        """As many octets as there is room for characters, whole lines if there are."""
        if len(octets) <= self._room:
            return octets
        self.miss("message", "limit")
        line_end = octets.rfind(b"\n", max(0, self._room - 4096), self._room)
        return octets[: self._room & ~3 if line_end < 0 else line_end]

    def finish(self) -> None:
        """Add what comes last: fields that nobody looks at, and doubts that stayed."""
        for place, text in self._later:
            self.add(place, text)
        if self._near - self._boundaries:
            self.miss("message", "parser-failure")

    def walk(self, message: Entity, depth: int) -> None:
        """Read the header of a message, then its part tree."""
        number = self.parts
        suffix = f"/{number}" if number else ""
        for value in message.values_of("subject"):
            self.add(f"subject{suffix}", decode_field(value))
        for name in _HUMAN_FIELDS[:-1]:
            for value in message.values_of(name):
                self.add(f"header:{name}{suffix}", decode_field(value))
        for name in _PEOPLE_FIELDS:
            for value in message.values_of(name):
                names = _without_addresses(decode_field(value)).strip("\"', ")
                self.add(f"header:{name}{suffix}", names)
        read_here = {"subject", *_HUMAN_FIELDS[:-1], *_PEOPLE_FIELDS}
        self._tree(message, depth, read_here, "text/plain")

    def _other_fields(self, entity: Entity, read_already: set[str]) -> None:
        """Fields that only some programs show; after all that everybody sees."""
        number = self.parts
        for value in entity.values_of("content-description"):
            self.add(f"header:content-description/{number}", decode_field(value))
        texts: list[str] = []
        for name, value in entity.fields:
            if name in read_already or name == "content-description":
                continue
            text = _without_addresses(decode_field(value))
            if not _MACHINE_FIELDS.match(name) or _SENTENCE.search(text):
                texts.append(text)
        self._later.append((f"header:other/{number}", "\n".join(texts)))
        if entity.faulty or not entity.complete:
            reason = "parser-failure" if entity.faulty else "limit"
            self.miss(f"header/{self.parts}", reason)
            self.raw(f"header:raw/{number}", entity.header)

    def _tree(
        self, entity: Entity, depth: int, read_already: set[str], implied: str
    ) -> None:
        """Read one part and what is in it; a part that breaks us is unreadable."""
        self.parts += 1
        if self.parts > MAX_PARTS or depth > MAX_DEPTH:
            self.miss("message", "limit")
            self.raw(f"text/{self.parts}", entity.octets[entity.start : entity.end])
            return
        number = self.parts
        try:
            self._other_fields(entity, read_already)
            self._part(describe(entity, number, implied), depth)
        except Exception:  # noqa: BLE001 - never an exception for hostile input
            self.miss(f"part/{number}", "parser-failure")

    def _part(self, part: Part, depth: int) -> None:
        for name in part.names:
            self.add(f"filename/{part.number}", name)
        if _is_ambiguous(part):
            self.miss(part.place, "parser-failure")
        if _is_encrypted(part):
            self.miss(part.place, "encrypted")
        elif part.kind.startswith("multipart/"):
            self._multipart(part, depth)
        elif part.kind.startswith("message/") and part.kind not in HEADERS:
            self._message(part, depth)
        else:
            self._leaf(part)

    def _multipart(self, part: Part, depth: int) -> None:
        entity = part.entity
        boundary = part.boundary
        room = max(1, MAX_PARTS - self.parts)
        split = split_multipart(entity, boundary, room) if boundary else None
        if split is None:
            self.miss(part.place, "parser-failure")
            self.raw(f"text/{part.number}", entity.content)
            return
        self._doubts(part, boundary, split)
        implied = "message/rfc822" if part.kind.endswith("/digest") else "text/plain"
        for start, end in split.parts:
            child = parse_entity(entity.octets, start, end)
            self._tree(child, depth + 1, set(), implied)

    def _doubts(self, part: Part, boundary: bytes, split: Split) -> None:
        """What stands outside the parts, and where parts of others may begin."""
        self._boundaries.add(boundary)
        self._near |= {boundary + tail.removesuffix(b"--") for tail in split.near}
        if not split.complete:
            self.miss("message", "limit")
        for start, end in (split.preamble, split.epilogue):
            outside = part.entity.octets[start:end]
            self.raw(f"hidden/{part.number}", outside)
            if _DELIMITER_LIKE.search(outside):
                self.miss(part.place, "parser-failure")

    def _message(self, part: Part, depth: int) -> None:
        """A message within the message, in whatever encoding."""
        entity = part.entity
        if encoding_of(entity) in PLAIN_CTE:
            child = parse_entity(entity.octets, entity.body, entity.end)
        else:
            child = parse_entity(with_line_ends(body_octets(entity)))
        if part.kind not in _MESSAGES:
            self.miss(part.place, "unknown-format")
        self.walk(child, depth + 1)

    def _leaf(self, part: Part) -> None:
        main, _, subtype = part.kind.partition("/")
        if part.kind in _SIGNATURES:
            signature = formats.signature_text(body_octets(part.entity))
            if signature is None:
                self.miss(part.place, "unknown-format")
            self.add(f"hidden/{part.number}", signature or "")
            return
        if not (main in {"text", "image", "message"} or subtype in MARKUP):
            if not part.entity.is_blank:
                self.miss(part.place, "unknown-format")
            return
        octets = body_octets(part.entity)
        if part.hides_container(octets):
            self.miss(part.place, "unknown-format")
        if main != "image" or subtype in MARKUP:
            self._text(part, octets, subtype)
            return
        inline = part.entity.first("content-id") is not None
        inline = inline and part.disposition != "attachment"
        if image.may_carry_text(octets, subtype, inline=inline):
            self.miss(part.place, "unknown-format")

    def _text(self, part: Part, octets: bytes, subtype: str) -> None:
        octets = self._cut(octets)
        label = part.parameters.get("charset")
        if label is None and subtype in MARKUP:
            label = meta_charset(octets)
        decoded = decode_text(octets, label)
        if not decoded.known:
            self.miss(part.place, "charset")
        if subtype not in TEXTS and subtype not in MARKUP:
            self.miss(part.place, "unknown-format")
        text = decoded.text
        if subtype in MARKUP:
            self._markup(part, text)
        else:
            text = decode_field(text) if part.kind in HEADERS else text
            text = unfold_content(text) if subtype in FOLDED else text
            self.add(f"{_KIND.get(subtype, 'text')}/{part.number}", text)
        if subtype in ENRICHED or (subtype not in MARKUP and part.named_markup):
            self._markup(part, decoded.text)
        self._packed(part, decoded.text, subtype)

    def _markup(self, part: Part, text: str) -> None:
        self._tags -= text.count("<")
        markup = read_html(text) if self._tags >= 0 else without_tags(text)
        self.add(f"html/{part.number}", markup.visible)
        self.add(f"hidden/{part.number}", markup.hidden)
        if not markup.complete:
            self.miss(part.place, "limit")
        if not markup.opened:
            self.miss(part.place, "unknown-format")

    def _packed(self, part: Part, text: str, subtype: str) -> None:
        """What stands in a text in another form than its own."""
        place = f"hidden/{part.number}"
        if _PGP_BLOCK in text:
            self.miss(part.place, "encrypted")
        if formats.holds_encoded_file(text):
            self.miss(part.place, "unknown-format")
        self.add(place, "\n".join(formats.base64_texts(text)))
        content = part.entity.content
        if encoding_of(part.entity) == "base64" and not is_pure_base64(content):
            self.raw(place, content)
        if subtype in FOLDED:
            self._properties(part, text)

    def _properties(self, part: Part, text: str) -> None:
        """Encoded properties of calendars and contacts, and files in them."""
        place = f"hidden/{part.number}"
        if "quoted-printable" in text.lower():
            self.add(place, formats.unquote_printable(text))
        texts: list[str] = []
        for octets in formats.packed_files(unfold_content(text)):
            found = formats.plain_text(octets)
            texts.append(found or "")
            if found is None and not formats.is_small_picture(octets):
                self.miss(part.place, "unknown-format")
        self.add(place, "\n".join(texts))


def _without_addresses(text: str) -> str:
    text = _IN_ANGLES.sub(" ", text)
    return _WORD.sub(lambda word: " " if "@" in word[0] else word[0], text)


def _is_ambiguous(part: Part) -> bool:
    """Whether recipients' programs may see another part than we do."""
    entity = part.entity
    content_type = entity.first("content-type") or ""
    encoding = encoding_of(entity)
    return (
        not part.regular
        or len(entity.values_of("content-type")) > 1
        or len(entity.values_of("content-transfer-encoding")) > 1
        or encoding not in KNOWN_CTE
        or (part.kind.startswith("multipart/") and encoding not in PLAIN_CTE)
        or any(names_twice(content_type, name) for name in ("boundary", "charset"))
    )


def _is_encrypted(part: Part) -> bool:
    if part.kind == "multipart/encrypted":
        return True
    if part.kind in {"application/pkcs7-mime", "application/x-pkcs7-mime"}:
        # Opaque signing hides the text in a container that we do not open yet.
        return "signed" not in part.parameters.get("smime-type", "").lower()
    return False
