"""The dialer against real TLS servers: what is delivered, and what is never said."""

import asyncio
import datetime
import hashlib
import socket
import ssl
import subprocess

import aiosmtpd.controller
import pytest

from gateway.model.address import Domain, Mailbox
from gateway.model.assurance import Mechanism, TlsResult
from gateway.model.destination import (
    DaneDemand,
    Hop,
    Opportunistic,
    Pin,
    PinDemand,
    TlsDemand,
)
from gateway.model.errors import TemporaryFailure
from gateway.model.message import Body
from gateway.model.reply import Cause, HopFacts, Outcome, Status
from gateway.net.smtp import MAX_CONNECTIONS, SmtpDialer
from gateway.net.tls import client_context
from gateway.net.transaction import Timeouts
from gateway.ports import Parcel
from gateway.trust.chain import Chain
from tests.unit.net.hop import CUT, OVER_TLS, LoopbackHop, Manners, wait_until
from tests.unit.trust.issuing import issue, make_pki

PKI = make_pki()
CHAIN = (PKI.leaf, PKI.intermediate)
EE = PKI.leaf.tlsa(3, 1, 1)
DANE = DaneDemand(frozenset({EE}), (Domain("mx1.example.nl"),))
PIN = Pin(Chain((PKI.leaf.der,)).spki_sha256)
JAN = Mailbox("jan", Domain("example.nl"))
PIET = Mailbox("piet", Domain("example.nl"))
KLAAS = Mailbox("klaas", Domain("example.nl"))
OCTETS = b"Received: by gw\r\nSubject: x\r\n\r\n.dot\r\n..dots\r\n.\r\nend\r\n"
QUICK = Timeouts(
    connect_s=5, greeting_s=5, command_s=5, handshake_s=5, data_s=5, block_s=5,
    dot_s=5, quit_s=5, attempt_s=60,
)  # fmt: skip
SHORT = 0.3  # where the hop stays silent on purpose


def parcel(*recipients: Mailbox, **changes) -> Parcel:
    fields = {
        "reverse_path": "post@gemeente.nl",
        "recipients": recipients or (JAN,),
        "octets": OCTETS,
        "body": Body.SEVEN_BIT,
        "smtputf8": False,
    }
    return Parcel(**{**fields, **changes})


def hop_to(server, demand=DANE, sni: str | None = "mx1.example.nl") -> Hop:
    port = server if isinstance(server, int) else server.port
    return Hop("mx1.example.nl", port, ("127.0.0.1",), sni, demand, "mx:secure")


class Intent:
    """Writes down when it was asked, and what the hop had heard by then."""

    def __init__(self, answer: bool = True, server: LoopbackHop | None = None) -> None:
        self.answer = answer
        self.server = server
        self.asked: list[tuple[HopFacts, tuple[Mailbox, ...]]] = []
        self.dots_before: list[bytes] = []

    async def __call__(self, facts: HopFacts, accepted: tuple[Mailbox, ...]) -> bool:
        self.asked.append((facts, accepted))
        if self.server is not None:
            await asyncio.to_thread(self.server_has_the_content)
            self.dots_before = self.server.said(b".")
        return self.answer

    def server_has_the_content(self) -> None:
        wait_until(lambda: self.server.content.endswith(b"end\r\n"))


async def send(*hops: Hop, given=None, intent=None, timeouts=QUICK) -> Outcome:
    def now() -> datetime.datetime:
        return datetime.datetime.now(datetime.UTC)

    dialer = SmtpDialer("gw.gemeente.nl", timeouts, client_context(), now)
    return await dialer.send(hops, given or parcel(), intent or Intent())


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        return reserved.getsockname()[1]


def statuses(outcome: Outcome) -> list[Status]:
    return [result.status for result in outcome.recipients]


def no_envelope(server: LoopbackHop) -> bool:
    return not (server.said(b"MAIL") or server.said(b"RCPT") or server.said(b"DATA"))


# --- the happy path -----------------------------------------------------------------


async def test_a_good_hop_takes_the_message_and_evidence_says_how() -> None:
    """B-22, B-35, B-39, B-50."""
    with LoopbackHop(Manners(), CHAIN) as server:
        intent = Intent(server=server)
        outcome = await send(hop_to(server), intent=intent)
    assert server.seen == [
        (False, b"EHLO gw.gemeente.nl"),
        (False, b"STARTTLS"),
        (True, b"EHLO gw.gemeente.nl"),
        (True, b"MAIL FROM:<post@gemeente.nl> SIZE=%d" % len(OCTETS)),
        (True, b"RCPT TO:<jan@example.nl>"),
        (True, b"DATA"),
        (True, b"."),
        (True, b"QUIT"),
    ]
    assert server.sni == ["mx1.example.nl"]
    sent = server.content.removesuffix(b".\r\n").replace(b"\r\n..", b"\r\n.")
    assert sent == OCTETS
    (result,) = outcome.recipients
    assert (result.recipient, result.status) == (JAN, Status.DELIVERED)
    assert (result.reply.code, result.reply.enhanced) == (250, "2.0.0")
    assert result.reply.text == "queued as 4711"
    assert (result.cause, result.code, result.tls_result) == (None, None, None)
    (facts,) = outcome.hops
    assert facts.mechanism is Mechanism.DANE_EE
    assert facts.matched == f"tlsa {EE}"
    assert facts.tls.version == "TLSv1.3"
    assert facts.tls.chain == tuple(c.der for c in CHAIN)
    assert (facts.host, facts.address) == ("mx1.example.nl", "127.0.0.1")
    assert (facts.port, facts.dnssec) == (server.port, "mx:secure")
    assert (facts.tls_result, facts.detail) == (None, "")
    assert facts.started_at <= facts.ended_at
    (asked,) = intent.asked
    assert asked[0].mechanism is Mechanism.DANE_EE
    assert asked[1] == (JAN,)
    assert intent.dots_before == []


