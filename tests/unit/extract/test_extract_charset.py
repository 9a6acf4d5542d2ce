import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.extract.charset import decode_base64, decode_text


@pytest.mark.parametrize(
    ("octets", "label", "text"),
    [
        (b"caf\xc3\xa9", None, "café"),
        (b"caf\xe9", None, "café"),
        (b"caf\xe9", "us-ascii", "café"),
        (b"\xff\xfea\x00", None, "a"),
        (b"\xfe\xff\x00a", None, "a"),
        (b"\xef\xbb\xbfa", None, "a"),
        (b"a", '"UTF-8"', "a"),
        (b"\xe9", "x-cp1252", "é"),
        (b"\xb0\xa1", "ks_c_5601-1987", "가"),
        (b"caf\xc3\xa9", "cp65001-onzin", "café"),
        (b"\x81", None, "\ufffd"),
    ],
)
def test_octets_are_read(octets, label, text):
    assert decode_text(octets, label).text == text


@pytest.mark.parametrize("label", ["x-geheim", "base64", "zlib", "undefined", "a\0b"])
def test_a_label_nobody_knows_is_said(label):
    assert not decode_text(b"a", label).known


@given(st.binary(max_size=60), st.text(max_size=12))
def test_no_octets_and_no_label_make_it_raise(octets, label):
    assert isinstance(decode_text(octets, label).text, str)


@pytest.mark.parametrize(
    ("encoded", "octets"),
    [
        (b"YQ==", b"a"),
        (b"YQ==YmM=", b"abc"),
        (b"Y Q\r\n=\t=", b"a"),
        (b"YWI", b"ab"),
        (b"YWJjZ", b"abc"),
        (b"", b""),
        (b"====", b""),
    ],
)
def test_base64_is_read_to_its_end(encoded, octets):
    assert decode_base64(encoded) == octets


@given(st.binary(max_size=80))
def test_no_octets_break_base64(octets):
    decode_base64(octets)
