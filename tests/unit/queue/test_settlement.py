"""What an attempt means: next state, records, notices (B-41, B-50 ... B-53, INV-4)."""

import dataclasses
import datetime
import hashlib

import pytest

from gateway.model.address import ReversePath
from gateway.model.assurance import Mechanism, TlsResult
from gateway.model.ids import Code
from gateway.model.job import JobKind, JobRecipient, JobState, RecipientStatus
from gateway.model.peer import TlsFacts
from gateway.model.record import Expired
from gateway.model.reply import Cause, Status
from gateway.model.verdict import Reason
from gateway.queue import settlement
from gateway.queue.states import ImpossibleMoveError
from gateway.trust.chain import Chain
from tests import certs
from tests.unit.queue import queue_desk as desk
from tests.unit.queue.queue_desk import (
    HEADER,
    HOUR,
    MINUTE,
    NOW,
    job,
    outcome,
    reply,
    result,
)

A, B, C, D = (f"{name}@ggz.example" for name in "abcd")
SECOND = datetime.timedelta(seconds=1)
OVER = NOW + 4 * HOUR
UNCERTAIN = "misschien is het bericht toch aangekomen"


def settled(of, *results, now=NOW + MINUTE, hops=(), municipality=""):
    given = outcome(*results, hops=hops)
    return settlement.settle(of, given, HEADER, desk.desk(municipality, now))


def statuses(of):
    return [r.status for r in of.recipients]


def result_of(status, address=A, **more):
    return result(address, Status(status), **more)


# --- next state -------------------------------------------------------------


def test_each_recipient_gets_its_own_status_and_the_job_waits_for_the_open_ones():
    done = settled(
        job(A, B, C, D),
        result_of("delivered", A),
        result_of("failed", B, code=Code("K409")),
        result_of("deferred", C, cause=Cause.HOP_REPLY),
        result_of("unknown", D, cause=Cause.HOP_SILENT),
    )
    assert statuses(done.job) == [
        RecipientStatus.DELIVERED,
        RecipientStatus.FAILED,
        RecipientStatus.TODO,
        RecipientStatus.TODO,
    ]
    assert [r.uncertain for r in done.job.recipients] == [False, False, False, True]
    assert done.job.state is JobState.WAITING
    assert (done.job.attempts, done.job.unknowns) == (1, 1)
    assert done.job.last_cause == "hop-reply"
    assert desk.events(done.batch) == [
        "delivered",
        "failed",
        "deferred",
        "delivery-unknown",
        "notice-sent",
    ]
    assert [desk.addresses(r) for r in done.batch.records[:4]] == [[A], [B], [C], [D]]


def test_a_job_is_done_when_nobody_is_open_any_more():
    done = settled(job(A, B), result_of("delivered", A), result_of("failed", B))
    assert done.job.state is JobState.DONE
    assert done.job.open_recipients == ()


def test_a_delivery_without_trouble_tells_nobody():
    done = settled(job(A), result_of("delivered"))
    assert desk.events(done.batch) == ["delivered"]
    assert done.batch.jobs == ()
    assert done.job.last_cause is None


def test_a_terminal_recipient_is_left_alone_whatever_comes():
    delivered = JobRecipient(desk.mailbox(A), RecipientStatus.DELIVERED)
    of = job(recipients=(delivered, JobRecipient(desk.mailbox(B))))
    done = settled(of, result_of("failed", A), result_of("deferred", B))
    assert done.job.recipients[0] == delivered


def test_a_recipient_without_a_result_stays_open():
    done = settled(job(A, B), result_of("delivered", A))
    assert statuses(done.job) == [RecipientStatus.DELIVERED, RecipientStatus.TODO]
    assert done.job.state is JobState.WAITING


def test_the_first_retry_comes_after_the_first_interval_of_the_clock():
    done = settled(job(A), result_of("deferred"), now=NOW)
    assert 30 * SECOND <= done.job.next_attempt_at - NOW <= 36 * SECOND
    again = dataclasses.replace(done.job, state=JobState.LEASED)
    then = done.job.next_attempt_at
    done = settled(again, result_of("deferred"), now=then)
    assert 60 * SECOND <= done.job.next_attempt_at - then <= 72 * SECOND