@pytest.mark.parametrize(
    ("demand", "mechanism"),
    [
        (
            DaneDemand(
                frozenset({PKI.intermediate.tlsa(2, 1, 1)}),
                (Domain("mx1.example.nl"),),
            ),
            Mechanism.DANE_TA,
        ),
        (PinDemand(frozenset({PIN})), Mechanism.PIN),
        (TlsDemand(), Mechanism.UNAUTHENTICATED_TLS),
        (Opportunistic(), Mechanism.UNAUTHENTICATED_TLS),
    ],
)
async def test_a_hop_that_meets_its_demand_gets_the_message(demand, mechanism) -> None:
    with LoopbackHop(Manners(), CHAIN) as server:
        outcome = await send(hop_to(server, demand, None))
    assert statuses(outcome) == [Status.DELIVERED]
    assert outcome.hops[0].mechanism is mechanism
    assert server.sni == [None]


async def test_b19_an_expired_self_signed_leaf_with_a_good_3_1_1_is_fine() -> None:
    old = issue("whatever", days=(-30, -20))
    demand = DaneDemand(frozenset({old.tlsa(3, 1, 1)}), (Domain("mx1.example.nl"),))
    with LoopbackHop(Manners(), (old,)) as server:
        outcome = await send(hop_to(server, demand))
    assert statuses(outcome) == [Status.DELIVERED]


async def test_ordinary_mail_goes_in_plaintext_where_no_tls_is_offered() -> None:
    with LoopbackHop(Manners(ehlo=b"250 mx1.example.nl\r\n"), CHAIN) as server:
        outcome = await send(hop_to(server, Opportunistic()))
    assert statuses(outcome) == [Status.DELIVERED]
    assert outcome.hops[0].mechanism is Mechanism.PLAINTEXT
    assert outcome.hops[0].tls is None
    assert server.said(b"MAIL") == [b"MAIL FROM:<post@gemeente.nl>"]


async def test_without_pipelining_each_command_waits_for_its_reply() -> None:
    plain = b"250 mx1.example.nl\r\n"
    with LoopbackHop(Manners(ehlo_tls=plain), CHAIN) as server:
        outcome = await send(hop_to(server), given=parcel(JAN, PIET, reverse_path=""))
    assert statuses(outcome) == [Status.DELIVERED, Status.DELIVERED]
    assert server.said(b"MAIL") == [b"MAIL FROM:<>"]
    assert len(server.said(b"RCPT")) == 2


async def test_b39_a_large_message_arrives_octet_for_octet() -> None:
    line = bytes(range(32, 127)) + b"\r\n.x\r\n"
    octets = line * 30_000
    big = Manners(ehlo_tls=b"250-mx1\r\n250-PIPELINING\r\n250 SIZE\r\n")
    with LoopbackHop(big, CHAIN) as server:
        outcome = await send(hop_to(server), given=parcel(octets=octets))
    assert statuses(outcome) == [Status.DELIVERED]
    sent = server.content.removesuffix(b".\r\n").replace(b"\r\n..", b"\r\n.")
    assert hashlib.sha256(sent).digest() == hashlib.sha256(octets).digest()


# --- B-30, B-31: no envelope to a hop that did not prove enough ----------------------------


DEMANDS = pytest.mark.parametrize(
    "demand",
    [DANE, PinDemand(frozenset({PIN})), TlsDemand()],
    ids=["dane", "pin", "tls"],
)


@DEMANDS
async def test_b30_a_hop_without_starttls_gets_no_envelope(demand) -> None:
    with LoopbackHop(Manners(ehlo=OVER_TLS), CHAIN) as server:
        outcome = await send(hop_to(server, demand))
    assert no_envelope(server)
    assert server.connections == 1
    assert server.said(b"QUIT")
    (result,) = outcome.recipients
    assert (result.status, result.cause) == (Status.DEFERRED, Cause.TLS)
    assert (result.code, result.tls_result) == (
        "K403",
        TlsResult.STARTTLS_NOT_SUPPORTED,
    )
    assert outcome.hops[0].tls_result is TlsResult.STARTTLS_NOT_SUPPORTED


@pytest.mark.parametrize("demand", [DANE, TlsDemand(), Opportunistic()])
@pytest.mark.parametrize(
    "refusal", [b"454 4.7.0 not now\r\n", b"501 5.5.4 no\r\n", b"250 what\r\n"]
)
async def test_b30_a_refused_starttls_is_never_followed_by_plaintext(
    refusal, demand
) -> None:
    with LoopbackHop(Manners(starttls=refusal), CHAIN) as server:
        outcome = await send(hop_to(server, demand))
    assert no_envelope(server)
    assert server.connections == 1
    (result,) = outcome.recipients
    assert (result.status, result.code) == (Status.DEFERRED, "K403")
    assert result.reply.code == int(refusal[:3])
    assert result.tls_result is TlsResult.STARTTLS_NOT_SUPPORTED


