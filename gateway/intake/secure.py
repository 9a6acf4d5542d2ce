"""STARTTLS and AUTH: how a client proves who it is."""

# ruff: noqa: N802 - verbs are named as aiosmtpd's table asks

import asyncio
import base64

from gateway.intake import answer
from gateway.intake.answer import Refusal
from gateway.intake.connection import AUTH_OCTETS
from gateway.intake.ending import Reason, Where
from gateway.intake.lobby import HANDSHAKE_S
from gateway.intake.path import upper
from gateway.intake.sasl import EXCHANGES, Credentials, decode_response
from gateway.intake.visit import Visit, refuse_argument

_MAX_FAILURES = 3


class SecureVerbs(Visit):
    """TLS begins, and a user says who it is."""

    async def smtp_STARTTLS(self, argument: str) -> None:
        """RFC 3207; what comes in clear behind it ends the session (A-29)."""
        guest = self._guest
        if self._talk.tls is not None or guest is None:
            raise Refusal(answer.BAD_SEQUENCE)
        refuse_argument(argument)
        if self.buffered:
            raise Refusal(answer.BAD_SEQUENCE, close=True)
        if self._lobby.handshakes.begin(guest, self.loop.time()) is not None:
            self._lobby.log("intake-handshake-refused", network=self._network())
            raise Refusal(answer.HANDSHAKE_LATER)
        try:
            transport = await self._shake_hands()
        finally:
            self._lobby.handshakes.end(guest)
        self.transport = transport
        self._over_ssl = True
        self._writer._transport = transport  # type: ignore[attr-defined]  # noqa: SLF001
        self._reader._transport = transport  # type: ignore[attr-defined]  # noqa: SLF001
        self._learn(transport)
        self._recognise()

    async def _shake_hands(self) -> asyncio.Transport:
        # No waiting between the last look at the buffer and the change of protocol:
        # else a ClientHello could be taken for plain text.
        self._parting(answer.READY_FOR_TLS)
        self._where = Where.HANDSHAKE
        plain = self._writer.transport
        try:
            transport = await self.loop.start_tls(
                plain,
                self,
                self._gate.context,
                server_side=True,
                ssl_handshake_timeout=HANDSHAKE_S,
            )
        except OSError as error:  # ssl.SSLError and time-out are such
            self._lobby.log("intake-handshake-failed", error=type(error).__name__)
            self.note(Reason.TLS)
            raise ConnectionResetError from error
        if transport is None:  # gone in between
            raise ConnectionResetError
        return transport

    async def smtp_AUTH(self, argument: str) -> None:
        """RFC 4954, inside TLS only (A-31)."""
        self._where = Where.AUTH
        self._check_auth()
        mechanism, _, initial = argument.partition(" ")
        exchange = EXCHANGES.get(upper(mechanism))
        if exchange is None:
            raise Refusal(answer.NO_MECHANISM)
        first = initial.encode("utf-8", "surrogateescape")
        try:
            credentials = await exchange(
                self._ask, decode_response(first) if first else None
            )
            await self._verify(credentials)
        except Refusal:
            self._talk.failures += 1
            raise
        await self.say(answer.AUTHENTICATED)

    def _check_auth(self) -> None:
        talk = self._talk
        if talk.helo is None or not talk.extended:
            raise Refusal(answer.GREET_FIRST)
        if talk.tls is None:
            raise Refusal(answer.AUTH_NEEDS_TLS)
        if not self._can_authenticate():
            raise Refusal(answer.NOT_OFFERED)
        if talk.user is not None or self._transaction.reverse_path is not None:
            raise Refusal(answer.BAD_SEQUENCE)
        if talk.failures >= _MAX_FAILURES:
            raise Refusal(answer.TOO_MANY_FAILURES, close=True)

    async def _ask(self, challenge: bytes) -> bytes:
        await self.write(f"334 {base64.b64encode(challenge).decode('ascii')}")
        return decode_response(await self.read_line(AUTH_OCTETS))

    async def _verify(self, credentials: Credentials) -> None:
        clients, guesses = self._lobby.clients, self._lobby.guesses
        user = credentials.user
        self._check_patience(user)
        right = await clients.authenticate(user, credentials.password)
        self._check_patience(user)  # of many guesses at a time, few may count
        if not right:
            guesses.failed(self._address, user, self.loop.time())
            self._lobby.log("intake-auth-failed", network=self._network())
            raise Refusal(answer.BAD_CREDENTIALS)
        guesses.succeeded(self._address, user)
        self._talk.user = user
        self._recognise()

    def _check_patience(self, user: str) -> None:
        if self._lobby.guesses.must_wait(self._address, user, self.loop.time()):
            self._lobby.log("intake-auth-waiting", network=self._network())
            raise Refusal(answer.AUTH_LATER)
