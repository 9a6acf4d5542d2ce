"""Jobs as rows and back: wishes are sealed and kept, rows of before them still read."""

import json

import pytest

from gateway.model.address import Domain, Mailbox
from gateway.model.job import JobRecipient
from gateway.model.message import (
    NO_MESSAGE_WISH,
    NO_RECIPIENT_WISH,
    MessageWish,
    Notify,
    RecipientWish,
    Ret,
)
from gateway.store import codec
from tests.contract.store_bed import make_job

JAN, PIET = (Mailbox(name, Domain("kliniek.example")) for name in ("jan", "piet"))
CANARY = "kanarie+2Bgeel"


def row_of(job):
    return codec.job_columns(job) | codec.job_identity(job)


@pytest.mark.parametrize(
    "wish",
    [
        NO_MESSAGE_WISH,
        MessageWish(Ret.HDRS),
        MessageWish(envid="aBc+2B"),
        MessageWish(Ret.FULL, "x", requiretls=True),
    ],
)
@pytest.mark.parametrize(
    "recipient_wish",
    [
        NO_RECIPIENT_WISH,
        RecipientWish(frozenset({Notify.NEVER})),
        RecipientWish(frozenset({Notify.DELAY, Notify.SUCCESS}), "rfc822;X+2By@z"),
        RecipientWish(orcpt="utf-8;j\u00f6rg@z"),
    ],
)
def test_a26_a35_wishes_come_back_as_they_went_in(wish, recipient_wish):
    recipients = (JobRecipient(JAN, wish=recipient_wish), JobRecipient(PIET))
    job = make_job("j-1", wish=wish, recipients=recipients)
    assert codec.parse_job(row_of(job), codec.job_secret(job)) == job


def test_inv8_wishes_are_in_the_sealed_part_only():
    wish = RecipientWish(orcpt=f"rfc822;{CANARY}")
    job = make_job(
        "j-1",
        wish=MessageWish(envid=CANARY),
        recipients=(JobRecipient(JAN, wish=wish),),
    )
    assert CANARY not in repr(row_of(job))
    assert codec.job_secret(job).count(CANARY.encode()) == 2


def test_g20_a_row_from_before_wishes_is_read_as_wishing_nothing():
    job = make_job("j-1")
    old = json.loads(codec.job_secret(job))
    del old["wish"], old["recipient_wishes"]
    assert codec.parse_job(row_of(job), json.dumps(old).encode()) == job