@pytest.mark.parametrize("demand", [DANE, TlsDemand(), Opportunistic()])
async def test_b30_a_reset_in_the_handshake_is_never_followed_by_plaintext(
    demand,
) -> None:
    with LoopbackHop(Manners(handshake=False), CHAIN) as server:
        outcome = await send(hop_to(server, demand))
    assert no_envelope(server)
    assert server.connections == 1
    (result,) = outcome.recipients
    assert (result.status, result.code) == (Status.DEFERRED, "K403")
    assert result.tls_result is TlsResult.VALIDATION_FAILURE


async def test_c01_a_hop_that_speaks_tls_1_1_only_gets_no_envelope() -> None:
    with LoopbackHop(Manners(), CHAIN) as server:
        server._context.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            server._context.minimum_version = ssl.TLSVersion.TLSv1_1
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            server._context.maximum_version = ssl.TLSVersion.TLSv1_1
        outcome = await send(hop_to(server, TlsDemand()))
    assert no_envelope(server)
    assert statuses(outcome) == [Status.DEFERRED]


async def test_c02_a_hop_with_cbc_suites_only_gets_no_envelope() -> None:
    with LoopbackHop(Manners(), CHAIN) as server:
        server._context.maximum_version = ssl.TLSVersion.TLSv1_2
        server._context.set_ciphers("ECDHE-ECDSA-AES256-SHA384:ECDHE-ECDSA-AES128-SHA")
        outcome = await send(hop_to(server, TlsDemand()))
    assert no_envelope(server)
    assert statuses(outcome) == [Status.DEFERRED]


@pytest.mark.parametrize(
    ("demand", "code", "result"),
    [
        (
            DaneDemand(frozenset({PKI.root.tlsa(3, 1, 1)}), DANE.reference_names),
            "K404",
            TlsResult.VALIDATION_FAILURE,
        ),
        (
            DaneDemand(
                frozenset({PKI.intermediate.tlsa(2, 1, 1)}), (Domain("mx2.other.nl"),)
            ),
            "K404",
            TlsResult.CERTIFICATE_HOST_MISMATCH,
        ),
        (PinDemand(frozenset({Pin("ab" * 32)})), "K405", TlsResult.PIN_MISMATCH),
        (
            DaneDemand(
                frozenset({EE}), DANE.reference_names, frozenset({Pin("ab" * 32)})
            ),
            "K405",
            TlsResult.PIN_MISMATCH,
        ),
    ],
    ids=["dane-ee", "dane-ta name", "pin", "dane and pin"],
)
async def test_b17_b33_a_wrong_certificate_gets_no_envelope(
    demand, code, result
) -> None:
    with LoopbackHop(Manners(), CHAIN) as server:
        outcome = await send(hop_to(server, demand))
    assert no_envelope(server)
    assert len(server.said(b"EHLO")) == 1  # judged before anything else is said in TLS
    (got,) = outcome.recipients
    assert (got.status, got.cause) == (Status.DEFERRED, Cause.TLS)
    assert (got.code, got.tls_result) == (code, result)
    (facts,) = outcome.hops
    assert facts.tls.chain == tuple(c.der for c in CHAIN)  # for whoever looks into it
    assert (facts.mechanism, facts.matched) == (None, None)
    assert facts.tls_result is result


@pytest.mark.parametrize(
    "extra",
    [b"250 forged\r\n", b"250-forged\r\n250 over TLS\r\n", b"2", b"garbage\r\n"],
)
@pytest.mark.parametrize("demand", [DANE, Opportunistic()])
async def test_b31_plaintext_after_220_aborts_before_the_handshake(
    extra, demand
) -> None:
    greedy = Manners(starttls=b"220 ok\r\n" + extra)
    with LoopbackHop(greedy, CHAIN) as server:
        outcome = await send(hop_to(server, demand))
    assert no_envelope(server)
    assert server.sni == []  # no ClientHello was ever sent
    (result,) = outcome.recipients
    assert (result.status, result.cause) == (Status.DEFERRED, Cause.HOP_GARBAGE)
    assert result.code == "K410"


async def test_b31_only_what_is_offered_over_tls_counts() -> None:
    """8BITMIME was promised in plaintext, where anybody could have written it."""
    manners = Manners(ehlo_tls=b"250 mx1.example.nl\r\n")
    eight = parcel(octets="Subject: x\r\n\r\né\r\n".encode())
    with LoopbackHop(manners, CHAIN) as server:
        outcome = await send(hop_to(server), given=eight)
    assert no_envelope(server)
    assert outcome.recipients[0].code == "K411"


async def test_what_a_hop_says_unasked_over_tls_is_not_believed() -> None:
    manners = Manners(after_handshake=b"250-mx1\r\n250 8BITMIME\r\n250 2.1.0 ok\r\n")
    with LoopbackHop(manners, CHAIN) as server:
        outcome = await send(hop_to(server))
    assert no_envelope(server) or statuses(outcome) == [Status.DEFERRED]
    assert outcome.recipients[0].status is Status.DEFERRED


