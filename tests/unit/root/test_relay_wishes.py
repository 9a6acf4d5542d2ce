"""DSN and REQUIRETLS through the queue and out, over the real store (A-26, A-35)."""

import dataclasses
import email

import pytest

from gateway import relay
from gateway.model.address import Mailbox
from gateway.model.assurance import Assurance
from gateway.model.destination import PinDemand, Unavailable
from gateway.model.message import MessageWish, Notify, RecipientWish, Ret
from gateway.model.reply import Cause, HopFacts, Outcome, RecipientOutcome, Status
from tests.unit.queue import queue_desk as desk
from tests.unit.root import relay_bed
from tests.unit.root.relay_bed import TO

WISH = MessageWish(Ret.FULL, "aBc+2B", requiretls=True)
ASKED = RecipientWish(frozenset({Notify.SUCCESS, Notify.FAILURE}), "rfc822;Oud@x.nl")
ORDINARY = "De vergadering begint om tien uur.\n"
PINNED = 'pins = ["' + "ab" * 32 + '"]'


@pytest.fixture
def house(tmp_path):
    house = relay_bed.House(tmp_path)
    yield house
    house.close()


async def accepted(house, wish=WISH, text=relay_bed.WVGGZ):
    if text != ORDINARY:
        await house.register(relay_bed.partner())
    message = relay_bed.message(text=text)
    to = Mailbox.parse(TO)
    envelope = dataclasses.replace(
        message.envelope, wish=wish, recipient_wishes={to: ASKED}
    )
    message = dataclasses.replace(message, envelope=envelope)
    reply = await relay.receive(message, relay_bed.PEER, house.relay)
    assert reply.code == 250
    (job,) = await house.lease()
    return job


async def test_a26_a35_what_was_wished_for_reaches_the_dialer_word_for_word(house):
    job = await accepted(house)
    await relay.attempt(job, house.relay)
    ((_, parcel),) = house.far.dialled
    assert parcel.wish == WISH
    assert parcel.recipient_wishes == {Mailbox.parse(TO): ASKED}


async def test_a26_a_hop_without_dsn_gives_a_relayed_notice_for_the_sender(house):
    job = await accepted(house, MessageWish())
    await relay.attempt(job, house.relay)
    assert await house.events() == ["accepted", "intent", "delivered", "notice-sent"]
    (notice,) = await house.notices()
    octets = await house.spool.load(notice.message)
    assert b"Action: relayed\r\n" in octets
    assert b"Original-Recipient: rfc822; Oud@x.nl\r\n" in octets


async def test_a35_a_retry_days_later_still_has_the_tag(house):
    job = await accepted(house)
    house.far.before_the_dot = [({"status": Status.DEFERRED},)] * 2
    await relay.attempt(job, house.relay)
    house.later(hours=1)
    (again,) = [j for j in await house.lease() if j.message == "m-1"]
    await relay.attempt(again, house.relay)
    assert [parcel.wish for _, parcel in house.far.dialled] == [WISH, WISH]


async def test_a35_ordinary_mail_with_the_tag_is_planned_as_authenticated(house):
    asked = MessageWish(requiretls=True)
    house.dns.tlsa = Unavailable(bogus=False, detail="time-out")
    job = await accepted(house, asked, ORDINARY)
    assert job.route.least is not Assurance.AUTHENTICATED
    await relay.attempt(job, house.relay)
    assert house.far.dialled == []
    assert (await house.job()).last_cause == Cause.DNS_UNAVAILABLE.value


# --- all tried hosts lack it, but one could not be asked about ---------------


class Lacking:
    """A dialer whose hops take nothing with REQUIRETLS, and everything without."""

    def __init__(self):
        self.parcels = []

    async def send(self, hops, parcel, commit_intent):
        self.parcels.append((hops, parcel))
        if not parcel.wish.requiretls:
            assert await commit_intent(desk.hop(), parcel.recipients)
            result = {"status": Status.DELIVERED}
        else:
            result = {
                "status": Status.FAILED,
                "cause": Cause.REQUIRETLS,
                "code": "K413",
            }
        facts: HopFacts = desk.hop()
        return Outcome(
            (facts,), tuple(RecipientOutcome(r, **result) for r in parcel.recipients)
        )


