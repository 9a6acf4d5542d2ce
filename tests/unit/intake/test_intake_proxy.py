"""PROXY version 2: from listed balancers only, whole, and never believed beyond that."""

import asyncio
import contextlib
import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.intake import entrance
from gateway.intake.proxy import (
    MAX_OCTETS,
    SIGNATURE,
    ProxyError,
    normal_address,
    read_source,
)
from tests.unit.intake.intake_desk import (
    HEAD,
    IMPLICIT,
    OPEN,
    STARTTLS,
    Talker,
    client_context,
    proxied,
    proxy_header,
    settings,
)

CLIENT = """
[[client]]
id = "mta"
municipality = "zwolle"
networks = ["203.0.113.7/32", "2001:db8::7/128"]
"""
V1 = b"PROXY TCP4 203.0.113.7 127.0.0.1 5000 25\r\n"


class Octets:
    """A source that says how much was taken of it."""

    def __init__(self, octets):
        self.octets, self.taken = octets, 0

    async def __call__(self, count):
        if self.taken + count > len(self.octets):
            raise EOFError
        self.taken += count
        return self.octets[self.taken - count : self.taken]


async def read(octets):
    source = Octets(octets)
    return await read_source(source), source.taken


@pytest.mark.parametrize(
    ("octets", "expected"),
    [
        (proxy_header("203.0.113.7"), "203.0.113.7"),
        (proxy_header("2001:db8::7", "::1"), "2001:db8::7"),
        (proxy_header("::ffff:203.0.113.7", "::1"), "203.0.113.7"),
        (proxy_header("203.0.113.7", rest=b"\x20\x00\x03evi"), "203.0.113.7"),
        (proxy_header("203.0.113.7", command=0), None),
        (SIGNATURE + b"\x20\x00\x00\x00", None),
        (SIGNATURE + b"\x20\x00\x00\x04abcd", None),
    ],
    ids=["v4", "v6", "mapped", "tlv", "local", "local-bare", "local-any"],
)
async def test_a45_source_is_read_and_nothing_behind_the_header(octets, expected):
    assert await read(octets + b"EHLO x\r\n") == (expected, len(octets))


GOOD = proxy_header("203.0.113.7")


@pytest.mark.parametrize(
    "octets",
    [
        V1,
        b"\0" * 16,
        SIGNATURE + b"\x11\x11\x00\x0c" + b"\0" * 12,  # version 1
        SIGNATURE + b"\x22\x11\x00\x0c" + b"\1" * 12,  # an unknown command
        SIGNATURE + b"\x21\x12\x00\x0c" + b"\1" * 12,  # UDP
        SIGNATURE + b"\x21\x00\x00\x00",  # unspecified
        SIGNATURE + b"\x21\x31\x00\xd8" + b"\1" * 216,  # a unix socket
        SIGNATURE + b"\x21\x11\x00\x0b" + b"\1" * 11,
        SIGNATURE + b"\x21\x21\x00\x23" + b"\1" * 35,
        SIGNATURE + b"\x21\x11\x02\x09" + b"\1" * 521,  # longer than we read
        proxy_header("0.0.0.0"),
        proxy_header("224.0.0.1"),
        proxy_header("::", "::1"),
    ],
)
async def test_a45_anything_else_is_refused(octets):
    with pytest.raises(ProxyError):
        await read(octets + b"\1" * 100)


async def test_a45_header_of_the_greatest_length_is_read():
    rest = MAX_OCTETS - len(GOOD)
    assert await read(proxy_header("203.0.113.7", rest=b"\4" * rest)) == (
        "203.0.113.7",
        MAX_OCTETS,
    )


@given(st.binary(max_size=600), st.booleans())
def test_a45_no_octets_do_more_than_be_refused(octets, signed):
    async def ask():
        await read(SIGNATURE + octets if signed else octets)

    with contextlib.suppress(ProxyError, EOFError):
        asyncio.run(ask())


def test_addresses_are_compared_without_zone_and_as_ipv4():
    assert normal_address("fe80::1%eth0") == "fe80::1"
    assert normal_address("::ffff:192.0.2.1") == "192.0.2.1"


# --- on the wire ------------------------------------------------------------------
@pytest.fixture
async def behind(intake):
    """An intake whose listeners expect a balancer at 127.0.0.1."""
    return await intake(configuration=proxied(settings(CLIENT), "127.0.0.1/32"))


async def open_with(desk, listener, octets, *, tls=False, source="127.0.0.1"):
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", desk.port(listener), local_addr=(source, 0)
    )
    talker = Talker(reader, writer)
    talker.send(octets)
    if tls:
        await writer.start_tls(client_context(), server_hostname="localhost")
    talker.greeting = await talker.reply()
    return talker


@pytest.mark.parametrize("source", ["203.0.113.7", "2001:db8::7"])
@pytest.mark.parametrize(("listener", "tls"), [(OPEN, False), (IMPLICIT, True)])
async def test_a45_client_is_whom_a_listed_balancer_names(
    behind, listener, tls, source
):
    own = "::1" if ":" in source else "127.0.0.1"
    header = proxy_header(source, own, rest=b"\x04\x00\x00")
    talker = await open_with(behind, listener, header, tls=tls)
    await talker.begin()
    assert (await talker.data(HEAD + b"x\r\n.\r\n")).startswith("250 ")
    assert behind.peers[0].address == source
    assert behind.peers[0].client == "mta"
    assert source.encode() in behind.messages[0].octets.split(b"\r\n")[0]
    await talker.close()


