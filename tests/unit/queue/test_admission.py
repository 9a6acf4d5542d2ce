"""What is written for a decided message, and what the sender's server is answered."""

import hmac

import pytest

from gateway.model.assurance import Assurance
from gateway.model.classification import Level
from gateway.model.ids import Code, RegimeId
from gateway.model.job import JobKind, JobState, RecipientStatus
from gateway.model.message import Body
from gateway.model.partner import Route, RouteMethod
from gateway.model.peer import TlsFacts
from gateway.model.record import Accepted, NoticeDropped, NoticeSent, RecipientsHeld
from gateway.queue.admission import admit
from tests.unit.queue import queue_desk as desk
from tests.unit.queue.queue_desk import NOW, hold, refuse, relay

PBW = RegimeId("pbw18b")


def admitted(*verdicts, **more):
    decided = desk.decided(*verdicts, **more)
    return admit(decided, desk.ids(), desk.COMMITMENT, NOW)


def message_jobs(admission):
    return [job for job in admission.batch.jobs if job.kind is JobKind.MESSAGE]


def job_addresses(job):
    return [str(r.mailbox) for r in job.recipients]


def test_a_message_that_may_go_gets_one_ready_job_one_record_and_no_notice():
    admission = admitted(relay("crisis@ggz.example"))
    (content,) = admission.batch.contents
    (job,) = admission.batch.jobs
    assert desk.events(admission.batch) == ["accepted"]
    assert (content.message, content.municipality) == ("message-1", desk.OWNER)
    assert content.octets == desk.OCTETS
    assert (job.state, job.kind, job.attempts) == (JobState.READY, JobKind.MESSAGE, 0)
    assert job.route == desk.PARTNER_ROUTE
    assert (job.partner, job.regimes, job.level) == (
        "ggz",
        {desk.WVGGZ},
        Level.CERTAIN,
    )
    assert [r.status for r in job.recipients] == [RecipientStatus.TODO]
    assert (job.accepted_at, job.next_attempt_at) == (NOW, NOW)
    assert (job.body, job.smtputf8, job.hold_code) == (Body.SEVEN_BIT, False, None)
    assert job.policy == desk.policy().digest
    assert job.size_octets == len(desk.OCTETS)


def test_the_reply_is_250_and_names_our_reference():
    reply = admitted(relay("crisis@ggz.example")).reply
    assert (reply.code, reply.enhanced) == (250, "2.0.0")
    assert "message-1" in reply.render()


def test_a_job_expires_by_the_strictest_clock_of_its_regimes():
    strict = relay("a@ggz.example")
    slow = relay("b@pi.example", regimes=frozenset({PBW}), partner="pi")
    plain = relay("c@x.example", regimes=frozenset(), partner=None)
    expiries = [j.expires_at - NOW for j in message_jobs(admitted(strict, slow, plain))]
    assert expiries == [4 * desk.HOUR, 24 * desk.HOUR, 24 * desk.HOUR]


def test_recipients_share_a_job_only_with_one_domain_and_one_security_decision():
    other = Route(RouteMethod.FIXED, Assurance.AUTHENTICATED, "mx.ggz.example")
    admission = admitted(
        relay("a@ggz.example"),
        relay("b@om.example"),
        relay("c@ggz.example"),
        relay("d@ggz.example", route=other),
        relay("e@ggz.example", partner="ggz-2"),
        relay("f@ggz.example", regimes=frozenset()),
        hold("g@ggz.example"),
        hold("h@ggz.example", "K308"),
        hold("i@ggz.example"),
    )
    assert [job_addresses(job) for job in message_jobs(admission)] == [
        ["a@ggz.example", "c@ggz.example"],
        ["b@om.example"],
        ["d@ggz.example"],
        ["e@ggz.example"],
        ["f@ggz.example"],
        ["g@ggz.example", "i@ggz.example"],
        ["h@ggz.example"],
    ]
    assert len({job.id for job in admission.batch.jobs}) == 8  # with the notice
    assert len({record.id for record in admission.batch.records}) == 4


def test_a_held_job_is_held_with_its_code_until_the_municipality_s_term():
    admission = admitted(hold("iemand@onbekend.example"))
    (job,) = message_jobs(admission)
    assert (job.state, job.hold_code) == (JobState.HELD, Code("K302"))
    assert job.expires_at == NOW + 2 * desk.HOUR
    assert (job.partner, job.regimes) == (None, {desk.WVGGZ})
    assert job.route == desk.policy().municipalities[desk.OWNER].route


