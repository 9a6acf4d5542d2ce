"""The exchanges of AUTH: PLAIN and LOGIN, and nothing about sockets (A-31).

An exchange gets the initial response and a way to ask for more, and comes to
credentials. RFC 4616, and draft-murchison-sasl-login for LOGIN.
"""

import base64
import binascii
import dataclasses
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType

from gateway.intake import answer
from gateway.intake.answer import Refusal

# Sends a challenge, answers with the decoded response; refuses `*` and bad base64.
Ask = Callable[[bytes], Awaitable[bytes]]
_PLAIN_PARTS = 3


@dataclasses.dataclass(frozen=True, slots=True)
class Credentials:
    """Who somebody says he is, and the password that shall prove it."""

    user: str = dataclasses.field(repr=False)
    password: bytes = dataclasses.field(repr=False)


Exchange = Callable[[Ask, bytes | None], Awaitable[Credentials]]


def decode_response(text: bytes) -> bytes:
    """One base64 line of the client; `=` stands for an empty initial response.

    Raises:
        Refusal: 501, for `*` (cancelled) and for what is not base64.
    """
    if text == b"*":
        raise Refusal(answer.AUTH_CANCELLED)
    if text == b"=":
        return b""
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise Refusal(answer.BAD_BASE64) from None


async def plain(ask: Ask, initial: bytes | None) -> Credentials:
    """PLAIN: authzid NUL authcid NUL password; the first empty or as the second."""
    response = await ask(b"") if initial is None else initial
    parts = response.split(b"\0")
    if len(parts) != _PLAIN_PARTS:
        raise Refusal(answer.BAD_BASE64)
    authorise, user, password = parts
    if authorise not in {b"", user}:
        raise Refusal(answer.BAD_CREDENTIALS)
    return _credentials(user, password)


async def login(ask: Ask, initial: bytes | None) -> Credentials:
    """LOGIN: the name, then the password."""
    user = await ask(b"Username:") if initial is None else initial
    return _credentials(user, await ask(b"Password:"))


EXCHANGES: Mapping[str, Exchange] = MappingProxyType({"PLAIN": plain, "LOGIN": login})


def _credentials(user: bytes, password: bytes) -> Credentials:
    return Credentials(user.decode("utf-8", "replace"), password)
