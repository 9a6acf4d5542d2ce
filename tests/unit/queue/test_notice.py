"""A notice: who gets it, what it is made of, and how it travels."""

import base64
import email.header

import pytest

from gateway.model.address import ReversePath
from gateway.model.classification import Level
from gateway.model.ids import JobId, MessageId
from gateway.model.job import JobKind, JobState
from gateway.queue import notice
from gateway.queue.dsn import Action, NoticeLine
from gateway.queue.notice import About, NoticeKind
from gateway.texts import render
from tests.unit.queue import queue_desk as desk
from tests.unit.queue.queue_desk import DAY, HEADER, HOUR, NOW, OCTETS

REASON = render.Explained("K404", "Nederlands.", "English.", "Bel.", "Call.")


def about(header=HEADER, sender=desk.SENDER, expires_at=NOW + 4 * HOUR):
    return About(MessageId("m-1"), ReversePath(sender), header, NOW, expires_at)


def line(address="crisis@ggz.example", action=Action.FAILED, **more):
    status = "5.7.10" if action is Action.FAILED else "4.7.5"
    return NoticeLine(desk.mailbox(address), action, status, REASON, **more)


def composed(kind=NoticeKind.FAILED, lines=None, what=None, municipality=""):
    owner = desk.policy(municipality).municipalities[desk.OWNER]
    stamp = (MessageId("n-1"), NOW)
    return notice.compose(
        kind, what or about(), lines or (line(),), owner, desk.HOSTNAME, stamp
    )


def opened(*args, **more):
    return desk.Opened(composed(*args, **more).octets)


def test_a_notice_goes_to_the_sender():
    given = composed(municipality=desk.WITH_NOTICES_TO)
    assert given.addressee == desk.SENDER


def test_a_notice_about_a_null_reverse_path_goes_to_notices_to():
    given = composed(what=about(sender=None), municipality=desk.WITH_NOTICES_TO)
    assert given.addressee == desk.NOTICES


def test_there_is_no_notice_when_nobody_can_be_told():
    assert composed(what=about(sender=None)) is None


def test_a_notice_says_that_it_is_automatic_and_who_wrote_it():
    mail = opened().mail
    assert mail["Auto-Submitted"] == "auto-replied"
    assert mail["From"] == "mailpoort@voorbeeldstad.example"
    assert mail["To"] == str(desk.SENDER)
    assert mail["Message-ID"] == f"<n-1@{desk.HOSTNAME}>"
    assert mail["Date"] == "Wed, 25 Nov 2026 12:00:00 +0000"
    assert mail.get_content_type() == "multipart/report"
    assert mail.get_param("report-type") == "delivery-status"


def test_the_status_names_the_reporting_mta_and_each_recipient_that_it_concerns():
    went_well = line("goed@ggz.example", None)
    given = opened(lines=(went_well, line("a@x.example"), line("b@x.example")))
    assert given.message_fields["Reporting-MTA"] == f"dns; {desk.HOSTNAME}"
    assert given.message_fields["Arrival-Date"] == "Wed, 25 Nov 2026 12:00:00 +0000"
    assert given.fields("Final-Recipient") == [
        "rfc822; a@x.example",
        "rfc822; b@x.example",
    ]
    assert "goed@ggz.example" in given.text


def test_the_hop_s_own_words_stand_in_the_diagnosis_bounded():
    said = desk.reply(550, "5.1.1", "x" * 2000)
    given = opened(lines=(line(reply=said, remote_host="mx1.ggz.example"),))
    assert given.fields("Remote-MTA") == ["dns; mx1.ggz.example"]
    assert given.fields("Diagnostic-Code") == [f"smtp; 550 5.1.1 {'x' * 400}"]


def test_a_hop_without_an_enhanced_status_is_quoted_as_it_spoke():
    given = opened(lines=(line(reply=desk.reply(421, None, "later")),))
    assert given.fields("Diagnostic-Code") == ["smtp; 421 later"]
    assert given.fields("Remote-MTA") == [None]


def test_our_own_diagnosis_stands_where_the_hop_said_nothing():
    given = opened(lines=(line(diagnosis="4.7.5 K404 "),))
    assert given.fields("Diagnostic-Code") == ["x-ketenmail; 4.7.5 K404"]


def test_without_any_diagnosis_the_field_is_left_out():
    assert opened().fields("Diagnostic-Code") == [None]


def test_only_a_delayed_recipient_has_an_instant_until_which_we_try():
    lines = (line("a@x.example", Action.DELAYED), line("b@x.example"))
    given = opened(NoticeKind.DELAYED, lines)
    assert given.fields("Will-Retry-Until") == ["Wed, 25 Nov 2026 16:00:00 +0000", None]
    assert "25-11-2026 16:00 UTC" in given.text


def test_without_an_expiry_nothing_is_said_of_it():
    lines = (line(action=Action.DELAYED),)
    given = opened(NoticeKind.DELAYED, lines, about(expires_at=None))
    assert given.fields("Will-Retry-Until") == [None]
    assert "UTC" not in given.text


def test_the_header_of_the_message_comes_back_and_its_body_does_not():
    given = opened(what=about(notice.header_of(OCTETS)))
    assert given.returned.get_content_type() == "text/rfc822-headers"
    assert given.returned.get_payload() == HEADER.decode()
    whole = given.octets + base64.b64encode(given.text.encode())
    assert desk.BODY_CANARY.encode() not in whole
    assert desk.BODY_CANARY not in given.text


