"""Octets to text: every charset that Python knows, and a best effort for the rest.

A label that is wrong must not hide a text: what does not decode as it says is read as
UTF-8, else as windows-1252, which never fails. A label that nobody knows is read the
same way, and said so: a recipient's program may know it (A-47). Where programs differ
(the order of octets without a mark, charsets in which ASCII is not ASCII) all readings
are given, one after the other.
"""

import binascii
import codecs
import dataclasses
import functools
import io
import string

# Labels that other programs understand and Python knows under another name.
_PIECE_OCTETS = 1024 * 1024
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
_WIDE = {"utf-16": ("utf-16-be", "utf-16-le"), "utf-32": ("utf-32-be", "utf-32-le")}
_ASCII = string.printable.encode()
_BASE64 = (string.ascii_letters + string.digits + "+/=").encode()
_NOT_BASE64 = bytes(set(range(256)) - set(_BASE64))


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
    codec = _codec(label) if label else None
    if codec is not None and codec[:6] in _WIDE:
        return _wide(octets, codec)
    text = _guess(octets) if codec is None else _decode(octets, codec)
    if "\0" in text:
        # No text holds NUL: this is UTF-16 under another name, or nothing we know.
        readings = (text, *_orders(octets, "utf-16"))
        return Decoded("\n".join(readings), known=False)
    if codec is not None and not _keeps_ascii(codec):
        text = f"{text}\n{_guess(octets)}"
    return Decoded(text, known=codec is not None or not label)


def _decode(octets: bytes, codec: str) -> str:
    try:
        return octets.decode(codec)
    except (UnicodeError, ValueError):
        return _guess(octets)


def _wide(octets: bytes, codec: str) -> Decoded:
    """UTF-16 and UTF-32: by their mark, else in both orders.

    RFC 2781 4.3 says big-endian without a mark, most programs do little-endian. Without
    any NUL it may as well be a text of one octet for each character.
    """
    marked = any(octets.startswith(mark) for mark, _ in _BOMS[1:])
    if marked:
        return Decoded(_guess(octets), known=True)
    readings = _orders(octets, codec[:6])
    if b"\0" in octets:
        return Decoded("\n".join(readings), known=True)
    return Decoded("\n".join((*readings, _guess(octets))), known=not octets)


def _orders(octets: bytes, family: str) -> tuple[str, ...]:
    return tuple(octets.decode(codec, "replace") for codec in _WIDE[family])


@functools.cache
def _keeps_ascii(codec: str) -> bool:
    """Whether ASCII text is the same in that charset, as not in EBCDIC or UTF-7."""
    return _decode(_ASCII, codec) == _ASCII.decode() and not codec.startswith("iso2022")


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
            return _marked(octets, mark, codec)
    try:
        return octets.decode("utf-8")
    except UnicodeDecodeError:
        # The five octets that windows-1252 leaves open become U+FFFD.
        return octets.decode("windows-1252", "replace")


def _marked(octets: bytes, mark: bytes, codec: str) -> str:
    """By its mark; a wide one may be false, and then octets are characters (A-47)."""
    text = octets.decode(codec, "replace")
    single = octets[len(mark) :].replace(b"\0", b"").decode("windows-1252", "replace")
    if codec == "utf-8-sig" or single == text:
        return text
    return f"{text}\n{single}"


def decode_base64(octets: bytes, start: int = 0, end: int | None = None) -> bytes:
    """Undo base64 as the most lenient reader would.

    Junk is skipped, and what comes after padding is read on, where `binascii` stops
    at the first padding: a text behind it would reach the recipient unseen. Done piece
    by piece: a large attachment is in memory once, not five times.

    Args:
        octets: What it is in.
        start: Where it begins in them.
        end: Where it ends; None: with them.
    """
    end = len(octets) if end is None else end
    decoded, rest = io.BytesIO(), b""
    for at in range(start, end, _PIECE_OCTETS):
        rest += _only_base64(octets[at : min(at + _PIECE_OCTETS, end)])
        *ended, rest = rest.split(b"=")
        decoded.writelines(map(_decode_chunk, ended))
        whole = len(rest) & ~3
        decoded.write(binascii.a2b_base64(rest[:whole]))
        rest = rest[whole:]
    decoded.write(_decode_chunk(rest))
    return decoded.getvalue()


def _only_base64(octets: bytes) -> bytes:
    return octets.translate(None, _NOT_BASE64)


def is_pure_base64(octets: bytes) -> bool:
    """Whether there is nothing but base64 and line ends."""
    return not octets.translate(None, _BASE64 + b"\r\n")


def _decode_chunk(chunk: bytes) -> bytes:
    whole = len(chunk) - 1 if len(chunk) % 4 == 1 else len(chunk)
    return binascii.a2b_base64(chunk[:whole] + b"=" * (-whole % 4))