async def test_a45_header_and_client_hello_in_one_segment(behind):
    """The header is read to its last octet: what is behind it is the handshake's."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = client_context().wrap_bio(incoming, outgoing, server_hostname="localhost")
    reader, writer = await asyncio.open_connection("127.0.0.1", behind.port(IMPLICIT))
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    writer.write(proxy_header("203.0.113.7") + outgoing.read())
    while True:
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            incoming.write(await reader.read(65536))
            continue
        break
    writer.write(outgoing.read())
    greeting = b""
    while not greeting.endswith(b"\r\n"):
        try:
            greeting += tls.read(1)
        except ssl.SSLWantReadError:
            incoming.write(await reader.read(65536))
    assert greeting.startswith(b"220 ")
    writer.close()


async def test_a45_commands_behind_the_header_are_commands(behind):
    talker = await open_with(
        behind, OPEN, proxy_header("203.0.113.7") + b"EHLO x\r\nNOOP\r\n"
    )
    assert talker.greeting.startswith("220 ")
    assert (await talker.reply()).startswith("250-")
    assert await talker.reply() == "250 2.0.0 OK"
    await talker.close()


@pytest.mark.parametrize(
    "octets", [V1, b"EHLO x\r\nMAIL FROM:<jan@gem.nl>\r\n", b"\x16\x03\x01" * 20]
)
@pytest.mark.parametrize("listener", [OPEN, IMPLICIT])
async def test_a45_balancer_without_header_is_closed_without_a_word(
    behind, listener, octets
):
    talker = await open_with(behind, listener, octets)
    assert talker.greeting == ""
    assert behind.ends() == [("proxy-refused", "proxy")]
    await talker.close()


async def test_a45_balancer_that_says_nothing_is_closed(behind, monkeypatch):
    monkeypatch.setattr(entrance, "PROXY_S", 0.05)
    for octets in (b"", proxy_header("203.0.113.7")[:-1]):
        talker = await open_with(behind, OPEN, octets)
        assert talker.greeting == ""
        await talker.close()
    assert behind.ends() == [("proxy-refused", "proxy")] * 2


@pytest.mark.parametrize("octets", [V1, proxy_header("203.0.113.7")])
async def test_a45_header_of_a_stranger_is_garbage_and_never_believed(behind, octets):
    talker = await open_with(behind, OPEN, octets, source="127.0.0.9")
    assert talker.greeting.startswith("220 ")
    for reply in await talker.rest():
        assert reply.startswith("500 5.5.2 ")
    await talker.close()
    assert behind.messages == []
    assert len(behind.ends()) == 1


async def test_a45_header_of_a_stranger_before_tls_is_no_handshake(behind):
    talker = await open_with(
        behind, IMPLICIT, proxy_header("203.0.113.7"), source="127.0.0.9"
    )
    assert not talker.greeting.startswith("2")
    assert behind.ends() == [("tls-failed", "handshake")]
    await talker.close()


async def test_a45_second_header_inside_the_session_is_refused(behind):
    talker = await open_with(behind, OPEN, proxy_header("203.0.113.7") + V1)
    assert (await talker.reply()).startswith("500 5.5.2")
    assert await talker.rest() == []
    await talker.close()


async def test_a45_health_check_is_greeted_and_nobodys_client(intake):
    clients = CLIENT.replace("203.0.113.7/32", "127.0.0.0/8")
    desk = await intake(
        configuration=proxied(settings(clients), "127.0.0.1/32"),
    )
    check = await open_with(desk, OPEN, proxy_header("203.0.113.7", command=0))
    assert check.greeting.startswith("220 ")
    await check.greet()
    assert await check.code("MAIL FROM:<jan@gem.nl>") == "250 2.1.0"
    assert await check.code("RCPT TO:<a@b.nl>") == "550 5.7.1"
    assert await check.code("AUTH PLAIN AAAA") == "538 5.7.11"
    await check.close()


async def test_a50_flood_through_the_balancer_does_not_fail_its_health_check(intake):
    limits = {"sessions": 20, "sessions_per_stranger": 3}
    configuration = proxied(settings(CLIENT, **limits), "127.0.0.1/32")
    desk = await intake(configuration=configuration)
    greetings, held = [], []
    for host in range(1, 13):
        talker = await open_with(desk, OPEN, proxy_header(f"198.51.100.{host}"))
        greetings.append(talker.greeting[:3])
        held.append(talker)
    assert greetings == ["220"] * 10 + ["421"] * 2
    for octets in (proxy_header("1.2.3.4", command=0), proxy_header("203.0.113.7")):
        talker = await open_with(desk, OPEN, octets)
        assert talker.greeting.startswith("220 ")
        held.append(talker)
    for talker in held:
        await talker.close()


async def test_a50_places_are_counted_for_the_named_address(intake):
    limits = {"sessions_per_stranger": 2}
    configuration = proxied(settings(CLIENT, **limits), "127.0.0.1/32")
    desk = await intake(configuration=configuration)
    talkers = [
        await open_with(desk, STARTTLS, proxy_header(address))
        for address in ("192.0.2.1", "192.0.2.1", "192.0.2.1", "192.0.2.2")
    ]
    assert [each.greeting[:3] for each in talkers] == ["220", "220", "421", "220"]
    for talker in talkers:
        await talker.close()
