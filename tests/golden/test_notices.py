"""The octets of one notice of each kind, changed only on purpose.

To write them anew: `python -m tests.golden.test_notices`, and read the difference.
"""

import dataclasses
import email
import email.policy
import pathlib

import pytest

from gateway.model.assurance import TlsResult
from gateway.model.ids import Code
from gateway.model.job import JobState
from gateway.model.message import MessageWish
from gateway.model.reply import Cause, Status
from gateway.queue import settlement
from gateway.queue.admission import admit
from gateway.queue.notice import NoticeKind
from tests.unit.queue import queue_desk as desk
from tests.unit.queue.queue_desk import HEADER, HOUR, NOW

PLACE = pathlib.Path(__file__).parent / "notices"
FIRST, SECOND = "crisis@ggz.example", "achterwacht@ggz.example"


def failed():
    """One refused by the hop; one given up for a certificate, and perhaps arrived."""
    unknown = desk.result(SECOND, Status.UNKNOWN, code=Code("K410"))
    refused = desk.result(
        FIRST,
        Status.FAILED,
        cause=Cause.HOP_REPLY,
        code=Code("K409"),
        reply=desk.reply(550, "5.1.1", "mailbox unknown"),
    )
    mismatch = desk.result(
        SECOND,
        Status.DEFERRED,
        cause=Cause.TLS,
        code=Code("K404"),
        tls_result=TlsResult.CERTIFICATE_HOST_MISMATCH,
    )
    start = desk.job(FIRST, SECOND)
    waiting = desk.result(FIRST, Status.DEFERRED, code=Code("K406"))
    first = settlement.settle(
        start, desk.outcome(waiting, unknown), HEADER, desk.desk()
    )
    again = dataclasses.replace(first.job, state=JobState.LEASED)
    outcome = desk.outcome(refused, mismatch, hops=(desk.hop(),))
    late = desk.desk(now=NOW + 4 * HOUR)
    return settlement.settle(again, outcome, HEADER, late).batch


def delayed():
    bogus = desk.result(
        FIRST,
        Status.DEFERRED,
        cause=Cause.DNS_BOGUS,
        code=Code("K402"),
        tls_result=TlsResult.DNSSEC_INVALID,
    )
    late = desk.desk(now=NOW + HOUR)
    return settlement.settle(desk.job(FIRST), desk.outcome(bogus), HEADER, late).batch


def held():
    return _admitted(desk.hold("iemand@onbekend.example"))


def hold_expired():
    job = desk.job(
        "iemand@onbekend.example", state=JobState.HELD, hold_code=Code("K302")
    )
    late = desk.desk(now=NOW + 2 * HOUR)
    return settlement.expire_hold(job, HEADER, late).batch


def split():
    return _admitted(
        desk.relay(FIRST),
        desk.refuse("iedereen@onbekend.example"),
        desk.hold("iemand@anders.example"),
    )


def relayed():
    """ENVID and ORCPT come back; the hop does not offer DSN."""
    recipient = desk.wishing(
        FIRST, "SUCCESS", orcpt="rfc822;Crisis+2BDienst@ggz.example"
    )
    wish = MessageWish(envid="QQ314159+2B1")
    job = desk.job(recipients=(recipient,), wish=wish)
    taken = desk.result(
        FIRST, Status.DELIVERED, reply=desk.reply(250, "2.0.0", "queued as 4711")
    )
    outcome = desk.outcome(taken, hops=(desk.hop(),))
    return settlement.settle(job, outcome, HEADER, desk.desk()).batch


def _admitted(*verdicts):
    return admit(desk.decided(*verdicts), desk.ids(), desk.COMMITMENT, NOW).batch


NOTICES = {
    NoticeKind.FAILED: failed,
    NoticeKind.DELAYED: delayed,
    NoticeKind.HELD: held,
    NoticeKind.HOLD_EXPIRED: hold_expired,
    NoticeKind.SPLIT: split,
    NoticeKind.RELAYED: relayed,
}


def written(kind):
    return desk.notice_of(NOTICES[kind]()).octets


def golden(kind):
    return (PLACE / f"{kind.value}.eml").read_bytes()


def test_there_is_a_golden_notice_of_each_kind():
    assert set(NOTICES) == set(NoticeKind)
    assert {p.stem for p in PLACE.iterdir()} == {kind.value for kind in NoticeKind}


@pytest.mark.parametrize("kind", NoticeKind)
def test_a_notice_is_written_as_it_always_was(kind):
    assert golden(kind) == written(kind)


@pytest.mark.parametrize("kind", NoticeKind)
def test_the_standard_library_reads_it_as_a_report_without_a_defect(kind):
    mail = email.message_from_bytes(golden(kind), policy=email.policy.default)
    assert mail.get_content_type() == "multipart/report"
    assert mail.get_param("report-type") == "delivery-status"
    parts = list(mail.walk())
    assert [part.defects for part in parts] == [[]] * len(parts)
    assert [part.get_content_type() for part in mail.iter_parts()] == [
        "text/plain",
        "message/delivery-status",
        "text/rfc822-headers",
    ]


@pytest.mark.parametrize("kind", NoticeKind)
def test_its_delivery_status_has_all_that_rfc_3464_asks(kind):
    notice = desk.Opened(golden(kind))
    assert notice.message_fields["Reporting-MTA"].startswith("dns; ")
    assert notice.recipients
    for fields in notice.recipients:
        assert fields["Final-Recipient"].startswith("rfc822; ")
        assert fields["Action"] in {"failed", "delayed", "relayed"}
        klass = {"failed": "5", "delayed": "4", "relayed": "2"}[fields["Action"]]
        assert fields["Status"].split(".")[0] == klass
        assert len(fields["Status"].split(".")) == 3


@pytest.mark.parametrize("kind", NoticeKind)
def test_it_is_seven_bit_with_lines_of_lawful_length(kind):
    octets = golden(kind)
    assert octets.isascii()
    assert octets.count(b"\r") == octets.count(b"\n") == octets.count(b"\r\n")
    assert max(map(len, octets.split(b"\r\n"))) <= 998


@pytest.mark.parametrize("kind", NoticeKind)
def test_it_holds_the_header_of_the_message_and_nothing_of_its_body(kind):
    notice = desk.Opened(golden(kind))
    assert notice.returned.get_payload() == HEADER.decode()
    for part in notice.mail.walk():
        payload = part.get_payload(decode=True) or b""
        assert desk.BODY_CANARY.encode() not in payload
    assert desk.BODY_CANARY.encode() not in notice.octets


@pytest.mark.parametrize("kind", NoticeKind)
def test_it_speaks_dutch_and_then_english_and_names_our_reference(kind):
    text = desk.Opened(golden(kind)).text
    dutch, english = text.split("-" * 60)
    assert "uw bericht" in dutch.lower()
    assert "your message" in english.lower()
    assert "message-1" in dutch
    assert "message-1" in english


if __name__ == "__main__":
    for each in NoticeKind:
        (PLACE / f"{each.value}.eml").write_bytes(written(each))
