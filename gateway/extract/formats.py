"""What octets are, whatever their label says, and texts packed within texts.

A label is a claim: a ZIP file called text, a signature with a letter behind it or a
file in base64 within a calendar must not pass for what they are called (A-47).
"""

import binascii
import re
from urllib.parse import unquote_to_bytes

from gateway.extract import image
from gateway.extract.charset import decode_base64, decode_text

_MAGIC = (
    b"PK\x03\x04",
    b"PK\x05\x06",
    b"%PDF-",
    b"{\\rtf",
    b"\xd0\xcf\x11\xe0",  # Word, Excel and Outlook before 2007
    b"Rar!\x1a\x07",
    b"7z\xbc\xaf\x27\x1c",
    b"\x1f\x8b",  # gzip
    b"BZh",
    b"\xfd7zXZ\x00",
    b"\x78\x9f\x3e\x22",  # TNEF
    b"!BDN",  # Outlook folder
)
_CONTAINERS = frozenset(
    {
        "7z",
        "bz2",
        "cab",
        "doc",
        "docm",
        "docx",
        "dot",
        "dotx",
        "eps",
        "epub",
        "gz",
        "iso",
        "msg",
        "odp",
        "ods",
        "odt",
        "one",
        "oxps",
        "pages",
        "pdf",
        "pot",
        "potx",
        "ppt",
        "pptm",
        "pptx",
        "ps",
        "pst",
        "pub",
        "rar",
        "rtf",
        "tar",
        "tgz",
        "tnef",
        "vsd",
        "vsdx",
        "wpd",
        "xls",
        "xlsb",
        "xlsm",
        "xlsx",
        "xps",
        "xz",
        "z",
        "zip",
    }
)
_ARMOUR = re.compile(
    rb"""\s*+(?:-----BEGIN\ PGP\ (?P<what>SIGNATURE|PUBLIC\ KEY\ BLOCK)-----[ \t]*\r?\n
      (?:[A-Za-z][A-Za-z-]*:[^\r\n]*\r?\n)*+
      (?:[ \t]*\r?\n)?
      (?:[A-Za-z0-9+/=]{1,80}[ \t]*\r?\n)++
      -----END\ PGP\ (?P=what)-----\s*+)++""",
    re.VERBOSE,
)
_SIGNED_DATA = bytes.fromhex("06092a864886f70d010702")
_DER_HEAD = 2
_READABLE = re.compile(rb"[\t\r\n -~]{12,}")
_MAX_SIGNATURE_OCTETS = 64 * 1024
_ENCODED_FILE = re.compile(
    r"^(?:begin(?:-base64)? [0-7]{3,4} \S|=ybegin [a-z]+=)", re.MULTILINE
)
_LONG_LINE = re.compile(r"\n[A-Za-z0-9+/]{40}")  # fast: it begins with a literal
_BASE64_BLOCK = re.compile(
    r"(?:^[A-Za-z0-9+/]{40,}+={0,2}[ \t]*+\r?(?:\n|\Z))++"
    r"(?:^[A-Za-z0-9+/]++={0,2}[ \t]*+\r?(?:\n|\Z))?",
    re.MULTILINE,
)
_BINARY = ";encoding=b"  # or base64
_DATA_URI = re.compile(r"\bdata:([^,\s\"'<>]{0,200}),([^\r\n]*)", re.IGNORECASE)
_NO_TEXT = bytes(set(range(32)) - set(b"\0\t\n\f\r"))


def is_container(octets: bytes) -> bool:
    """Whether these octets hold documents or files that we do not open."""
    return octets.startswith(_MAGIC)


def names_container(name: str) -> bool:
    """Whether a program would open a file of this name as a document or archive."""
    return name.rpartition(".")[2].strip().lower() in _CONTAINERS


def signature_text(octets: bytes) -> str | None:
    """What can be read in a signature or a public key, or None when it is neither.

    The whole part must be one: an end mark or a length that does not reach its end
    leaves room for a text.
    """
    if len(octets) > _MAX_SIGNATURE_OCTETS:
        return None
    if _ARMOUR.fullmatch(octets):
        return octets.decode("ascii", "replace")
    if _is_signed_data(octets):
        runs = _READABLE.findall(octets)
        return b"\n".join(runs).decode("ascii")
    return None


def _is_signed_data(octets: bytes) -> bool:
    """A CMS SignedData of DER, or of BER without length (RFC 5652 3 and 5.1)."""
    if len(octets) <= _DER_HEAD or octets[0] != 0x30:  # noqa: PLR2004 - SEQUENCE
        return False
    size, at = octets[1], _DER_HEAD
    if size == 0x80:  # noqa: PLR2004 - no length: two zero octets end it
        whole = octets.rstrip(b"\r\n").endswith(b"\0\0")
    else:
        if size > 0x80:  # noqa: PLR2004 - so many octets of length follow
            at += size & 0x7F
            size = int.from_bytes(octets[_DER_HEAD:at], "big")
        whole = not octets[at + size :].strip(b"\r\n") and len(octets) >= at + size
    return whole and octets.startswith(_SIGNED_DATA, at)


def holds_encoded_file(text: str) -> bool:
    """Whether a file stands in the text as old programs send it (uuencode, yEnc)."""
    return "begin" in text and _ENCODED_FILE.search(text) is not None


def base64_texts(text: str) -> list[str]:
    """Texts that stand in a text in base64, as in the source of another message."""
    if not (_LONG_LINE.search(text) or _LONG_LINE.match("\n" + text[:60])):
        return []
    blocks = _BASE64_BLOCK.findall(text)
    decoded = (
        plain_text(decode_base64(block.encode("utf-8", "replace"))) for block in blocks
    )
    return [found for found in decoded if found]


def plain_text(octets: bytes) -> str | None:
    """The octets as text when they hold no controls but those of UTF-16, else None."""
    if is_container(octets) or octets.translate(None, _NO_TEXT) != octets:
        return None
    return decode_text(octets, None).text


def packed_files(text: str) -> list[bytes]:
    """Files within the properties of a calendar or a contact (RFC 5545 3.1.3)."""
    files: list[bytes] = []
    for line in text.splitlines() if _BINARY in text.lower() else ():
        at = line.lower().find(_BINARY)
        value = line.find(":", at) + 1
        if at >= 0 and value:
            files.append(decode_base64(line[value:].encode("utf-8", "replace")))
    return [*files, *data_uris(text)]


def unquote_printable(text: str) -> str:
    """A text with its quoted-printable properties undone (vCard 2.1)."""
    octets = binascii.a2b_qp(text.encode("utf-8", "replace"))
    return decode_text(octets, None).text


def data_uris(text: str) -> list[bytes]:
    """The contents of data: addresses, each to the end of its line (RFC 2397)."""
    return [
        decode_base64(unquote_to_bytes(value))
        if head.lower().replace(" ", "").endswith(";base64")
        else unquote_to_bytes(value)
        for head, value in _DATA_URI.findall(text)
    ]


def is_small_picture(octets: bytes) -> bool:
    """Whether a packed file is a picture such as a logo or a face."""
    return image.dimensions(octets) is not None and not image.may_carry_text(
        octets, "", inline=False
    )
