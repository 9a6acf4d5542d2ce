"""R3: files of messages, octet for octet."""

import datetime

import pytest

from gateway.shadow.mailfile import day_of, messages_of
from tests.unit.shadow.shadow_bed import mail

TODAY = datetime.date(2026, 11, 26)


def test_an_eml_is_read_as_it_is(tmp_path):
    path = tmp_path / "een.eml"
    path.write_bytes(b"From: a@b.example\r\n\r\nzo\nen \r\nzo\r")
    assert list(messages_of(path)) == [path.read_bytes()]


def test_an_mbox_gives_its_messages_without_what_the_mailbox_added(tmp_path):
    path = tmp_path / "verzonden"
    first = b"From: a@b.example\n\nFrom hier\n>From diep\nmidden From\n"
    second = b"From: c@d.example\r\n\r\nregel\r\n"
    stored = first.replace(b">From", b">>From").replace(b"\nFrom hier", b"\n>From hier")
    start = b"From a@b.example Wed Nov 25 10:00:00 2026\n"
    path.write_bytes(start + stored + b"\n" + start + second + b"\n")
    assert list(messages_of(path)) == [first, second]


def test_an_mbox_that_may_only_be_read_is_left_alone(tmp_path):
    path = tmp_path / "verzonden"
    path.write_bytes(b"From x\nFrom: a@b.example\n\nx\n")
    before = path.stat().st_mtime_ns
    path.chmod(0o400)
    assert len(list(messages_of(path))) == 1
    assert path.stat().st_mtime_ns == before
    assert [each.name for each in tmp_path.iterdir()] == ["verzonden"]


def test_a_file_that_is_missing_is_an_error_and_not_made(tmp_path):
    with pytest.raises(FileNotFoundError):
        list(messages_of(tmp_path / "niets"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("date", "day"),
    [
        (b"Wed, 25 Nov 2026 00:30:00 +0100", datetime.date(2026, 11, 24)),
        (b"Wed, 25 Nov 2026 10:00:00 +0100", datetime.date(2026, 11, 25)),
        (b"Thu, 25 Nov 2100 10:00:00 +0100", TODAY),
        (b"25-11-2026", TODAY),
        (b"Wed, 25 Nov 99999 10:00:00 +0100", TODAY),
        (b"", TODAY),
    ],
)
def test_a_message_counts_for_the_day_of_its_date(date, day):
    octets = mail("x").replace(b"Wed, 25 Nov 2026 10:00:00 +0100", date)
    assert day_of(octets, TODAY) == day