def test_a_result_clears_the_intent():
    done = settled(job(A, intent_at=NOW), result_of("deferred"))
    assert done.job.intent_at is None


@pytest.mark.parametrize("state", [JobState.READY, JobState.HELD, JobState.DONE])
def test_only_a_leased_job_can_be_settled(state):
    with pytest.raises(ImpossibleMoveError):
        settled(job(A, state=state), result_of("deferred"))


# --- records ----------------------------------------------------------------


def test_a_record_says_what_the_hop_answered():
    said = reply(550, "5.1.1", "no such user")
    done = settled(job(A), result_of("failed", code=Code("K409"), reply=said))
    (record, _) = done.batch.records
    assert (record.event, record.job, record.attempt) == ("failed", "job-1", 1)
    assert (record.message, record.policy) == ("message-1", desk.policy().digest)
    assert dict(record.recipients[0]) == {
        "address": A,
        "cause": None,
        "tls_result": None,
        "code": "K409",
        "reply_code": 550,
        "reply_status": "5.1.1",
        "reply_text": "no such user",
    }


def test_a_record_says_what_was_wrong_with_tls():
    failed = result_of(
        "deferred",
        cause=Cause.TLS,
        tls_result=TlsResult.CERTIFICATE_HOST_MISMATCH,
        code=Code("K404"),
    )
    (record,) = settled(job(A), failed).batch.records
    facts = dict(record.recipients[0])
    assert facts["tls_result"] == "certificate-host-mismatch"
    assert facts["cause"] == "tls"
    assert facts["reply_code"] is None


def test_a_record_says_what_was_seen_of_each_hop():
    leaf, root = certs.self_signed(), certs.make_ca("root")
    chain = (*leaf.chain_der, *root.chain_der)
    tls = TlsFacts("TLSv1.3", "TLS_AES_256_GCM_SHA384", chain)
    hops = (
        desk.hop(
            host="mx0.ggz.example",
            address=None,
            mechanism=None,
            tls=None,
            matched=None,
            tls_result=TlsResult.STARTTLS_NOT_SUPPORTED,
            detail="no STARTTLS",
        ),
        desk.hop(tls=tls),
    )
    (record,) = settled(job(A), result_of("delivered"), hops=hops).batch.records
    first, second = map(dict, record.hops)
    assert (first["host"], first["address"], first["mechanism"]) == (
        "mx0.ggz.example",
        None,
        None,
    )
    assert first["tls_result"] == "starttls-not-supported"
    assert (first["chain_length"], first["leaf_sha256"]) == (0, None)
    assert second["mechanism"] == Mechanism.DANE_EE.value
    assert second["tls_version"] == "TLSv1.3"
    assert second["matched"] == "tlsa 3 1 1"
    assert second["chain_length"] == 2
    assert second["chain_sha256"] == hashlib.sha256(b"".join(chain)).hexdigest()
    assert second["leaf_sha256"] == hashlib.sha256(chain[0]).hexdigest()
    assert second["leaf_spki_sha256"] == Chain(chain).spki_sha256
    assert second["ended_at"] == (NOW + 2 * SECOND).isoformat()


def test_a_chain_that_cannot_be_read_is_still_fingerprinted():
    tls = TlsFacts("TLSv1.2", "X", (b"no certificate",))
    (record,) = settled(
        job(A), result_of("deferred"), hops=(desk.hop(tls=tls),)
    ).batch.records
    facts = dict(record.hops[0])
    assert facts["leaf_spki_sha256"] is None
    assert facts["leaf_sha256"] == hashlib.sha256(b"no certificate").hexdigest()


def test_a_deferral_says_when_the_next_attempt_is():
    done = settled(job(A), result_of("deferred"))
    (record,) = done.batch.records
    assert record.next_attempt_at == done.job.next_attempt_at.isoformat()