# --- B-37: nonsense ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "nonsense",
    [
        b"220 " + b"a" * 1_000_000 + b"\r\n",
        b"220-again\r\n" * 100_000,
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"220-one\r\n250 two\r\n",
        b"999 what\r\n",
    ],
    ids=["1 MB line", "220- for ever", "http", "two codes", "999"],
)
async def test_b37_nonsense_for_a_greeting_defers(nonsense: bytes) -> None:
    with LoopbackHop(Manners(greeting=nonsense), CHAIN) as server:
        outcome = await send(hop_to(server))
    assert server.seen == []
    (result,) = outcome.recipients
    assert (result.status, result.cause) == (Status.DEFERRED, Cause.HOP_GARBAGE)
    assert result.code == "K410"


@pytest.mark.parametrize("at", ["ehlo", "starttls", "ehlo_tls"])
async def test_b37_nonsense_before_the_envelope_defers(at: str) -> None:
    endless = b"250-" + b"x" * 100 + b"\r\n"
    with LoopbackHop(Manners(**{at: endless * 1000}), CHAIN) as server:
        outcome = await send(hop_to(server))
    assert no_envelope(server)
    assert outcome.recipients[0].cause is Cause.HOP_GARBAGE


async def test_b37_replies_of_the_hop_are_sanitised_in_the_outcome() -> None:
    manners = Manners(rcpt={str(JAN): b"550 5.1.1 <script>\x1b[31m \xc3\xa9\r\n"})
    with LoopbackHop(manners, CHAIN) as server:
        outcome = await send(hop_to(server))
    (result,) = outcome.recipients
    assert (result.status, result.code) == (Status.FAILED, "K409")
    assert (result.reply.enhanced, result.reply.text) == ("5.1.1", "<script>?[31m ??")


# --- B-03, B-24: the next host -----------------------------------------------------------------


@pytest.mark.parametrize(
    "manners",
    [
        Manners(greeting=b"421 4.3.2 busy\r\n"),
        Manners(greeting=b"554 5.3.2 no service here\r\n"),
        Manners(greeting=CUT),
        Manners(greeting=b"nonsense\r\n"),
        Manners(ehlo=b"451 4.3.0 later\r\n"),
        Manners(ehlo=b"502 5.5.1 what\r\n"),
        Manners(ehlo=b"250 mx1\r\n"),
        Manners(starttls=b"454 4.7.0 no\r\n"),
        Manners(handshake=False),
        Manners(ehlo_tls=CUT),
        Manners(mail=b"452 4.3.1 full\r\n"),
        Manners(mail=b"421 4.3.2 closing\r\n"),
        Manners(mail=CUT),
    ],
    ids=lambda m: "|".join(
        str(v)[:20] for k, v in vars(m).items() if v != vars(Manners())[k]
    ),
)
@pytest.mark.parametrize("pipelining", [True, False])
async def test_b03_the_next_host_is_tried(manners: Manners, pipelining: bool) -> None:
    if not pipelining and manners.ehlo_tls == OVER_TLS:
        manners.ehlo_tls = b"250 mx1\r\n"
    with LoopbackHop(manners, CHAIN) as bad, LoopbackHop(Manners(), CHAIN) as good:
        outcome = await send(hop_to(bad), hop_to(good))
    assert statuses(outcome) == [Status.DELIVERED]
    assert bad.said(b"DATA") == []
    assert [facts.port for facts in outcome.hops] == [bad.port, good.port]
    assert outcome.hops[0].detail


async def test_b03_an_unreachable_host_is_passed_over() -> None:
    with LoopbackHop(Manners(), CHAIN) as good:
        outcome = await send(hop_to(free_port()), hop_to(good))
    assert statuses(outcome) == [Status.DELIVERED]
    assert "no connection" in outcome.hops[0].detail


async def test_all_hosts_unreachable_defers_each_recipient() -> None:
    hops = [hop_to(free_port()), hop_to(free_port())]
    outcome = await send(*hops, given=parcel(JAN, PIET))
    assert [(r.status, r.cause, r.code) for r in outcome.recipients] == [
        (Status.DEFERRED, Cause.UNREACHABLE, "K406")
    ] * 2
    assert len(outcome.hops) == 2


async def test_b24_a_tls_failure_is_told_before_an_unreachable_host() -> None:
    with LoopbackHop(Manners(ehlo=OVER_TLS), CHAIN) as server:
        outcome = await send(hop_to(free_port()), hop_to(server), hop_to(free_port()))
    (result,) = outcome.recipients
    assert (result.code, len(outcome.hops)) == ("K403", 3)


async def test_b03_the_number_of_connections_is_bounded() -> None:
    outcome = await send(*[hop_to(free_port())] * (MAX_CONNECTIONS + 5))
    assert len(outcome.hops) == MAX_CONNECTIONS


async def test_b03_no_further_host_is_tried_when_the_time_is_over() -> None:
    over = Timeouts(connect_s=5, attempt_s=0)
    outcome = await send(*[hop_to(free_port())] * 3, timeouts=over)
    assert len(outcome.hops) == 1


