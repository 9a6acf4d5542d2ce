"""A signature is one to its last octet; limits of text are said."""

import pytest

from gateway.extract import reading
from gateway.extract.formats import signature_text
from gateway.extract.markup import read_html
from gateway.extract.mime import read

SIGNED_DATA = bytes.fromhex("06092a864886f70d010702")
HEAD = b"From: a@voorbeeldstad.example\r\nSubject: weekbericht\r\n"


@pytest.mark.parametrize(
    "octets",
    [
        b"0\x0b" + SIGNED_DATA,
        b"0\x81\x0b" + SIGNED_DATA + b"\r\n",
        b"0\x82\x00\x0b" + SIGNED_DATA,
        b"0\x80" + SIGNED_DATA + b"\0\0",
    ],
)
def test_a_signature_of_any_form_of_length_is_one(octets):
    assert signature_text(octets) is not None


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"0\x0b",
        b"0\x0c" + SIGNED_DATA,
        b"0\x0b" + SIGNED_DATA + b"een verslag",
        b"0\x0b" + bytes(11),
        b"0\x80" + SIGNED_DATA + b"een verslag",
        b"0\x80" + SIGNED_DATA + bytes(70_000),
        b"1\x0b" + SIGNED_DATA,
    ],
)
def test_what_goes_on_behind_a_signature_is_none(octets):
    assert signature_text(octets) is None


def test_text_in_a_signature_is_read():
    octets = b"0\x80" + SIGNED_DATA + b"een heel verslag" + b"\0\0"

    assert "een heel verslag" in signature_text(octets)


def test_text_over_the_limit_is_cut_and_said(monkeypatch):
    monkeypatch.setattr(reading, "MAX_TEXT", 100)
    field = HEAD + b"Comments: " + b"x" * 200 + b"\r\n\r\ntekst"

    documents = [read(HEAD + b"\r\n" + b"y" * 200), read(field)]

    for document in documents:
        assert [part.reason for part in document.unreadable] == ["limit"]
        assert sum(len(segment.text) for segment in document.segments) <= 100


def test_an_empty_markup_has_no_text():
    assert read_html("").visible == ""