def test_results_of_one_kind_share_a_record_and_ids_are_never_reused():
    done = settled(job(A, B), result_of("failed", A), result_of("failed", B))
    assert desk.events(done.batch) == ["failed", "notice-sent"]
    assert desk.addresses(done.batch.records[0]) == [A, B]
    assert len({record.id for record in done.batch.records}) == 2


# --- possible duplicates (B-52) ---------------------------------------------


def test_the_first_unknown_outcome_says_that_a_copy_may_exist():
    (record,) = settled(job(A), result_of("unknown")).batch.records
    assert (record.event, record.possible_duplicate) == ("delivery-unknown", True)


def test_a_delivery_after_an_unknown_outcome_is_a_possible_duplicate():
    first = settled(job(A), result_of("unknown")).job
    again = dataclasses.replace(first, state=JobState.LEASED)
    done = settled(again, result_of("delivered"))
    assert done.batch.records[0].possible_duplicate
    assert (done.job.unknowns, done.job.attempts) == (1, 2)
    assert done.job.recipients[0].uncertain


def test_only_who_may_have_a_copy_is_said_to_have_one():
    first = settled(job(A, B), result_of("unknown", A), result_of("deferred", B))
    flags = {r.event: r.possible_duplicate for r in first.batch.records}
    assert flags == {"deferred": False, "delivery-unknown": True}
    again = dataclasses.replace(first.job, state=JobState.LEASED)
    done = settled(again, result_of("delivered", A), result_of("failed", B))
    flags = {r.event: r.possible_duplicate for r in done.batch.records[:2]}
    assert flags == {"delivered": True, "failed": False}
    assert UNCERTAIN not in desk.notice_of(done.batch).text


def test_each_unknown_attempt_counts_once_however_many_recipients_it_had():
    first = settled(job(A, B), result_of("unknown", A), result_of("unknown", B)).job
    again = dataclasses.replace(first, state=JobState.LEASED)
    second = settled(again, result_of("unknown", A), result_of("deferred", B))
    assert second.job.unknowns == 2


# --- giving up --------------------------------------------------------------


def test_what_was_tried_and_is_too_old_expires():
    done = settled(job(A), result_of("deferred", code=Code("K404")), now=OVER)
    assert statuses(done.job) == [RecipientStatus.EXPIRED]
    assert done.job.state is JobState.DONE
    assert desk.events(done.batch) == ["deferred", "expired", "notice-sent"]
    assert done.batch.records[0].next_attempt_at == ""


def test_a_job_that_was_never_tried_gets_its_attempt_however_old_it_is():
    late = settled(job(A), result_of("delivered"), now=OVER + 24 * HOUR)
    assert statuses(late.job) == [RecipientStatus.DELIVERED]


def test_a_moment_before_its_time_nothing_expires():
    done = settled(job(A), result_of("deferred"), now=OVER - SECOND)
    assert statuses(done.job) == [RecipientStatus.TODO]
    assert done.job.next_attempt_at == OVER


def test_expiry_leaves_what_was_delivered_or_refused_as_it_is():
    done = settled(
        job(A, B, C),
        result_of("delivered", A),
        result_of("failed", B, code=Code("K409"), reply=reply(550, "5.1.1")),
        result_of("deferred", C, code=Code("K406")),
        now=OVER,
    )
    assert statuses(done.job) == [
        RecipientStatus.DELIVERED,
        RecipientStatus.FAILED,
        RecipientStatus.EXPIRED,
    ]
    notice = desk.notice_of(done.batch)
    assert notice.fields("Final-Recipient") == [f"rfc822; {B}", f"rfc822; {C}"]
    assert notice.fields("Status") == ["5.1.1", "5.4.7"]
    (expired,) = [r for r in done.batch.records if isinstance(r, Expired)]
    assert desk.addresses(expired) == [C]


