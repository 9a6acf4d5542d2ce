"""What the worked examples do not show: order, parameters, re-check and clocks."""

import dataclasses
import datetime

import pytest

from gateway.model.address import Domain, Mailbox, ReversePath
from gateway.model.assurance import Assurance
from gateway.model.classification import Level
from gateway.model.destination import Pin
from gateway.model.document import Document
from gateway.model.ids import Role
from gateway.model.job import Job, JobKind, JobRecipient, JobState, RecipientStatus
from gateway.model.message import Body
from gateway.model.partner import PartnerState, Requires, Route, RouteMethod
from gateway.model.verdict import Reason, Relay
from gateway.policy.decide import clock_of, decide, recheck
from gateway.ports import RecipientFacts
from tests.unit.policy import policy_desk as desk

OM, OTHER = "zitting@om.example", "info@onbekend.example"
AUTHORED = Document((), authors=(desk.SENDER,))


def verdicts(*recipients, level=Level.CERTAIN, facts=(), **regimes):
    regimes = regimes or {"wvggz": level}
    return decide(
        desk.classification(level, **(regimes if level >= Level.SUSPECT else {})),
        desk.envelope(*recipients),
        desk.peer(),
        AUTHORED,
        {f.recipient: f for f in facts},
        desk.policy(),
        desk.TODAY,
    )


def facts(address=OM, partner=None, **more):
    return RecipientFacts(Mailbox.parse(address), partner, **more)


def test_each_recipient_has_one_verdict_in_order():
    given = facts(partner=desk.partner())

    got = verdicts(OTHER, OM, OTHER, facts=[given])

    assert [str(verdict.recipient) for verdict in got] == [OTHER, OM, OTHER]
    assert [verdict.row for verdict in got] == ["4", "12", "4"]


@pytest.mark.parametrize(
    ("address", "resembles", "parameters"),
    [
        (OTHER, None, {"recipient_kind": "unknown"}),
        ("a@gmail.com", None, {"recipient_kind": "person"}),
        (
            OTHER,
            "OM Voorbeeld",
            {"recipient_kind": "unknown", "resembles": "OM Voorbeeld"},
        ),
    ],
)
def test_a_refusal_says_what_kind_of_recipient_and_whom_it_resembles(
    address, resembles, parameters
):
    (verdict,) = verdicts(address, facts=[facts(address, resembles=resembles)])

    assert dict(verdict.reason.parameters) == parameters


@pytest.mark.parametrize(
    ("change", "state"),
    [
        ({"state": PartnerState.SUSPENDED}, "suspended"),
        ({"state": PartnerState.DRAFT}, "draft"),
        ({"valid_until": datetime.date(2026, 2, 1)}, "expired"),
    ],
)
def test_a_partner_that_is_not_usable_is_named_with_its_state(change, state):
    (verdict,) = verdicts(OM, facts=[facts(partner=desk.partner(**change))])

    assert verdict.reason == Reason(
        "K303", (("partner", "OM Voorbeeld"), ("state", state))
    )


def test_a_wrong_role_names_the_regimes_and_the_roles_that_all_of_them_permit():
    wrong = desk.partner(roles=frozenset({Role("huisarts")}))

    (verdict,) = verdicts(
        OM, facts=[facts(partner=wrong)], wvggz=Level.CERTAIN, pbw18b=Level.CERTAIN
    )

    said = dict(verdict.reason.parameters)
    assert said["regime"] == "Artikel 18b Pbw, Wet verplichte ggz"
    assert said["regime_en"].startswith("Article 18b")
    assert "om" in said["roles"].split(", ")
    assert "huisarts" not in said["roles"].split(", ")


def test_a_regime_without_a_pack_permits_nobody():
    """Its pack was removed: who may have it is not known any more."""
    (verdict,) = verdicts(
        OM, facts=[facts(partner=desk.partner())], eigenregime=Level.CERTAIN
    )

    assert (verdict.row, verdict.reason.code) == ("7", "K304")


def test_a_suspected_regime_that_does_not_fit_the_role_does_not_go_along():
    """Otherwise the re-check would stop what the decision let through."""
    partner = desk.partner(roles=frozenset({Role("psychiater")}))

    (verdict,) = verdicts(
        OM, facts=[facts(partner=partner)], wvggz=Level.CERTAIN, pbw18b=Level.SUSPECT
    )

    assert verdict.regimes == {"wvggz"}
    job = job_of(verdict)
    assert (
        recheck(
            job,
            {f.recipient: f for f in [facts(partner=partner)]},
            desk.policy(),
            desk.TODAY,
        )
        is None
    )


