"""Octets to text: every charset that Python knows, and a best effort for the rest.

A label that is wrong must not hide a text: what does not decode as it says is read as
UTF-8, else as windows-1252, which never fails. A label that nobody knows is read the
same way, and said so: a recipient's program may know it (A-47).
"""

import binascii
import codecs
import dataclasses
import re

# Labels that other programs understand and Python knows under another name.
_ALIASES = {
    "iso-8859-8-i": "iso-8859-8",
    "iso-8859-8-e": "iso-8859-8",
    "unicode-1-1-utf-7": "utf-7",
    "x-user-defined": "windows-1252",
    "x-cp1252": "windows-1252",
    "ks_c_5601-1987": "cp949",
    "x-sjis": "cp932",
    "x-gbk": "gbk",
    "gb2312": "gb18030",
}
# Text codecs of Python that no mail program takes as a charset; idna is quadratic.
_NOT_A_CHARSET = frozenset(
    {"idna", "punycode", "unicode-escape", "raw-unicode-escape", "undefined"}
)
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_JUNK = re.compile(rb"[^A-Za-z0-9+/=]+")
_PADDING = re.compile(rb"=+")


@dataclasses.dataclass(frozen=True, slots=True)
class Decoded:
    """A text; `known` is False when the charset label means nothing to us."""

    text: str = dataclasses.field(repr=False)
    known: bool


def decode_text(octets: bytes, label: str | None) -> Decoded:
    """Decode a text part.

    Args:
        octets: After the transfer encoding was undone.
        label: The charset parameter as written, or None.

    Returns:
        The text; never an error.
    """
    if not label:
        return Decoded(_guess(octets), known=True)
    codec = _codec(label)
    if codec is None:
        return Decoded(_guess(octets), known=False)
    try:
        return Decoded(octets.decode(codec), known=True)
    except (UnicodeError, ValueError):
        return Decoded(_guess(octets), known=True)


def _codec(label: str) -> str | None:
    name = label.strip().strip("\"'").lower()
    name = _ALIASES.get(name, name)
    try:
        info = codecs.lookup(name)
    except (LookupError, ValueError):
        return None
    is_text = getattr(info, "_is_text_encoding", True)
    return info.name if is_text and info.name not in _NOT_A_CHARSET else None


def _guess(octets: bytes) -> str:
    for mark, codec in _BOMS:
        if octets.startswith(mark):
            return octets.decode(codec, "replace")
    try:
        return octets.decode("utf-8")
    except UnicodeDecodeError:
        # The five octets that windows-1252 leaves open become U+FFFD.
        return octets.decode("windows-1252", "replace")


def decode_base64(octets: bytes) -> bytes:
    """Undo base64 as the most lenient reader would.

    Junk is skipped, and what comes after padding is read on, where `binascii` stops
    at the first padding: a text behind it would reach the recipient unseen.
    """
    chunks = _PADDING.split(_JUNK.sub(b"", octets))
    return b"".join(map(_decode_chunk, chunks))


def _decode_chunk(chunk: bytes) -> bytes:
    whole = len(chunk) - 1 if len(chunk) % 4 == 1 else len(chunk)
    return binascii.a2b_base64(chunk[:whole] + b"=" * (-whole % 4))
