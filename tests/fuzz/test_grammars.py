"""The targets in their short form; `make fuzz` follows coverage for longer."""

import hypothesis
import pytest

from tests.fuzz import grammar, targets


@pytest.mark.parametrize("name", sorted(targets.TARGETS))
def test_no_input_breaks_a_property(name):
    """A-08, A-10, A-24, A-25, A-26, A-40 ... A-48."""
    grammar.with_hypothesis(name, 200, seed=1)


@pytest.mark.parametrize("name", sorted(targets.TARGETS))
def test_the_words_of_a_target_lead_somewhere(name):
    """Each target is run to its end by one of its inputs at least, not only refused."""
    target, words = targets.TARGETS[name]
    for octets in (b"".join(words), *words):
        target(octets)


@pytest.mark.parametrize(
    ("name", "octets"),
    [
        ("path", "<a@b.nl> \u017fMTPUTF8".encode()),  # upper() makes S of it
        ("wishes", "HDR\u017f".encode()),
        ("wishes", "\u017fUCCESS".encode()),
        ("plain-text", b"\xff\xfe"),  # a mark that the label contradicts
        ("plain-text", b"\xff\xfe\0\0"),
        ("plain-text", b"\xfe\xff"),
    ],
)
def test_what_was_found_once(name, octets):
    """A-26, A-47: each of these broke its property before."""
    targets.TARGETS[name][0](octets)


@pytest.mark.parametrize(
    ("name", "octets"),
    [
        ("path", b"<a@b.nl> SIZE=1"),
        ("path", b"<> BODY=8BITMIME"),
        ("path", b"<postmaster>"),
        ("address", b"jan@gem.nl"),
        ("author", b"Jan <jan@gem.nl>, b@c.nl"),
        ("header", b"From: jan@gem.nl\r\nBcc: a\r\n\r\nx"),
    ],
)
def test_an_oracle_that_is_told_wrong_things_says_so(monkeypatch, name, octets):
    """The properties are not empty: with a parser that alters a little, each fails."""
    target = targets.TARGETS[name][0]
    target(octets)
    monkeypatch.setattr(
        targets.Mailbox, "__str__", lambda mailbox: "x" + mailbox.local_part
    )
    monkeypatch.setattr(targets, "strip_fields", lambda header: (header, ()))
    monkeypatch.setattr(targets.email.utils, "getaddresses", lambda _: [("", "x@y.nl")])
    monkeypatch.setattr(targets.ReversePath, "__str__", lambda _: "x")
    with pytest.raises((AssertionError, ValueError)):
        target(octets)


def test_an_input_that_finds_something_is_shown(monkeypatch):
    def broken(octets):
        assert b"@" not in octets

    monkeypatch.setitem(targets.TARGETS, "broken", (broken, [b"@"]))
    with pytest.raises(AssertionError):
        grammar.with_hypothesis("broken", 100, seed=1)
    assert hypothesis.is_hypothesis_test(broken) is False
