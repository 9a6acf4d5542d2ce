"""R3, R8: whose reverse-path may be of others; what is written decides later (A-46)."""

import dataclasses

import pytest

from gateway.intake.clients import Known
from gateway.model.address import Mailbox, ReversePath
from gateway.model.peer import Identification
from gateway.parties import ClientMode, ForeignFrom
from tests.unit.intake.intake_desk import settings

OWN = ReversePath(Mailbox.parse("jan@gem.nl"))
FOREIGN = ReversePath(Mailbox.parse("klant@buiten.example"))
PLAIN = settings().clients[0]
SHADOW = dataclasses.replace(PLAIN, mode=ClientMode.SHADOW)
FORWARDER = dataclasses.replace(PLAIN, foreign_from=ForeignFrom.NONE_ONLY)


def known(client, *candidates):
    return Known(client, Identification.CERTIFICATE, candidates)


@pytest.mark.parametrize("client", [SHADOW, FORWARDER])
def test_copies_and_forwarded_mail_may_come_from_anybody(client):
    for path in (OWN, FOREIGN, ReversePath(None)):
        assert known(client).sending_as(path).client is client


def test_no_other_client_sends_for_strangers():
    assert known(PLAIN).sending_as(FOREIGN) is None
    assert known(PLAIN).sending_as(OWN) is not None


def test_of_many_behind_one_certificate_the_one_whose_domain_it_is_goes_first():
    other = dataclasses.replace(FORWARDER, id="other", sender_domains=frozenset())
    assert known(PLAIN, other, PLAIN).sending_as(OWN).client is PLAIN
    assert known(PLAIN, other, PLAIN).sending_as(FOREIGN).client is other


def test_a_stranger_behind_a_certificate_of_two_forwarders_is_nobodys():
    other = dataclasses.replace(FORWARDER, id="other")
    assert known(PLAIN, other, FORWARDER).sending_as(FOREIGN) is None
