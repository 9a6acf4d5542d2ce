"""A-08, A-25: one grammar for envelope addresses."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.model.address import AddressError, Domain, Mailbox, ReversePath


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Gemeente.NL", "gemeente.nl"),
        ("faß.de", "xn--fa-hia.de"),  # IDNA2003 would make it fass.de, another domain
        ("bücher.example", "xn--bcher-kva.example"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("a.b-c.example", "a.b-c.example"),
    ],
)
def test_domain_becomes_lower_case_a_labels(text, expected):
    assert expected == Domain.parse(text).name


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nl",
        "gemeente.nl.",
        ".gemeente.nl",
        "ge_meente.nl",
        "-x.nl",
        "x-.nl",
        "a..nl",
        "[127.0.0.1]",
        "127.0.0.1",
        "x" * 64 + ".nl",
        ("abcdefgh." * 32) + "nl",
        "xn--\u00e9.nl",
        "xn--zzzzzzzz99999999.nl",
        "gemeente.nl\r\n",
        "gemeente\x00.nl",
        "gemeente .nl",
    ],
)
def test_what_is_no_domain_is_refused(text):
    with pytest.raises(AddressError):
        Domain.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "a@gem.nl",
        "j.de-vries+tag@gem.nl",
        '"j de vries"@gem.nl',
        '"a\\"b"@gem.nl',
        "u%evil@gem.nl",  # kept verbatim, never reinterpreted
        "a!b@gem.nl",
    ],
)
def test_mailbox_is_kept_verbatim(text):
    assert text == str(Mailbox.parse(text))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "@gem.nl",
        "a@",
        "a b@gem.nl",
        ".a@gem.nl",
        "a.@gem.nl",
        "a..b@gem.nl",
        "a@b@gem.nl",
        "(c)a@gem.nl",
        "=?utf-8?q?a?=x@gem.nl\r",
        '"a\rb"@gem.nl',
        '"a\x00b"@gem.nl',
        '"a"b"@gem.nl',
        "é@gem.nl",
        "x" * 65 + "@gem.nl",
        "a@[127.0.0.1]",
        "a\r\nRCPT TO:<b@evil.nl>@gem.nl",
    ],
)
def test_what_is_no_mailbox_is_refused(text):
    with pytest.raises(AddressError):
        Mailbox.parse(text)


def test_non_ascii_local_part_needs_smtputf8():
    assert str(Mailbox.parse("é@gem.nl", smtputf8=True)) == "é@gem.nl"


def test_representation_shows_a_digest_only():
    shown = repr(Mailbox.parse("jan.jansen@gem.nl"))
    assert "jan" not in shown
    assert "sha256:" in shown


def test_registered_mailboxes_compare_without_case():
    assert Mailbox.parse("Post@GEM.nl").canonical == "post@gem.nl"


def test_null_reverse_path_is_empty_text():
    assert ReversePath(None).is_null
    assert str(ReversePath(None)) == ""
    assert str(ReversePath(Mailbox.parse("a@gem.nl"))) == "a@gem.nl"


@given(st.text(max_size=80))
def test_parsing_a_domain_is_idempotent_or_refused(text):
    try:
        once = Domain.parse(text)
    except AddressError:
        return
    assert Domain.parse(once.name) == once
    assert once.name.isascii()
    assert once.name == once.name.lower()


@given(st.text(max_size=120))
def test_a_mailbox_never_holds_what_could_split_a_command(text):
    try:
        mailbox = Mailbox.parse(text, smtputf8=True)
    except AddressError:
        return
    assert not set("\r\n\x00") & set(str(mailbox))
