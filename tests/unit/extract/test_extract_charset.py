import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.extract.charset import decode_base64, decode_text, is_pure_base64


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


@pytest.mark.parametrize(
    ("octets", "label"),
    [
        ("zorg".encode("utf-16-be"), "utf-16"),
        ("zorg".encode("utf-16-le"), "utf-16"),
        ("zorg".encode("utf-16-le"), "utf-16be"),
        ("zorg".encode("utf-32-be"), "utf-32"),
        ("zorg".encode("utf-16"), "utf-16le"),
        (b"zorg", "utf-16"),
        (b"zorg", "cp037"),
        ("zorg".encode("cp037"), "cp037"),
        ("zorg".encode("utf-16-be"), None),
        ("zorg".encode("utf-16-le"), "utf-8"),
        (b"\xe9 zorg", "utf-7"),
    ],
)
def test_where_programs_differ_all_readings_are_given(octets, label):
    assert "zorg" in decode_text(octets, label).text


@pytest.mark.parametrize(
    ("octets", "label", "known"),
    [
        ("zorg".encode("utf-16-be"), "utf-16", True),
        (b"zorg", "utf-16", False),
        (b"", "utf-16", True),
        (b"z\0o\0", "utf-8", False),
        (b"z\0o\0", None, False),
        (b"zorg", "cp037", True),
    ],
)
def test_what_no_text_of_that_charset_is_is_said(octets, label, known):
    assert decode_text(octets, label).known is known


@pytest.mark.parametrize(
    ("octets", "pure"), [(b"YQ==\r\n", True), (b"een tekst", False), (b"a.b", False)]
)
def test_a_text_is_told_from_base64(octets, pure):
    assert is_pure_base64(octets) is pure
