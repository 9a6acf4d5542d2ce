"""What hostile clients try at the door of a real gateway, and are refused.

Behind it stands a partner's Postfix with its transcript on: what was not accepted must
not be heard there either.
"""

import base64
import contextlib
import dataclasses
import re
import socket
import struct

import pytest

from tests import certs
from tests.peers import daemon, gateway, postfix
from tests.scenarios import siege

pytestmark = [pytest.mark.peers, pytest.mark.xdist_group("hostile")]

MAIL = "MAIL FROM:<a@gemeente.test>"
RCPT = "RCPT TO:<crisis@ggz.test>"
TRANSACTION = (
    f"{MAIL}\r\n{RCPT}\r\nDATA\r\n".encode()
    + siege.stuffed(siege.compose("injected"))
    + b"QUIT\r\n"
)


@dataclasses.dataclass
class Route:
    gateway: gateway.Gateway
    sink: postfix.Postfix

    def names(self) -> list[str]:
        """Of all messages that the store has ever taken; notices of ours have none."""
        kept = siege.stored(str(self.gateway.config)).values()
        return sorted(each.name for each in kept if each.name)


@pytest.fixture(scope="module")
def route(ca, start_once):
    leaf = certs.issue(ca, ["mx.ggz.test"])
    sink = start_once(postfix.sink("ggz.test", credential=leaf))
    running = start_once(siege.besieged(ca, (sink.address, leaf.pin.spki_sha256)))
    return Route(running, sink)


@pytest.fixture(scope="module")
def scanner(ca, start_once, route):
    """The same with a client that AUTH lets in; all else need not be told apart."""
    return Route(start_once(siege.besieged(ca, users=True)), route.sink)


@pytest.fixture
def nothing_new(route, scanner):
    """Whatever the test does, no message may come of it."""
    before = route.names(), scanner.names(), route.sink.transcript()
    yield
    assert (route.names(), scanner.names(), route.sink.transcript()) == before


def status(answer: str) -> str:
    """Code and enhanced status of the first line."""
    return " ".join(re.split(r"[- ]", answer)[:2])


def call(route, source=None, port=gateway.PORT) -> siege.Caller:
    """A connection of one of our clients that has said nothing yet."""
    return siege.Caller(route.gateway.address, source or siege.client(), port)


def refuses(answers: list[str]) -> bool:
    """No reply is of use: nothing but 4xx and 5xx."""
    return all(answer[:1] in {"4", "5"} for answer in answers)


# --- STARTTLS -------------------------------------------------------------------------
@pytest.mark.usefixtures("nothing_new")
@pytest.mark.parametrize("port", [gateway.PORT, siege.PLAIN_PORT])
@pytest.mark.parametrize(
    "injected",
    [TRANSACTION, b"NOOP\r\n", b"EHLO evil.test\r\n", b"X", b"\r\n", b"\x16\x03\x01"],
)
def test_A_29_what_comes_in_clear_behind_starttls_ends_the_session(
    route, port, injected
):
    with call(route, port=port) as caller:
        caller.greet(tls=False)
        caller.send(b"STARTTLS\r\n" + injected)
        assert [status(a) for a in caller.replies()] == ["503 5.5.1"]


@pytest.mark.usefixtures("nothing_new")
def test_A_29_what_was_said_in_clear_counts_for_nothing_inside_tls(route):
    with call(route, port=siege.PLAIN_PORT) as caller:
        caller.greet(tls=False)
        assert status(caller.ask(MAIL)) == "250 2.1.0"
        assert status(caller.ask(RCPT)) == "250 2.1.5"
        assert status(caller.ask("STARTTLS")) == "220 2.0.0"
        caller.start_tls()
        assert status(caller.ask("DATA")) == "503 5.5.1"
        assert status(caller.ask(MAIL)) == "503 5.5.1"  # EHLO anew comes first


@pytest.mark.usefixtures("nothing_new")
def test_A_29_a_second_starttls_is_refused_and_not_offered(route):
    with siege.calling(route.gateway) as caller:
        assert "STARTTLS" not in caller.ask("EHLO client.test")
        assert status(caller.ask("STARTTLS")) == "503 5.5.1"
        assert caller.ask("NOOP") == "250 2.0.0 OK"
    with call(route, port=gateway.IMPLICIT_PORT) as caller:
        caller.start_tls()
        caller.reply()
        assert "STARTTLS" not in caller.ask("EHLO client.test")
        assert status(caller.ask("STARTTLS")) == "503 5.5.1"


@pytest.mark.usefixtures("nothing_new")
@pytest.mark.parametrize("argument", ["x", "TLSv1.3", "\t"])
def test_A_29_starttls_with_an_argument_is_refused(route, argument):
    with call(route) as caller:
        caller.greet(tls=False)
        answer = status(caller.ask(f"STARTTLS {argument}"))
        assert answer in {"501 5.5.4", "500 5.5.2"}
        assert caller.ask("NOOP") == "250 2.0.0 OK"  # still in clear


