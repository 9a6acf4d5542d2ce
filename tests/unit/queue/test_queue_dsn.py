"""What senders asked for (NOTIFY, ENVID, ORCPT) and what they get of us (A-26, G-12)."""

import dataclasses

import pytest

from gateway.model.address import Domain, Mailbox, ReversePath
from gateway.model.ids import Code
from gateway.model.job import JobKind, JobRecipient, JobState
from gateway.model.message import MessageWish, Notify, RecipientWish, Ret
from gateway.model.reply import Cause, Status
from gateway.queue import notice, settlement
from gateway.queue.admission import admit
from gateway.queue.dsn import Action, NoticeLine, is_wanted, status_part
from gateway.queue.notice import About, NoticeKind
from gateway.texts import render
from tests.unit.queue import queue_desk as desk
from tests.unit.queue.queue_desk import HEADER, HOUR, MINUTE, NOW, notify, wishing

A, B, C, D = (f"{name}@ggz.example" for name in "abcd")
REASON = render.Explained("K404", "Nederlands.", "English.", "Bel.", "Call.")
OVER = NOW + 4 * HOUR
TAKEN = desk.reply(250, "2.0.0", "queued")


def settled(job, *results, now=NOW + MINUTE, municipality=""):
    outcome = desk.outcome(*results, hops=(desk.hop(),))
    given = settlement.settle(job, outcome, HEADER, desk.desk(municipality, now))
    return given.batch


def failed(address):
    return desk.result(address, Status.FAILED, code=Code("K407"))


def taken(address, dsn=False):
    return desk.result(address, Status.DELIVERED, reply=TAKEN, dsn=dsn)


def status(*lines, envid=None):
    return status_part(lines, desk.HOSTNAME, NOW, envid, None)


def line(address=A, **more):
    mailbox = Mailbox.parse(address, smtputf8=True)
    return NoticeLine(mailbox, Action.FAILED, "5.1.1", REASON, **more)


# --- NOTIFY -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (None, {Notify.FAILURE, Notify.DELAY}),
        (("NEVER",), set()),
        (("SUCCESS",), {Notify.SUCCESS}),
        (("FAILURE",), {Notify.FAILURE}),
        (("DELAY",), {Notify.DELAY}),
        (("SUCCESS", "DELAY"), {Notify.SUCCESS, Notify.DELAY}),
    ],
)
def test_a26_a_sender_hears_what_notify_names_and_no_more(words, wanted):
    wish = RecipientWish() if words is None else notify(*words)
    events = (Notify.SUCCESS, Notify.FAILURE, Notify.DELAY)
    assert {event for event in events if is_wanted(wish, event)} == wanted


def test_a26_one_of_several_events_is_enough():
    assert is_wanted(RecipientWish(), Notify.FAILURE, Notify.DELAY)
    assert is_wanted(notify("DELAY"), Notify.FAILURE, Notify.DELAY)
    assert not is_wanted(notify("SUCCESS"), Notify.FAILURE, Notify.DELAY)


def test_a26_mixed_notify_over_three_recipients_tells_of_those_that_asked():
    job = desk.job(
        recipients=(
            wishing(A, "NEVER"),
            wishing(B, "FAILURE"),
            wishing(C, "SUCCESS"),
            JobRecipient(desk.mailbox(D)),
        )
    )
    batch = settled(job, *map(failed, (A, B, C, D)))
    assert desk.events(batch) == ["failed", "notice-sent", "notice-dropped"]
    assert desk.addresses(batch.records[0]) == [A, B, C, D]
    assert desk.notice_of(batch).fields("Final-Recipient") == [
        f"rfc822; {B}",
        f"rfc822; {D}",
    ]
    assert A not in desk.notice_of(batch).text
    assert batch.records[2].why == "the sender wants no such notice (NOTIFY)"


def test_a26_never_is_never_and_evidence_says_so():
    batch = settled(desk.job(recipients=(wishing(A, "NEVER"),)), failed(A))
    assert batch.jobs == ()
    assert desk.events(batch) == ["failed", "notice-dropped"]
    assert (batch.records[1].kind, batch.records[1].job) == ("failed", "job-1")


def test_a26_a_delay_is_told_to_who_wants_it_once():
    recipients = (wishing(A, "FAILURE"), wishing(B, "DELAY"))
    job = desk.job(recipients=recipients)
    waiting = [desk.result(r, Status.DEFERRED, cause=Cause.UNREACHABLE) for r in (A, B)]
    first = settlement.settle(
        job, desk.outcome(*waiting), HEADER, desk.desk(now=NOW + HOUR)
    )
    assert desk.notice_of(first.batch).fields("Final-Recipient") == [f"rfc822; {B}"]
    assert desk.events(first.batch) == ["deferred", "notice-sent", "notice-dropped"]
    again = dataclasses.replace(first.job, state=JobState.LEASED)
    assert desk.events(settled(again, *waiting, now=NOW + 2 * HOUR)) == ["deferred"]


