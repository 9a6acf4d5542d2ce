import struct

import pytest

from gateway.extract.image import SMALL_OCTETS, dimensions, may_carry_text

LARGE = b"\0" * SMALL_OCTETS


def png(width, height):
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", width, height)


def jpeg(width, height):
    return b"\xff\xd8\xff\xe0\x00\x04ab\xff\xc0\x00\x11\x08" + struct.pack(
        ">HH", height, width
    )


PICTURES = {
    "png": png,
    "jpeg": jpeg,
    "gif": lambda w, h: b"GIF89a" + struct.pack("<HH", w, h),
    "bmp": lambda w, h: b"BM" + b"\0" * 16 + struct.pack("<II", w, h),
    "webp-lossy": lambda w, h: (
        b"RIFF\0\0\0\0WEBPVP8 " + b"\0" * 10 + struct.pack("<HH", w, h)
    ),
    "webp-lossless": lambda w, h: (
        b"RIFF\0\0\0\0WEBPVP8L\0\0\0\0\x2f" + struct.pack("<I", (w - 1) | (h - 1) << 14)
    ),
    "webp-extended": lambda w, h: (
        b"RIFF\0\0\0\0WEBPVP8X"
        + b"\0" * 8
        + (w - 1).to_bytes(3, "little")
        + (h - 1).to_bytes(3, "little")
    ),
}


@pytest.mark.parametrize("kind", PICTURES)
def test_the_size_of_a_picture_is_read(kind):
    assert dimensions(PICTURES[kind](2480, 3508)) == (2480, 3508)


@pytest.mark.parametrize("size", [(2480, 3508), (3508, 2480), (2550, 3300), (0, 0)])
def test_a_large_picture_shaped_as_a_page_can_carry_text(size):
    assert may_carry_text(png(*size) + LARGE, "png", inline=False)


@pytest.mark.parametrize("size", [(4000, 3000), (6000, 4000), (1920, 1080), (500, 500)])
def test_a_photograph_is_no_page(size):
    assert not may_carry_text(jpeg(*size) + LARGE, "jpeg", inline=False)


def test_small_and_inline_pictures_are_no_page():
    page = png(2480, 3508)

    assert not may_carry_text(page, "png", inline=False)
    assert not may_carry_text(page + LARGE, "png", inline=True)


def test_what_is_no_picture_can_carry_text_whatever_its_size_or_place():
    assert may_carry_text(b"PK\x03\x04", "png", inline=True)
    assert may_carry_text(b"II*\0", "tiff", inline=False)
    assert not may_carry_text(b"", "png", inline=False)
    assert not may_carry_text(b"\0\0\0\x18ftypheic", "heic", inline=False)
    assert may_carry_text(b"\0\0\0\x18ftypheic", "png", inline=False)


def test_a_jpeg_without_a_size_counts_as_a_page():
    assert dimensions(b"\xff\xd8\xff\xe0 kapot") == (0, 0)
    assert may_carry_text(b"\xff\xd8\xff\xe0" + LARGE, "jpeg", inline=False)