@pytest.mark.usefixtures("nothing_new")
def test_A_29_what_is_no_handshake_is_closed_without_a_word(route):
    with call(route) as caller:
        caller.greet(tls=False)
        assert status(caller.ask("STARTTLS")) == "220 2.0.0"
        caller.send(TRANSACTION)
        assert b"250" not in everything(caller)


def everything(caller: siege.Caller) -> bytes:
    """Octets until the server closes; not lines, for they may be an alert of TLS."""
    found = b""
    with contextlib.suppress(ConnectionError):
        while block := caller.sock.recv(4096):
            found += block
    return found


@pytest.mark.usefixtures("nothing_new")
@pytest.mark.parametrize(
    "line", ["HELO x", MAIL, RCPT, "DATA", "RSET", "VRFY a", "AUTH PLAIN", "BDAT 1", ""]
)
def test_A_30_before_tls_nothing_is_done(route, line):
    with call(route) as caller:
        caller.greet(tls=False)
        assert status(caller.ask(line)) == "530 5.7.0"


# --- AUTH -----------------------------------------------------------------------------
RIGHT = base64.b64encode(f"\0{siege.USER}\0{siege.PASSWORD}".encode()).decode()


@pytest.mark.usefixtures("nothing_new")
@pytest.mark.parametrize("mechanism", [f"PLAIN {RIGHT}", "plain", "LOGIN", "CRAM-MD5"])
def test_A_31_auth_outside_tls_is_refused_and_not_offered(scanner, mechanism):
    for port, answer in (
        (gateway.PORT, "530 5.7.0"),
        (siege.PLAIN_PORT, "538 5.7.11"),
    ):
        with call(scanner, siege.stranger(), port) as caller:
            assert caller.reply().startswith("220 ")
            assert "AUTH" not in caller.ask("EHLO client.test")
            assert status(caller.ask(f"AUTH {mechanism}")) == answer
            assert status(caller.ask(MAIL)) == "530 5.7.0"


@pytest.mark.usefixtures("nothing_new")
@pytest.mark.parametrize("first", [MAIL, f"AUTH PLAIN {RIGHT}"])
def test_A_31_auth_in_a_transaction_or_a_second_time_is_refused(scanner, first):
    with siege.calling(scanner.gateway) as caller:
        assert caller.ask(first).startswith("2")
        assert status(caller.ask(f"AUTH PLAIN {RIGHT}")) == "503 5.5.1"


# --- relaying -------------------------------------------------------------------------
NOT_AN_ADDRESS = (
    "<@ggz.test:u@evil.test>",  # source routes
    "<@gw.gemeente.test,@ggz.test:u@evil.test>",
    "<u@[127.0.0.1]>",  # address literals
    "<u@[IPv6:::1]>",
    "<u@evil.test@ggz.test>",
    '<"u@evil.test">',
    "<evil.test!u>",
    "<u%evil.test>",
    "<u@evil.test>@ggz.test",
    "<>",
)
ONLY_AN_ADDRESS = (  # in which somebody else may see another one
    "u%evil.test@ggz.test",
    "evil.test!u@ggz.test",
    "u%evil.test%gw.gemeente.test@ggz.test",
    '"u@evil.test"@ggz.test',
)
TARGETS = (
    *NOT_AN_ADDRESS,
    *(f"<{each}>" for each in ONLY_AN_ADDRESS),
    "<crisis@ggz.test>",
    "<u@evil.test>",
    "<a@gemeente.test>",
    "<a@gw.gemeente.test>",
    "<postmaster>",
)


@pytest.mark.usefixtures("nothing_new")
@pytest.mark.parametrize("sender", ["a@gemeente.test", "", "u@evil.test"])
@pytest.mark.parametrize("users", [False, True])
def test_A_45_nothing_is_relayed_for_a_stranger(route, scanner, sender, users):
    running = (scanner if users else route).gateway
    with siege.calling(running, siege.stranger()) as caller:
        for target in TARGETS:
            first = caller.ask(f"MAIL FROM:<{sender}>")
            second = caller.ask(f"RCPT TO:{target}")
            assert refuses([second]), (target, first, second)
            assert status(first) == ("530 5.7.0" if users else "250 2.1.0")
            last = caller.ask("DATA")
            if last.startswith("354"):  # it may be on its way: it is read over
                caller.send(siege.stuffed(siege.compose("stranger")))
                last = caller.reply()
            assert refuses([last]), (target, last)
            assert status(caller.ask("RSET")) == "250 2.0.0"


@pytest.mark.usefixtures("nothing_new")
@pytest.mark.parametrize("target", NOT_AN_ADDRESS)
def test_A_45_a_client_too_may_not_give_a_route_or_a_literal(route, target):
    with siege.calling(route.gateway) as caller:
        assert status(caller.ask(MAIL)) == "250 2.1.0"
        assert status(caller.ask(f"RCPT TO:{target}")) == "501 5.1.3"


