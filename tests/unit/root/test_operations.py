"""What people are shown: plain values, complete, and nothing that they may not see."""

import datetime
import json

import pytest

from gateway import operations, relay
from gateway.model.address import Domain, Mailbox
from gateway.model.assurance import Assurance
from gateway.model.classification import Classification, Finding, Level, RegimeFinding
from gateway.model.destination import (
    Absent,
    Dnssec,
    Pin,
    Present,
    Tlsa,
    Unavailable,
)
from gateway.model.document import UnreadablePart
from gateway.model.ids import Code, RegimeId, RuleId
from gateway.model.job import JobRecipient, JobState, RecipientStatus
from gateway.model.partner import (
    PartnerMailbox,
    PartnerState,
    Requires,
    Route,
    RouteMethod,
)
from tests.unit.queue import queue_desk as desk
from tests.unit.root import relay_bed

WVGGZ = RegimeId("wvggz")


@pytest.fixture
async def house(tmp_path):
    house = relay_bed.House(tmp_path)
    house.partner = await house.register(relay_bed.partner())
    yield house
    house.close()


def test_a_classification_is_shown_with_every_finding_and_no_text():
    finding = Finding(RuleId("wvggz.opname"), "body/1", 2, 5)
    found = Classification(
        Level.CERTAIN,
        (RegimeFinding(WVGGZ, Level.CERTAIN, 15, (finding,)),),
        (UnreadablePart("attachment:zip", "encrypted"),),
    )
    assert operations.describe_classification(found) == {
        "level": "certain",
        "regimes": [
            {
                "id": "wvggz",
                "level": "certain",
                "score": 15,
                "findings": [
                    {
                        "rule": "wvggz.opname",
                        "place": "body/1",
                        "count": 2,
                        "weight": 5,
                    }
                ],
            }
        ],
        "unreadable": [{"place": "attachment:zip", "reason": "encrypted"}],
    }


def test_a_job_is_shown_with_each_recipient_and_without_its_sender():
    job = desk.job(
        recipients=(
            JobRecipient(desk.mailbox("a@ggz.example"), RecipientStatus.DELIVERED),
            JobRecipient(desk.mailbox("b@ggz.example"), uncertain=True),
        ),
        state=JobState.WAITING,
        attempts=2,
        last_cause="tls",
        hold_code=Code("K302"),
    )
    assert operations.describe_job(job) == {
        "job": "job-1",
        "message": "message-1",
        "municipality": "voorbeeldstad",
        "kind": "message",
        "state": "waiting",
        "recipients": [
            {"address": "a@ggz.example", "status": "delivered", "uncertain": False},
            {"address": "b@ggz.example", "status": "todo", "uncertain": True},
        ],
        "regimes": ["wvggz"],
        "partner": "ggz",
        "attempts": 2,
        "next_attempt_at": "2026-11-25T12:00:00+00:00",
        "expires_at": "2026-11-25T16:00:00+00:00",
        "cause": "tls",
        "hold": "K302",
    }


def test_a_partner_is_shown_as_registered():
    partner = relay_bed.partner(
        mailboxes=(
            PartnerMailbox(desk.mailbox("crisis@ggz.example"), frozenset({WVGGZ})),
        ),
        valid_until=datetime.date(2027, 1, 1),
        route=Route(
            RouteMethod.FIXED,
            Assurance.AUTHENTICATED,
            "mx.ggz.example",
            587,
            frozenset({Pin("b" * 64), Pin("a" * 64)}),
            Requires.PIN,
            frozenset({Domain.parse("mx.dienst.example")}),
        ),
    )
    shown = operations.describe_partner(partner)
    assert shown == {
        "id": "ggz",
        "municipality": "voorbeeldstad",
        "name": "GGZ Voorbeeld",
        "state": "verified",
        "roles": ["geneesheer_directeur"],
        "domains": ["ggz.example"],
        "mailboxes": [{"address": "crisis@ggz.example", "regimes": ["wvggz"]}],
        "verified_on": "2026-11-25",
        "valid_until": "2027-01-01",
        "route": {
            "method": "fixed",
            "host": "mx.ggz.example",
            "port": 587,
            "least": "authenticated",
            "requires": "pin",
            "pins": ["a" * 64, "b" * 64],
            "vouched_hosts": ["mx.dienst.example"],
        },
        "digest": partner.digest,
    }
    assert operations.describe_partner(relay_bed.partner())["valid_until"] is None


# --- evidence and trace -----------------------------------------------------


async def test_a_trace_shows_the_whole_life_of_a_message(house):
    await house.receive()
    (job,) = await house.lease()
    await relay.attempt(job, house.relay)
    records, jobs = await house.records(), await house.jobs()
    traced = operations.describe_trace(job.message, records, jobs)
    json.dumps(traced)
    assert traced["message"] == "m-1"
    shown = traced["records"]
    assert [r["event"] for r in shown] == ["accepted", "intent", "delivered"]
    assert [r["index"] for r in shown] == [None] * 3
    assert not any(r["erased"] for r in shown)
    accepted, _, delivered = (r["facts"] for r in shown)
    assert accepted["level"] == "certain"
    assert accepted["recipients/1/address"] == relay_bed.TO
    assert delivered["hops/1/mechanism"] == "dane-ee"
    assert delivered["possible_duplicate"] is False
    assert traced["jobs"] == [operations.describe_job(jobs[0])]
    assert traced["jobs"][0]["state"] == "done"