def test_a26_expiry_is_a_failure():
    job = desk.job(recipients=(wishing(A, "DELAY"), wishing(B, "FAILURE")))
    waiting = [desk.result(r, Status.DEFERRED, cause=Cause.UNREACHABLE) for r in (A, B)]
    batch = settled(job, *waiting, now=OVER)
    assert desk.notice_of(batch).fields("Final-Recipient") == [f"rfc822; {B}"]


# --- SUCCESS and Action: relayed --------------------------------------------


def test_a26_a_hop_without_dsn_makes_us_say_relayed_and_never_delivered():
    """INV-7: accepted by the next hop is not delivered."""
    job = desk.job(recipients=(wishing(A, "SUCCESS"), wishing(B, "FAILURE")))
    batch = settled(job, taken(A), taken(B))
    notice_sent = batch.records[-1]
    assert (notice_sent.event, notice_sent.kind) == ("notice-sent", "relayed")
    given = desk.notice_of(batch)
    assert given.fields("Action") == ["relayed"]
    assert given.fields("Status") == ["2.0.0"]
    assert given.fields("Final-Recipient") == [f"rfc822; {A}"]
    assert given.fields("Remote-MTA") == ["dns; mx1.ggz.example"]
    assert given.fields("Diagnostic-Code") == ["smtp; 250 2.0.0 queued"]
    assert "Of het is afgeleverd, meldt die server niet" in given.text
    assert b"Action: delivered" not in given.octets


def test_a26_a_hop_with_dsn_is_the_one_to_tell():
    job = desk.job(recipients=(wishing(A, "SUCCESS"),))
    batch = settled(job, taken(A, dsn=True))
    assert desk.events(batch) == ["delivered"]
    assert batch.jobs == ()


@pytest.mark.parametrize(
    ("enhanced", "expected"),
    [("2.1.5", "2.1.5"), (None, "2.0.0"), ("4.0.0", "2.0.0")],
)
def test_a_relayed_recipient_has_the_status_that_the_hop_said(enhanced, expected):
    job = desk.job(recipients=(wishing(A, "SUCCESS"),))
    result = desk.result(A, Status.DELIVERED, reply=desk.reply(250, enhanced))
    assert desk.notice_of(settled(job, result)).fields("Status") == [expected]


def test_a_delivery_without_a_known_reply_is_relayed_too():
    job = desk.job(recipients=(wishing(A, "SUCCESS"),))
    given = desk.notice_of(settled(job, desk.result(A, Status.DELIVERED)))
    assert (given.fields("Status"), given.fields("Remote-MTA")) == (["2.0.0"], [None])


def test_success_of_one_and_failure_of_another_are_two_notices():
    job = desk.job(recipients=(wishing(A, "SUCCESS", "FAILURE"), wishing(B, "FAILURE")))
    batch = settled(job, taken(A), failed(B))
    kinds = [r.kind for r in batch.records if r.event == "notice-sent"]
    assert kinds == ["failed", "relayed"]


# --- no sender --------------------------------------------------------------


def test_a06_mail_without_a_sender_is_told_to_the_own_mailbox_whatever_notify_says():
    recipients = (wishing(A, "NEVER"), wishing(B, "SUCCESS"))
    job = desk.job(recipients=recipients, reverse_path=ReversePath(None))
    batch = settled(job, failed(A), taken(B), municipality=desk.WITH_NOTICES_TO)
    assert desk.events(batch) == ["delivered", "failed", "notice-sent"]
    assert batch.records[2].addressee == str(desk.NOTICES)
    assert desk.notice_of(batch).fields("Final-Recipient") == [f"rfc822; {A}"]


def test_a06_a_hold_of_mail_without_a_sender_is_told_to_the_own_mailbox():
    decided = desk.decided(
        desk.hold(A),
        sender=None,
        wishes={A: notify("NEVER")},
        municipality=desk.WITH_NOTICES_TO,
    )
    batch = admit(decided, desk.ids(), desk.COMMITMENT, NOW).batch
    assert batch.records[-1].addressee == str(desk.NOTICES)


# --- ENVID and ORCPT --------------------------------------------------------


