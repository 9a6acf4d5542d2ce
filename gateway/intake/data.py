"""DATA: content is read to its end, then judged."""

# ruff: noqa: N802 - verbs are named as aiosmtpd's table asks

import dataclasses
import functools

from gateway.intake import answer, tenant
from gateway.intake.answer import Refusal
from gateway.intake.content import Content, Fault
from gateway.intake.header import MAX_OCTETS, Defect
from gateway.intake.pace import Pace
from gateway.intake.reception import NO_ROOM, Reception
from gateway.intake.session import Transaction
from gateway.intake.visit import Visit, refuse_argument
from gateway.model.peer import Peer
from gateway.model.reply import Reply

_FAULTS = {
    fault: Defect(fault.value, reply)
    for fault, reply in (
        (Fault.BARE_NEWLINE, answer.BARE_NEWLINE),
        (Fault.NUL, answer.NUL),
        (Fault.LONG_LINE, answer.LONG_LINE),
        (Fault.TOO_BIG, answer.TOO_BIG),
        (Fault.NO_ROOM, answer.STORE_FULL),
    )
}
_NOT_OF_TENANT = Defect("tenant", answer.NOT_OF_TENANT)
_SPARE_OCTETS = 1024 * 1024
_IN_MEMORY_OCTETS = 1024 * 1024  # what is bigger goes into a spool file anyway (R11)
_PIECE_OCTETS = 64 * 1024


@dataclasses.dataclass(frozen=True, slots=True)
class _Coming:
    """What comes in: for whom room is taken, and where it goes.

    `reception` None: there is no recipient, and it is only read over.
    """

    user: str
    reception: Reception | None


class DataVerb(Visit):
    """The content of a transaction."""

    async def smtp_DATA(self, argument: str) -> None:
        """Read the content to its end, then take responsibility or say why not.

        A client that pipelined DATA behind a refused MAIL or RCPT may have its content
        on the way: it gets 354, and 554 after the dot, so that content never runs as
        commands (A-22; RFC 2920 section 3.1 foresees it).
        """
        refuse_argument(argument)
        transaction = self._transaction
        if not transaction.recipients and not transaction.refused:
            raise Refusal(answer.BAD_SEQUENCE, close=bool(self.buffered))
        await self.write("354 End data with <CR><LF>.<CR><LF>")
        # Without recipients nothing is kept: it is only read over.
        size = self._limits.size_octets if transaction.recipients else 0
        content = Content(size, self._limits.line_octets)
        coming = self._coming(transaction)
        try:
            await self._read_content(content, coming)
            self._set_post_data_state()
            reply = await self._judge(coming, content)
        finally:
            self._lobby.room.give_back(coming.user, self._taken)
            self._taken = 0
            if coming.reception is not None and not coming.reception.is_handed_over:
                coming.reception.discard()
        await self.say(reply)

    def _coming(self, transaction: Transaction) -> _Coming:
        known = transaction.known
        if known is None or not transaction.recipients:
            return _Coming("", None)

        def peer_by(header: bytes) -> Peer | Defect:
            settled = tenant.settle(known, header)
            return _NOT_OF_TENANT if settled is None else self._peer(settled)

        reception = self._lobby.handler.reception(transaction.envelope(), peer_by)
        return _Coming(known.client.id, reception)

    async def _read_content(self, content: Content, coming: _Coming) -> None:
        pace = Pace(self._limits, self.loop.time())
        until = self.loop.time() + self._limits.data_s
        most = 2 * self._limits.size_octets + _SPARE_OCTETS
        rest = None
        while rest is None:
            rest = content.feed(await self._read_in_pace(content, pace, until))
            if coming.reception is not None:
                await self._put_away(content, coming.user, coming.reception)
            if content.received_octets > most and self._if_spoiled is None:
                raise Refusal(answer.TOO_BIG, close=True)
        self.buffered[0:0] = rest  # commands pipelined behind the dot

    async def _put_away(
        self, content: Content, user: str, reception: Reception
    ) -> None:
        """Keep what came: in memory while there is room, else on the disk."""
        held = content.held_octets
        if content.fault is not None:
            reception.discard()
        elif reception.is_filed:
            if held >= _PIECE_OCTETS:
                await reception.file(content.take())
        elif held > _IN_MEMORY_OCTETS or not self._takes_room(user, held - self._taken):
            if content.header_is_whole or held > MAX_OCTETS:
                await reception.file(content.take())
            else:
                reception.defect = NO_ROOM
        if reception.defect is not None and content.fault is None:
            content.give_up()
        if content.held_octets < self._taken:
            self._lobby.room.give_back(user, self._taken - content.held_octets)
            self._taken = content.held_octets

    def _takes_room(self, user: str, more: int) -> bool:
        taken = more <= 0 or self._lobby.room.take(user, more)
        self._taken += more if taken else 0
        return taken

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

    async def _judge(self, coming: _Coming, content: Content) -> Reply:
        handler, reception = self._lobby.handler, coming.reception
        if reception is None:
            return answer.NO_VALID_RECIPIENTS
        if reception.defect is not None:
            return handler.refuse(reception.defect, coming.user)
        if content.fault is not None:
            refused = handler.refuse(_FAULTS[content.fault], coming.user)
            no_room = content.fault is Fault.NO_ROOM
            return refused if no_room else self._if_spoiled or refused
        taken, self._taken = self._taken, 0
        release = functools.partial(self._lobby.room.give_back, coming.user, taken)
        return await handler.accept(reception, content.take(), coming.user, release)
