"""One mail transaction, from MAIL to the reply to the final dot.

It starts only on a session that `judge` let pass. What the sender wished for is passed
on word for word where the hop offers DSN (RFC 3461 section 5.2.1), and nothing of it
where it does not; the reverse-path is never changed for it.

Its one hard question is what a lost connection means: before the final dot nothing was
handed over, after it and before a complete reply a copy may be there, and
that is *unknown* (B-51, RFC 1047).
"""

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Callable, Mapping

from gateway.delivery import codes
from gateway.model.address import Mailbox
from gateway.model.ids import Code
from gateway.model.message import NO_MESSAGE_WISH, NO_RECIPIENT_WISH, Body
from gateway.model.octets import Octets, chunks_of, head_of, size_of
from gateway.model.reply import Cause, HopFacts, RecipientOutcome, RemoteReply, Status
from gateway.net import dialogue
from gateway.net.dialogue import HopGarbage, HopReply
from gateway.net.wire import HopLost, Wire
from gateway.ports import CommitIntent, Parcel

_DONE, _NOT_NOW = 2, 4
_GO_AHEAD = 354
_TOO_MANY_RECIPIENTS = 552  # to RCPT it means 452 (B-42, RFC 5321 4.5.3.1.10)
_CLOSING = 421


@dataclasses.dataclass(frozen=True, slots=True)
class Timeouts:
    """How long each phase may take, in seconds (B-38, RFC 5321 4.5.3.2).

    One short value for all gives duplicates at slow receivers. `attempt_s` is when no
    further host is tried; a transaction under way is not cut by it.
    """

    connect_s: float = 30
    greeting_s: float = 300
    command_s: float = 300
    handshake_s: float = 60
    data_s: float = 120
    block_s: float = 180
    dot_s: float = 600
    quit_s: float = 5
    attempt_s: float = 600


class NotTaken(Exception):  # noqa: N818 - the field's word
    """The hop did not take the transaction at all: another host may (B-03).

    Raised for 4xx to MAIL, and for a session that breaks before any recipient was
    answered.
    """

    def __init__(self, cause: Cause, code: Code, reply: HopReply | None = None) -> None:
        super().__init__(cause.value)
        self.cause = cause
        self.code = code
        self.reply = reply


@dataclasses.dataclass(frozen=True, slots=True)
class _Needs:
    """What the message asks of a hop's EHLO list.

    A-23, A-24: by what is there, not by what was said of it. SMTPUTF8 is for addresses
    and header fields; octets of the body are 8BITMIME's (RFC 6531 section 3.5).
    """

    eight_bit: bool
    smtputf8: bool
    size_octets: int

    @classmethod
    def of(cls, parcel: Parcel) -> "_Needs":
        """By the octets themselves: pure ASCII passes everywhere, whatever was said.

        Kept octets were looked at when they came in: the body says so (A-23).
        """
        octets = parcel.octets
        paths = parcel.reverse_path + "".join(map(str, parcel.recipients))
        header = head_of(octets).partition(b"\r\n\r\n")[0]
        if isinstance(octets, bytes):
            plain = octets.isascii()
        else:
            plain = parcel.body is Body.SEVEN_BIT
        return cls(
            eight_bit=not plain,
            smtputf8=parcel.smtputf8 and not (paths.isascii() and header.isascii()),
            size_octets=size_of(octets),
        )

    def lacking(self, capabilities: Mapping[str, str]) -> Code | None:
        """Why the hop cannot take the message without changing it (A-21, A-23, A-24).

        Nothing is re-encoded for it, so that what is sent is what was accepted (INV-5).
        """
        limit = capabilities.get("SIZE", "")
        if limit.isdigit() and 0 < int(limit) < self.size_octets:
            return codes.TOO_BIG
        if self.smtputf8 and "SMTPUTF8" not in capabilities:
            return codes.SMTPUTF8_MISSING
        if self.eight_bit and "8BITMIME" not in capabilities:
            return codes.EXTENSION_MISSING
        return None


