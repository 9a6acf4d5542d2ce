"""The SMTP server: what each verb means, the listeners, and the graceful stop.

A session is known by TLS, AUTH or network before anything is accepted; nothing is
relayed for somebody unknown (A-45). What is advertised is carried through: SMTPUTF8,
DSN, CHUNKING and REQUIRETLS are not, so their parameters get 555. To add one: its line
in `_extensions`, its parameter in the set that MAIL or RCPT knows, its field in
`Transaction` and in `Envelope`.
"""

# ruff: noqa: N802, ARG002 - verbs are named and called as aiosmtpd's table asks

import asyncio
import base64
import contextlib
import dataclasses
import ipaddress
import ssl
from collections.abc import Sequence

from gateway.config import Config, Limits, Listener, ListenerTls
from gateway.intake import answer, path
from gateway.intake.answer import Refusal
from gateway.intake.clients import ClientTable, Known
from gateway.intake.connection import AUTH_OCTETS, Connection
from gateway.intake.content import Content, Fault
from gateway.intake.handler import Handler, Log
from gateway.intake.received import sanitise_helo
from gateway.intake.room import Room
from gateway.intake.sasl import EXCHANGES, Credentials, decode_response
from gateway.intake.session import Talk, Transaction, tls_facts
from gateway.model.address import Domain, ReversePath
from gateway.model.message import Envelope
from gateway.model.peer import Peer
from gateway.model.reply import Reply

_MAX_FAILURES = 3
_HANDSHAKE_S = 30.0
_BACKLOG = 128
_BEFORE_TLS = frozenset({"EHLO", "NOOP", "STARTTLS", "QUIT"})  # RFC 3207 section 4
_MAIL_PARAMETERS = frozenset({"SIZE", "BODY", "AUTH"})
_RCPT_PARAMETERS: frozenset[str] = frozenset()
_FAULTS = {
    Fault.BARE_NEWLINE: answer.BARE_NEWLINE,
    Fault.NUL: answer.NUL,
    Fault.LONG_LINE: answer.LONG_LINE,
    Fault.TOO_BIG: answer.TOO_BIG,
    Fault.NO_ROOM: answer.STORE_FULL,
}
_SPARE_OCTETS = 1024 * 1024
_ROOM_MESSAGES = 8  # so many of the greatest size may be in memory at a time


@dataclasses.dataclass(frozen=True, slots=True)
class Gate:
    """One listener with its TLS context."""

    listener: Listener
    context: ssl.SSLContext

    @property
    def is_implicit(self) -> bool:
        """Whether TLS comes with the first octet."""
        return self.listener.tls is ListenerTls.IMPLICIT


class Intake:
    """All listeners and sessions of one process."""

    def __init__(
        self, config: Config, clients: ClientTable, handler: Handler, log: Log
    ) -> None:
        self.hostname: Domain = config.hostname
        self.limits: Limits = config.limits
        self.clients = clients
        self.handler = handler
        self.log = log
        self.room = Room(_ROOM_MESSAGES * config.limits.size_octets)
        self.sessions: set[IntakeProtocol] = set()
        self.servers: list[asyncio.Server] = []
        self.is_stopping = False

    async def open(self, gate: Gate) -> None:
        """Start one listener, shared with other processes by SO_REUSEPORT."""
        loop = asyncio.get_running_loop()
        implicit = gate.is_implicit
        server = await loop.create_server(
            lambda: IntakeProtocol(self, gate),
            gate.listener.address,
            gate.listener.port,
            ssl=gate.context if implicit else None,
            ssl_handshake_timeout=_HANDSHAKE_S if implicit else None,
            backlog=_BACKLOG,
            reuse_port=True,
        )
        self.servers.append(server)

    async def stop(self, grace_s: float = 30.0) -> None:
        """Stop gracefully (A-14).

        Listeners close. Idle sessions get 421 4.3.2 now, others at their next command;
        those that are not gone after `grace_s` are cut. Running commits are waited for
        without limit: who cannot wait must end the process.
        """
        self.is_stopping = True
        for server in self.servers:
            server.close()
        for session in tuple(self.sessions):
            session.part_if_idle()
        ends = [session.gone.wait() for session in self.sessions]
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.gather(*ends), grace_s)
        for session in tuple(self.sessions):
            session.cut()
            await session.gone.wait()
        await self.handler.settled()


