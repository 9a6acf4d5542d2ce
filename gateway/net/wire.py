"""One connection with a next hop: octets in and out, time-outs, and the step into TLS.

It is an `asyncio.Protocol` of our own because `StreamReader` keeps plaintext that came
before the handshake and serves it as if it had come after (B-31, ADR 0004).
"""

import asyncio
import ssl
from collections.abc import AsyncIterator
from typing import cast

from gateway.model.errors import GatewayError
from gateway.model.peer import TlsFacts
from gateway.net.dialogue import Dialogue, HopReply
from gateway.net.tls import facts_of

_ROUNDS = 6
_GRACE_S = 2.0  # for the end of a connection whose result is known already


class HopLost(GatewayError):  # noqa: N818 - the field's word
    """The connection ended, or the hop said nothing for too long."""


class TlsBroken(GatewayError):  # noqa: N818
    """No TLS session came about."""


class Wire(asyncio.Protocol):
    """What goes over one connection; the `Dialogue` says what it means."""

    def __init__(self) -> None:
        self._aborted = False
        self.dialogue = Dialogue()
        self._transport: asyncio.Transport  # there as soon as anybody has the wire
        self._news = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._lost = asyncio.Event()

    @classmethod
    async def connect(cls, address: str, port: int, timeout_s: float) -> "Wire":
        """Connect to an IP address; nothing is looked up here.

        Raises:
            HopLost: When no connection comes about in time.
        """
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout_s):
                _, wire = await loop.create_connection(cls, address, port)
        except TimeoutError as error:
            raise HopLost("no connection: time-out") from error
        except OSError as error:
            raise HopLost(f"no connection: {error.strerror or 'refused'}") from error
        return wire

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`; a hop that breaks the rules is read no further."""
        self.dialogue.feed(data)
        if self.dialogue.fault is not None:
            self.abort()
        self._news.set()

    def eof_received(self) -> None:
        """See `asyncio.Protocol`: a half-closed connection is of no use."""

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """See `asyncio.Protocol`."""
        self._lost.set()
        self._news.set()
        self._writable.set()

    def pause_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self._writable.set()

    async def reply(self, timeout_s: float) -> HopReply:
        """Wait for the next reply.

        Raises:
            HopGarbage: When the hop breaks the rules.
            HopLost: When the connection ends before the reply is complete, or nothing
                complete comes in time.
        """
        try:
            async with asyncio.timeout(timeout_s):
                while (reply := self.dialogue.take()) is None:
                    if self._lost.is_set():
                        raise HopLost("the connection ended before the reply")
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError as error:
            raise HopLost("no reply: time-out") from error
        return reply

    def ask(self, *commands: bytes) -> None:
        """Send one batch of commands.

        Raises:
            HopGarbage: When the hop spoke out of turn.
            HopLost: When the connection is gone.
        """
        self._write(self.dialogue.ask(*commands))

    async def send_content(
        self, portions: AsyncIterator[bytes], timeout_s: float
    ) -> None:
        """Send content in portions; each must find room in time.

        Raises:
            HopLost: When it does not, or the connection is gone.
        """
        async for portion in portions:
            self._write(portion)
            try:
                async with asyncio.timeout(timeout_s):
                    await self._writable.wait()
            except TimeoutError as error:
                raise HopLost("the content is not taken: time-out") from error
            await _look_up()  # or a fast hop would keep the whole loop to itself

    async def end_content(self) -> None:
        """Send the final dot, unless the hop has said something by now.

        Raises:
            HopGarbage: When the hop spoke during the content; the dot was not sent.
            HopLost: When the connection was gone already; the dot was not sent.
        """
        await _look_up()  # a reply that lies in the kernel is none to the dot (INV-7)
        self._write(self.dialogue.end_content())

    def _write(self, data: bytes) -> None:
        if self._lost.is_set() or self._transport.is_closing():
            raise HopLost("the connection has ended")
        self._transport.write(data)

    async def start_tls(
        self, context: ssl.SSLContext, sni: str | None, timeout_s: float
    ) -> TlsFacts:
        """Step into TLS after the hop said 220 to STARTTLS.

        Between the check for unread plaintext and the moment the transport hands all
        further octets to TLS nothing is awaited, so nothing can slip in between (B-31).

        Raises:
            HopGarbage: When unread plaintext is there.
            TlsBroken: When the handshake fails.
        """
        self.dialogue.enter_tls()
        if self._lost.is_set() or self._transport.is_closing():
            raise TlsBroken("the connection ended before the handshake")
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout_s):
                secured = await loop.start_tls(
                    self._transport,
                    self,
                    context,
                    server_hostname=sni,
                    ssl_handshake_timeout=timeout_s,
                    ssl_shutdown_timeout=_GRACE_S,
                )
        except (OSError, TimeoutError) as error:  # ssl.SSLError is an OSError
            self.abort()
            self._lost.set()  # a failed handshake does not always tell us
            raise TlsBroken(f"no handshake: {_reason(error)}") from error
        # None is for the proactor loop of Windows only, says the signature.
        self._transport = cast("asyncio.Transport", secured)
        return facts_of(self._transport.get_extra_info("ssl_object"))

    async def close(self) -> None:
        """End the connection, and wait a little for it to be over."""
        # Never a second close: then early releases of Python 3.11 forget what to abort.
        if not self._transport.is_closing():
            self._transport.close()
            await self._over()
        self.abort()
        await self._over()

    async def _over(self) -> None:
        try:
            async with asyncio.timeout(_GRACE_S):
                await self._lost.wait()
        except TimeoutError:
            return

    def abort(self) -> None:
        """Drop the connection now; what is unsent stays unsent."""
        if not self._aborted:
            self._aborted = True
            self._transport.abort()


async def _look_up() -> None:
    """Let the loop deliver what has already arrived.

    Several times: a task that yields once runs again before what the loop finds
    readable, and the end of a TLS connection takes some rounds to be known.
    """
    for _ in range(_ROUNDS):
        await asyncio.sleep(0)


def _reason(error: Exception) -> str:
    """Why the handshake failed, in the library's own closed set of words."""
    if isinstance(error, ssl.SSLError):
        return error.reason or type(error).__name__
    return type(error).__name__