def test_the_notice_of_expiry_keeps_the_underlying_reason_in_the_diagnosis():
    failed = result_of(
        "deferred",
        cause=Cause.TLS,
        tls_result=TlsResult.CERTIFICATE_NOT_TRUSTED,
        code=Code("K404"),
    )
    notice = desk.notice_of(settled(job(A), failed, now=OVER).batch)
    assert notice.fields("Action") == ["failed"]
    assert notice.fields("Status") == ["5.4.7"]
    assert notice.fields("Diagnostic-Code") == [
        "x-ketenmail; 4.7.5 K404 certificate-not-trusted"
    ]
    assert "(K404)" in notice.text


def test_the_notice_of_expiry_does_not_say_that_we_try_again():
    unreachable = result_of("deferred", cause=Cause.UNREACHABLE, code=Code("K406"))
    text = desk.notice_of(settled(job(A), unreachable, now=OVER).batch).text
    assert "wij proberen het opnieuw" not in text.lower()
    assert "we try again" not in text.lower()
    assert "Wij proberen het niet meer" in text
    assert "spreek een andere veilige weg af" in text
    assert "is niet bereikbaar" in text


def test_expiry_without_any_known_reason_says_just_that():
    notice = desk.notice_of(settled(job(A), result_of("deferred"), now=OVER).batch)
    assert notice.fields("Diagnostic-Code") == ["x-ketenmail; 4.4.0 K420"]
    assert notice.text.count("Wij proberen het niet meer") == 1


def test_expiry_after_an_unknown_outcome_says_that_it_is_uncertain():
    first = settled(job(A), result_of("unknown", code=Code("K410"))).job
    again = dataclasses.replace(first, state=JobState.LEASED)
    done = settled(again, result_of("deferred", code=Code("K406")), now=OVER)
    assert statuses(done.job) == [RecipientStatus.EXPIRED]
    assert done.job.recipients[0].uncertain
    notice = desk.notice_of(done.batch)
    assert UNCERTAIN in notice.text
    assert "may have arrived after all" in notice.text
    assert (notice.fields("Action"), notice.fields("Status")) == (["failed"], ["5.4.7"])


def test_an_unknown_outcome_at_the_end_expires_as_uncertain_too():
    done = settled(job(A), result_of("unknown", code=Code("K410")), now=OVER)
    assert desk.events(done.batch) == ["delivery-unknown", "expired", "notice-sent"]
    assert all(r.possible_duplicate for r in done.batch.records[:2])
    assert UNCERTAIN in desk.notice_of(done.batch).text


# --- notices ----------------------------------------------------------------


def test_the_sender_is_warned_once_when_it_takes_long():
    early = settled(job(A), result_of("deferred"), now=NOW + 14 * MINUTE)
    assert desk.events(early.batch) == ["deferred"]
    assert not early.job.delay_notice_sent
    again = dataclasses.replace(early.job, state=JobState.LEASED)
    late = settled(again, result_of("deferred"), now=NOW + 15 * MINUTE)
    assert desk.events(late.batch) == ["deferred", "notice-sent"]
    assert late.batch.records[-1].kind == "delayed"
    assert late.job.delay_notice_sent
    once = dataclasses.replace(late.job, state=JobState.LEASED)
    later = settled(once, result_of("deferred"), now=NOW + HOUR)
    assert desk.events(later.batch) == ["deferred"]
    assert later.job.delay_notice_sent


def test_the_warning_names_who_waits_and_until_when_and_who_failed_is_told_apart():
    done = settled(
        job(A, B, C),
        result_of("failed", A, code=Code("K409")),
        result_of("deferred", B, code=Code("K402")),
        result_of("unknown", C, code=Code("K410")),
        now=NOW + HOUR,
    )
    kinds = [r.kind for r in done.batch.records if r.event == "notice-sent"]
    assert kinds == ["failed", "delayed"]
    failed, delayed = (desk.Opened(c.octets) for c in done.batch.contents)
    assert failed.fields("Final-Recipient") == [f"rfc822; {A}"]
    assert delayed.fields("Final-Recipient") == [f"rfc822; {B}", f"rfc822; {C}"]
    assert delayed.fields("Status") == ["4.4.3", "4.4.2"]
    assert delayed.fields("Will-Retry-Until") == [
        "Wed, 25 Nov 2026 16:00:00 +0000",
        "Wed, 25 Nov 2026 16:00:00 +0000",
    ]


