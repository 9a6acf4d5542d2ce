"""Which pictures can carry a text: a page does, a logo or a photograph does not (R2).

Only the size in pixels is read, from the first octets; nothing is decoded. A picture
that is not what it says to be is no picture.
"""

import re
import struct

SMALL_OCTETS = 64 * 1024
_A4 = 2**0.5
_LETTER = 11 / 8.5
_TOLERANCE = 0.025
_JPEG_SIZE = re.compile(
    rb"\xff[\xc0-\xc3\xc5-\xc7\xc9-\xcb\xcd-\xcf].{2}.(.{2})(.{2})", re.DOTALL
)
_HEAD = 64 * 1024


def may_carry_text(octets: bytes, subtype: str, *, inline: bool) -> bool:
    """Whether a picture counts as a part that could not be read.

    Args:
        octets: The picture.
        subtype: Of its media type, lower-case.
        inline: It is shown in the text (Content-ID, not an attachment).

    Returns:
        False for small pictures, photographs and pictures within the text; True for
        what is shaped like a page (A4 or Letter, either way up) and for what is no
        picture that we know, whatever its size.
    """
    size = dimensions(octets)
    if size is None:
        photograph = subtype in {"heic", "heif"} and octets[4:8] == b"ftyp"
        return bool(octets) and not photograph
    return len(octets) >= SMALL_OCTETS and not inline and _is_page(*size)


def _is_page(width: int, height: int) -> bool:
    if not width or not height:
        return True
    ratio = max(width, height) / min(width, height)
    return any(abs(ratio / page - 1) < _TOLERANCE for page in (_A4, _LETTER))


def dimensions(octets: bytes) -> tuple[int, int] | None:
    """Width and height in pixels of PNG, GIF, BMP, WebP or JPEG, or None."""
    head = octets[:32].ljust(32, b"\0")
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return _pair(">II", head, 16)
    if head.startswith((b"GIF87a", b"GIF89a")):
        return _pair("<HH", head, 6)
    if head.startswith(b"BM"):
        return _pair("<II", head, 18)
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return _webp(head)
    if head.startswith(b"\xff\xd8\xff"):
        match = _JPEG_SIZE.search(octets, 2, 2 + _HEAD * 4)
        return (0, 0) if match is None else _jpeg(match)
    return None


def _jpeg(match: re.Match[bytes]) -> tuple[int, int]:
    return int.from_bytes(match[2], "big"), int.from_bytes(match[1], "big")


def _pair(form: str, head: bytes, at: int) -> tuple[int, int]:
    width, height = struct.unpack_from(form, head, at)
    return int(width), int(height)


def _webp(head: bytes) -> tuple[int, int]:
    if head[12:16] == b"VP8X":
        width, height = (int.from_bytes(head[at : at + 3], "little") for at in (24, 27))
        return width + 1, height + 1
    if head[12:16] == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = _pair("<HH", head, 26)
    return width & 0x3FFF, height & 0x3FFF
