"""xtext of RFC 3461 and the address forms of RFC 6533: what is one, and what it says."""

import pytest

from gateway.delivery import xtext


@pytest.mark.parametrize("text", ["a", "aBc+2B", "a" * 100, "!*,-<>~", "+3D"])
def test_a26_an_envelope_id_is_xtext_of_at_most_100_characters(text) -> None:
    assert xtext.is_envid(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a" * 101,
        "a b",
        "a=b",
        "a+b",
        "a+2b",
        "a+2",
        "a\r\nb",
        "a\n",
        "\u00e9",
        "\0",
    ],
)
def test_b40_what_is_no_envelope_id_never_becomes_part_of_a_command(text) -> None:
    assert not xtext.is_envid(text)


@pytest.mark.parametrize(
    "text",
    [
        "rfc822;jan+40example.nl",
        "RFC822;Jan@Example.nl",
        "x-400;a",
        "x+/y;a",
        "utf-8;j\u00f6rg\u0085@x",
        "utf-8;j\\x{F6}rg@example.nl",
        "utf-8;j\u00f6rg@example.nl",
        "UTF-8;\u65e5@\\x{20}x",
        "rfc822;" + "a" * 493,
    ],
)
def test_a26_an_original_recipient_is_a_type_and_an_address(text) -> None:
    assert xtext.is_orcpt(text)


@pytest.mark.parametrize(
    "text",
    [
        "rfc822",
        "rfc822;",
        ";a",
        "a b;c",
        "rfc822;a b",
        "rfc822;a=b",
        "rfc822;a\r\nDATA",
        "rfc822;j\u00f6rg@example.nl",
        "utf-8;j\u00f6 rg@x",
        "utf-8;j\u00f6rg\\@x",
        "rfc822;" + "a" * 494,
    ],
)
def test_b40_what_is_no_original_recipient_never_becomes_part_of_a_command(
    text,
) -> None:
    assert not xtext.is_orcpt(text)


def test_a24_an_address_outside_ascii_has_a_form_in_ascii() -> None:
    assert xtext.utf8_address("j\u00f6 +=\\\u65e5@x.nl") == (
        "j\\x{F6}\\x{20}\\x{2B}\\x{3D}\\x{5C}\\x{65E5}@x.nl"
    )