def test_a_hold_is_evidence_with_its_job_code_and_term():
    admission = admitted(hold("iemand@onbekend.example"))
    (job,) = message_jobs(admission)
    (held,) = [r for r in admission.batch.records if isinstance(r, RecipientsHeld)]
    assert (held.job, held.code) == (job.id, "K302")
    assert held.expires_at == job.expires_at.isoformat()
    assert desk.addresses(held) == ["iemand@onbekend.example"]
    assert held.policy == desk.policy().digest


def test_a_hold_tells_the_sender_at_once_in_one_notice():
    batch = admitted(hold("a@x.example"), hold("b@y.example")).batch
    assert desk.events(batch) == ["accepted", "held", "held", "notice-sent"]
    notice = desk.notice_of(batch)
    assert notice.mail["Subject"].startswith("Wacht op beoordeling")
    assert notice.fields("Final-Recipient") == [
        "rfc822; a@x.example",
        "rfc822; b@y.example",
    ]
    assert notice.fields("Action") == ["delayed", "delayed"]
    assert notice.fields("Status") == ["4.7.1", "4.7.1"]


def test_the_notice_of_a_hold_names_the_term_of_the_hold_and_no_other():
    batch = admitted(relay("a@om.example", regimes=frozenset()), hold("b@x.example"))
    notice = desk.notice_of(batch.batch)
    assert notice.fields("Will-Retry-Until") == ["Wed, 25 Nov 2026 14:00:00 +0000"]


def test_relay_and_hold_together_give_one_notice_that_says_who_gets_it():
    batch = admitted(relay("goed@ggz.example"), hold("wacht@x.example")).batch
    assert desk.events(batch) == ["accepted", "held", "notice-sent"]
    notice = desk.notice_of(batch)
    assert notice.mail["Subject"].startswith("Niet aan iedereen verzonden")
    assert "goed@ggz.example\n  Het bericht is voor deze ontvanger" in notice.text
    assert "wacht@x.example" in notice.text
    assert notice.fields("Final-Recipient") == ["rfc822; wacht@x.example"]
    states = [job.state for job in batch.jobs]
    assert states == [JobState.READY, JobState.HELD, JobState.READY]


def test_a13_split_relays_to_who_may_have_it_and_lists_both_in_one_notice():
    admission = admitted(relay("goed@ggz.example"), refuse("fout@x.example"))
    assert admission.reply.code == 250
    assert desk.events(admission.batch) == ["accepted", "notice-sent"]
    (job,) = message_jobs(admission)
    assert job_addresses(job) == ["goed@ggz.example"]
    notice = desk.notice_of(admission.batch)
    assert notice.mail["Subject"].startswith("Niet aan iedereen verzonden")
    assert "goed@ggz.example" in notice.text
    assert "(K301)" in notice.text
    assert notice.fields("Final-Recipient") == ["rfc822; fout@x.example"]
    assert notice.fields("Action") == ["failed"]
    assert notice.fields("Status") == ["5.7.1"]


def test_a13_split_with_a_hold_and_a_refusal_lists_all_three():
    admission = admitted(
        refuse("fout@x.example"), hold("wacht@y.example"), relay("goed@ggz.example")
    )
    notice = desk.notice_of(admission.batch)
    assert notice.fields("Action") == ["failed", "delayed"]
    assert desk.events(admission.batch) == ["accepted", "held", "notice-sent"]
    assert all(a in notice.text for a in ("fout@x", "wacht@y", "goed@ggz"))


@pytest.mark.parametrize("other", [relay("goed@ggz.example"), hold("w@y.example")])
def test_refuse_all_refuses_everybody_and_writes_only_evidence(other):
    verdicts = (other, refuse("fout@x.example"))
    admission = admitted(*verdicts, municipality=desk.REFUSE_ALL)
    assert (admission.reply.code, admission.reply.enhanced) == (550, "5.7.1")
    assert "K301" in admission.reply.render()
    assert "<fout@x.example>" in admission.reply.render()
    batch = admission.batch
    assert (batch.contents, batch.jobs) == ((), ())
    assert desk.events(batch) == ["refused"]
    said = [desk.fact(f, "verdict") for f in batch.records[0].recipients]
    assert said[1] == "refuse"
    assert len(said) == 2