async def listen(
    config: Config,
    contexts: Sequence[ssl.SSLContext],
    clients: ClientTable,
    handler: Handler,
    log: Log,
) -> Intake:
    """Open all listeners of the configuration.

    Args:
        config: `listeners`, `limits` and `hostname` are used; limits hold per process.
        contexts: The TLS context of each listener, in the same order. For client
            certificates it must ask for one: `CERT_OPTIONAL` and the CA loaded.
        clients: Who may send, and for what.
        handler: Hands messages on.
        log: Takes the events `intake-*`.

    Raises:
        OSError: When an address cannot be bound; those opened are closed again.
    """
    intake = Intake(config, clients, handler, log)
    try:
        for listener, context in zip(config.listeners, contexts, strict=True):
            await intake.open(Gate(listener, context))
    except BaseException:
        await intake.stop(0)
        raise
    return intake


class IntakeProtocol(Connection):
    """One SMTP session."""

    def __init__(self, intake: Intake, gate: Gate) -> None:
        super().__init__(intake.hostname.name, intake.limits, intake.handler)
        self._intake = intake
        self._gate = gate
        self._talk = Talk()
        self._transaction = Transaction()
        self._address = ""
        self._taken = 0  # octets of the room
        self.gone = asyncio.Event()

    # --- life -----------------------------------------------------------------
    async def entered(self) -> Reply | None:
        """Greet, or turn away; the banner names no product (A-12)."""
        intake = self._intake
        if intake.is_stopping:
            return answer.SHUTTING_DOWN
        if len(intake.sessions) >= intake.limits.sessions:
            intake.log("intake-full", sessions=len(intake.sessions))
            return answer.TOO_MANY_SESSIONS
        intake.sessions.add(self)
        self._learn(self._writer.transport)
        await self.write(f"220 {self.hostname} ESMTP")
        return None

    def left(self) -> None:
        """Give the place free."""
        self._intake.sessions.discard(self)
        self.gone.set()

    def part_if_idle(self) -> None:
        """Say 421 now when nothing is going on (RFC 5321 section 3.8 allows it)."""
        if self.is_idle():
            self._parting(answer.SHUTTING_DOWN)
            self._end()

    def cut(self) -> None:
        """End the session without a word; a running commit goes on."""
        self._writer.transport.abort()
        self._end()

    def _end(self) -> None:
        if self._handler_coroutine is not None:
            self._handler_coroutine.cancel()  # its end hangs up

    def _learn(self, transport: asyncio.BaseTransport) -> None:
        """Forget all that was said; TLS is what the transport says (A-29, A-33)."""
        self._talk = Talk(tls=tls_facts(transport.get_extra_info("ssl_object")))
        self._set_post_data_state()
        peername = transport.get_extra_info("peername")
        address = ipaddress.ip_address(str(peername[0]).partition("%")[0])
        mapped = getattr(address, "ipv4_mapped", None)
        self._address = str(mapped or address)

    def _set_post_data_state(self) -> None:
        """What the base class calls its envelope begins anew."""
        self._transaction = Transaction()

    def permitted(self, verb: str) -> Refusal | None:
        """The rules that hold for every verb: stopping, TLS first (A-14, A-30)."""
        if self._intake.is_stopping:
            return Refusal(answer.SHUTTING_DOWN, close=True)
        tls_first = self._gate.listener.require_tls and self._talk.tls is None
        if tls_first and verb not in _BEFORE_TLS:
            return Refusal(answer.TLS_NEEDED)
        return None

    # --- verbs without transaction ----------------------------------------------
    async def smtp_HELO(self, argument: str) -> None:
        """RFC 5321 section 4.1.1.1."""
        self._greeted(argument, extended=False)
        await self.write(f"250 {self.hostname}")

    async def smtp_EHLO(self, argument: str) -> None:
        """RFC 5321 section 4.1.1.1."""
        self._greeted(argument, extended=True)
        lines = [self.hostname, *self._extensions()]
        last = len(lines) - 1
        await self.write(
            "\r\n".join(
                f"250{' ' if at == last else '-'}{line}"
                for at, line in enumerate(lines)
            )
        )

    def _greeted(self, argument: str, *, extended: bool) -> None:
        if not argument.strip():
            raise Refusal(answer.BAD_ARGUMENT)
        self._set_post_data_state()
        self._talk.helo = sanitise_helo(argument)
        self._talk.extended = extended

    def _extensions(self) -> list[str]:
        extensions = [
            "PIPELINING",
            f"SIZE {self._limits.size_octets}",
            "8BITMIME",
            "ENHANCEDSTATUSCODES",
        ]
        if self._talk.tls is None:
            extensions.append("STARTTLS")
        elif self._intake.clients.has_users:
            extensions.append("AUTH " + " ".join(EXCHANGES))
        return extensions

    async def smtp_NOOP(self, argument: str) -> None:
        """Does nothing; its argument neither."""
        await self.say(answer.OK)

    async def smtp_RSET(self, argument: str) -> None:
        """Ends the transaction, keeps greeting and AUTH."""
        _refuse_argument(argument)
        self._set_post_data_state()
        await self.say(answer.OK)

    async def smtp_QUIT(self, argument: str) -> None:
        """Ends the session."""
        _refuse_argument(argument)
        raise Refusal(answer.GOODBYE, close=True)

    async def smtp_VRFY(self, argument: str) -> None:
        """Tells nothing about anybody (A-12)."""
        await self.say(answer.CANNOT_VERIFY)

    async def smtp_EXPN(self, argument: str) -> None:
        """Not offered."""
        raise Refusal(answer.NOT_OFFERED)

    async def smtp_HELP(self, argument: str) -> None:
        """The same for everybody."""
        await self.say(answer.HELP)

    async def smtp_BDAT(self, argument: str) -> None:
        """Not offered, and the chunk behind it must not run as commands (A-37)."""
        raise Refusal(answer.NOT_OFFERED, close=True)

    # --- TLS and AUTH -------------------------------------------------------------
    async def smtp_STARTTLS(self, argument: str) -> None:
        """RFC 3207; what comes in clear behind it ends the session (A-29)."""
        if self._talk.tls is not None or self._gate.is_implicit:
            raise Refusal(answer.BAD_SEQUENCE)
        _refuse_argument(argument)
        if self.buffered:
            raise Refusal(answer.BAD_SEQUENCE, close=True)
        # No waiting between the last look at the buffer and the change of protocol:
        # else a ClientHello could be taken for plain text.
        self._parting(answer.READY_FOR_TLS)
        plain = self._writer.transport
        try:
            transport = await self.loop.start_tls(
                plain,
                self,
                self._gate.context,
                server_side=True,
                ssl_handshake_timeout=_HANDSHAKE_S,
            )
        except OSError as error:  # ssl.SSLError and time-out are such
            self._intake.log("intake-handshake-failed", error=type(error).__name__)
            raise ConnectionResetError from error
        if transport is None:
            raise ConnectionResetError
        self.transport = transport
        self._over_ssl = True
        self._writer._transport = transport  # type: ignore[attr-defined]  # noqa: SLF001
        self._reader._transport = transport  # type: ignore[attr-defined]  # noqa: SLF001
        self._learn(transport)

    async def smtp_AUTH(self, argument: str) -> None:
        """RFC 4954, inside TLS only (A-31)."""
        self._check_auth()
        mechanism, _, initial = argument.partition(" ")
        exchange = EXCHANGES.get(mechanism.upper())
        if exchange is None:
            raise Refusal(answer.NO_MECHANISM)
        first = initial.encode("latin-1")
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
        if not self._intake.clients.has_users:
            raise Refusal(answer.NOT_OFFERED)
        if talk.user is not None or self._transaction.reverse_path is not None:
            raise Refusal(answer.BAD_SEQUENCE)
        if talk.failures >= _MAX_FAILURES:
            raise Refusal(answer.TOO_MANY_FAILURES, close=True)

    async def _ask(self, challenge: bytes) -> bytes:
        await self.write(f"334 {base64.b64encode(challenge).decode('ascii')}")
        return decode_response(await self.read_line(AUTH_OCTETS))

    async def _verify(self, credentials: Credentials) -> None:
        clients = self._intake.clients
        if not await clients.authenticate(credentials.user, credentials.password):
            self._intake.log("intake-auth-failed", network=self._network())
            raise Refusal(answer.BAD_CREDENTIALS)
        self._talk.user = credentials.user

    def _network(self) -> str:
        """Where the client is, coarse enough to be nobody's: /24 or /48."""
        length = 48 if ":" in self._address else 24
        return str(ipaddress.ip_network((self._address, length), strict=False))

    # --- the transaction ------------------------------------------------------------
    async def smtp_MAIL(self, argument: str) -> None:
        """Begin a transaction, for a known client and one of its domains."""
        if self._talk.helo is None:
            raise Refusal(answer.GREET_FIRST)
        if self._transaction.reverse_path is not None:
            raise Refusal(answer.BAD_SEQUENCE)
        self._transaction = Transaction(refused=True)  # until it is not
        reverse_path, parameters = path.parse_reverse_path(argument)
        self._check_parameters(parameters, _MAIL_PARAMETERS)
        body = path.parse_body(parameters)
        if path.parse_size(parameters) > self._limits.size_octets:
            raise Refusal(answer.TOO_BIG)
        known = self._identify()
        self._check_sender(reverse_path, known)
        self._transaction = Transaction(reverse_path, known, body)
        await self.say(answer.SENDER_OK)

    def _check_parameters(
        self, parameters: path.Parameters, known: frozenset[str]
    ) -> None:
        if parameters.keys() - known or (parameters and not self._talk.extended):
            raise Refusal(answer.NOT_SUPPORTED)

    def _identify(self) -> Known | None:
        talk, intake = self._talk, self._intake
        known = intake.clients.identify(self._address, talk.certificate, talk.user)
        if known is None:
            intake.log("intake-unknown-client", network=self._network())
            if intake.clients.has_users:
                raise Refusal(answer.AUTH_NEEDED)
        return known

    def _check_sender(self, reverse_path: ReversePath, known: Known | None) -> None:
        if known is None or reverse_path.mailbox is None:
            return  # nobody's recipients are refused; <> is anybody's
        if reverse_path.mailbox.domain not in known.client.sender_domains:
            self._intake.log("intake-sender-refused", client=known.client.id)
            raise Refusal(answer.SENDER_NOT_ALLOWED)

    async def smtp_RCPT(self, argument: str) -> None:
        """Add a recipient; who may have what is decided when the content is known."""
        transaction = self._transaction
        try:
            self._add_recipient(transaction, argument)
        except Refusal:
            transaction.refused = True
            raise
        await self.say(answer.RECIPIENT_OK)

    def _add_recipient(self, transaction: Transaction, argument: str) -> None:
        known, reverse_path = transaction.known, transaction.reverse_path
        if reverse_path is None:
            raise Refusal(answer.BAD_SEQUENCE)
        home = known.home(reverse_path) if known else self._intake.hostname
        recipient, parameters = path.parse_recipient(argument, home)
        self._check_parameters(parameters, _RCPT_PARAMETERS)
        if known is None:
            raise Refusal(answer.RELAY_DENIED)
        new = recipient not in transaction.recipients
        if new and len(transaction.recipients) >= self._limits.recipients:
            raise Refusal(answer.TOO_MANY_RECIPIENTS)
        transaction.recipients[recipient] = None

    async def smtp_DATA(self, argument: str) -> None:
        """Read the content to its end, then take responsibility or say why not.

        A client that pipelined DATA behind a refused MAIL or RCPT may have its content
        on the way: it gets 354, and 554 after the dot, so that content never runs as
        commands (A-22; RFC 2920 section 3.1 foresees it).
        """
        _refuse_argument(argument)
        transaction = self._transaction
        if not transaction.recipients and not transaction.refused:
            raise Refusal(answer.BAD_SEQUENCE, close=bool(self.buffered))
        await self.write("354 End data with <CR><LF>.<CR><LF>")
        # Without recipients nothing is kept: it is only read over.
        content = Content(self._limits.size_octets if transaction.recipients else 0)
        try:
            await self._read_content(content)
            self._set_post_data_state()
            reply = await self._judge(transaction, content)
        finally:
            self._intake.room.give_back(self._taken)
            self._taken = 0
        await self.say(reply)

    async def _read_content(self, content: Content) -> None:
        until = self.loop.time() + self._limits.data_s
        most = 2 * self._limits.size_octets + _SPARE_OCTETS
        rest = None
        while rest is None:
            rest = content.feed(await self.read_chunk(until))
            more = content.held_octets - self._taken
            if more > 0 and not self._intake.room.take(more):
                content.give_up()
            elif more > 0:
                self._taken += more
            if content.received_octets > most:
                raise Refusal(answer.TOO_BIG, close=True)
        self.buffered[0:0] = rest  # commands pipelined behind the dot

    async def _judge(self, transaction: Transaction, content: Content) -> Reply:
        known, reverse_path = transaction.known, transaction.reverse_path
        if known is None or reverse_path is None or not transaction.recipients:
            return answer.NO_VALID_RECIPIENTS
        if content.fault is not None:
            fault = content.fault.value
            self._intake.log(
                "intake-content-refused", client=known.client.id, fault=fault
            )
            return _FAULTS[content.fault]
        recipients = tuple(transaction.recipients)
        envelope = Envelope(reverse_path, recipients, transaction.body)
        return await self._intake.handler.accept(envelope, content, self._peer(known))

    def _peer(self, known: Known) -> Peer:
        return Peer(
            address=self._address,
            helo=self._talk.helo or "",
            extended=self._talk.extended,
            tls=self._talk.tls,
            client=known.client.id,
            municipality=known.client.municipality,
            sender_domains=known.client.sender_domains,
            identified_by=known.by,
        )


def _refuse_argument(argument: str) -> None:
    if argument:
        raise Refusal(answer.BAD_ARGUMENT)
