"""Laws of the reply parser (B-37, ADR 0004): fed whole, byte by byte, cut short."""

import itertools

from hypothesis import example, given
from hypothesis import strategies as st

from gateway.net.dialogue import (
    MAX_LINE_OCTETS,
    MAX_LINES,
    MAX_TEXT,
    Dialogue,
    HopGarbage,
    HopReply,
    ReplyParser,
)

codes = st.integers(200, 599)
texts = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40)
replies = st.builds(HopReply, codes, st.lists(texts, min_size=1, max_size=5).map(tuple))
line_ends = st.sampled_from([b"\r\n", b"\n"])


def written(reply: HopReply, line_end: bytes = b"\r\n") -> bytes:
    last = len(reply.lines) - 1
    return b"".join(
        f"{reply.code}{'-' if at < last else ' '}{line}".encode() + line_end
        for at, line in enumerate(reply.lines)
    )


ODD = [
    b"250",
    b"250-",
    b"250 ",
    b"\r\n",
    b"\r",
    b"\n",
    b"250-a\r\n251 b\r\n",
    b"199 x\r\n",
    b"600 x\r\n",
    b"250x\r\n",
    b"2500\r\n",
    b"\xff\xfe\r\n",
    b"250 " + b"a" * MAX_LINE_OCTETS + b"\r\n",
    b"250-x\r\n" * MAX_LINES,
    b"250 \x1b[31m<script>\x00\r\r\n",
]
fragments = st.one_of(
    replies.map(written),
    st.binary(max_size=30),
    st.sampled_from(ODD),
)
streams = st.lists(fragments, max_size=8).map(b"".join)


def fed(portions: list[bytes]) -> tuple[list[HopReply], str | None]:
    parser = ReplyParser()
    found = [reply for portion in portions for reply in parser.feed(portion)]
    return found, None if parser.fault is None else str(parser.fault)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges)]


@given(st.lists(replies, max_size=6), line_ends)
def test_what_is_written_by_the_book_is_read_as_it_was_meant(meant, line_end) -> None:
    data = b"".join(written(reply, line_end) for reply in meant)
    assert fed([data]) == (meant, None)


@given(streams, st.lists(st.integers(0, 100_000), max_size=6))
@example(b"250 ok\r\n" + b"x" * (MAX_LINE_OCTETS + 5), [4, 5000])
def test_portions_make_no_difference(data: bytes, places: list[int]) -> None:
    whole = fed([data])
    assert fed([data[at : at + 1] for at in range(len(data))]) == whole
    assert fed(cut(data, places)) == whole


@given(streams, st.integers(0, 100_000))
def test_cut_short_it_answers_the_beginning_and_nothing_else(data, place) -> None:
    whole, _ = fed([data])
    short, _ = fed([data[: place % (len(data) + 1)]])
    assert short == whole[: len(short)]


@given(streams)
def test_whatever_comes_is_bounded_and_printable(data: bytes) -> None:
    for reply in fed([data])[0]:
        assert 200 <= reply.code <= 599
        assert 1 <= len(reply.lines) <= MAX_LINES + 1
        remote = reply.remote()
        assert len(remote.text) <= MAX_TEXT
        for text in (*reply.lines, remote.text):
            assert text.isascii()
            assert text.isprintable()


@given(streams, streams)
def test_after_a_fault_nothing_is_read(data: bytes, more: bytes) -> None:
    parser = ReplyParser()
    parser.feed(data)
    if parser.fault is not None:
        assert parser.feed(more) == ()
        assert not parser.is_between_replies


@given(st.integers(1, 4), st.lists(replies, max_size=8), st.binary(max_size=12))
def test_a_dialogue_takes_no_more_replies_than_it_asked_for(asked, said, tail) -> None:
    dialogue = Dialogue()
    dialogue.feed(b"220 hello\r\n")
    dialogue.take()
    dialogue.ask(*[b"NOOP\r\n"] * asked)
    dialogue.feed(b"".join(map(written, said)) + tail)
    taken = []
    try:
        while (reply := dialogue.take()) is not None:
            taken.append(reply)
    except HopGarbage:
        pass
    assert len(taken) <= asked
    assert taken[: len(said)] == said[:asked]
    if len(said) > asked:
        assert dialogue.fault is not None
