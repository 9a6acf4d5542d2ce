"""What each verb of SMTP means.

A session is known by TLS, AUTH or network before anything is accepted; nothing is
relayed for somebody unknown (A-45). What is advertised is carried through: SMTPUTF8,
DSN, CHUNKING and REQUIRETLS are not, so their parameters get 555. To add one: its line
in `_extensions`, its parameter in the set that MAIL or RCPT knows, its field in
`Transaction` and in `Envelope`.
"""

# ruff: noqa: N802, ARG002 - verbs are named and called as aiosmtpd's table asks

import asyncio
import base64
import ipaddress

from gateway.intake import answer, path
from gateway.intake.answer import Refusal
from gateway.intake.clients import Known
from gateway.intake.connection import AUTH_OCTETS, Connection
from gateway.intake.content import Content, Fault
from gateway.intake.lobby import HANDSHAKE_S, Gate, Lobby
from gateway.intake.pace import Pace
from gateway.intake.places import Guest
from gateway.intake.received import sanitise_helo
from gateway.intake.sasl import EXCHANGES, Credentials, decode_response
from gateway.intake.session import Talk, Transaction, tls_facts
from gateway.model.address import ReversePath
from gateway.model.message import Envelope
from gateway.model.peer import Peer
from gateway.model.reply import Reply

_MAX_FAILURES = 3
_MAX_TRANSACTIONS = 1000  # of a session: a mail server comes back for more
_MAX_REFUSED_RECIPIENTS = 100  # for good, in a session: who has so many is guessing
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
_FOR_GOOD = 500  # 5xx
_SPARE_OCTETS = 1024 * 1024