@pytest.mark.parametrize(
    ("octets", "expected"),
    [
        (OCTETS, HEADER),
        (HEADER, HEADER),
        (b"A: b", b"A: b"),
        (b"\r\ntekst\r\n", b""),
        (b"A: b\r\n\tc\r\n d\r\n\r\ntekst\r\n", b"A: b\r\n\tc\r\n d\r\n"),
        # What reads the message takes these lines for body: they must not come back.
        (b"A: b\r\nBetrokkene is opgenomen\r\nC: d\r\n\r\ne\r\n", b"A: b\r\n"),
        (b"A: b\r\nZaak x: opname\r\n\r\ntekst\r\n", b"A: b\r\n"),
        (b"A: b\r\n: geen naam\r\n\r\ntekst\r\n", b"A: b\r\n"),
    ],
)
def test_the_header_ends_where_the_body_begins(octets, expected):
    assert notice.header_of(octets) == expected


def test_a_long_header_is_cut_to_whole_lines():
    field = b"X-Long: " + b"y" * 900 + b"\r\n"
    given = opened(what=about(field * 40))
    returned = given.returned.get_payload()
    assert returned == field.decode() * (16 * 1024 // len(field))


def test_a_header_without_one_whole_line_is_left_out():
    assert opened(what=about(b"X: " + b"y" * 20000)).returned.get_payload() == ""


def test_a_header_outside_ascii_comes_back_whole_in_seven_bit():
    """A-24: nothing of it is lost, and every receiver can take it (RFC 6522 3)."""
    header = ("Subject: caf\u00e9 = caf\u00e9\r\n" + "X: \u65e5 \r\n" * 40).encode()
    given = opened(what=about(header + b"X-Half: wor"))
    assert given.octets.isascii()
    assert given.returned.get_content_type() == "text/rfc822-headers"
    assert given.returned["Content-Transfer-Encoding"] == "quoted-printable"
    assert given.returned.get_payload(decode=True) == header
    assert max(map(len, given.octets.split(b"\r\n"))) <= 78


@pytest.mark.parametrize("kind", NoticeKind)
def test_every_notice_is_seven_bit_with_short_lines(kind):
    octets = composed(kind, (line(action=Action.DELAYED),)).octets
    assert octets.isascii()
    lines = octets.split(b"\r\n")
    assert max(map(len, lines)) <= 998
    assert b"\n" not in b"".join(lines)
    assert b"\r" not in b"".join(lines)


@pytest.mark.parametrize("kind", NoticeKind)
def test_every_subject_is_read_back_in_both_languages(kind):
    mail = opened(kind).mail
    words = [render.TEXTS[lang]["notice"][kind.value] for lang in ("nl", "en")]
    assert mail["Subject"] == " / ".join(each["subject"] for each in words)


def test_a_subject_outside_ascii_is_folded_into_encoded_words_of_lawful_length(
    monkeypatch,
):
    words = render.NoticeWords("Niet v\u00f3\u00f3r vandaag " * 12, "tekst")
    monkeypatch.setattr(render, "notice", lambda *_args: words)
    octets = composed().octets
    raw = octets.split(b"Subject: ")[1].split(b"\r\nDate:")[0]
    assert all(len(each.strip()) <= 75 for each in raw.split(b"\r\n"))
    parts = email.header.decode_header(raw.decode())
    assert "".join(text.decode(charset) for text, charset in parts) == words.subject


def test_both_languages_are_there_dutch_first():
    text = opened().text
    assert text.index("Nederlands.") < text.index("English.")
    assert "Bel." in text
    assert "Ons kenmerk: m-1" in text


def queued(municipality="", **changes):
    job = desk.job(**changes)
    return notice.queue_notice(
        NoticeKind.FAILED,
        about(sender=job.reverse_path.mailbox),
        (line(),),
        job,
        desk.desk(municipality),
    )


def test_a_queued_notice_has_the_null_reverse_path_and_the_own_route():
    batch = queued()
    (job,) = batch.jobs
    assert job.kind is JobKind.NOTICE
    assert job.state is JobState.READY
    assert job.reverse_path.is_null
    assert job.route == desk.policy().municipalities[desk.OWNER].route
    assert (job.partner, job.regimes, job.level) == (None, frozenset(), Level.NONE)
    assert [r.mailbox for r in job.recipients] == [desk.SENDER]
    assert job.expires_at == NOW + DAY
    assert job.size_octets == len(batch.contents[0].octets)
    assert job.message == batch.contents[0].message != "message-1"


def test_a_queued_notice_is_evidence_about_the_job_it_is_about():
    (record,) = queued().records
    assert (record.event, record.kind) == ("notice-sent", "failed")
    assert (record.job, record.message) == (JobId("job-1"), "message-1")


def test_telling_nobody_is_evidence_and_nothing_else():
    batch = queued(reverse_path=ReversePath(None))
    assert (batch.contents, batch.jobs) == ((), ())
    assert desk.events(batch) == ["notice-dropped"]


def test_what_holds_content_does_not_show_it():
    given = composed()
    assert "Zaak" not in repr(about())
    assert "Nederlands" not in repr(given)
    assert "Final-Recipient" not in repr(queued().contents)
