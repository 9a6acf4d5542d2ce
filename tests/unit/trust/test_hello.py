"""ClientHello: made and read octet for octet; a real client's is read as well (C-03)."""

import contextlib
import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.trust.hello import (
    TLS_1_2,
    TLS_1_3,
    Offer,
    format_hello,
    is_taken,
    parse_hello,
)

words = st.lists(st.integers(0, 0xFFFF), max_size=30).map(tuple)
offers = st.builds(
    Offer,
    st.integers(0x0300, TLS_1_2),
    words,
    words,
    words,
    st.lists(st.integers(0, 255), max_size=5).map(tuple),
    words,
)
NEW = Offer(TLS_1_3, (0x1301,), (29,), (0x0403,), versions=(TLS_1_3,))


@given(offers)
def test_what_was_offered_is_read_again(offer):
    assert offer == parse_hello(format_hello(offer))


def test_tls_1_3_calls_itself_1_2_outside_the_extension():
    """RFC 8446 section 4.1.2."""
    assert parse_hello(format_hello(NEW)).version == TLS_1_2


@given(offers, st.data())
def test_a_hello_cut_short_is_refused_and_never_crashes(offer, data):
    octets = format_hello(offer)
    cut = octets[: data.draw(st.integers(0, len(octets) - 1))]
    with pytest.raises(ValueError, match="ClientHello"):
        parse_hello(cut)


@pytest.mark.parametrize("at", [0, 5])
def test_another_message_is_refused(at):
    octets = bytearray(format_hello(NEW))
    octets[at] += 1
    with pytest.raises(ValueError, match="no ClientHello"):
        parse_hello(bytes(octets))


def test_the_hello_of_a_real_client_is_read():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ecdh_curve("secp384r1")
    context.set_ciphers("ECDHE-RSA-AES256-GCM-SHA384")
    write = ssl.MemoryBIO()
    session = context.wrap_bio(ssl.MemoryBIO(), write, server_hostname="a.example")
    with contextlib.suppress(ssl.SSLWantReadError):
        session.do_handshake()
    offer = parse_hello(write.read())
    assert offer.groups == (24,)
    assert 0xC030 in offer.suites
    assert 0x0403 in offer.signatures
    assert offer.versions == (TLS_1_3, TLS_1_2)


@pytest.mark.parametrize(
    ("answer", "taken"),
    [
        (b"\x16\x03\x03\x00\x7a\x02", True),
        (b"\x15\x03\x03\x00\x02\x02\x28", False),
        (b"\x16\x03\x03\x00\x7a\x01", False),
        (b"\x16\x03\x03", False),
        (b"", False),
    ],
)
def test_only_a_server_hello_takes_an_offer(answer, taken):
    assert is_taken(answer) == taken