class IntakeProtocol(Connection):
    """One SMTP session."""

    def __init__(self, lobby: Lobby, gate: Gate) -> None:
        super().__init__(lobby.hostname.name, lobby.limits, lobby.handler)
        self._lobby = lobby
        self._gate = gate
        self._talk = Talk()
        self._transaction = Transaction()
        self._address = ""
        self._guest: Guest | None = None  # None: has no place
        self._taken = 0  # octets of the room
        self._transactions = 0
        self._refused_recipients = 0

    # --- life -----------------------------------------------------------------
    async def entered(self) -> Reply | None:
        """Greet, or turn away; the banner names no product (A-12)."""
        lobby = self._lobby
        if lobby.is_stopping:
            return answer.SHUTTING_DOWN
        self._learn(self._writer.transport)
        guest = self._guest_now()
        if not lobby.places.take(guest):
            sessions = len(lobby.sessions)
            lobby.log(
                "intake-full",
                sessions=sessions,
                client=guest.client,
                network=self._network(),
            )
            return answer.TOO_MANY_SESSIONS
        self._guest = guest
        lobby.sessions.add(self)
        await self.write(f"220 {self.hostname} ESMTP")
        return None

    def left(self) -> None:
        """Give the place free."""
        self._lobby.sessions.discard(self)
        if self._guest is not None:
            self._lobby.places.give_back(self._guest)

    def _guest_now(self) -> Guest:
        """Who this is, by all that is known now."""
        talk = self._talk
        known = self._lobby.clients.identify(self._address, talk.certificate, talk.user)
        return Guest(self._address, known.client.id if known else None)

    def _recognise(self) -> None:
        """After TLS or AUTH: be counted as who it proved to be."""
        if self._guest is not None:
            now = self._guest_now()
            self._guest = self._lobby.places.recognise(self._guest, now)

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
        if self._lobby.is_stopping:
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
        elif self._lobby.clients.has_users:
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
                ssl_handshake_timeout=HANDSHAKE_S,
            )
        except OSError as error:  # ssl.SSLError and time-out are such
            self._lobby.log("intake-handshake-failed", error=type(error).__name__)
            raise ConnectionResetError from error
        if transport is None:
            raise ConnectionResetError
        self.transport = transport
        self._over_ssl = True
        self._writer._transport = transport  # type: ignore[attr-defined]  # noqa: SLF001
        self._reader._transport = transport  # type: ignore[attr-defined]  # noqa: SLF001
        self._learn(transport)
        self._recognise()

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
        if not self._lobby.clients.has_users:
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
        self._transactions += 1
        if self._transactions > _MAX_TRANSACTIONS:
            raise Refusal(answer.TOO_MANY_TRANSACTIONS, close=True)
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
        talk, lobby = self._talk, self._lobby
        known = lobby.clients.identify(self._address, talk.certificate, talk.user)
        if known is None:
            lobby.log("intake-unknown-client", network=self._network())
            if lobby.clients.has_users:
                raise Refusal(answer.AUTH_NEEDED)
        return known

    def _check_sender(self, reverse_path: ReversePath, known: Known | None) -> None:
        if known is None or reverse_path.mailbox is None:
            return  # nobody's recipients are refused; <> is anybody's
        if reverse_path.mailbox.domain not in known.client.sender_domains:
            self._lobby.log("intake-sender-refused", client=known.client.id)
            raise Refusal(answer.SENDER_NOT_ALLOWED)

    async def smtp_RCPT(self, argument: str) -> None:
        """Add a recipient; who may have what is decided when the content is known."""
        transaction = self._transaction
        try:
            self._add_recipient(transaction, argument)
        except Refusal as refusal:
            transaction.refused = True
            self._refused_recipients += refusal.reply.code >= _FOR_GOOD
            if self._refused_recipients > _MAX_REFUSED_RECIPIENTS:
                self._lobby.log("intake-recipients-refused", network=self._network())
                raise Refusal(answer.TOO_MANY_ERRORS, close=True) from None
            raise
        await self.say(answer.RECIPIENT_OK)

    def _add_recipient(self, transaction: Transaction, argument: str) -> None:
        known, reverse_path = transaction.known, transaction.reverse_path
        if reverse_path is None:
            raise Refusal(answer.BAD_SEQUENCE)
        home = known.home(reverse_path) if known else self._lobby.hostname
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
        size = self._limits.size_octets if transaction.recipients else 0
        content = Content(size, self._limits.line_octets)
        known = transaction.known
        user = known.client.id if known else ""
        try:
            await self._read_content(content, user)
            self._set_post_data_state()
            reply = await self._judge(transaction, content)
        finally:
            self._lobby.room.give_back(user, self._taken)
            self._taken = 0
        await self.say(reply)

    async def _read_content(self, content: Content, user: str) -> None:
        pace = Pace(self._limits, self.loop.time())
        until = self.loop.time() + self._limits.data_s
        most = 2 * self._limits.size_octets + _SPARE_OCTETS
        rest = None
        while rest is None:
            rest = content.feed(await self._read_in_pace(content, pace, until))
            self._settle_room(content, user)
            if content.received_octets > most:
                raise Refusal(answer.TOO_BIG, close=True)
        self.buffered[0:0] = rest  # commands pipelined behind the dot

    def _settle_room(self, content: Content, user: str) -> None:
        """Take room for what is kept by now, or give back that of what is not."""
        room = self._lobby.room
        more = content.held_octets - self._taken
        if more > 0 and not room.take(user, more):
            content.give_up()
            more = -self._taken
        if more < 0:
            room.give_back(user, -more)
        self._taken += more

    async def _read_in_pace(self, content: Content, pace: Pace, until: float) -> bytes:
        """The next content; TimeoutError for who is silent or too slow (A-49)."""
        while True:
            try:
                return await self.read_chunk(min(until, pace.ends_at))
            except TimeoutError:
                now = self.loop.time()
                came = content.received_octets + len(self.buffered)
                if now < pace.ends_at or now >= until or not pace.keeps_up(came, now):
                    raise

    async def _judge(self, transaction: Transaction, content: Content) -> Reply:
        known, reverse_path = transaction.known, transaction.reverse_path
        if known is None or reverse_path is None or not transaction.recipients:
            return answer.NO_VALID_RECIPIENTS
        if content.fault is not None:
            fault = content.fault.value
            self._lobby.log(
                "intake-content-refused", client=known.client.id, fault=fault
            )
            return _FAULTS[content.fault]
        recipients = tuple(transaction.recipients)
        envelope = Envelope(reverse_path, recipients, transaction.body)
        return await self._lobby.handler.accept(envelope, content, self._peer(known))

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
