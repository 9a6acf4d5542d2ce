"""The DATA reader against a slow reader that reads as RFC 5321 is written."""

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.intake.content import Content, Fault

PIECES = st.sampled_from(
    [b"\r\n", b"\r", b"\n", b".", b"..", b"a", b"\0", b"x" * 500, b"\r\n.\r\n", b"\xff"]
)
LINES = st.sampled_from(
    [b"", b"..", b".a", b"...", b"a.", b"x" * 998, b"." + b"x" * 998, b"x" * 999, b"\r"]
)
STREAMS = st.one_of(
    st.lists(PIECES, max_size=30).map(b"".join),
    st.lists(LINES, max_size=12).map(
        lambda lines: b"".join(line + b"\r\n" for line in lines) + b".\r\nQUIT\r\n"
    ),
)
ENDED = b"From: jan@gem.nl\r\nSubject: x\r\n\r\nbody\r\n..\r\n.\r\nNOOP\r\n"


def naive(stream, limit):
    """The oracle: line by line, no chunks; (fault or octets, rest) or None."""
    end = (b"\r\n" + stream).find(b"\r\n.\r\n")
    if end < 0:
        return None
    raw, rest = stream[:end], stream[end + 3 :]
    faults, content = set(), b""
    lines = raw.split(b"\r\n")
    assert lines.pop() == b""
    for line in lines:
        plain = line.removeprefix(b".")
        content += plain + b"\r\n"
        if b"\r" in line or b"\n" in line:
            faults.add(Fault.BARE_NEWLINE)
        if b"\0" in line:
            faults.add(Fault.NUL)
        if len(plain) > 998:
            faults.add(Fault.LONG_LINE)
    if len(content) > limit:
        faults.add(Fault.TOO_BIG)
    return faults or content, rest


def cut(stream, sizes):
    at = 0
    for size in sizes:
        yield stream[at : at + size]
        at += size
    yield stream[at:]


@given(
    STREAMS,
    st.lists(st.integers(1, 700), max_size=20),
    st.sampled_from([10, 1000, 100000]),
)
def test_reader_agrees_with_the_naive_reader_however_the_octets_come(
    stream, sizes, limit
):
    content, rest, behind = Content(limit), None, b""
    for chunk in cut(stream, sizes):
        if rest is None:
            rest = content.feed(chunk)
        else:
            behind += chunk

    expected = naive(stream, limit)
    if expected is None:
        assert rest is None
        return
    wanted, wanted_rest = expected
    assert rest is not None
    assert wanted_rest == rest + behind
    if isinstance(wanted, set):
        assert content.fault in wanted
    else:
        assert content.fault is None
        assert wanted == content.take()


def test_the_one_dot_of_a_line_with_more_on_it_is_removed():
    """RFC 5321 section 4.5.2, also where the client did not double it."""
    content = Content(1000)
    assert content.feed(b".a\r\n..b\r\n.\r\n") == b""
    assert content.take() == b"a\r\n.b\r\n"


def test_fed_octet_by_octet_it_ends_at_the_same_place():
    content = Content(1000)
    fed = 0
    while content.feed(ENDED[fed : fed + 1]) is None:
        fed += 1
    assert ENDED[fed + 1 :] == b"NOOP\r\n"
    assert content.received_octets == fed + 1
    assert content.take() == b"From: jan@gem.nl\r\nSubject: x\r\n\r\nbody\r\n.\r\n"


@pytest.mark.parametrize("length", range(len(ENDED) - len(b"NOOP\r\n")))
def test_cut_short_it_has_not_ended(length):
    assert Content(1000).feed(ENDED[:length]) is None


@pytest.mark.parametrize(
    ("unit", "fault"),
    [
        (b"x" * 65536, Fault.LONG_LINE),
        (b"x\r\n" * 20000, Fault.TOO_BIG),
        (b"x\n" * 30000, Fault.BARE_NEWLINE),
        (b"\0\r\n" * 20000, Fault.NUL),
    ],
)
def test_faulty_content_is_read_over_in_constant_memory(unit, fault):
    content = Content(100_000)
    tracemalloc.start()
    try:
        for _ in range(256):
            assert content.feed(unit) is None
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert content.fault is fault
    assert peak < 1024 * 1024
    assert content.feed(b"\r\n.\r\nQUIT\r\n") == b"QUIT\r\n"


@pytest.mark.parametrize("first", [b"", b"From: jan@gem.nl\r\nSubject: x\r\n"])
def test_full_line_with_its_dot_is_sound_when_its_end_comes_later(first):
    content, line = Content(100_000), b"." + b"x" * 998
    assert content.feed(first + line + b"\r") is None
    assert content.feed(b"\n.\r\n") == b""
    assert content.take() == first + line[1:] + b"\r\n"


@pytest.mark.parametrize("at", range(1, 5))
def test_end_behind_a_fault_is_found_however_it_is_split(at):
    content, end = Content(10), b"\r\n.\r\n"
    assert content.feed(b"x" * 2000) is None
    assert content.feed(end[:at]) is None
    assert content.feed(end[at:] + b"QUIT\r\n") == b"QUIT\r\n"
    assert content.fault is Fault.LONG_LINE


@pytest.mark.parametrize("line_octets", [998, 5000, 65536])
@pytest.mark.parametrize("step", [1, 7, 4096, 200_000])
def test_a10_a_line_may_be_as_long_as_the_setting_says_and_no_longer(line_octets, step):
    for length, fault in ((line_octets, None), (line_octets + 1, Fault.LONG_LINE)):
        line = b"x" * length
        stream = b"a: b\r\n\r\n." + line + b"\r\n.\r\nQUIT\r\n"
        content, rest, at = Content(1_000_000, line_octets), None, 0
        while rest is None:
            rest = content.feed(stream[at : at + step])
            at += step
        assert content.fault is fault
        assert rest + stream[at:] == b"QUIT\r\n"
        if fault is None:
            assert content.take() == b"a: b\r\n\r\n" + line + b"\r\n"
