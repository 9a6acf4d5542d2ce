"""R8: a mailbox that nobody reads gets no notice; the municipality's own one does."""

import pytest

from gateway.model.address import Mailbox, ReversePath
from gateway.queue import notice
from tests.unit.queue import queue_desk as desk

PRINTER = "Scanner.Balie@voorbeeldstad.example"
UNATTENDED = f'{desk.WITH_NOTICES_TO}\nunattended = ["{PRINTER}"]'


def addressee(sender, settings=UNATTENDED):
    owner = desk.policy(settings).municipalities[desk.OWNER]
    mailbox = None if sender is None else Mailbox.parse(sender)
    return notice.addressee(ReversePath(mailbox), owner)


@pytest.mark.parametrize("sender", [PRINTER, PRINTER.lower(), PRINTER.upper(), None])
def test_what_would_be_a_notice_to_nobody_goes_to_notices_to(sender):
    assert addressee(sender) == desk.NOTICES


@pytest.mark.parametrize(
    "sender", ["ambtenaar@voorbeeldstad.example", "scanner.balie@buiten.example"]
)
def test_people_and_mailboxes_elsewhere_get_their_own(sender):
    assert addressee(sender) == Mailbox.parse(sender)


def test_nobody_is_told_about_a_null_reverse_path_without_notices_to():
    assert addressee(None, "") is None