@pytest.mark.parametrize(
    ("envid", "expected"),
    [
        ("aBc+2B", "aBc+"),
        ("QQ314159", "QQ314159"),
        ("a+20b+3Dc", "a b=c"),
        ("x+0D+0ABcc:+20evil", "x+0D+0ABcc:+20evil"),  # may not end the field
        ("x+C3+A9", "x+C3+A9"),
        ("x+7F", "x+7F"),
    ],
)
def test_a26_the_envelope_id_comes_back_decoded_when_that_is_safe(envid, expected):
    text = status(line(), envid=envid)
    assert text.startswith(f"Original-Envelope-Id: {expected}\r\nReporting-MTA: ")
    assert text.count("\r\n\r\n") == 1


def test_a26_without_an_envelope_id_there_is_no_such_field():
    assert "Original-Envelope-Id" not in status(line())


@pytest.mark.parametrize(
    ("orcpt", "expected"),
    [
        ("rfc822;Jan+2Bx@example.nl", "rfc822; Jan+x@example.nl"),
        ("RFC822;Jan@Example.NL", "RFC822; Jan@Example.NL"),
        ("rfc822;jan+0D+0AX:+20y@example.nl", "rfc822; jan+0D+0AX:+20y@example.nl"),
        ("x400;+2FC+3Dnl", "x400; /C=nl"),
        ("utf-8;j\\x{F6}rg@example.nl", "utf-8; j\\x{F6}rg@example.nl"),
        ("utf-8;j\u00f6rg@example.nl", "utf-8; j\\x{F6}rg@example.nl"),
    ],
)
def test_a26_the_original_recipient_comes_back_as_it_was_named(orcpt, expected):
    text = status(line(orcpt=orcpt))
    assert text.isascii()
    assert f"\r\n\r\nOriginal-Recipient: {expected}\r\nFinal-Recipient: " in text


def test_a26_envid_and_orcpt_reach_the_notice_of_a_failure():
    job = desk.job(
        recipients=(wishing(A, "FAILURE", orcpt="rfc822;Oud@ggz.example"),),
        wish=MessageWish(Ret.FULL, "QQ+2B1"),
    )
    given = desk.notice_of(settled(job, failed(A)))
    assert given.message_fields["Original-Envelope-Id"] == "QQ+1"
    assert given.fields("Original-Recipient") == ["rfc822; Oud@ggz.example"]


def test_g12_ret_full_never_brings_content_back():
    job = desk.job(A, wish=MessageWish(ret=Ret.FULL))
    given = desk.notice_of(settled(job, failed(A)))
    assert given.returned.get_content_type() == "text/rfc822-headers"
    assert given.returned.get_payload() == HEADER.decode()


# --- at acceptance ----------------------------------------------------------


def admitted(*verdicts, **more):
    decided = desk.decided(*verdicts, **more)
    return admit(decided, desk.ids(), desk.COMMITMENT, NOW).batch


WISH = MessageWish(Ret.HDRS, "aBc+2B", requiretls=True)


def test_a26_a35_wishes_go_into_jobs_held_ones_too_and_into_evidence():
    wishes = {A: notify("SUCCESS", "DELAY", orcpt="rfc822;X@y"), B: notify("FAILURE")}
    batch = admitted(
        desk.relay(A), desk.relay(C), desk.hold(B), wish=WISH, wishes=wishes
    )
    going, held, told = batch.jobs
    assert [job.wish for job in (going, held)] == [WISH, WISH]
    assert [r.wish for r in going.recipients] == [wishes[A], RecipientWish()]
    assert [r.wish for r in held.recipients] == [wishes[B]]
    assert told.kind is JobKind.NOTICE
    accepted = batch.records[0]
    assert (accepted.requiretls, accepted.envid) == (True, "aBc+2B")
    said = [desk.fact(facts, "notify") for facts in accepted.recipients]
    assert said == ["SUCCESS,DELAY", None, "FAILURE"]


def test_a26_a_hold_and_a_refusal_are_told_of_who_the_sender_wants_to_hear():
    batch = admitted(
        desk.relay(A),
        desk.relay(D),
        desk.hold(B),
        desk.refuse(C),
        wishes={A: notify("SUCCESS"), D: notify("NEVER"), C: notify("NEVER")},
    )
    given = desk.notice_of(batch)
    assert given.fields("Final-Recipient") == [f"rfc822; {B}"]
    assert A in given.text
    assert C not in given.text
    assert D not in given.text
    assert desk.events(batch)[-2:] == ["notice-sent", "notice-dropped"]


@pytest.mark.parametrize("words", [("FAILURE",), ("DELAY",)])
def test_a26_a_hold_is_told_to_who_wants_to_hear_of_failure_or_delay(words):
    batch = admitted(desk.hold(A), wishes={A: notify(*words)})
    assert desk.notice_of(batch).fields("Action") == ["delayed"]


