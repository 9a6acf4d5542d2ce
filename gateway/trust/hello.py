"""The first message of a TLS handshake, made and read octet for octet.

A library that is held to good groups and algorithms cannot offer bad ones. So that we
see that *we* refuse those, the offer is written by hand.

Sources: RFC 8446 sections 4.1.2 and 4.2, RFC 5246 section 7.4.1.2; numbers are those of
the IANA registry of TLS parameters.
"""

import dataclasses
import struct

TLS_1_1, TLS_1_2, TLS_1_3 = 0x0302, 0x0303, 0x0304
_RECORD, _MESSAGE, _RANDOM = 5, 4, 32  # octets
_HANDSHAKE, _CLIENT_HELLO, _SERVER_HELLO = 22, 1, 2
_NO_COMPRESSION = 0
_GROUPS, _POINT_FORMATS, _SIGNATURES, _MASTER_SECRET = 10, 11, 13, 23
_VERSIONS, _KEY_SHARES, _RENEGOTIATION = 43, 51, 0xFF01


@dataclasses.dataclass(frozen=True, slots=True)
class Offer:
    """What a client offers, in its order."""

    version: int  # the highest
    suites: tuple[int, ...]
    groups: tuple[int, ...]
    signatures: tuple[int, ...]
    compressions: tuple[int, ...] = (_NO_COMPRESSION,)
    versions: tuple[int, ...] = ()  # the extension of TLS 1.3; empty: it is absent


def format_hello(offer: Offer) -> bytes:
    """A ClientHello in one record, without key share and server name.

    A server of TLS 1.3 that likes one of the groups asks for its share
    (HelloRetryRequest, which has the type of a ServerHello); else it sends an alert.
    """
    extensions = _extension(_GROUPS, _words(offer.groups))
    extensions += _extension(_POINT_FORMATS, b"\x01\x00")
    extensions += _extension(_SIGNATURES, _words(offer.signatures))
    extensions += _extension(_MASTER_SECRET, b"")
    extensions += _extension(_RENEGOTIATION, b"\x00")
    if offer.versions:
        listed = _words(offer.versions)[1:]  # this length has one octet
        extensions += _extension(_VERSIONS, listed)
        extensions += _extension(_KEY_SHARES, b"\x00\x00")
    body = struct.pack(">H", min(offer.version, TLS_1_2)) + bytes(_RANDOM) + b"\x00"
    body += _words(offer.suites)
    body += bytes([len(offer.compressions), *offer.compressions])
    body += struct.pack(">H", len(extensions)) + extensions
    message = struct.pack(">I", _CLIENT_HELLO << 24 | len(body)) + body
    return struct.pack(">BHH", _HANDSHAKE, 0x0301, len(message)) + message


def parse_hello(octets: bytes) -> Offer:
    """What a ClientHello offers that fills one record.

    Raises:
        ValueError: For anything else.
    """
    try:
        return _parse(octets)
    except (IndexError, struct.error) as error:
        raise ValueError("this ClientHello is cut short") from error


def is_taken(answer: bytes) -> bool:
    """Whether a server goes on with our offer: ServerHello or HelloRetryRequest."""
    return answer[:1] == bytes([_HANDSHAKE]) and answer[_RECORD : _RECORD + 1] == bytes(
        [_SERVER_HELLO]
    )


def _parse(octets: bytes) -> Offer:
    if octets[0] != _HANDSHAKE or octets[_RECORD] != _CLIENT_HELLO:
        raise ValueError("this is no ClientHello")
    at = _RECORD + _MESSAGE
    version = int(struct.unpack_from(">H", octets, at)[0])
    _, at = _vector(octets, at + 2 + _RANDOM, 1)
    suites, at = _vector(octets, at, 2)
    compressions, at = _vector(octets, at, 1)
    listed, _ = _vector(octets, at, 2)
    found: dict[int, bytes] = {}
    at = 0
    while at < len(listed):
        kind = int(struct.unpack_from(">H", listed, at)[0])
        found[kind], at = _vector(listed, at + 2, 2)
    return Offer(
        version,
        _numbers(suites),
        _numbers(found.get(_GROUPS, b"")[2:]),
        _numbers(found.get(_SIGNATURES, b"")[2:]),
        tuple(compressions),
        _numbers(found.get(_VERSIONS, b"")[1:]),
    )


def _vector(octets: bytes, at: int, size: int) -> tuple[bytes, int]:
    """What a length of `size` octets announces, and where it ends."""
    begin = at + size
    end = begin + int.from_bytes(octets[at:begin], "big")
    if end > len(octets):
        raise IndexError(end)
    return octets[begin:end], end


def _extension(kind: int, octets: bytes) -> bytes:
    return struct.pack(">HH", kind, len(octets)) + octets


def _words(numbers: tuple[int, ...]) -> bytes:
    return struct.pack(f">{len(numbers) + 1}H", 2 * len(numbers), *numbers)


def _numbers(octets: bytes) -> tuple[int, ...]:
    return struct.unpack(f">{len(octets) // 2}H", octets)