async def test_several_addresses_of_one_host_are_tried_in_turn() -> None:
    with LoopbackHop(Manners(), CHAIN) as server:
        hop = Hop(
            "mx1.example.nl", server.port, ("127.0.0.3", "127.0.0.1"), None, DANE, ""
        )
        outcome = await send(hop)
    assert statuses(outcome) == [Status.DELIVERED]
    assert [facts.address for facts in outcome.hops] == ["127.0.0.3", "127.0.0.1"]


@pytest.mark.parametrize(
    "manners",
    [
        Manners(mail=b"550 5.7.1 no\r\n"),
        Manners(rcpt={str(JAN): b"550 5.1.1 no\r\n"}),
        Manners(data=b"554 5.7.1 no\r\n"),
        Manners(end=b"554 5.7.1 no\r\n"),
    ],
    ids=["mail", "rcpt", "data", "dot"],
)
@pytest.mark.parametrize("ehlo_tls", [OVER_TLS, b"250 mx1\r\n"])
async def test_b03_a_definite_refusal_ends_the_attempt(manners, ehlo_tls) -> None:
    manners.ehlo_tls = ehlo_tls
    with LoopbackHop(manners, CHAIN) as first, LoopbackHop(Manners(), CHAIN) as second:
        outcome = await send(hop_to(first), hop_to(second))
    assert second.connections == 0
    (result,) = outcome.recipients
    assert (result.status, result.cause) == (Status.FAILED, Cause.HOP_REPLY)
    assert result.code == "K409"
    assert result.reply.code // 100 == 5


# --- B-41, B-42: each recipient by itself ---------------------------------------------------------


@pytest.mark.parametrize("ehlo_tls", [OVER_TLS, b"250 mx1\r\n"])
async def test_b41_each_recipient_has_its_own_outcome(ehlo_tls) -> None:
    manners = Manners(
        ehlo_tls=ehlo_tls,
        rcpt={
            str(PIET): b"451 4.2.1 later\r\n",
            str(KLAAS): b"550 5.1.1 unknown\r\n",
        },
    )
    intent = Intent()
    with LoopbackHop(manners, CHAIN) as server:
        outcome = await send(
            hop_to(server), given=parcel(PIET, JAN, KLAAS), intent=intent
        )
    assert [(r.recipient, r.status) for r in outcome.recipients] == [
        (PIET, Status.DEFERRED),
        (JAN, Status.DELIVERED),
        (KLAAS, Status.FAILED),
    ]
    assert intent.asked[0][1] == (JAN,)


@pytest.mark.parametrize(
    ("reply", "status"),
    [
        (b"251 2.1.5 will forward\r\n", Status.DELIVERED),
        (b"551 5.1.6 try <x@evil.nl>\r\n", Status.FAILED),
        (b"552 5.2.2 too many\r\n", Status.DEFERRED),
        (b"452 4.5.3 too many\r\n", Status.DEFERRED),
        (b"354 what\r\n", Status.DEFERRED),
    ],
)
async def test_b42_what_a_reply_to_rcpt_means(reply, status) -> None:
    with LoopbackHop(Manners(rcpt={str(JAN): reply}), CHAIN) as server:
        outcome = await send(hop_to(server))
    assert statuses(outcome) == [status]
    assert server.said(b"RCPT") == [b"RCPT TO:<jan@example.nl>"]  # no other address
    assert outcome.recipients[0].reply.code == (
        250 if status is Status.DELIVERED else int(reply[:3])
    )


@pytest.mark.parametrize("ehlo_tls", [OVER_TLS, b"250 mx1\r\n"])
@pytest.mark.parametrize("last", [b"421 4.3.2 closing\r\n", CUT, b"nonsense\r\n"])
async def test_b42_a_session_that_ends_at_rcpt_keeps_what_was_refused(
    ehlo_tls, last
) -> None:
    manners = Manners(
        ehlo_tls=ehlo_tls,
        rcpt={str(JAN): b"550 5.1.1 no\r\n", str(KLAAS): last},
    )
    with LoopbackHop(manners, CHAIN) as server:
        outcome = await send(hop_to(server), given=parcel(JAN, PIET, KLAAS))
    assert statuses(outcome) == [Status.FAILED, Status.DEFERRED, Status.DEFERRED]
    assert server.said(b"DATA") == []


@pytest.mark.parametrize(
    ("reply", "cause"),
    [
        (b"451 4.3.0 later\r\n", Cause.HOP_REPLY),
        (b"421 4.3.2 closing\r\n", Cause.HOP_REPLY),
        (b"250 2.0.0 already done\r\n", Cause.HOP_GARBAGE),
        (b"3\r\n", Cause.HOP_GARBAGE),
    ],
)
async def test_b42_only_354_lets_the_content_go(reply, cause) -> None:
    with LoopbackHop(Manners(data=reply), CHAIN) as server:
        outcome = await send(hop_to(server))
    (result,) = outcome.recipients
    assert (result.status, result.cause) == (Status.DEFERRED, cause)
    assert server.content == b""