@pytest.mark.parametrize("word", ["NEVER", "SUCCESS"])
def test_a26_a_hold_nobody_wants_to_hear_of_is_evidence_only(word):
    batch = admitted(desk.relay(B), desk.hold(A), wishes={A: notify(word)})
    assert [job.kind for job in batch.jobs] == [JobKind.MESSAGE] * 2
    assert desk.events(batch) == ["accepted", "held", "notice-dropped"]
    assert batch.records[2].kind == "split"


def test_a26_envid_and_orcpt_reach_the_notice_of_a_hold():
    wishes = {A: RecipientWish(orcpt="rfc822;Oud@ggz.example")}
    given = desk.notice_of(admitted(desk.hold(A), wish=WISH, wishes=wishes))
    assert given.message_fields["Original-Envelope-Id"] == "aBc+"
    assert given.fields("Original-Recipient") == ["rfc822; Oud@ggz.example"]


def hold_expired(*recipients):
    job = desk.job(recipients=recipients, state=JobState.HELD, hold_code=Code("K302"))
    return settlement.expire_hold(job, HEADER, desk.desk(now=NOW + HOUR)).batch


def test_a26_an_expired_hold_is_a_failure():
    batch = hold_expired(
        wishing(A, "FAILURE", orcpt="rfc822;Oud@x"), wishing(B, "DELAY")
    )
    given = desk.notice_of(batch)
    assert given.fields("Final-Recipient") == [f"rfc822; {A}"]
    assert given.fields("Original-Recipient") == ["rfc822; Oud@x"]
    assert desk.events(batch) == ["hold-expired", "notice-sent", "notice-dropped"]


def test_a26_an_expired_hold_nobody_wants_to_hear_of_is_evidence_only():
    batch = hold_expired(wishing(A, "NEVER"))
    assert batch.jobs == ()
    assert desk.events(batch) == ["hold-expired", "notice-dropped"]


# --- the notice itself ------------------------------------------------------


def test_a26_a_notice_asks_for_no_notice_about_itself():
    (job,) = settled(desk.job(A), failed(A)).jobs
    assert [r.wish for r in job.recipients] == [notify("NEVER")]
    assert job.wish == MessageWish()


def test_a35_a_notice_about_requiretls_mail_has_that_tag():
    (job,) = settled(desk.job(A, wish=WISH), failed(A)).jobs
    assert job.wish == MessageWish(requiretls=True)
    held = admitted(desk.hold(A), wish=WISH)
    assert [job.wish.requiretls for job in held.jobs] == [True, True]


def test_a35_a_redacted_notice_has_no_header_of_the_message_and_is_still_a_report():
    batch = settled(desk.job(A), failed(A))
    whole = batch.contents[0].octets
    given = notice.redacted(whole)
    assert given == whole[: len(given) - len(b"--\r\n")] + b"--\r\n"
    mail = desk.email.message_from_bytes(given, policy=desk.email.policy.default)
    assert [part.defects for part in mail.walk()] == [[]] * len(list(mail.walk()))
    human, report = mail.iter_parts()
    assert report.get_content_type() == "message/delivery-status"
    assert "message-1" in human.get_content()
    assert b"Zaak" in whole
    assert b"Zaak" not in given


# --- addresses outside ASCII (A-24) -----------------------------------------

JORG = Mailbox("j\u00f6rg+x", Domain("ggz.example"))


def test_a24_a_recipient_outside_ascii_is_named_in_a_form_that_ascii_can_carry():
    given = status(NoticeLine(JORG, Action.FAILED, "5.6.7", REASON))
    assert given.isascii()
    assert "Final-Recipient: utf-8; j\\x{F6}rg\\x{2B}x@ggz.example\r\n" in given


def composed(sender):
    about = About("m-1", ReversePath(sender), HEADER, NOW, None)
    lines = (NoticeLine(JORG, Action.FAILED, "5.6.7", REASON),)
    job = desk.job(reverse_path=ReversePath(sender))
    return notice.queue_notice(NoticeKind.FAILED, about, lines, job, desk.desk())


def test_a24_a_notice_about_such_a_recipient_goes_to_an_ascii_sender_anywhere():
    batch = composed(desk.SENDER)
    (job,), (content,) = batch.jobs, batch.contents
    assert content.octets.isascii()
    assert (job.smtputf8, job.body.value) == (False, "7BIT")
    assert str(JORG) in desk.Opened(content.octets).text


def test_a24_a_notice_to_a_sender_outside_ascii_needs_smtputf8_and_loses_nothing():
    sender = Mailbox("andr\u00e9", Domain("voorbeeldstad.example"))
    batch = composed(sender)
    (job,), (content,) = batch.jobs, batch.contents
    assert (job.smtputf8, job.body.value) == (True, "8BITMIME")
    assert f"\r\nTo: {sender}\r\n".encode() in content.octets
    assert [r.mailbox for r in job.recipients] == [sender]