def test_a_partners_route_keeps_its_pins_and_never_gets_less():
    pin = Pin("a" * 64)
    route = Route(RouteMethod.FIXED, Assurance.NONE, "192.0.2.1", pins=frozenset({pin}))

    (verdict,) = verdicts(OM, facts=[facts(partner=desk.partner(route=route))])

    assert verdict.route == dataclasses.replace(route, least=Assurance.AUTHENTICATED)


@pytest.mark.parametrize(
    ("helo", "author", "row"),
    [
        ("mail.voorbeeldstad.example", "x@mail.voorbeeldstad.example", "2"),
        ("mail.evil.example", "x@mail.evil.example", "1b"),
        ("[10.1.2.3]", "x@mail.voorbeeldstad.example", "1b"),
        ("mail.voorbeeldstad.example", "x@web.voorbeeldstad.example", "1b"),
    ],
)
def test_a_bounce_may_come_from_the_clients_own_host_name_only(helo, author, row):
    (verdict,) = decide(
        desk.classification(Level.NONE),
        desk.envelope(OTHER, sender=None),
        desk.peer(helo),
        Document((), authors=(Mailbox.parse(author),)),
        {},
        desk.policy(),
        desk.TODAY,
    )

    assert verdict.row == row


def test_the_clients_host_name_is_no_author_domain_of_other_mail():
    (verdict,) = decide(
        desk.classification(Level.NONE),
        desk.envelope(OTHER),
        desk.peer(),
        Document((), authors=(Mailbox.parse("x@mail.voorbeeldstad.example"),)),
        {},
        desk.policy(),
        desk.TODAY,
    )

    assert verdict.row == "1b"


# --- re-check ---------------------------------------------------------------


def job_of(verdict: Relay, level=Level.CERTAIN, **change) -> Job:
    now = datetime.datetime(2026, 3, 1, tzinfo=datetime.UTC)
    values = {
        "id": "j",
        "message": "m",
        "municipality": "voorbeeldstad",
        "kind": JobKind.MESSAGE,
        "state": JobState.LEASED,
        "reverse_path": ReversePath(desk.SENDER),
        "recipients": (JobRecipient(verdict.recipient),),
        "route": verdict.route,
        "partner": verdict.partner,
        "level": level,
        "regimes": verdict.regimes,
        "body": Body.SEVEN_BIT,
        "smtputf8": False,
        "size_octets": 1,
        "policy": "0" * 64,
        "accepted_at": now,
        "next_attempt_at": now,
        "expires_at": now,
    }
    return Job(**(values | change))


def stopped(job, partner, policy=None):
    recipient = Mailbox.parse(OM)
    known = (
        {} if partner == "unknown" else {recipient: RecipientFacts(recipient, partner)}
    )
    return recheck(job, known, policy or desk.policy(), desk.TODAY)


@pytest.fixture
def accepted():
    (verdict,) = verdicts(OM, facts=[facts(partner=desk.partner())])
    return verdict


def test_an_unchanged_partner_still_gets_it(accepted):
    assert stopped(job_of(accepted), desk.partner()) is None


PINNED = Route(RouteMethod.MX, Assurance.AUTHENTICATED, pins=frozenset({Pin("a" * 64)}))


@pytest.mark.parametrize(
    ("partner", "code", "state"),
    [
        ("unknown", "K303", "unregistered"),
        (None, "K303", "unregistered"),
        (desk.partner(state=PartnerState.SUSPENDED), "K303", "suspended"),
        (desk.partner(valid_until=datetime.date(2026, 2, 28)), "K303", "expired"),
        (desk.partner(id="ander"), "K303", "verified"),
        (desk.partner(route=PINNED), "K303", "changed"),
        (
            desk.partner(
                route=Route(RouteMethod.FIXED, Assurance.AUTHENTICATED, "192.0.2.1")
            ),
            "K303",
            "changed",
        ),
        (
            desk.partner(
                route=Route(
                    RouteMethod.MX, Assurance.AUTHENTICATED, requires=Requires.DANE
                )
            ),
            "K303",
            "changed",
        ),
        (desk.partner(roles=frozenset({Role("college_x")})), "K304", None),
    ],
)
def test_what_became_stricter_stops(accepted, partner, code, state):
    reason = stopped(job_of(accepted), partner)

    assert reason.code == code
    assert dict(reason.parameters).get("state") == state


def test_what_became_looser_changes_nothing(accepted):
    job = job_of(accepted, route=PINNED)

    assert stopped(job, desk.partner()) is None
    assert job.route is PINNED


def test_a_host_no_longer_vouched_for_stops(accepted):
    route = dataclasses.replace(
        accepted.route, vouched_hosts=frozenset({Domain.parse("mx.om.example")})
    )

    reason = stopped(job_of(accepted, route=route), desk.partner())

    assert dict(reason.parameters)["state"] == "changed"