@pytest.mark.parametrize(
    "manners",
    [
        Manners(mail=b"552 5.3.4 too big\r\n"),
        Manners(data=b"552 5.3.4 too big\r\n"),
        Manners(end=b"552 5.3.4 too big\r\n"),
    ],
    ids=["mail", "data", "dot"],
)
@pytest.mark.parametrize("ehlo_tls", [OVER_TLS, b"250 mx1\r\n"])
async def test_b42_552_is_final_everywhere_but_at_rcpt(manners, ehlo_tls) -> None:
    manners.ehlo_tls = ehlo_tls
    with LoopbackHop(manners, CHAIN) as server:
        outcome = await send(hop_to(server))
    (result,) = outcome.recipients
    assert (result.status, result.cause) == (Status.FAILED, Cause.HOP_REPLY)
    assert (result.reply.code, result.reply.enhanced) == (552, "5.3.4")


# --- what the message needs of the hop -------------------------------------------------------------


UTF8_HEADER = "Subject: caf\u00e9\r\n\r\nx\r\n".encode()
EIGHT_BIT = "Subject: x\r\n\r\ncaf\u00e9\r\n".encode()


async def test_8bitmime_is_said_when_the_octets_need_it() -> None:
    with LoopbackHop(Manners(), CHAIN) as server:
        outcome = await send(hop_to(server), given=parcel(octets=EIGHT_BIT))
    assert statuses(outcome) == [Status.DELIVERED]
    assert server.said(b"MAIL")[0].endswith(b" BODY=8BITMIME")


async def test_ascii_octets_pass_a_hop_without_8bitmime_whatever_was_said() -> None:
    with LoopbackHop(Manners(ehlo_tls=b"250 mx1\r\n"), CHAIN) as server:
        given = parcel(body=Body.EIGHT_BIT, smtputf8=True)
        outcome = await send(hop_to(server), given=given)
    assert statuses(outcome) == [Status.DELIVERED]
    assert server.said(b"MAIL") == [b"MAIL FROM:<post@gemeente.nl>"]


ANDRE = Mailbox("andré", Domain("example.nl"))


async def test_smtputf8_is_said_when_an_address_needs_it() -> None:
    offer = b"250-mx1\r\n250 SMTPUTF8\r\n"
    with LoopbackHop(Manners(ehlo_tls=offer), CHAIN) as server:
        outcome = await send(hop_to(server), given=parcel(ANDRE, smtputf8=True))
    assert statuses(outcome) == [Status.DELIVERED]
    assert server.said(b"MAIL") == [b"MAIL FROM:<post@gemeente.nl> SMTPUTF8"]
    assert server.said(b"RCPT") == ["RCPT TO:<andré@example.nl>".encode()]


@pytest.mark.parametrize(
    ("offer", "given", "code"),
    [
        (b"250 mx1\r\n", parcel(octets=EIGHT_BIT), "K411"),
        (
            b"250 mx1\r\n",
            parcel(octets=EIGHT_BIT, body=Body.EIGHT_BIT),
            "K411",
        ),
        (b"250-mx1\r\n250 8BITMIME\r\n", parcel(ANDRE, smtputf8=True), "K414"),
        (
            b"250-mx1\r\n250 8BITMIME\r\n",
            parcel(octets=UTF8_HEADER, smtputf8=True),
            "K414",
        ),
        (b"250-mx1\r\n250 SIZE 50\r\n", parcel(), "K415"),
    ],
    ids=["no-8BITMIME", "8BITMIME", "address", "header", "SIZE"],
)
async def test_a21_a23_a24_a_hop_that_lacks_what_the_message_needs_fails_it(
    offer, given, code
) -> None:
    with LoopbackHop(Manners(ehlo_tls=offer), CHAIN) as server:
        outcome = await send(hop_to(server), given=given)
    assert no_envelope(server)
    assert server.said(b"QUIT")
    (result,) = outcome.recipients
    assert (result.status, result.cause) == (Status.FAILED, Cause.CONVERSION)
    assert result.code == code


async def test_a24_an_eight_bit_body_alone_needs_no_smtputf8() -> None:
    offer = b"250-mx1\r\n250 8BITMIME\r\n"
    with LoopbackHop(Manners(ehlo_tls=offer), CHAIN) as server:
        outcome = await send(
            hop_to(server), given=parcel(octets=EIGHT_BIT, smtputf8=True)
        )
    assert statuses(outcome) == [Status.DELIVERED]
    assert server.said(b"MAIL")[0].endswith(b"BODY=8BITMIME")


async def test_a24_a_header_outside_ascii_is_said_to_need_smtputf8() -> None:
    offer = b"250-mx1\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n"
    with LoopbackHop(Manners(ehlo_tls=offer), CHAIN) as server:
        given = parcel(octets=UTF8_HEADER, smtputf8=True)
        outcome = await send(hop_to(server), given=given)
    assert statuses(outcome) == [Status.DELIVERED]
    assert server.said(b"MAIL")[0].endswith(b" BODY=8BITMIME SMTPUTF8")


# --- B-50, B-51: around the final dot ------------------------------------------------------------------


async def test_b50_a_refused_intent_means_no_dot() -> None:
    intent = Intent(answer=False)
    with LoopbackHop(Manners(), CHAIN) as server:
        outcome = await send(hop_to(server), intent=intent)
        wait_until(lambda: server.content)
    assert len(intent.asked) == 1
    assert server.said(b".") == []
    assert not server.content.endswith(b"\r\n.\r\n")
    assert statuses(outcome) == [Status.DEFERRED]
    assert server.said(b"QUIT") == []  # it would have been content


