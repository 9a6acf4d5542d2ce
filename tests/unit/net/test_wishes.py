"""DSN and REQUIRETLS towards real TLS servers (A-26, A-35, B-36)."""

import dataclasses

import pytest

from gateway.model.destination import Opportunistic, PinDemand, TlsDemand
from gateway.model.errors import TemporaryFailure
from gateway.model.message import MessageWish, Notify, RecipientWish, Ret
from gateway.model.reply import Cause, Status
from tests.unit.net.hop import CUT, LoopbackHop, Manners
from tests.unit.net.test_smtp import (
    CHAIN,
    JAN,
    PIET,
    PIN,
    free_port,
    hop_to,
    no_envelope,
    parcel,
    send,
    statuses,
)

WITH_DSN = b"250-mx1\r\n250-PIPELINING\r\n250 DSN\r\n"
WITHOUT = b"250-mx1\r\n250 PIPELINING\r\n"
TAGGED = MessageWish(requiretls=True)
KEEPS = b"250-mx1\r\n250 REQUIRETLS\r\n"
WISHES = {
    JAN: RecipientWish(frozenset({Notify.SUCCESS}), "rfc822;Jan+2Bx@Example.nl"),
    PIET: RecipientWish(frozenset({Notify.NEVER})),
}
ASKED = MessageWish(Ret.FULL, "aBc+2B")


async def test_a26_a_hop_that_offers_dsn_gets_the_wishes_word_for_word() -> None:
    with LoopbackHop(Manners(ehlo_tls=WITH_DSN), CHAIN) as server:
        given = parcel(JAN, PIET, wish=ASKED, recipient_wishes=WISHES)
        outcome = await send(hop_to(server), given=given)
    assert server.said(b"MAIL") == [
        b"MAIL FROM:<post@gemeente.nl> RET=FULL ENVID=aBc+2B"
    ]
    assert server.said(b"RCPT") == [
        b"RCPT TO:<jan@example.nl> NOTIFY=SUCCESS ORCPT=rfc822;Jan+2Bx@Example.nl",
        b"RCPT TO:<piet@example.nl> NOTIFY=NEVER",
    ]
    assert [result.dsn for result in outcome.recipients] == [True, True]
    assert outcome.hops[0].dsn


async def test_a26_a_hop_without_dsn_hears_nothing_of_them_and_it_is_known() -> None:
    """RFC 3461 section 5.2.2 (a); the reverse-path stays, with NOTIFY=NEVER too."""
    with LoopbackHop(Manners(ehlo_tls=WITHOUT), CHAIN) as server:
        given = parcel(JAN, PIET, wish=ASKED, recipient_wishes=WISHES)
        outcome = await send(hop_to(server), given=given)
    assert server.said(b"MAIL") == [b"MAIL FROM:<post@gemeente.nl>"]
    assert server.said(b"RCPT") == [
        b"RCPT TO:<jan@example.nl>",
        b"RCPT TO:<piet@example.nl>",
    ]
    assert statuses(outcome) == [Status.DELIVERED] * 2
    assert [result.dsn for result in outcome.recipients] == [False, False]
    assert not outcome.hops[0].dsn


async def test_a26_dsn_that_was_offered_before_tls_only_does_not_count() -> None:
    before = b"250-mx1\r\n250-DSN\r\n250 STARTTLS\r\n"
    with LoopbackHop(Manners(ehlo=before, ehlo_tls=WITHOUT), CHAIN) as server:
        outcome = await send(hop_to(server), given=parcel(wish=ASKED))
    assert server.said(b"MAIL") == [b"MAIL FROM:<post@gemeente.nl>"]
    assert not outcome.recipients[0].dsn


async def test_a26_only_what_was_delivered_is_the_hop_s_to_tell_of() -> None:
    refusing = Manners(
        ehlo_tls=WITH_DSN, rcpt={"piet@example.nl": b"550 5.1.1 unknown\r\n"}
    )
    with LoopbackHop(refusing, CHAIN) as server:
        outcome = await send(hop_to(server), given=parcel(JAN, PIET))
    assert [result.dsn for result in outcome.recipients] == [True, False]


async def test_b40_a_poisoned_wish_reaches_nobody() -> None:
    poisoned = parcel(wish=MessageWish(envid="a\r\nDATA"))
    with LoopbackHop(Manners(ehlo_tls=WITHOUT), CHAIN) as server:
        refused = pytest.raises(TemporaryFailure, match="ENVID")
        with refused:
            await send(hop_to(server), given=poisoned)
    assert server.connections == 0


@pytest.mark.parametrize("demand", [None, PinDemand(frozenset({PIN}))])
async def test_a35_a_hop_that_keeps_the_tag_gets_it(demand) -> None:
    more = {} if demand is None else {"demand": demand}
    with LoopbackHop(Manners(ehlo_tls=KEEPS), CHAIN) as server:
        outcome = await send(hop_to(server, **more), given=parcel(wish=TAGGED))
    assert statuses(outcome) == [Status.DELIVERED]
    assert server.said(b"MAIL") == [b"MAIL FROM:<post@gemeente.nl> REQUIRETLS"]
    assert outcome.hops[0].requiretls


