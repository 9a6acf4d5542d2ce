"""The envelope grammar: every form with its answer (A-08)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.intake.answer import Refusal
from gateway.intake.path import parse_recipient, parse_reverse_path
from gateway.model.address import Domain, Mailbox

HOME = Domain("gem.nl")
SYNTAX, UTF8, ARGUMENT = "501 5.1.3", "553 5.6.7", "501 5.5.4"

# (what stands behind "RCPT TO:", the mailbox as kept or the refusal)
FORMS = [
    ("<a@b.nl>", "a@b.nl"),
    (" <a@b.nl>", "a@b.nl"),
    ("<A.b+c@B.NL>", "A.b+c@b.nl"),
    ("<postmaster>", "postmaster@gem.nl"),
    ("<PostMaster>", "PostMaster@gem.nl"),
    ("<u%evil.example@gw.nl>", "u%evil.example@gw.nl"),
    ("<evil.example!u@gw.nl>", "evil.example!u@gw.nl"),
    ('<"u@evil.example"@gw.nl>', '"u@evil.example"@gw.nl'),
    ('<"a b"@c.nl>', '"a b"@c.nl'),
    ('<"a>b"@c.nl>', '"a>b"@c.nl'),
    (r'<"a\"b"@c.nl>', r'"a\"b"@c.nl'),
    ("<a@xn--fa-hia.de>", "a@xn--fa-hia.de"),
    ("<" + "l" * 64 + "@b.nl>", "l" * 64 + "@b.nl"),
    ("<>", SYNTAX),
    ("", SYNTAX),
    ("a@b.nl", SYNTAX),
    ("<a@b.nl", SYNTAX),
    ("a@b.nl>", SYNTAX),
    ("<a@b.nl>x", SYNTAX),
    ("<a@b.nl><c@d.nl>", SYNTAX),
    ("<<a@b.nl>>", SYNTAX),
    ("< a@b.nl>", SYNTAX),
    ("<a@b.nl >", SYNTAX),
    ("<a b@c.nl>", SYNTAX),
    ("<a>", SYNTAX),
    ("<a@>", SYNTAX),
    ("<@b.nl>", SYNTAX),
    ("<a@b>", SYNTAX),
    ("<a@b.nl.>", SYNTAX),
    ("<a@b_c.nl>", SYNTAX),
    ("<a@-b.nl>", SYNTAX),
    ("<a@b..nl>", SYNTAX),
    ("<a@[127.0.0.1]>", SYNTAX),
    ("<a@[IPv6:::1]>", SYNTAX),
    ("<a@127.0.0.1>", SYNTAX),
    ("<@gw.nl:u@evil.example>", SYNTAX),
    ("<@gw.nl,@x.nl:u@evil.example>", SYNTAX),
    ("<(comment)a@b.nl>", SYNTAX),
    ("<a@b.nl(comment)>", SYNTAX),
    ("<=?utf-8?q?a?=@b.nl@c.nl>", SYNTAX),
    (".a@b.nl", SYNTAX),
    ("<.a@b.nl>", SYNTAX),
    ("<a.@b.nl>", SYNTAX),
    ("<a..b@c.nl>", SYNTAX),
    ('<"a"b@c.nl>', SYNTAX),
    ('<"a@c.nl>', SYNTAX),
    ('<"a\tb"@c.nl>', SYNTAX),
    ("<a\x01@c.nl>", SYNTAX),
    ("<" + "l" * 65 + "@b.nl>", SYNTAX),
    ("<a@" + "x" * 64 + ".nl>", SYNTAX),
    ("<a@" + "x.n" * 84 + "l>", SYNTAX),
    ("<\xe9@b.nl>", UTF8),
    ("<a@b\xe9.nl>", UTF8),
    ("<a@b.nl> X=\xe9", UTF8),
    ("<a@b.nl> =x", ARGUMENT),
    ("<a@b.nl> X=", ARGUMENT),
    ("<a@b.nl> X=1 x=2", ARGUMENT),
    ("<a@b.nl> X=1=2", ARGUMENT),
    ("<a@b.nl> X_Y", ARGUMENT),
    ("<a@b.nl> -X", ARGUMENT),
]


def ask(parse, *arguments):
    try:
        return str(parse(*arguments)[0])
    except Refusal as refusal:
        return f"{refusal.reply.code} {refusal.reply.enhanced}"


@pytest.mark.parametrize(("text", "expected"), FORMS)
def test_recipient_form(text, expected):
    assert ask(parse_recipient, f"TO:{text}", HOME) == expected
    assert ask(parse_recipient, f"to:{text}", HOME) == expected


@pytest.mark.parametrize(
    ("text", "expected"), [form for form in FORMS if "ostmaster" not in form[0].lower()]
)
def test_reverse_path_form(text, expected):
    wanted = "" if text == "<>" else expected.replace("5.1.3", "5.1.7")
    assert ask(parse_reverse_path, f"FROM:{text}") == wanted


def test_unqualified_postmaster_is_no_sender():
    assert ask(parse_reverse_path, "FROM:<postmaster>") == "501 5.1.7"


@pytest.mark.parametrize("text", ["", "TO", "TO <a@b.nl>", "FROM:<a@b.nl>", "x"])
def test_keyword_must_be_there(text):
    assert ask(parse_recipient, text, HOME) == ARGUMENT


def test_parameters_keep_the_case_of_their_values():
    _, parameters = parse_reverse_path("FROM:<a@b.nl> ENVID=aBc+2B  Auth=<> flag")
    assert parameters == {"ENVID": "aBc+2B", "AUTH": "<>", "FLAG": None}


@given(st.text(st.characters(max_codepoint=255), max_size=60))
def test_any_text_is_an_address_of_the_grammar_or_refused(text):
    try:
        recipient, _ = parse_recipient(f"TO:{text}", HOME)
    except Refusal:
        return
    assert Mailbox.parse(str(recipient)) == recipient
    assert recipient.local_part in text


def test_long_hostile_input_takes_no_time():
    for text in ('<"' + "\\a" * 1000, "<" + '""' * 1000, "<" + "a" * 2000):
        assert ask(parse_recipient, f"TO:{text}", HOME) == SYNTAX