async def test_b50_an_intent_that_breaks_means_no_dot() -> None:
    async def broken(_facts, _accepted) -> bool:
        raise TemporaryFailure("disk")

    with LoopbackHop(Manners(), CHAIN) as server:
        with pytest.raises(TemporaryFailure):
            await send(hop_to(server), intent=broken)
        wait_until(lambda: server.content)
    assert server.said(b".") == []


async def test_b50_no_intent_is_asked_when_nobody_was_accepted() -> None:
    intent = Intent()
    manners = Manners(rcpt={str(JAN): b"550 5.1.1 no\r\n"})
    with LoopbackHop(manners, CHAIN) as server:
        await send(hop_to(server), intent=intent)
    assert intent.asked == []


@pytest.mark.parametrize(
    "end",
    [
        CUT,
        b"25",
        b"250 2.0.0 ok",
        b"250-2.0.0 ok\r\n",
        b"nonsense\r\n",
        b"354 more\r\n",
    ],
    ids=repr,
)
async def test_b51_without_a_complete_reply_to_the_dot_it_is_unknown(end) -> None:
    manners = Manners(end=end, rcpt={str(PIET): b"550 5.1.1 no\r\n"})
    with LoopbackHop(manners, CHAIN) as server, LoopbackHop(Manners(), CHAIN) as other:
        outcome = await send(hop_to(server), hop_to(other), given=parcel(JAN, PIET))
    assert statuses(outcome) == [Status.UNKNOWN, Status.FAILED]
    assert outcome.recipients[0].code == "K410"
    assert other.connections == 0  # a second copy is not made at once
    assert len(server.said(b".")) == 1


async def test_b51_silence_after_the_dot_is_unknown() -> None:
    manners = Manners(end=CUT, hold=True)
    with LoopbackHop(manners, CHAIN) as server:
        outcome = await send(hop_to(server), timeouts=Timeouts(dot_s=SHORT))
    (result,) = outcome.recipients
    assert (result.status, result.cause) == (Status.UNKNOWN, Cause.HOP_SILENT)
    assert outcome.hops[0].detail == "no reply: time-out"


@pytest.mark.parametrize(
    ("end", "status", "cause"),
    [
        (b"250 ok\r\n", Status.DELIVERED, None),
        (b"250-a\r\n250 b\r\n", Status.DELIVERED, None),
        (b"250 ok\r\nnonsense\r\n", Status.DELIVERED, None),
        (b"250 ok\r\n250 ok\r\n", Status.DELIVERED, None),
        (b"451 4.3.0 no\r\n", Status.DEFERRED, Cause.HOP_REPLY),
        (b"421 4.3.2 no\r\n", Status.DEFERRED, Cause.HOP_REPLY),
        (b"554 5.6.0 no\r\n", Status.FAILED, Cause.HOP_REPLY),
    ],
)
async def test_b51_a_complete_reply_to_the_dot_is_definite(end, status, cause) -> None:
    with LoopbackHop(Manners(end=end), CHAIN) as server:
        outcome = await send(hop_to(server))
    (result,) = outcome.recipients
    assert (result.status, result.cause) == (status, cause)
    assert result.reply.code == int(end[:3])


@pytest.mark.parametrize("during", [CUT, b"250 forged\r\n", b"421 4.3.2 closing\r\n"])
async def test_b51_inv7_what_comes_before_the_dot_is_no_reply_to_it(
    during,
) -> None:
    async def slow(_facts, _accepted) -> bool:
        """Blocks the loop on purpose: what the hop says lies unread in the kernel."""
        wait_until(lambda: server.has_interrupted)
        return True

    with LoopbackHop(Manners(during_content=during), CHAIN) as server:
        outcome = await send(hop_to(server), intent=slow)
    assert statuses(outcome) == [Status.DEFERRED]
    assert server.said(b".") == []


async def test_b51_a_hop_that_goes_away_in_a_long_content_is_no_unknown() -> None:
    octets = (b"x" * 70 + b"\r\n") * 200_000
    manners = Manners(ehlo_tls=b"250 mx1\r\n", during_content=CUT)
    with LoopbackHop(manners, CHAIN) as server:
        outcome = await send(hop_to(server), given=parcel(octets=octets))
    assert statuses(outcome) == [Status.DEFERRED]


@pytest.mark.parametrize(
    ("manners", "short"),
    [
        (Manners(greeting=CUT, hold=True), "greeting_s"),
        (Manners(ehlo=CUT, hold=True), "greeting_s"),
        (Manners(mail=CUT, hold=True), "command_s"),
        (Manners(rcpt={str(JAN): CUT}, hold=True), "command_s"),
        (Manners(data=b"", hold=True), "data_s"),
    ],
    ids=["greeting", "ehlo", "mail", "rcpt", "data"],
)
async def test_b38_each_phase_has_its_own_time_out(manners, short) -> None:
    with LoopbackHop(manners, CHAIN) as server:
        outcome = await send(hop_to(server), timeouts=Timeouts(**{short: SHORT}))
    (result,) = outcome.recipients
    assert (result.status, result.cause) == (Status.DEFERRED, Cause.HOP_SILENT)