def test_no_warning_is_given_for_what_has_ended():
    done = settled(job(A), result_of("delivered"), now=NOW + HOUR)
    assert desk.events(done.batch) == ["delivered"]
    assert not done.job.delay_notice_sent


@pytest.mark.parametrize(
    ("code", "while_trying"),
    [
        ("K402", "4.4.3"),  # DNS error
        ("K403", "4.7.4"),  # STARTTLS missing
        ("K404", "4.7.5"),  # DANE
        ("K405", "4.7.5"),  # pin
        ("K406", "4.4.1"),
        ("K410", "4.4.2"),
        ("K412", "4.7.5"),
    ],
)
def test_the_statuses_while_trying_and_at_the_end_are_those_of_section_j(
    code, while_trying
):
    waits = result_of("deferred", code=Code(code))
    delayed = desk.notice_of(settled(job(A), waits, now=NOW + HOUR).batch)
    expired = desk.notice_of(settled(job(A), waits, now=OVER).batch)
    assert delayed.fields("Status") == [while_trying]
    assert expired.fields("Status") == ["5.4.7"]
    assert expired.fields("Diagnostic-Code") == [f"x-ketenmail; {while_trying} {code}"]


@pytest.mark.parametrize(
    ("code", "status"),
    [("K401", "5.7.10"), ("K407", "5.1.2"), ("K411", "5.6.3"), ("K412", "5.7.10")],
)
def test_a_proven_failure_has_its_own_status_and_diagnosis(code, status):
    notice = desk.notice_of(settled(job(A), result_of("failed", code=Code(code))).batch)
    assert notice.fields("Status") == [status]
    assert notice.fields("Diagnostic-Code") == [f"x-ketenmail; {status} {code}"]


@pytest.mark.parametrize(
    ("status", "said", "expected"),
    [
        ("failed", reply(550, "5.2.1"), "5.2.1"),
        ("failed", reply(550, "2.0.0"), "5.0.0"),
        ("failed", reply(550, None), "5.0.0"),
        ("deferred", reply(450, "4.2.0"), "4.2.0"),
        ("deferred", reply(550, "5.7.1"), "4.0.0"),
    ],
)
def test_the_hop_s_own_status_stands_where_it_fits_what_we_say(status, said, expected):
    answered = result_of(status, code=Code("K409"), reply=said)
    done = settled(job(A), answered, now=NOW + HOUR, hops=(desk.hop(),))
    notice = desk.notice_of(done.batch)
    assert notice.fields("Status") == [expected]
    assert notice.fields("Remote-MTA") == ["dns; mx1.ggz.example"]
    enhanced = f" {said.enhanced}" if said.enhanced else ""
    assert notice.fields("Diagnostic-Code") == [
        f"smtp; {said.code}{enhanced} said the hop"
    ]


def test_a_host_that_did_not_answer_is_not_named_as_having_spoken():
    waits = result_of("deferred", code=Code("K406"))
    done = settled(job(A), waits, now=NOW + HOUR, hops=(desk.hop(),))
    assert desk.notice_of(done.batch).fields("Remote-MTA") == [None]


@pytest.mark.parametrize("status", ["failed", "deferred", "unknown"])
def test_a_notice_never_leads_to_a_notice(status):
    of = job(A, kind=JobKind.NOTICE, reverse_path=ReversePath(None))
    done = settled(of, result_of(status), now=OVER, municipality=desk.WITH_NOTICES_TO)
    assert (done.batch.jobs, done.batch.contents) == ((), ())
    assert not {"notice-sent", "notice-dropped"} & set(desk.events(done.batch))
    assert done.job.state is JobState.DONE


def test_a_failure_under_the_null_reverse_path_is_told_at_notices_to_or_nobody():
    of = job(A, reverse_path=ReversePath(None))
    told = settled(of, result_of("failed"), municipality=desk.WITH_NOTICES_TO)
    assert told.batch.jobs[0].recipients[0].mailbox == desk.NOTICES
    untold = settled(of, result_of("failed"))
    assert desk.events(untold.batch) == ["failed", "notice-dropped"]
    assert untold.batch.jobs == ()