async def test_a35_no_hop_that_keeps_the_tag_fails_with_5_7_30(house):
    job = await accepted(house)
    await relay.attempt(job, house.over(dialer=Lacking()))
    assert await house.events() == ["accepted", "failed", "notice-sent"]
    (notice,) = await house.notices()
    octets = await house.spool.load(notice.message)
    assert b"Status: 5.7.30\r\n" in octets
    assert b"Diagnostic-Code: x-ketenmail; 5.7.30 K413 requiretls\r\n" in octets
    assert notice.wish.requiretls


async def test_inv3_a_host_that_dns_cannot_tell_of_may_keep_it_so_it_waits(house):
    job = await accepted(house)
    whole = house.dns.fetch_destination

    async def with_a_dark_host(route, domain, *, fresh=False):
        found = await whole(route, domain, fresh=fresh)
        dark = dataclasses.replace(
            found.hosts[0],
            preference=20,
            addresses=Unavailable(bogus=False, detail="time-out"),
        )
        return dataclasses.replace(found, hosts=(*found.hosts, dark))

    house.dns.fetch_destination = with_a_dark_host
    await relay.attempt(job, house.over(dialer=Lacking()))
    assert await house.events() == ["accepted", "deferred"]


# --- notices about such mail (RFC 8689 section 5) ----------------------------


async def leased_notice(house):
    job = await accepted(house)
    await relay.attempt(job, house.over(dialer=Lacking()))
    (notice,) = await house.lease()
    assert notice.wish.requiretls
    return notice


def parts(octets):
    mail = email.message_from_bytes(octets)
    return [part.get_content_type() for part in mail.get_payload()]


@pytest.fixture
def pinned(tmp_path):
    """A house whose own server has a pin, so that it can prove who it is."""
    house = relay_bed.House(tmp_path, own_route=PINNED)
    yield house
    house.close()


async def test_a35_where_the_own_server_keeps_the_tag_the_notice_goes_whole(pinned):
    notice = await leased_notice(pinned)
    await relay.attempt(notice, pinned.relay)
    ((hops, parcel),) = pinned.far.dialled
    assert isinstance(hops[0].demand, PinDemand)
    assert parcel.wish == MessageWish(requiretls=True)
    assert parts(parcel.octets)[-1] == "text/rfc822-headers"


async def test_a35_where_it_does_not_the_notice_goes_redacted_and_without_the_tag(
    pinned,
):
    notice = await leased_notice(pinned)
    dialer = Lacking()
    await relay.attempt(notice, pinned.over(dialer=dialer))
    (_, first), (_, second) = dialer.parcels
    assert first.wish.requiretls
    assert not second.wish.requiretls
    assert parts(second.octets) == ["text/plain", "message/delivery-status"]
    assert b"Subject: Zaak" in first.octets
    assert b"Subject: Zaak" not in second.octets
    (record,) = [
        r for r in await pinned.records(notice.message) if r.event == "delivered"
    ]
    assert record is not None


async def test_a35_an_own_route_that_proves_nothing_gets_the_redacted_notice(house):
    notice = await leased_notice(house)
    await relay.attempt(notice, house.relay)
    ((_, parcel),) = house.far.dialled
    assert not parcel.wish.requiretls
    assert parts(parcel.octets) == ["text/plain", "message/delivery-status"]


async def test_a35_a_deferred_notice_keeps_its_tag_and_waits(pinned):
    notice = await leased_notice(pinned)
    pinned.far.before_the_dot = [({"status": Status.DEFERRED, "cause": Cause.TLS},)]
    await relay.attempt(notice, pinned.relay)
    ((_, parcel),) = pinned.far.dialled
    assert parcel.wish.requiretls
    (waiting,) = await pinned.notices()
    assert waiting.wish.requiretls


class Killed(BaseException):
    """Our process dies."""


class DiesAtTheDot(Lacking):
    """Lacks REQUIRETLS; and we die at the dot of what is sent without it."""

    async def send(self, hops, parcel, commit_intent):
        if not parcel.wish.requiretls:
            assert await commit_intent(relay_bed.desk.hop(), parcel.recipients)
            raise Killed
        return await super().send(hops, parcel, commit_intent)


async def test_a35_a_crash_at_the_redacted_notice_takes_no_tag_off(pinned):
    notice = await leased_notice(pinned)
    with pytest.raises(Killed):
        await relay.attempt(notice, pinned.over(dialer=DiesAtTheDot()))
    pinned.later(hours=1)
    (again,) = await pinned.lease("next")
    assert again.wish.requiretls
    await relay.attempt(again, pinned.relay)
    ((_, parcel),) = pinned.far.dialled
    assert parcel.wish.requiretls