def test_refuse_all_lets_a_message_without_a_refusal_go():
    admission = admitted(relay("a@ggz.example"), municipality=desk.REFUSE_ALL)
    assert admission.reply.code == 250


def test_a_message_refused_for_all_is_answered_550_and_leaves_only_evidence():
    admission = admitted(refuse("a@x.example"), refuse("b@y.example", "K303"))
    assert admission.reply.code == 550
    assert (admission.batch.contents, admission.batch.jobs) == ((), ())
    assert desk.events(admission.batch) == ["refused"]


def test_an_accepted_record_says_who_what_and_why_but_not_the_text():
    tls = TlsFacts("TLSv1.3", "TLS_AES_256_GCM_SHA384")
    verdicts = (relay("a@ggz.example"), refuse("b@x.example"), hold("c@y.example"))
    accepted = admitted(*verdicts, tls=tls).batch.records[0]
    assert isinstance(accepted, Accepted)
    assert accepted.event == "accepted"
    assert (accepted.message, accepted.at) == ("message-1", NOW)
    assert (accepted.client, accepted.peer_address) == ("exchange", "10.1.2.3")
    assert accepted.peer_tls == "TLSv1.3 TLS_AES_256_GCM_SHA384"
    assert accepted.reverse_path == str(desk.SENDER)
    assert accepted.message_id == "<1@voorbeeldstad.example>"
    assert accepted.level == "certain"
    assert accepted.regimes == (
        (("regime", "wvggz"), ("level", "certain"), ("score", 15)),
    )
    assert dict(accepted.findings[0]) == {
        "regime": "wvggz",
        "rule": "wvggz.opname",
        "place": "body/1",
        "count": 2,
        "weight": 5,
    }
    assert accepted.unreadable == (
        (("place", "attachment:zip"), ("reason", "encrypted")),
    )
    assert [dict(facts) for facts in accepted.recipients] == [
        {
            "address": "a@ggz.example",
            "notify": None,
            "row": "12",
            "verdict": "relay",
            "partner": "ggz",
            "method": "mx",
            "least": "authenticated",
        },
        {
            "address": "b@x.example",
            "notify": None,
            "row": "4",
            "verdict": "refuse",
            "code": "K301",
        },
        {
            "address": "c@y.example",
            "notify": None,
            "row": "5a",
            "verdict": "hold",
            "code": "K302",
        },
    ]
    assert desk.BODY_CANARY not in repr(accepted)


def test_a_session_without_tls_is_said_to_have_none():
    assert admitted(relay("a@ggz.example")).batch.records[0].peer_tls is None


def test_the_content_digest_is_keyed_and_its_key_stands_in_the_opening():
    accepted = admitted(relay("a@ggz.example")).batch.records[0]
    expected = hmac.new(desk.SECRET, desk.OCTETS, "sha256").hexdigest()
    assert accepted.content_digest == expected
    assert accepted.content_key == desk.SECRET.hex()


def test_a_null_reverse_path_is_told_at_notices_to():
    batch = admitted(
        hold("a@x.example"), sender=None, municipality=desk.WITH_NOTICES_TO
    ).batch
    notice_job = batch.jobs[-1]
    assert notice_job.kind is JobKind.NOTICE
    assert job_addresses(notice_job) == [str(desk.NOTICES)]
    (sent,) = [r for r in batch.records if isinstance(r, NoticeSent)]
    assert sent.addressee == str(desk.NOTICES)
    assert batch.records[0].reverse_path == ""


def test_a_null_reverse_path_without_notices_to_is_told_nobody_and_that_is_evidence():
    batch = admitted(hold("a@x.example"), sender=None).batch
    assert [job.kind for job in batch.jobs] == [JobKind.MESSAGE]
    assert len(batch.contents) == 1
    (dropped,) = [r for r in batch.records if isinstance(r, NoticeDropped)]
    assert (dropped.kind, dropped.job) == ("held", batch.jobs[0].id)
    assert "null reverse-path" in dropped.why


def test_the_notice_is_written_together_with_the_message_and_cites_its_job():
    batch = admitted(hold("a@x.example")).batch
    message, notice = batch.contents
    sent = batch.records[-1]
    assert message.message == "message-1"
    assert sent.notice == notice.message == batch.jobs[-1].message
    assert (sent.message, sent.job) == ("message-1", batch.jobs[0].id)
    assert (sent.kind, sent.addressee) == ("held", str(desk.SENDER))
