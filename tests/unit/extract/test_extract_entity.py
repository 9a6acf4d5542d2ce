"""The splitter: the same parts as the standard library, in linear time, with limits."""

import email
import email.policy
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.extract import entity as room
from gateway.extract.entity import parse_entity, split_multipart, with_line_ends
from gateway.extract.mime import read

HEAD = b"From: a@voorbeeldstad.example\r\nSubject: x\r\n"
# Behind each delimiter a line: the library takes several in a row for one.
LINES = st.sampled_from(
    [b"--b\ntekst", b"--b--\nna", b"--b \t\nA: y", b"--bb", b"-- b", b"--", b"", b"x"]
)


def parts_of(octets: bytes, boundary: bytes = b"b", most: int = 100):
    split = split_multipart(parse_entity(octets), boundary, most)
    return None if split is None else [octets[at:past] for at, past in split.parts]


@given(lines=st.lists(LINES, max_size=12), cut=st.sampled_from([b"\r\n", b"\n"]))
@settings(max_examples=300)
def test_parts_are_those_of_the_standard_library(lines, cut):
    body = cut.join(b"\n".join(lines).split(b"\n")) + cut
    octets = b"Content-Type: multipart/mixed; boundary=b" + cut + cut + body
    oracle = email.message_from_bytes(octets, policy=email.policy.compat32)
    payload = oracle.get_payload()

    parts = parts_of(octets)

    if isinstance(payload, list):
        assert parts is not None
        expected = [part.as_bytes().split() for part in payload]
        found = [part.split() for part in parts]
        assert list(filter(None, found)) == list(filter(None, expected))
    else:
        assert parts is None


@pytest.mark.parametrize(
    ("header", "fields", "faulty"),
    [
        (b"A: b\r\nC:d\r\n\r\n", (("a", "b"), ("c", "d")), False),
        (b"A: b\r\n c\r\n\td\r\n\r\n", (("a", "b\r\n c\r\n\td"),), False),
        (b"A: b\n\n", (("a", "b"),), False),
        (b"A: b", (("a", "b"),), False),
        (b"\r\nA: b\r\n\r\n", (), False),
        (b"\nA: b", (), False),
        (b"From jan Thu Jan 1\r\nA: b\r\n\r\n", (("a", "b"),), False),
        (b"A: b\r\n \r\nC: d\r\n\r\n", (("a", "b\r\n"), ("c", "d")), False),
        (b"A: b\r\n \r\nContent-Type: d\r\n\r\n", None, True),
        (b"A : b\r\n\r\n", (("a", "b"),), True),
        (b"A: b\r\nzomaar\r\nC: d\r\n\r\n", (("a", "b"), ("c", "d")), True),
        (b" A: b\r\n\r\n", (), True),
        (b"tekst zonder kop", (), True),
        (b"A: b\r\nFrom jan\r\n\r\n", (("a", "b"),), True),
        (b"A: \xe9\r\n\r\n", (("a", "\udce9"),), False),
    ],
)
def test_fields_are_read_and_doubts_are_said(header, fields, faulty):
    found = parse_entity(header + b"tekst")

    assert found.faulty is faulty
    if fields is not None and b"\n\r\n" in header:
        assert [(n, v.strip()) for n, v in found.fields] == [
            (n, v.strip()) for n, v in fields
        ]


def test_a_body_begins_behind_the_empty_line_and_a_header_may_be_all_there_is():
    found = parse_entity(b"A: b\r\n\r\ntekst")

    assert (found.header, found.content) == (b"A: b\r\n\r\n", b"tekst")
    assert parse_entity(b"A: b").content == b""
    assert parse_entity(b"zomaar").content == b"zomaar"
    assert found.first("a") == "b"
    assert found.first("c") is None


@pytest.mark.parametrize(
    "header",
    [b"A: b\r\n" * (room.MAX_FIELDS + 1), b"A: " + b"b" * room.MAX_HEADER_OCTETS],
)
def test_fields_over_the_limit_are_said(header):
    assert not parse_entity(header + b"\r\n\r\n").complete


def test_parts_over_the_limit_are_one_part_that_holds_all_the_rest():
    parts = parts_of(b"\r\n" + b"--b\r\nx\r\n" * 9 + b"--b--\r\n", most=3)

    assert parts[:3] == [b"x", b"x", b"x"]
    assert parts[3].count(b"x") == 6


def test_many_lines_that_begin_as_a_delimiter_end_the_search():
    octets = b"\r\n--b\r\nx\r\n" + b"--bx\r\n" * (room.MAX_NEAR_MISSES + 2)
    split = split_multipart(parse_entity(octets), b"b", 10)

    assert not split.complete
    assert split.near == {b"x"}


def test_bare_line_ends_of_old_systems_are_line_ends():
    assert with_line_ends(b"A: b\r\rtekst\r\n") == b"A: b\n\ntekst\n"
    assert with_line_ends(b"A: b\r\n") == b"A: b\r\n"


def nested(depth: int, boundary: bytes, body: bytes) -> bytes:
    levels = (boundary + b"%d" % at for at in range(depth))
    head = b"".join(
        b"Content-Type: multipart/mixed; boundary=%s\r\n\r\n--%s\r\n" % (b, b)
        for b in levels
    )
    return HEAD + head + b"Content-Type: text/plain\r\n\r\n" + body


HOSTILE = {
    "600 multiparts in one another": nested(600, b"b", b"a\r\n" * 500_000),
    "19 multiparts, lines alike": nested(19, b"", b"--1x\r\n" * 240_000),
    "300 messages in one another": HEAD
    + b"Content-Type: message/rfc822\r\n\r\n" * 300
    + b"a\r\n" * 400_000,
    "a field for each line": HEAD + b"X: y\r\n" * 250_000,
    "no colon anywhere": HEAD + b"x\r\n" * 500_000,
    "fields in all parts": HEAD
    + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
    + (b"--b\r\n" + b"X: y\r\n" * 240 + b"\r\nhoi\r\n") * 1000,
    "a name without end": HEAD + b"Content-Type: x; " + b"a" * 250_000 + b"\r\n\r\n",
    "an address without end": HEAD + b"To: " + b"a" * 250_000 + b"\r\n\r\n",
    "quotes without end": b'From: "' + b'\\"' * 30_000 + b"\\\r\n\r\n",
    "words that are nearly encoded": HEAD + b"X: " + b"=?a?q?" * 40_000 + b"\r\n\r\n",
    "properties that are nearly encoded": HEAD
    + b"Content-Type: text/calendar\r\n\r\n"
    + b";ENCODING=B" * 130_000,
    "data addresses": HEAD
    + b"Content-Type: text/calendar\r\n\r\n"
    + b"data:,x\r\n" * 160_000,
    "formatting opened anew in each block": HEAD
    + b"Content-Type: text/html\r\n\r\n"
    + b"".join(b"<b a=%d><p>" % at for at in range(9_000)),
    "attributes without end": HEAD
    + b"Content-Type: text/html\r\n\r\n<p "
    + b"".join(b"a%d " % at for at in range(200_000)),
    "hidden in depth": HEAD
    + b"Content-Type: text/html\r\n\r\n"
    + b"<div>" * 3_900
    + b"<i hidden>x</i>" * 40_000,
    "backwards in depth": HEAD
    + b"Content-Type: text/html\r\n\r\n"
    + b"<bdo>" * 3_000
    + b"x" * 100_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_message_takes_linear_time(name):
    """Each took 10 s to minutes when something in it was quadratic."""
    octets = HOSTILE[name]
    assert len(octets) < 2_000_000
    started = time.process_time()

    read(octets)

    assert time.process_time() - started < 3
