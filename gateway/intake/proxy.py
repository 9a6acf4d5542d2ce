"""The PROXY protocol, version 2: who a load balancer says the client is (A-45).

Believed from listed balancers only, and from them required; version 1, a text line, is
refused. What a TLV claims, above all of a client certificate, is skipped unread: TLS is
with us or it is not. The format is HAProxy's `proxy-protocol.txt`, section 2.2.
"""

import enum
import ipaddress
from collections.abc import Awaitable, Callable

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
FIXED_OCTETS = 16  # signature, version and command, family, length
MAX_OCTETS = 536  # of the whole header: what fits one segment anywhere
_VERSION = 2
# Octets of both addresses and both ports, and of the source address alone, by family
# and transport.
_LAYOUTS = {0x11: (12, 4), 0x21: (36, 16)}

ReadExactly = Callable[[int], Awaitable[bytes]]


class ProxyError(ValueError):
    """No header that we take; the text names no address."""


class _Command(enum.Enum):
    LOCAL = 0  # the balancer itself: its health check
    PROXY = 1


async def read_source(read: ReadExactly) -> str | None:
    """Read one header and nothing behind it.

    Args:
        read: Gives exactly so many octets, or raises.

    Returns:
        The client's address, or None when the balancer speaks for itself.

    Raises:
        ProxyError: For anything that is no header of version 2 for TCP.
    """
    fixed = await read(FIXED_OCTETS)
    command, kind, length = _parse_fixed(fixed)
    return _parse_rest(command, kind, await read(length))


def _parse_fixed(octets: bytes) -> tuple[_Command, int, int]:
    if not octets.startswith(SIGNATURE):
        raise ProxyError("no header of version 2")
    version, command = divmod(octets[12], 16)
    length = int.from_bytes(octets[14:16], "big")
    if version != _VERSION or command > _Command.PROXY.value:
        raise ProxyError("unknown version or command")
    if FIXED_OCTETS + length > MAX_OCTETS:
        raise ProxyError("header is too long")
    return _Command(command), octets[13], length


def _parse_rest(command: _Command, kind: int, octets: bytes) -> str | None:
    if command is _Command.LOCAL:
        return None
    if kind not in _LAYOUTS:
        raise ProxyError("family or transport is not TCP over IP")
    least, size = _LAYOUTS[kind]
    if len(octets) < least:
        raise ProxyError("header is too short for its addresses")
    address = ipaddress.ip_address(octets[:size])
    if address.is_unspecified or address.is_multicast:
        raise ProxyError("no address of a client")
    return normal_address(str(address))


def normal_address(text: str) -> str:
    """An IP address as we compare it: without zone, IPv4 as IPv4."""
    address = ipaddress.ip_address(text.partition("%")[0])
    return str(getattr(address, "ipv4_mapped", None) or address)
