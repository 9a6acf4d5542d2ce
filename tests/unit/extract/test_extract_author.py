"""Author fields: strict, so that nobody sees another author than we authorised."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.extract.author import authors_of, parse_mailboxes
from gateway.extract.entity import parse_entity

A = "a@gem.example"


@pytest.mark.parametrize(
    ("value", "addresses"),
    [
        (A, [A]),
        (f"<{A}>", [A]),
        (f"Jan Jansen <{A}>", [A]),
        (f"J. Jansen <{A}>", [A]),
        (f'"Jansen, J. (team)" <{A}>', [A]),
        (f'"x@evil.example" <{A}>', [A]),
        (f"=?utf-8?q?Ren=C3=A9?= =?utf-8?b?SmFuc2Vu?= <{A}>", [A]),
        (f"{A} (Jan (van) Jansen)", [A]),
        (f"(voor) Jan <{A}> (na)", [A]),
        (f"Jan\r\n\tJansen <{A}>", [A]),
        (f"{A}, Piet <b@gem.example>", [A, "b@gem.example"]),
        ("René <a@gem.example>", [A]),
        ('"a b"@gem.example', ['"a b"@gem.example']),
        ("a@GEM.Example", [A]),
    ],
)
def test_what_the_grammar_allows_is_read(value, addresses):
    assert [str(mailbox) for mailbox in parse_mailboxes(value)] == addresses


@pytest.mark.parametrize(
    "value",
    [
        "",
        "Jan Jansen",
        f"a@evil.example <{A}>",
        f"a@evil.example {A}",
        f"Jansen, Jan <{A}>",
        f"groep: {A};",
        "undisclosed-recipients:;",
        f"<@evil.example:{A}>",
        f"<{A}> Jan",
        f"<{A}> <b@gem.example>",
        f"{A},",
        f",{A}",
        f'"niet gesloten <{A}>',
        f"{A} (niet gesloten",
        f"{'(' * 30}{')' * 30} {A}",
        "a@[127.0.0.1]",
        "a @gem.example",
        "a@gem",
        "<>",
        f"Jan <{A}",
        "Jan\x00 <a b@gem.example>",
        f"{'x' * 70_000} <{A}>",
    ],
)
def test_what_the_grammar_does_not_allow_is_faulty(value):
    with pytest.raises(ValueError):
        parse_mailboxes(value)


def of(header: str):
    return authors_of(parse_entity(header.encode() + b"\n\n"))


def test_all_author_fields_count_once():
    authors, faulty = of(
        f"From: {A}\nSender: s@gem.example\nResent-From: r@gem.example, {A}\n"
        "Resent-Sender: q@gem.example"
    )

    names = ["a@gem.example", "s@gem.example", "r@gem.example", "q@gem.example"]
    assert [str(author) for author in authors] == names
    assert not faulty


@pytest.mark.parametrize(
    "header",
    [
        "Subject: geen afzender",
        f"From: {A}\nFrom: b@evil.example",
        f"From: {A}\nSender: {A}\nSender: {A}",
        f"From: {A}\nResent-From: groep: {A};",
        "From: Jan",
    ],
)
def test_missing_double_or_unreadable_fields_are_faulty(header):
    assert of(header)[1]


def test_a_double_from_still_tells_all_its_authors():
    authors, _ = of(f"From: {A}\nFrom: b@evil.example")

    assert [str(author) for author in authors] == [A, "b@evil.example"]


@given(st.text(alphabet='ab@.,:;<>()"\\ \t=?\r\né', max_size=60))
def test_no_text_makes_it_raise_anything_else(value):
    try:
        mailboxes = parse_mailboxes(value)
    except ValueError:
        return
    assert mailboxes