def test_A_45_an_address_in_a_local_part_is_not_seen_as_one(route):
    """Percent-hack, bang path, quoted @: the partner hears them as they were said.

    It denies to relay for them, as its domain's: that is not ours to foresee.
    """
    recipients = tuple(sorted(ONLY_AN_ADDRESS))
    with siege.calling(route.gateway) as caller:
        reference = caller.deliver(siege.compose("local-parts"), *recipients)

    def ended() -> bool:
        return "failed" in siege.stored(str(route.gateway.config))[reference].events

    assert daemon.until(ended, 60), route.gateway.log[-3000:]
    heard = [c for s in route.sink.transcript() for c in s.commands]
    said = [command for command in heard if command.startswith("RCPT")]
    assert said == [f"RCPT TO:<{each}>" for each in recipients]
    found = siege.stored(str(route.gateway.config))[reference]
    assert found.recipients == recipients


# --- BDAT -----------------------------------------------------------------------------
@pytest.mark.usefixtures("nothing_new")
@pytest.mark.parametrize("before", [(), (MAIL,), (MAIL, RCPT)])
@pytest.mark.parametrize("words", ["20 LAST", "20", "0 LAST", "99999999999999999999"])
def test_A_37_bdat_is_refused_and_its_chunk_does_not_run_as_commands(
    route, before, words
):
    with siege.calling(route.gateway) as caller:
        for line in before:
            assert caller.ask(line).startswith("250")
        caller.send(f"BDAT {words}\r\n".encode() + b"RSET\r\n" + TRANSACTION)
        assert [status(a) for a in caller.replies()] == ["502 5.5.1"]


@pytest.mark.usefixtures("nothing_new")
def test_A_37_a_chunk_before_tls_does_not_run_as_commands_either(route):
    with call(route) as caller:
        caller.greet(tls=False)
        caller.send(b"BDAT 6 LAST\r\nNOOP\r\n")
        caller.half_close()
        assert refuses(caller.replies())


# --- PROXY ----------------------------------------------------------------------------
def proxy_v2(source: str, command: int = 1) -> bytes:
    """A header of the PROXY protocol, version 2; command 0 is LOCAL, 1 is PROXY."""
    ends = socket.inet_aton(source) + socket.inet_aton("127.0.0.1")
    body = ends + struct.pack(">HH", 4000, gateway.PORT)
    head = b"\r\n\r\n\0\r\nQUIT\n" + bytes((0x20 | command, 0x11))
    return head + struct.pack(">H", len(body)) + body


PROXY = {
    "v1": f"PROXY TCP4 {siege.client()} 127.0.0.1 4000 2525\r\n".encode(),
    "v1 TCP6": b"PROXY TCP6 ::ffff:127.77.0.2 ::1 4000 2525\r\n",
    "v1 UNKNOWN": b"PROXY UNKNOWN\r\n",
    "v2": proxy_v2(siege.client()),
    "v2 LOCAL": proxy_v2(siege.client(), command=0),
}


@pytest.mark.usefixtures("nothing_new")
@pytest.mark.parametrize("header", PROXY.values(), ids=PROXY.keys())
@pytest.mark.parametrize("port", [gateway.PORT, siege.PLAIN_PORT])
def test_A_45_a_proxy_header_of_a_stranger_is_refused_and_not_believed(
    route, header, port
):
    with call(route, siege.stranger(), port) as caller:
        caller.send(header)
        answer = caller.reply()
        if answer.startswith("220 "):  # we greet first
            answer = caller.reply()
        assert answer == "" or refuses([answer])
        with contextlib.suppress(ConnectionError):  # it may be closed already
            caller.send(b"EHLO client.test\r\n" + TRANSACTION)
        caller.half_close()
        answers = caller.replies()
    assert not {"250 2.1.5", "250 2.0.0"} & {status(each) for each in answers}


@pytest.mark.usefixtures("nothing_new")
@pytest.mark.parametrize("header", PROXY.values(), ids=PROXY.keys())
def test_A_45_a_proxy_header_before_implicit_tls_is_closed_without_a_word(
    route, header
):
    with call(route, siege.stranger(), gateway.IMPLICIT_PORT) as caller:
        caller.send(header)
        caller.half_close()
        found = everything(caller)
    # At most an alert of TLS (its content type is 21): no banner, no handshake.
    assert found == b"" or (found[0] == 21 and len(found) < 16)


def test_A_45_a_client_that_is_no_balancer_may_not_say_who_it_is(route):
    with call(route, siege.client(7), siege.PLAIN_PORT) as caller:
        caller.greet(tls=False)
        claimed = siege.other_client(9)
        answer = caller.ask(f"PROXY TCP4 {claimed} 127.0.0.1 4000 2525")
        assert refuses([answer])
        assert caller.reply() == ""  # closed
    with siege.calling(route.gateway, siege.client(7), tls=False) as caller:
        reference = caller.deliver(siege.compose("no-balancer"))
    found = siege.stored(str(route.gateway.config))[reference]
    assert found.facts["peer_address"] == siege.client(7)
    assert found.facts["client"] == "postfix"