class Transaction:
    """One parcel over one session; used once."""

    def __init__(self, wire: Wire, parcel: Parcel, timeouts: Timeouts) -> None:
        self._wire = wire
        self._parcel = parcel
        self._timeouts = timeouts
        self._needs = _Needs.of(parcel)
        self._results: dict[Mailbox, RecipientOutcome] = {}
        self.is_broken = False  # the session can carry no further command
        self.detail = ""  # what broke the session, for evidence

    async def run(
        self, facts: Callable[[], HopFacts], commit_intent: CommitIntent
    ) -> tuple[RecipientOutcome, ...]:
        """Hand the parcel over.

        Args:
            facts: What is known of this hop, at the time of the call.
            commit_intent: Called right before the final dot (B-50).

        Returns:
            One outcome for each recipient, in the order of the parcel.

        Raises:
            NotTaken: Before any recipient was answered; another host may be tried.
        """
        lacking = self._needs.lacking(self._wire.dialogue.capabilities)
        if lacking is not None:
            self._settle_open(Status.FAILED, Cause.CONVERSION, lacking, None)
            return self._outcomes()
        accepted = await self._envelope()
        if accepted and await self._data():
            await self._content(facts, accepted, commit_intent)
        return self._outcomes()

    def _outcomes(self) -> tuple[RecipientOutcome, ...]:
        return tuple(self._results[r] for r in self._parcel.recipients)

    async def _envelope(self) -> tuple[Mailbox, ...]:
        """MAIL and RCPT; the recipients that the hop accepted."""
        commands = envelope_commands(self._parcel, self._wire.dialogue.capabilities)
        pipelining = "PIPELINING" in self._wire.dialogue.capabilities
        try:
            self._wire.ask(*(commands if pipelining else commands[:1]))
            reply = await self._wire.reply(self._timeouts.command_s)
        except (HopGarbage, HopLost) as error:
            self.is_broken = True
            raise NotTaken(cause_of(error), codes.HOP_FAULTY) from error
        if reply.kind != _DONE:
            self.is_broken = pipelining  # answers to RCPT are still on their way
            self._refuse_all(reply)
            return ()
        return await self._recipients(() if pipelining else commands[1:])

    def _refuse_all(self, reply: HopReply) -> None:
        """What another reply than 2xx to MAIL means."""
        if reply.code == _CLOSING:
            self.is_broken = True
        if reply.kind == _NOT_NOW:
            raise NotTaken(Cause.HOP_REPLY, codes.HOP_REFUSED, reply)
        self._settle_by_reply(self._open(), reply)

    async def _recipients(self, commands: tuple[bytes, ...]) -> tuple[Mailbox, ...]:
        """Replies to RCPT one by one (B-41); `commands` unless they were sent already.

        A session that breaks here has handed nothing over: all without a final refusal
        are deferred.
        """
        accepted = []
        try:
            for at, recipient in enumerate(self._parcel.recipients):
                if commands:
                    self._wire.ask(commands[at])
                reply = await self._wire.reply(self._timeouts.command_s)
                if reply.kind == _DONE:  # 251 too; a new address is never followed
                    accepted.append(recipient)
                elif reply.code == _CLOSING or reply.kind < _NOT_NOW:
                    self.is_broken = True
                    self._settle_by_reply(self._open(), reply)
                    return ()
                else:
                    put_off = reply.code == _TOO_MANY_RECIPIENTS
                    self._settle_by_reply((recipient,), reply, put_off=put_off)
        except (HopGarbage, HopLost) as error:
            self._break_off(error)
            return ()
        return tuple(accepted)

    async def _data(self) -> bool:
        """DATA; only 354 lets us go on (B-42)."""
        try:
            self._wire.ask(dialogue.DATA)
            reply = await self._wire.reply(self._timeouts.data_s)
        except (HopGarbage, HopLost) as error:
            self._break_off(error)
            return False
        if reply.code == _GO_AHEAD:
            self.is_broken = True  # until the content is complete, no command is one
            return True
        self.is_broken = reply.code == _CLOSING
        self._settle_by_reply(self._open(), reply)
        return False

    async def _content(
        self,
        facts: Callable[[], HopFacts],
        accepted: tuple[Mailbox, ...],
        commit_intent: CommitIntent,
    ) -> None:
        """All but the dot, the intent, the dot, the reply: in this order (B-50)."""
        portions = _portions(self._parcel.octets)
        try:
            await self._wire.send_content(portions, self._timeouts.block_s)
        except HopLost as error:
            self._break_off(error)
            return
        if not await commit_intent(facts(), accepted):
            self._settle_open(Status.DEFERRED, None, None, None)
            return
        try:
            await self._wire.end_content()
        except (HopGarbage, HopLost) as error:
            self._break_off(error)
            return
        await self._last_reply()

    async def _last_reply(self) -> None:
        """From here on only a complete reply tells what happened (B-51)."""
        try:
            reply = await self._wire.reply(self._timeouts.dot_s)
        except (HopGarbage, HopLost) as error:
            cause, self.detail = cause_of(error), str(error)
            self._settle_open(Status.UNKNOWN, cause, codes.HOP_FAULTY, None)
            return
        self.is_broken = reply.code == _CLOSING
        if reply.kind == _DONE:
            self._settle_delivered(reply.remote())
        elif reply.kind == _GO_AHEAD // 100:  # an answer to some other question
            self._settle_open(
                Status.UNKNOWN, Cause.HOP_GARBAGE, codes.HOP_FAULTY, reply.remote()
            )
        else:
            self._settle_by_reply(self._open(), reply)

    def _open(self) -> tuple[Mailbox, ...]:
        return tuple(r for r in self._parcel.recipients if r not in self._results)

    def _break_off(self, error: HopGarbage | HopLost) -> None:
        """The session broke before the dot: definitely nothing was handed over."""
        self.is_broken, self.detail = True, str(error)
        self._settle_open(Status.DEFERRED, cause_of(error), codes.HOP_FAULTY, None)

    def _settle_by_reply(
        self,
        recipients: tuple[Mailbox, ...],
        reply: HopReply,
        *,
        put_off: bool = False,
    ) -> None:
        """4xx defers, 5xx fails, anything else was no answer to the question.

        `put_off` is for a 5xx that means 4xx where it was said.
        """
        status, cause, code = Status.FAILED, Cause.HOP_REPLY, codes.HOP_REFUSED
        if reply.kind == _NOT_NOW or put_off:
            status = Status.DEFERRED
        elif reply.kind < _NOT_NOW:
            status, cause = Status.DEFERRED, Cause.HOP_GARBAGE
            code = codes.HOP_FAULTY
            self.is_broken = True
        for recipient in recipients:
            self._results[recipient] = RecipientOutcome(
                recipient, status, cause, reply.remote(), code=code
            )

    def _settle_delivered(self, reply: RemoteReply) -> None:
        """Whoever offers DSN has it from here on, wishes and all (RFC 3461 5.2.1)."""
        dsn = "DSN" in self._wire.dialogue.capabilities
        for recipient in self._open():
            self._results[recipient] = RecipientOutcome(
                recipient, Status.DELIVERED, reply=reply, dsn=dsn
            )

    def _settle_open(
        self,
        status: Status,
        cause: Cause | None,
        code: Code | None,
        reply: RemoteReply | None,
    ) -> None:
        for recipient in self._open():
            self._results[recipient] = RecipientOutcome(
                recipient, status, cause, reply, code=code
            )