# --- intent and resumption (B-50) -------------------------------------------


def test_an_intent_marks_the_job_and_says_to_whom_and_over_what():
    given = settlement.intend(job(A, B, attempts=2), desk.hop(), [A], desk.desk())
    (record,) = given.batch.records
    assert given.job.intent_at == NOW
    assert given.job.state is JobState.LEASED
    assert (record.event, record.attempt, record.job) == ("intent", 3, "job-1")
    assert desk.addresses(record) == [A]
    assert dict(record.hop)["mechanism"] == "dane-ee"


def test_an_intent_without_a_result_is_an_unknown_outcome():
    delivered = JobRecipient(desk.mailbox(A), RecipientStatus.DELIVERED)
    of = job(
        recipients=(delivered, JobRecipient(desk.mailbox(B))), intent_at=NOW, attempts=1
    )
    resumed = settlement.resume(of, desk.desk())
    (record,) = resumed.batch.records
    assert (record.event, record.attempt) == ("delivery-unknown", 2)
    assert record.possible_duplicate
    assert desk.addresses(record) == [B]
    assert resumed.job.state is JobState.LEASED
    assert resumed.job.intent_at is None
    assert (resumed.job.attempts, resumed.job.unknowns) == (2, 1)
    assert [r.uncertain for r in resumed.job.recipients] == [False, True]
    assert statuses(resumed.job) == [RecipientStatus.DELIVERED, RecipientStatus.TODO]


def test_what_was_resumed_and_then_expires_is_said_to_be_uncertain():
    resumed = settlement.resume(job(A, intent_at=NOW), desk.desk()).job
    done = settled(resumed, result_of("deferred", code=Code("K406")), now=OVER)
    assert UNCERTAIN in desk.notice_of(done.batch).text


def test_of_a_late_result_only_copies_remain_as_evidence():
    done = settled(
        job(A, B, C, D),
        result_of("delivered", A),
        result_of("failed", B),
        result_of("deferred", C),
        result_of("unknown", D),
        now=NOW + HOUR,
    )
    batch = settlement.late(done)
    assert (batch.jobs, batch.contents) == ((), ())
    assert desk.events(batch) == ["delivered", "delivery-unknown"]
    assert [r.possible_duplicate for r in batch.records] == [True, True]


# --- stopping (R6) ----------------------------------------------------------

SUSPENDED = Reason(Code("K303"), (("partner", "GGZ Voorbeeld"), ("state", "suspended")))


def stopped(of, now=NOW + MINUTE):
    return settlement.stop(of, SUSPENDED, HEADER, desk.desk(now=now))


def test_a_stopped_job_fails_for_all_that_are_open_and_the_sender_is_told_why():
    delivered = JobRecipient(desk.mailbox(A), RecipientStatus.DELIVERED)
    done = stopped(job(recipients=(delivered, JobRecipient(desk.mailbox(B)))))
    assert statuses(done.job) == [RecipientStatus.DELIVERED, RecipientStatus.FAILED]
    assert done.job.state is JobState.DONE
    assert done.job.last_cause == "policy"
    assert desk.events(done.batch) == ["failed", "notice-sent"]
    facts = dict(done.batch.records[0].recipients[0])
    assert (facts["address"], facts["cause"], facts["code"]) == (B, "policy", "K303")
    notice = desk.notice_of(done.batch)
    assert notice.fields("Status") == ["5.7.1"]
    assert "GGZ Voorbeeld" in notice.text
    assert "de registratie is stilgelegd" in notice.text
    assert "suspended" in notice.text


def test_a_stopped_job_that_may_have_arrived_says_so():
    resumed = settlement.resume(job(A, intent_at=NOW), desk.desk()).job
    assert UNCERTAIN in desk.notice_of(stopped(resumed).batch).text


def test_a_job_stopped_after_its_time_is_stopped_and_not_expired():
    done = stopped(job(A, attempts=3), now=OVER)
    assert statuses(done.job) == [RecipientStatus.FAILED]
    assert desk.events(done.batch) == ["failed", "notice-sent"]