async def test_the_key_of_the_content_digest_is_shown_to_nobody(house):
    await house.receive()
    (shown,) = operations.describe_records(await house.records())
    assert "content_digest" in shown["facts"]
    assert desk.SECRET.hex() not in json.dumps(shown)


async def test_the_shown_facts_are_values_and_not_commitments(house):
    await house.receive()
    (shown,) = operations.describe_records(await house.records())
    assert "recipients" not in shown["facts"]
    assert all(
        value is None or isinstance(value, str | int | bool)
        for value in shown["facts"].values()
    )


def test_an_erased_record_is_shown_as_erased_with_what_stands_in_clear():
    class Erased:
        leaf = json.dumps(
            {"event": "delivered", "at": "2026", "id": "r-1", "message": "m-1"}
        ).encode()
        openings = None
        index = 7

    assert operations.describe_records([Erased()]) == [
        {
            "event": "delivered",
            "at": "2026",
            "index": 7,
            "record": "r-1",
            "message": "m-1",
            "erased": True,
            "facts": {},
        }
    ]


# --- route explain ----------------------------------------------------------


async def explained(house, address, regime=None):
    mailbox = Mailbox.parse(address)
    answer = await operations.explain_route(mailbox, regime, desk.OWNER, house.relay)
    json.dumps(answer)
    return answer


async def test_a_route_to_a_partner_is_explained_down_to_its_hosts(house):
    answer = await explained(house, relay_bed.TO, WVGGZ)
    assert answer == {
        "address": relay_bed.TO,
        "partner": "ggz",
        "regime": "wvggz",
        "verdict": "relay",
        "code": None,
        "rule": answer["rule"],
        "route": {
            "method": "mx",
            "host": None,
            "port": 25,
            "least": "authenticated",
            "sealed": False,
        },
        "hosts": [
            {
                "name": "mx.ggz.example",
                "dnssec": "present, secure",
                "tlsa": "present, secure",
                "sts": None,
                "assurance": "authenticated",
                "grade": None,
                "why": "DANE",
            }
        ],
    }
    assert house.far.dialled == []
    assert await house.events() == []


async def test_a_refusal_is_explained_with_its_code_and_without_a_route(house):
    answer = await explained(house, "crisis@ggzz.example", WVGGZ)
    assert (answer["verdict"], answer["code"]) == ("refuse", "K301")
    assert answer["parameters"]["resembles"] == "GGZ Voorbeeld"
    assert (answer["route"], answer["hosts"]) == (None, [])
    assert answer["partner"] is None


async def test_a_partner_that_is_suspended_is_named_with_its_state(house):
    suspended = relay_bed.partner(state=PartnerState.SUSPENDED)
    await house.register(suspended, house.partner)
    answer = await explained(house, relay_bed.TO, WVGGZ)
    assert (answer["code"], answer["partner"]) == ("K303", "ggz")
    assert answer["parameters"]["state"] == "suspended"


@pytest.mark.parametrize(
    ("tlsa", "code", "status", "shown"),
    [
        (Unavailable(True, "SERVFAIL"), "K402", "deferred", "bogus"),
        (
            Unavailable(False, "time-out"),
            "K402",
            "deferred",
            "unavailable (time-out)",
        ),
        (Absent(Dnssec.SECURE, True, 60), "K401", "failed", "absent, secure"),
        (
            Present(frozenset({Tlsa(3, 1, 1, b"x" * 32)}), Dnssec.INSECURE, 60),
            "K401",
            "failed",
            "present, insecure",
        ),
        (None, "K401", "failed", "not asked"),
    ],
)
async def test_a_route_that_cannot_be_used_says_why(house, tlsa, code, status, shown):
    house.dns.tlsa = tlsa
    answer = await explained(house, relay_bed.TO, WVGGZ)
    assert answer["verdict"] == "relay"
    assert (answer["route"]["code"], answer["route"]["status"]) == (code, status)
    assert answer["route"]["why"]
    (host,) = answer["hosts"]
    assert (host["tlsa"], host["why"]) == (shown, "not usable")
    assert host["assurance"] is None


async def test_ordinary_mail_goes_opportunistically_where_nothing_is_published(house):
    house.dns.tlsa = Absent(Dnssec.SECURE, True, 60)
    (host,) = (await explained(house, "info@x-y.example"))["hosts"]
    assert (host["assurance"], host["why"]) == ("none", "opportunistic")


async def test_a_fixed_route_is_explained_without_asking_for_an_exchanger(house):
    answer = await explained(house, "iemand@voorbeeldstad.example", WVGGZ)
    assert answer["route"]["method"] == "fixed"
    (host,) = answer["hosts"]
    assert host == {
        "name": "127.0.0.1",
        "dnssec": "fixed",
        "tlsa": None,
        "sts": None,
        "assurance": "encrypted",
        "grade": None,
        "why": "TLS",
    }


async def test_a_pinned_route_is_shown_as_pinned(house):
    pinned = relay_bed.partner(
        route=Route(
            RouteMethod.FIXED,
            Assurance.AUTHENTICATED,
            "127.0.0.1",
            2525,
            frozenset({Pin("a" * 64)}),
        )
    )
    await house.register(pinned, house.partner)
    (host,) = (await explained(house, relay_bed.TO, WVGGZ))["hosts"]
    assert (host["assurance"], host["why"]) == ("authenticated", "pin")
