"""Header fields to text: RFC 2047 and RFC 2231, tolerant, decoded by us.

Python's header classes are not used: they raise on hostile fields, and they decode an
encoded word to a value that holds line ends. Here nothing raises; control characters
stay in the text, which is only read, never written back.
"""

import re
from collections.abc import Iterator
from urllib.parse import unquote_to_bytes

from gateway.extract.charset import decode_base64, decode_text

_WORD = re.compile(r"=\?([^?*\s]*)(?:\*[^?\s]*)?\?([bBqQ])\?([^?]*)\?=")
_GAP = re.compile(r"(\?=)[ \t\r\n]+(=\?)")
_HEX = re.compile(rb"=([0-9A-Fa-f]{2})")
_FOLD = re.compile(r"\r?\n(?=[ \t])")
_PARAMETER = re.compile(
    r";\s*([^\s=;*]+)(\*\d+)?(\*)?\s*=\s*(\"(?:[^\"\\]|\\.)*\"?|[^;]*)", re.DOTALL
)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_EXTENDED_PIECES = 3  # charset'language'value


def unfold(value: str) -> str:
    """The field as one line: a fold is its line end only (RFC 5322 2.2.3)."""
    return _FOLD.sub("", value).strip(" \t\r\n")


def to_octets(value: str) -> bytes:
    """The octets behind a field."""
    return value.encode("utf-8", "surrogateescape")


def decode_field(value: str) -> str:
    """Decode a human header field: encoded words, and raw 8-bit as UTF-8 or 1252.

    Args:
        value: As an entity has it, surrogate escapes included.
    """
    text = unfold(value)
    if not text.isascii():
        text = decode_text(to_octets(text), None).text
    if "=?" not in text:
        return text
    text = _GAP.sub(r"\1\2", text)
    return "".join(_pieces(text))


def _pieces(text: str) -> Iterator[str]:
    """Plain text and decoded words; adjacent words of one charset are joined first.

    A character of several octets may be cut over two words, against the rule and
    often seen.
    """
    at, label, octets = 0, "", b""
    for word in _WORD.finditer(text):
        if octets and (word.start() != at or word[1].lower() != label):
            yield decode_text(octets, label).text
            octets = b""
        yield text[at : word.start()]
        at, label = word.end(), word[1].lower()
        octets += _word_octets(word[2], word[3])
    if octets:
        yield decode_text(octets, label).text
    yield text[at:]


def _word_octets(encoding: str, value: str) -> bytes:
    octets = to_octets(value)
    if encoding in "bB":
        return decode_base64(octets)
    return _HEX.sub(_unhex, octets.replace(b"_", b" "))


def _unhex(match: re.Match[bytes]) -> bytes:
    return bytes([int(match[1], 16)])


def names_twice(value: str, name: str) -> bool:
    """Whether a parameter has two values, of which programs may take either."""
    single: set[str] = set()
    pieces: set[str] = set()
    twice = False
    for found, number, extended, raw in _PARAMETER.findall(unfold(value)):
        if found.lower() != name:
            continue
        if number or extended:
            piece = number or "*"
            twice = twice or piece in pieces
            pieces.add(piece)
        else:
            single.add(_unquote(raw))
    return twice or len(single) + bool(pieces) > 1


def parameters(value: str) -> dict[str, str]:
    """Parameters of a MIME field, continuations joined and charsets undone.

    Of a parameter given twice the first counts, as in most programs.

    Source: RFC 2045 5.1, RFC 2231 3 and 4; encoded words in values are decoded too.
    """
    plain: dict[str, str] = {}
    pieces: dict[str, list[tuple[int, bool, str]]] = {}
    for name, number, extended, raw in _PARAMETER.findall(unfold(value)):
        text = _unquote(raw)
        if number or extended:
            piece = (int(number[1:] or 0) if number else 0, bool(extended), text)
            pieces.setdefault(name.lower(), []).append(piece)
        else:
            plain.setdefault(name.lower(), decode_field(text))
    for name, parts in pieces.items():
        joined = _join(sorted(parts))
        plain[name] = f"{joined} {plain[name]}" if name in plain else joined
    return plain


def _unquote(raw: str) -> str:
    text = raw.strip()
    if not text.startswith('"'):
        return text
    return _ESCAPE.sub(r"\1", text[1:].removesuffix('"'))


def _join(parts: list[tuple[int, bool, str]]) -> str:
    first = parts[0][2].split("'", 2)
    label = first[0] if len(first) == _EXTENDED_PIECES and parts[0][1] else None
    if label is not None:
        parts = [(0, True, first[2]), *parts[1:]]
    octets = b"".join(
        unquote_to_bytes(text) if extended else to_octets(text)
        for _, extended, text in parts
    )
    return decode_text(octets, label).text