def cause_of(error: HopGarbage | HopLost) -> Cause:
    """What a broken session is called in evidence."""
    garbage = isinstance(error, HopGarbage)
    return Cause.HOP_GARBAGE if garbage else Cause.HOP_SILENT


def envelope_commands(
    parcel: Parcel, capabilities: Mapping[str, str]
) -> tuple[bytes, ...]:
    """MAIL and one RCPT for each recipient.

    Args:
        parcel: What is to be handed over.
        capabilities: What the hop offers. REQUIRETLS is said whenever the parcel has
            that tag: whether the hop offers it was looked at before.

    Raises:
        Unsendable: When an address or parameter would break a command (B-40).
    """
    needs = _Needs.of(parcel)
    dsn = "DSN" in capabilities
    wishes = parcel.recipient_wishes if dsn else {}
    mail = dialogue.mail(
        parcel.reverse_path,
        size_octets=needs.size_octets if "SIZE" in capabilities else None,
        eight_bit=needs.eight_bit,
        smtputf8=needs.smtputf8,
        dsn=parcel.wish if dsn else NO_MESSAGE_WISH,
        requiretls=parcel.wish.requiretls,
    )
    recipients = (
        dialogue.rcpt(r, smtputf8=needs.smtputf8, dsn=wishes.get(r, NO_RECIPIENT_WISH))
        for r in parcel.recipients
    )
    return (mail, *recipients)


async def _portions(octets: Octets) -> AsyncIterator[bytes]:
    """The stuffed content; what lies on a disk is read beside the event loop."""
    stuffed = dialogue.stuffed(chunks_of(octets))
    if isinstance(octets, bytes):
        for portion in stuffed:
            yield portion
        return
    while portion := await asyncio.to_thread(lambda: next(stuffed, b"")):
        yield portion
