"""R3: who sent what to whom is found behind every form of copy."""

import pytest

from gateway.shadow.original import addresses_in, filed_original, original_of
from tests.unit.shadow.shadow_bed import (
    COPIES,
    COPY,
    HOSTNAME,
    SENDER,
    envelope,
    journal,
    mail,
)


def found(octets, of=None):
    return original_of(octets, of or envelope(), COPIES)


def recipients(original):
    return [str(each) for each in original.envelope.recipients]


def test_the_recipients_of_a_plain_copy_are_those_of_to_and_cc():
    octets = mail("x", "To: a@een.example, B <b@twee.example>", "Cc: c@drie.example")
    original = found(octets)
    assert recipients(original) == ["a@een.example", "b@twee.example", "c@drie.example"]
    assert str(original.envelope.reverse_path) == SENDER
    assert original.octets == octets


def test_what_was_sent_on_goes_to_whom_it_was_sent_on():
    octets = mail("x", "To: a@een.example", "Resent-To: b@twee.example")
    assert recipients(found(octets)) == ["b@twee.example"]


@pytest.mark.parametrize(
    "copy", [str(COPY), f"x@{HOSTNAME}", "Shadow@voorbeeldstad.example"]
)
def test_a_copy_address_is_no_recipient_wherever_it_stands(copy):
    octets = mail("x", f"To: a@een.example, {copy}")
    assert recipients(found(octets, envelope(copy))) == ["a@een.example"]


@pytest.mark.parametrize("other", ["shadow@een.example", "x@voorbeeldstad.example"])
def test_somebody_who_is_called_shadow_elsewhere_is_a_recipient(other):
    octets = mail("x", f"To: {other}")
    assert recipients(found(octets)) == [other]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("undisclosed-recipients:;", []),
        ("Team: a@een.example, b@twee.example;", ["a@een.example", "b@twee.example"]),
        ('"c@drie.example" <a@een.example>', ["a@een.example"]),
        ("c@drie.example <a@een.example>", ["a@een.example"]),
        ("a@een.example, not an address, @, b@", ["a@een.example"]),
        ("a@een.example,\r\n\tA@een.example", ["a@een.example", "A@een.example"]),
        ("a@een.example, a@een.example", ["a@een.example"]),
        ("x@[192.0.2.1], a@een.example", ["a@een.example"]),
        ("", []),
    ],
)
def test_addresses_are_found_in_sloppy_fields_too(value, expected):
    assert [str(each) for each in addresses_in([value])] == expected


TOLD = (
    "To: a@een.example",
    "Cc: lid@twee.example, Expanded: lijst@voorbeeldstad.example",
    "Bcc: geheim@drie.example",
    "Recipient: ander@vier.example, Forwarded: weg@voorbeeldstad.example",
)
ALL = ["a@een.example", "lid@twee.example", "geheim@drie.example", "ander@vier.example"]


@pytest.mark.parametrize("encoding", ["7bit", "base64"])
def test_a_journal_report_gives_message_and_envelope(encoding):
    inner = mail("crisis", "To: lijst@voorbeeldstad.example")
    octets = journal(
        inner, *TOLD, sender="chef@voorbeeldstad.example", encoding=encoding
    )
    original = found(octets)
    assert recipients(original) == ALL
    assert str(original.envelope.reverse_path) == "chef@voorbeeldstad.example"
    assert original.octets == inner


def test_the_subject_in_a_report_is_no_recipient():
    octets = journal(mail("x"), "Subject: To: b@twee.example", "To: a@een.example")
    assert recipients(found(octets)) == ["a@een.example"]


def test_what_only_says_to_be_a_report_is_taken_as_it_is():
    octets = mail("x", "X-MS-Journal-Report:", "To: a@een.example")
    assert recipients(found(octets)) == ["a@een.example"]
    assert found(octets).octets == octets


def test_a_forged_report_without_end_is_read_in_bounded_work():
    octets = journal(mail("x"), *["To: a@een.example"] * 100_000)
    assert recipients(found(octets)) == ["a@een.example"]


def test_a_large_copy_that_is_not_in_memory_is_read_by_its_head():
    class Kept:
        size_octets = 10**8
        head = mail("x" * 1000, "To: a@een.example")

        def chunks(self):
            raise AssertionError("only the header is needed")

    kept = Kept()
    original = found(kept)
    assert recipients(original) == ["a@een.example"]
    assert original.octets is kept


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (
            ("Return-Path: <bounce@voorbeeldstad.example>",),
            "bounce@voorbeeldstad.example",
        ),
        (("Return-Path: <>",), ""),
        ((), SENDER),
    ],
)
def test_a_file_says_itself_from_where_and_to_whom(fields, expected):
    original = filed_original(mail("x", *fields, "To: a@een.example"), COPIES)
    assert str(original.envelope.reverse_path) == expected
    assert recipients(original) == ["a@een.example"]


def test_a_file_may_be_a_journal_report():
    assert recipients(filed_original(journal(mail("x"), *TOLD), COPIES)) == ALL


@pytest.mark.parametrize("octets", [b"", b"\r\n", b"\xff\x00", b"To: a@een.example"])
def test_what_is_no_message_breaks_nothing(octets):
    assert len(found(octets).envelope.recipients) <= 1