def test_a_suspected_message_is_not_stopped_for_its_role(accepted):
    wrong = desk.partner(roles=frozenset({Role("leverancier")}))

    assert stopped(job_of(accepted, Level.SUSPECT), wrong) is None


@pytest.mark.parametrize("change", [{"kind": JobKind.NOTICE}, {"level": Level.NONE}])
def test_notices_and_ordinary_mail_are_not_stopped(accepted, change):
    job = dataclasses.replace(job_of(accepted), **change)

    assert stopped(job, None) is None


def test_a_recipient_that_is_done_is_not_looked_at(accepted):
    done = JobRecipient(accepted.recipient, RecipientStatus.DELIVERED)

    assert stopped(job_of(accepted, recipients=(done,)), None) is None


UNREADABLE_MAIL = Relay(
    Mailbox.parse("info@bedrijf.example"),
    "5b",
    Route(RouteMethod.MX, Assurance.AUTHENTICATED),
)


@pytest.mark.parametrize(
    ("address", "settings", "level", "code"),
    [
        ("info@bedrijf.example", "", Level.UNREADABLE, None),
        (
            "info@bedrijf.example",
            "unreadable_authenticated = false",
            Level.UNREADABLE,
            "K308",
        ),
        ("info@gmail.com", "", Level.UNREADABLE, "K308"),
        ("info@bedrijf.example", "", Level.SUSPECT, "K308"),
    ],
)
def test_mail_without_a_partner_is_held_against_the_rule_it_went_by(
    address, settings, level, code
):
    relay = dataclasses.replace(UNREADABLE_MAIL, recipient=Mailbox.parse(address))

    reason = recheck(job_of(relay, level), {}, desk.policy(settings), desk.TODAY)

    assert (None if reason is None else reason.code) == code


def own_mail(settings="", **route):
    """The answer for a sensitive job to the municipality itself, by its own route."""
    policy = desk.policy(settings)
    own = next(iter(policy.municipalities.values())).route
    relay = Relay(
        Mailbox.parse("collega@voorbeeldstad.example"),
        "3",
        dataclasses.replace(own, **route),
    )
    return recheck(job_of(relay, Level.CERTAIN), {}, policy, desk.TODAY)


def test_mail_to_the_municipality_itself_goes_by_its_own_route():
    assert own_mail("unreadable_authenticated = false") is None


@pytest.mark.parametrize("route", [{"host": "10.9.9.9"}, {"port": 26}])
def test_mail_to_the_municipality_itself_stops_when_its_route_changed(route):
    assert own_mail(**route).code == "K303"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"state": PartnerState.SUSPENDED}, "K303"),
        ({"route": Route(RouteMethod.FIXED, Assurance.AUTHENTICATED, "x.nl")}, "K303"),
        ({"route": Route(RouteMethod.MX, Assurance.AUTHENTICATED)}, None),
    ],
)
def test_a_domain_that_became_a_partners_meanwhile_must_meet_what_it_asks(
    changes, code
):
    job = job_of(UNREADABLE_MAIL, Level.UNREADABLE)
    partner = desk.partner(**changes)
    known = {
        UNREADABLE_MAIL.recipient: RecipientFacts(UNREADABLE_MAIL.recipient, partner)
    }

    reason = recheck(job, known, desk.policy(), desk.TODAY)

    assert (None if reason is None else reason.code) == code


def test_mail_of_a_municipality_that_is_gone_stops():
    job = job_of(UNREADABLE_MAIL, Level.UNREADABLE, municipality="opgeheven")

    assert recheck(job, {}, desk.policy(), desk.TODAY).code == "K308"


# --- clocks -----------------------------------------------------------------


def test_ordinary_mail_goes_by_the_clock_of_the_settings():
    assert clock_of(frozenset(), desk.policy()) == desk.policy().clock
    assert clock_of({"onbekend"}, desk.policy()) == desk.policy().clock


def test_of_several_clocks_the_strictest_counts_for_each_field():
    packs = desk.policy().packs

    both = clock_of({"wvggz", "pbw18b"}, desk.policy())

    assert both.expire_after == packs["wvggz"].clock.expire_after
    assert both.warn_after == packs["wvggz"].clock.warn_after
    assert both.retry == packs["wvggz"].clock.retry
    alone = clock_of({"pbw18b"}, desk.policy())
    assert alone.expire_after == packs["pbw18b"].clock.expire_after


def test_a_crisismaatregel_is_warned_about_within_a_quarter_of_an_hour():
    clock = clock_of({"wvggz"}, desk.policy())

    assert clock.warn_after <= datetime.timedelta(minutes=15)
    assert clock.expire_after <= datetime.timedelta(hours=18)