# --- giving up what only crashes (G-14) -------------------------------------


def test_a_job_that_never_came_to_a_result_expires_and_the_sender_is_told():
    done = settlement.give_up(job(A, crashes=9), desk.desk(now=OVER))
    assert statuses(done.job) == [RecipientStatus.EXPIRED]
    assert done.job.state is JobState.DONE
    assert desk.events(done.batch) == ["deferred", "expired", "notice-sent"]
    notice = desk.notice_of(done.batch)
    assert notice.fields("Status") == ["5.4.7"]
    assert notice.returned.get_payload() == ""
    assert "Wij proberen het niet meer" in notice.text
    assert UNCERTAIN not in notice.text


def test_giving_up_what_was_resumed_says_that_it_may_have_arrived():
    resumed = settlement.resume(job(A, crashes=9, intent_at=NOW), desk.desk()).job
    done = settlement.give_up(resumed, desk.desk(now=OVER))
    assert UNCERTAIN in desk.notice_of(done.batch).text


# --- the end of a hold (R1) -------------------------------------------------


def expired_hold(**changes):
    of = job(A, B, state=JobState.HELD, hold_code=Code("K302"), **changes)
    return settlement.expire_hold(of, HEADER, desk.desk(now=OVER))


def test_a_hold_that_nobody_decided_ends_as_rejected_and_the_sender_is_told():
    done = expired_hold()
    assert statuses(done.job) == [RecipientStatus.REJECTED] * 2
    assert done.job.state is JobState.DONE
    assert (done.job.last_cause, done.job.attempts) == ("expired", 0)
    assert desk.events(done.batch) == ["hold-expired", "notice-sent"]
    assert desk.addresses(done.batch.records[0]) == [A, B]
    assert done.batch.records[1].kind == "hold-expired"
    notice = desk.notice_of(done.batch)
    assert notice.fields("Action") == ["failed", "failed"]
    assert notice.fields("Status") == ["5.7.1", "5.7.1"]
    assert "(K421)" in notice.text


def test_a_withdrawn_recipient_of_a_hold_is_left_alone():
    withdrawn = JobRecipient(desk.mailbox(A), RecipientStatus.CANCELLED)
    done = expired_hold(recipients=(withdrawn, JobRecipient(desk.mailbox(B))))
    assert statuses(done.job) == [RecipientStatus.CANCELLED, RecipientStatus.REJECTED]
    assert desk.addresses(done.batch.records[0]) == [B]


def test_the_end_of_a_hold_under_the_null_reverse_path_is_evidence():
    done = expired_hold(reverse_path=ReversePath(None))
    assert desk.events(done.batch) == ["hold-expired", "notice-dropped"]


def test_only_a_held_job_can_end_as_a_hold():
    with pytest.raises(ImpossibleMoveError):
        settlement.expire_hold(job(A), HEADER, desk.desk())


@pytest.mark.parametrize("end", ["settle", "stop", "give up", "hold"])
def test_a_municipality_that_left_the_settings_leaves_no_job_behind(end):
    """Nobody can be told any more; the job ends all the same, and evidence says so."""
    gone = dataclasses.replace(desk.desk(), policy=without_municipalities())
    gone = dataclasses.replace(gone, now=NOW + 30 * desk.DAY)
    if end == "settle":
        done = settlement.settle(job(A), outcome(result_of("failed")), HEADER, gone)
    elif end == "stop":
        done = settlement.stop(job(), Reason(Code("K308")), HEADER, gone)
    elif end == "give up":
        done = settlement.give_up(job(), gone)
    else:
        held = job(state=JobState.HELD, hold_code=Code("K302"))
        done = settlement.expire_hold(held, HEADER, gone)
    assert done.job.state is JobState.DONE
    assert done.batch.jobs == ()
    assert "notice-dropped" in [record.event for record in done.batch.records]


def without_municipalities():
    return dataclasses.replace(desk.desk().policy, municipalities={})
