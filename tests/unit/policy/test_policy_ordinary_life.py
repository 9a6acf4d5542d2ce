"""R8: bounces, automatic replies, invitations and forwarded mail in the decision."""

import dataclasses

import pytest

from gateway.model.address import Mailbox
from gateway.model.classification import Level
from gateway.model.document import Document
from gateway.model.verdict import Hold, Refuse, Relay
from gateway.policy.decide import decide, is_foreign
from gateway.ports import RecipientFacts
from tests.unit.policy import policy_desk as desk

TO = Mailbox.parse("info@onbekend.example")
OUTSIDE = Mailbox.parse("burger@post.example")
FORWARDER = dataclasses.replace(desk.peer(), forwards=True)


def decided(
    level, *, peer=FORWARDER, sender=OUTSIDE, author=OUTSIDE, partner=None, **document
):
    regimes = {"wvggz": level} if level >= Level.SUSPECT else {}
    authors = () if author is None else (author,)
    (verdict,) = decide(
        desk.classification(level, **regimes),
        desk.envelope(str(TO), sender=sender),
        peer,
        Document((), authors=authors, **document),
        {TO: RecipientFacts(TO, partner)},
        desk.policy(),
        desk.TODAY,
    )
    return verdict


@pytest.mark.parametrize("sender", [OUTSIDE, desk.SENDER, None])
@pytest.mark.parametrize("author", [OUTSIDE, desk.SENDER])
def test_harmless_mail_is_passed_on_whoever_wrote_it_A_46(sender, author):
    verdict = decided(Level.NONE, sender=sender, author=author)
    assert isinstance(verdict, Relay)


def test_harmless_mail_is_passed_on_when_from_is_as_sloppy_as_outside():
    verdict = decided(Level.NONE, author=None, authors_faulty=True)
    assert isinstance(verdict, Relay)


@pytest.mark.parametrize("level", [Level.UNREADABLE, Level.SUSPECT, Level.CERTAIN])
@pytest.mark.parametrize(
    ("sender", "author"),
    [
        (OUTSIDE, OUTSIDE),
        (OUTSIDE, desk.SENDER),  # a reverse-path that a forwarder rewrote, or not
        (desk.SENDER, OUTSIDE),
        (None, OUTSIDE),
    ],
)
@pytest.mark.parametrize(
    "partner", [None, desk.partner(domains=frozenset({TO.domain}))]
)
def test_foreign_mail_that_may_be_sensitive_is_refused_with_K202(
    level, sender, author, partner
):
    verdict = decided(level, sender=sender, author=author, partner=partner)
    assert isinstance(verdict, Refuse)
    assert verdict.reason.code == "K202"


def test_authors_nobody_can_read_are_foreign():
    verdict = decided(
        Level.CERTAIN, author=None, sender=desk.SENDER, authors_faulty=True
    )
    assert verdict.reason.code == "K202"


@pytest.mark.parametrize("level", [Level.NONE, Level.CERTAIN])
def test_the_forwarders_own_mail_is_decided_as_ever(level):
    own = {"sender": desk.SENDER, "author": desk.SENDER}
    assert decided(level, **own) == decided(level, peer=desk.peer(), **own)


@pytest.mark.parametrize("level", list(Level))
@pytest.mark.parametrize(
    ("sender", "code"), [(OUTSIDE, "K201"), (desk.SENDER, "K202"), (None, "K202")]
)
def test_no_other_client_may_pass_on_foreign_mail_A_46(level, sender, code):
    verdict = decided(level, peer=desk.peer(), sender=sender)
    assert isinstance(verdict, Refuse)
    assert verdict.reason.code == code


def test_what_evidence_calls_foreign():
    own = Document((), authors=(desk.SENDER,))
    other = Document((), authors=(desk.SENDER, OUTSIDE))
    assert not is_foreign(desk.envelope(str(TO)), desk.peer(), own)
    assert is_foreign(desk.envelope(str(TO)), desk.peer(), other)
    assert is_foreign(desk.envelope(str(TO), sender=OUTSIDE), desk.peer(), own)


# --- null reverse-path and automatic mail -----------------------------------


@pytest.mark.parametrize(
    "author", [desk.SENDER, Mailbox.parse("mailer-daemon@mail.voorbeeldstad.example")]
)
def test_a_bounce_of_our_own_or_of_the_mail_server_itself_is_accepted_A_06(author):
    verdict = decided(Level.NONE, peer=desk.peer(), sender=None, author=author)
    assert isinstance(verdict, Relay)


@pytest.mark.parametrize("level", [Level.SUSPECT, Level.CERTAIN])
@pytest.mark.parametrize("sender", [None, desk.SENDER])
def test_an_automatic_reply_that_quotes_a_case_is_refused_and_never_held(level, sender):
    verdict = decided(
        level,
        peer=desk.peer(),
        sender=sender,
        author=desk.SENDER,
        auto_submitted=True,
    )
    assert isinstance(verdict, Refuse)
    assert (verdict.row, verdict.reason.code) == ("4a", "K301")


def test_what_a_person_wrote_of_the_same_level_is_held():
    verdict = decided(Level.SUSPECT, peer=desk.peer(), sender=None, author=desk.SENDER)
    assert isinstance(verdict, Hold)


def test_an_automatic_reply_to_a_partner_goes_over_its_route():
    partner = desk.partner(domains=frozenset({TO.domain}))
    verdict = decided(
        Level.SUSPECT,
        peer=desk.peer(),
        author=desk.SENDER,
        sender=None,
        partner=partner,
        auto_submitted=True,
    )
    assert isinstance(verdict, Relay)
    assert verdict.partner == partner.id
