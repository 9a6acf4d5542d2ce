"""One session: who it is, how far it is, what it holds; the verbs are built on it."""

import asyncio

from gateway.intake import answer
from gateway.intake.answer import Refusal
from gateway.intake.clients import Known
from gateway.intake.connection import Connection
from gateway.intake.ending import Reason, Where
from gateway.intake.lobby import Gate, Lobby, network_of
from gateway.intake.places import Guest
from gateway.intake.session import Arrival, Talk, Transaction, tls_facts
from gateway.model.peer import Peer
from gateway.model.reply import Reply
from gateway.parties import ClientMode, ForeignFrom

_BEFORE_TLS = frozenset({"EHLO", "NOOP", "STARTTLS", "QUIT"})  # RFC 3207 section 4


class Visit(Connection):
    """The state of a session and its life, without any verb."""

    def __init__(
        self, lobby: Lobby, gate: Gate, arrival: Arrival, guest: Guest | None
    ) -> None:
        """Begin.

        Args:
            lobby: What all sessions share.
            gate: The listener it came in by.
            arrival: Who came.
            guest: As whom it has a place; None: it has none, and is told so.
        """
        super().__init__(lobby.hostname.name, lobby.limits, lobby.handler)
        self._lobby = lobby
        self._gate = gate
        self._arrival = arrival
        self._guest = guest
        self._talk = Talk()
        self._transaction = Transaction()
        self._taken = 0  # octets of the room
        self._transactions = 0
        self._refused_recipients = 0
        # What a copy gets whose content is at fault; None: it is refused (R3).
        self._if_spoiled: Reply | None = None

    @property
    def _address(self) -> str:
        return self._arrival.address

    # --- life -----------------------------------------------------------------
    async def entered(self) -> Reply | None:
        """Greet, or turn away; the banner names no product (A-12)."""
        if self._lobby.is_stopping:
            return answer.SHUTTING_DOWN
        if self._guest is None:
            return answer.TOO_MANY_SESSIONS
        self._learn(self._writer.transport)
        self._recognise()
        self._lobby.sessions.add(self)
        await self.write(f"220 {self.hostname} ESMTP")
        return None

    def left(self, reason: Reason | None) -> None:
        """Give the place free; tell of an odd end."""
        self._lobby.sessions.discard(self)
        client = self._guest.client if self._guest is not None else None
        if self._guest is not None:
            self._lobby.places.give_back(self._guest)
        if reason is not None:
            self._lobby.ended(reason, self.where(), client)

    def referred(self, reply: Reply) -> Reply:
        """A refusal as it is said: with our reference where people may see it."""
        client = self._guest.client if self._guest is not None else None
        return self._lobby.handler.refer(reply, client)

    def where(self) -> Where:
        """How far the session is."""
        open_one = self._transaction.reverse_path is not None
        if self._where is Where.COMMAND and open_one:
            return Where.TRANSACTION
        return self._where

    def _known(self) -> Known | None:
        """Who this is, by all that is known now."""
        talk = self._talk
        return self._lobby.identify(self._arrival, talk.certificate, talk.user)

    def _recognise(self) -> None:
        """After TLS or AUTH: be counted as who it proved to be."""
        known = self._known()
        if self._guest is not None and known is not None:
            now = Guest(self._address, known.client.id)
            self._guest = self._lobby.places.recognise(self._guest, now)

    def _learn(self, transport: asyncio.BaseTransport) -> None:
        """Forget all that was said; TLS is what the transport says (A-29, A-33)."""
        self._talk = Talk(tls=tls_facts(transport.get_extra_info("ssl_object")))
        self._set_post_data_state()

    def _set_post_data_state(self) -> None:
        """What the base class calls its envelope begins anew."""
        self._transaction = Transaction()

    def permitted(self, verb: str) -> Refusal | None:
        """The rules that hold for every verb: stopping, TLS first (A-14, A-30)."""
        if self._lobby.is_stopping:
            return Refusal(answer.SHUTTING_DOWN, close=True)
        if verb == "PROXY":  # version 1: nobody may say who he is in clear
            return Refusal(answer.UNKNOWN_COMMAND, close=True)
        tls_first = self._gate.listener.require_tls and self._talk.tls is None
        if tls_first and verb not in _BEFORE_TLS:
            # A chunk comes unasked behind BDAT and must not run as commands.
            return Refusal(answer.TLS_NEEDED, close=verb == "BDAT")
        return None

    def _can_authenticate(self) -> bool:
        return self._lobby.clients.has_users and not self._arrival.is_check

    def _network(self) -> str:
        return network_of(self._address)

    def _peer(self, known: Known) -> Peer:
        if known.candidates:
            raise ValueError("nobody knows yet whose message this is")
        return Peer(
            address=self._address,
            helo=self._talk.helo or "",
            extended=self._talk.extended,
            tls=self._talk.tls,
            client=known.client.id,
            municipality=known.client.municipality,
            sender_domains=known.client.sender_domains,
            identified_by=known.by,
            shadow=known.client.mode is ClientMode.SHADOW,
            forwards=known.client.foreign_from is ForeignFrom.NONE_ONLY,
        )


def refuse_argument(argument: str) -> None:
    """For verbs that have none."""
    if argument:
        raise Refusal(answer.BAD_ARGUMENT)