async def test_a35_b36_an_offer_before_tls_only_is_none_and_it_fails_with_5_7_30() -> (
    None
):
    before = b"250-mx1\r\n250-REQUIRETLS\r\n250 STARTTLS\r\n"
    with LoopbackHop(Manners(ehlo=before, ehlo_tls=WITHOUT), CHAIN) as server:
        outcome = await send(hop_to(server), given=parcel(wish=TAGGED))
    assert no_envelope(server)
    assert server.said(b"QUIT")
    (result,) = outcome.recipients
    assert (result.status, result.cause) == (Status.FAILED, Cause.REQUIRETLS)
    assert result.code == "K413"
    assert not outcome.hops[0].requiretls
    assert outcome.hops[0].detail == "the hop does not offer REQUIRETLS over TLS"


async def test_a35_mail_without_the_tag_does_not_get_it() -> None:
    with LoopbackHop(Manners(ehlo_tls=KEEPS), CHAIN) as server:
        outcome = await send(hop_to(server))
    assert server.said(b"MAIL") == [b"MAIL FROM:<post@gemeente.nl>"]
    assert not outcome.hops[0].requiretls


async def test_a35_the_next_host_that_keeps_the_tag_is_used() -> None:
    with (
        LoopbackHop(Manners(ehlo_tls=WITHOUT), CHAIN) as first,
        LoopbackHop(Manners(ehlo_tls=KEEPS), CHAIN) as second,
    ):
        outcome = await send(hop_to(first), hop_to(second), given=parcel(wish=TAGGED))
    assert no_envelope(first)
    assert statuses(outcome) == [Status.DELIVERED]
    assert [hop.requiretls for hop in outcome.hops] == [False, True]


async def test_a35_a_host_that_could_not_be_asked_may_keep_it_so_it_waits() -> None:
    with LoopbackHop(Manners(ehlo_tls=WITHOUT), CHAIN) as server:
        outcome = await send(
            hop_to(server), hop_to(free_port()), given=parcel(wish=TAGGED)
        )
    (result,) = outcome.recipients
    assert result.status is Status.DEFERRED


async def test_a35_all_hosts_without_it_prove_that_nobody_keeps_the_tag() -> None:
    with (
        LoopbackHop(Manners(ehlo_tls=WITHOUT), CHAIN) as first,
        LoopbackHop(Manners(ehlo_tls=WITH_DSN), CHAIN) as second,
    ):
        outcome = await send(hop_to(first), hop_to(second), given=parcel(wish=TAGGED))
    assert no_envelope(first)
    assert no_envelope(second)
    assert statuses(outcome) == [Status.FAILED]
    assert len(outcome.hops) == 2


SAME = ("127.0.0.1", "127.1", "127.0.1", "0x7f.1", "2130706433")  # one and the same


@pytest.mark.parametrize(
    ("addresses", "status"),
    [
        (SAME[:2], Status.FAILED),
        (SAME[:4], Status.FAILED),
        (SAME, Status.DEFERRED),  # the fifth was not asked (MAX_ADDRESSES)
        (("127.0.0.1", "127.0.0.2"), Status.DEFERRED),  # nobody listens on the second
        (("127.0.0.2", "127.0.0.1"), Status.DEFERRED),
    ],
)
async def test_a35_b24_an_address_that_was_not_asked_may_keep_the_tag_so_it_waits(
    addresses, status
) -> None:
    """What one machine of a host lacks says nothing of the machine that was silent."""
    with LoopbackHop(Manners(ehlo_tls=WITHOUT), CHAIN) as server:
        hop = dataclasses.replace(hop_to(server), addresses=addresses)
        outcome = await send(hop, given=parcel(wish=TAGGED))
    assert no_envelope(server)
    assert statuses(outcome) == [status]


async def test_a35_a_hop_that_falls_silent_has_proven_nothing() -> None:
    with LoopbackHop(Manners(ehlo_tls=CUT), CHAIN) as server:
        outcome = await send(hop_to(server), given=parcel(wish=TAGGED))
    assert statuses(outcome) == [Status.DEFERRED]


@pytest.mark.parametrize("demand", [TlsDemand(), Opportunistic()])
async def test_a35_b36_a_hop_that_proved_nothing_gets_no_envelope(demand) -> None:
    """The plan never makes such a hop for it; the dialer does not rely on that."""
    with LoopbackHop(Manners(ehlo_tls=KEEPS), CHAIN) as server:
        outcome = await send(hop_to(server, demand), given=parcel(wish=TAGGED))
    assert no_envelope(server)
    (result,) = outcome.recipients
    assert (result.status, result.code) == (Status.DEFERRED, "K401")