async def test_b38_a_hop_that_does_not_read_the_content_defers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = asyncio.to_thread(_answer_to_354_and_read_no_more, listener)
        stuck = asyncio.create_task(serving)
        outcome = await send(
            hop_to(listener.getsockname()[1], Opportunistic()),
            given=parcel(octets=b"x" * 70 + b"\r\n" + b"y" * 70 + b"\r\n" * 20_000_000),
            timeouts=Timeouts(block_s=SHORT),
        )
        (await stuck).close()
    (result,) = outcome.recipients
    assert (result.status, result.cause) == (Status.DEFERRED, Cause.HOP_SILENT)
    assert outcome.hops[0].detail == "the content is not taken: time-out"


def _answer_to_354_and_read_no_more(listener: socket.socket) -> socket.socket:
    connection, _ = listener.accept()
    for reply in (b"220 x\r\n", b"250 x\r\n", b"250 x\r\n", b"250 x\r\n", b"354 x\r\n"):
        connection.sendall(reply)
        if not reply.startswith(b"354"):
            connection.recv(1000)
    return connection


async def test_b38_the_standard_time_outs_are_those_of_the_standard() -> None:
    """RFC 5321 4.5.3.2."""
    assert Timeouts() == Timeouts(
        connect_s=30, greeting_s=300, command_s=300, handshake_s=60, data_s=120,
        block_s=180, dot_s=600, quit_s=5, attempt_s=600,
    )  # fmt: skip


@pytest.mark.parametrize("leave", [CUT, b"nonsense\r\n", b""])
async def test_a_rude_end_after_delivery_changes_nothing(leave) -> None:
    with LoopbackHop(Manners(quit=leave), CHAIN) as server:
        outcome = await send(hop_to(server), timeouts=Timeouts(quit_s=SHORT))
    assert statuses(outcome) == [Status.DELIVERED]


# --- faults of ours ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given",
    [
        parcel(Mailbox("a\r\nRCPT TO:<b@evil.nl>", Domain("example.nl"))),
        parcel(reverse_path="a b@gemeente.nl"),
        parcel(octets=b"a\n.\nMAIL FROM:<x@evil.nl>\r\n"),
        parcel(octets=b"no end"),
        parcel(ANDRE, smtputf8=False),
    ],
    ids=["recipient", "reverse-path", "bare LF", "no line end", "utf8"],
)
async def test_b40_a_poisoned_parcel_reaches_nobody(given) -> None:
    with LoopbackHop(Manners(), CHAIN) as server:
        failing = send(hop_to(server), given=given)
        with pytest.raises(TemporaryFailure) as failure:
            await failing
    assert server.connections == 0
    assert "evil" not in str(failure.value)


async def test_a_cancelled_attempt_leaves_no_connection() -> None:
    with LoopbackHop(Manners(end=CUT, hold=True), CHAIN) as server:
        task = asyncio.create_task(send(hop_to(server)))
        await asyncio.to_thread(wait_until, lambda: server.said(b"."))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert len(asyncio.all_tasks()) == 1


# --- independent peers -------------------------------------------------------------------------------


class _Keeper:
    def __init__(self) -> None:
        self.envelopes = []

    async def handle_DATA(self, _server, _session, envelope) -> str:
        self.envelopes.append(envelope)
        return "250 2.0.0 kept"


async def test_b39_aiosmtpd_over_tls_receives_the_same_octets(tmp_path) -> None:
    path = tmp_path / "chain.pem"
    path.write_bytes(PKI.leaf.key_pem + b"".join(c.pem for c in CHAIN))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    keeper = _Keeper()
    controller = aiosmtpd.controller.Controller(
        keeper,
        hostname="127.0.0.1",
        port=free_port(),
        tls_context=context,
        require_starttls=True,
    )
    controller.start()
    try:
        octets = b"Subject: \xc3\xa9\r\n\r\n.\r\n..\r\n\xff\x00"[:-1] + b"\r\n.x\r\n"
        outcome = await send(
            hop_to(controller.port), given=parcel(JAN, PIET, octets=octets)
        )
    finally:
        controller.stop()
    assert statuses(outcome) == [Status.DELIVERED, Status.DELIVERED]
    (envelope,) = keeper.envelopes
    assert envelope.original_content == octets
    assert envelope.rcpt_tos == [str(JAN), str(PIET)]


@pytest.mark.peers
async def test_b39_the_sink_of_postfix_receives_the_same_octets(tmp_path) -> None:
    port = free_port()
    keep = f"/usr/sbin/smtp-sink -u root -R {tmp_path} -D dump."
    sink = subprocess.Popen([*keep.split(), f"127.0.0.1:{port}", "16"])
    try:
        await asyncio.to_thread(wait_until, lambda: _answers(port))
        outcome = await send(hop_to(port, Opportunistic()), given=parcel(JAN, PIET))
    finally:
        sink.terminate()
        sink.wait(10)
    assert statuses(outcome) == [Status.DELIVERED, Status.DELIVERED]
    dump = b"".join(f.read_bytes() for f in tmp_path.glob("dump.*"))
    assert OCTETS.replace(b"\r\n", b"\n") in dump
    assert b"X-Rcpt-Args: <jan@example.nl>" in dump


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True
