"""One connection on aiosmtpd: lines and octets in, replies out, timers, the end.

aiosmtpd gives the asyncio protocol, the table of verbs and the life of the connection.
Its command loop is replaced, because it accepts bare LF, answers without enhanced
status and cancels its own work when the client half-closes. What the verbs mean is in
`gateway.intake.server`.

Timers are about reading and writing only: none runs while a message is being committed
(A-49). A session that must end says why first; what is already buffered is not obeyed.
"""

import asyncio
import contextlib
import logging
import re
from typing import Any

from aiosmtpd import smtp

from gateway.intake import answer
from gateway.intake.answer import Refusal
from gateway.intake.ending import Reason, Where, reason_of
from gateway.intake.handler import Handler
from gateway.limits import Limits
from gateway.model.reply import Reply

# It writes addresses at INFO and content at DEBUG: nobody may turn it on.
logging.getLogger("mail.log").disabled = True
# Of each TLS connection asyncio keeps room for 256 KiB that may come at once: hundreds
# of uploads would take as many megabytes. There is no setting for it.
asyncio.sslproto.SSLProtocol.max_size = 32 * 1024

COMMAND_OCTETS = 2048
AUTH_OCTETS = 12288  # RFC 4954 section 4
_READ_OCTETS = 65536
_BUFFER_OCTETS = 16384  # over the longest line; twice as much is read ahead
_LINE_OCTETS = 480  # of a reply of ours
_MAX_ERRORS = 10
_LINGER_S = 10  # for a last reply that the client does not take
_BROKEN = re.compile(rb"[\r\n\0]")
_CONTROL = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]")
_UNPRINTABLE = re.compile(r"[^ -~]")


class Connection(smtp.SMTP):
    """The mechanics of a session; `gateway.intake.server` derives the verbs."""

    line_length_limit = (
        _BUFFER_OCTETS  # is the stream's buffer limit, not a rule of mail
    )

    def __init__(self, hostname: str, limits: Limits, handler: Handler) -> None:
        super().__init__(
            None, hostname=hostname, loop=asyncio.get_running_loop(), ident=""
        )
        self._limits = limits
        self._faults = handler
        self._ends_at = self.loop.time() + limits.session_s
        self._errors = 0
        self._idle = False  # waiting for a command, and nothing of one has come
        self._linger: asyncio.TimerHandle | None = None
        self._where = Where.GREETING
        self._late = Reason.IDLE  # what the client was last waited for in vain
        self._ending: Reason | None = None  # None: an ordinary end
        self.gone = asyncio.Event()

    # --- life of the connection -------------------------------------------------
    def _reset_timeout(self, duration: float | None = None) -> None:
        """Replace the base class's one timer, which also runs during a commit (A-49).

        Every read and write here has a timer of its own; the base class only wants
        something to cancel.
        """
        del duration
        self._timeout_handle = self.loop.call_later(0, _nothing)
        self._timeout_handle.cancel()

    def connection_lost(self, error: Exception | None) -> None:
        """The base class cancels the session's task; a commit is shielded (A-02)."""
        if self._linger is not None:
            self._linger.cancel()
        self.note(Reason.CLOSED if error is None else Reason.RESET)
        super().connection_lost(error)

    def eof_received(self) -> bool:
        """Let work and pipelined commands finish when the client half-closes (A-02)."""
        self._reader.feed_eof()
        transport: Any = self.transport
        # A TLS transport cannot stay half open.
        return transport.get_extra_info("sslcontext") is None

    def is_idle(self) -> bool:
        """Whether it waits for a command of which nothing has come yet."""
        return self._idle and not self.buffered

    @property
    def buffered(self) -> bytearray:
        """What came and was not read yet.

        The stream's private buffer: it can be neither looked at (A-29) nor given back
        to (behind the dot) otherwise; aiosmtpd itself does it so.
        """
        buffer: bytearray = self._reader._buffer  # type: ignore[attr-defined]  # noqa: SLF001
        return buffer

    def hang_up(self) -> None:
        """Close once what was written is sent; abort when the client takes nothing."""
        transport: Any = self.transport
        if transport is not None and self._linger is None:
            self._linger = self.loop.call_later(_LINGER_S, _drop, transport)
            transport.close()

    def part_if_idle(self) -> None:
        """Say 421 now when nothing is going on (RFC 5321 section 3.8 allows it)."""
        if self.is_idle():
            self.note(Reason.SHUTDOWN)
            self._parting(answer.SHUTTING_DOWN)
            self._end()

    def cut(self) -> None:
        """End the session without a word; a running commit goes on."""
        self.note(Reason.CUT)
        _drop(self._writer.transport)
        self._end()

    def _end(self) -> None:
        if self._handler_coroutine is not None:
            self._handler_coroutine.cancel()  # its end hangs up

    def note(self, reason: Reason | None) -> None:
        """Why the session ends; the first one counts."""
        self._ending = self._ending or reason

    def where(self) -> Where:
        """How far the session is."""
        return self._where

    # --- reading and writing ----------------------------------------------------
    async def read_line(self, limit_octets: int) -> bytes:
        """One line without its CR LF.

        Raises:
            Refusal: For a line that is broken (A-40) or too long.
            TimeoutError: When the client is idle too long or the session is over.
            ConnectionError, asyncio.IncompleteReadError: When it is gone.
        """
        until = min(self.loop.time() + self._limits.idle_s, self._ends_at)
        self._late = Reason.IDLE
        try:
            async with asyncio.timeout_at(until):
                line: bytes = await self._reader.readuntil(b"\n")
        except asyncio.LimitOverrunError:
            raise Refusal(answer.LINE_TOO_LONG, close=True) from None
        if not line.endswith(b"\r\n") or _BROKEN.search(line, 0, len(line) - 2):
            raise Refusal(answer.BROKEN_LINE, close=True)
        if len(line) > limit_octets:
            raise Refusal(answer.LINE_TOO_LONG)
        return line[:-2]

    async def read_chunk(self, until: float) -> bytes:
        """Whatever content has come, before the loop time `until`."""
        idle = self.loop.time() + self._limits.idle_s
        self._late = Reason.IDLE if idle <= until else Reason.SLOW
        self._where = Where.CONTENT
        async with asyncio.timeout_at(min(until, idle)):
            chunk: bytes = await self._reader.read(_READ_OCTETS)
        if not chunk:
            raise asyncio.IncompleteReadError(b"", None)
        self._where = Where.COMMIT
        return chunk

    async def write(self, text: str) -> None:
        """Send one or more lines without enhanced status: greeting, EHLO, 3xx."""
        self._writer.write(text.encode("ascii", "replace") + b"\r\n")
        self._late = Reason.NOT_READING
        async with asyncio.timeout(self._limits.idle_s):
            await self._writer.drain()

    async def say(self, reply: Reply) -> None:
        """Send a reply, made fit for the wire whatever is in it (A-03, A-11)."""
        await self.write(render(reply))

    # --- the command loop ---------------------------------------------------------
    async def _handle_client(self) -> None:
        try:
            self.note(await self._converse())
        except TimeoutError:
            over = self.loop.time() >= self._ends_at
            self.note(Reason.DEADLINE if over else self._late)
            self._parting(answer.TOO_SLOW)
        except asyncio.IncompleteReadError:
            self.note(Reason.CLOSED)  # a transaction without its dot never was
        except ConnectionError:
            self.note(Reason.RESET)
        except asyncio.CancelledError:
            # It ends here. Kept by the task, its traceback would keep all buffers of
            # the session until the garbage collector comes by.
            pass
        except Exception as error:  # noqa: BLE001 - whatever fails is our fault: 451
            # Not knowing how far it got, we cannot obey what comes next: it may be
            # content. So the session ends.
            self.note(Reason.FAULT)
            self._parting(self._faults.fault(error))
        finally:
            self.hang_up()
            self.left(self._ending)
            self.buffered.clear()
            self.gone.set()

    async def _converse(self) -> Reason | None:
        refused = await self.entered()
        if refused is not None:
            self._parting(refused)
            return reason_of(refused)
        while True:
            try:
                self._idle = True
                line = await self.read_line(AUTH_OCTETS)
                self._idle = False
                self._where = Where.COMMAND
                await self._obey(line)
            except Refusal as refusal:
                reply = self.referred(refusal.reply)
                if refusal.close:
                    self._parting(reply)
                    return self._farewell(refusal.reply)
                await self.say(reply)
            if self._where is not Where.GREETING:
                self._where = Where.COMMAND  # whatever the verb went through

    def _farewell(self, last: Reply) -> Reason | None:
        if last is not answer.GOODBYE:
            return reason_of(last)
        return Reason.QUIT_EARLY if self.where() is Where.TRANSACTION else None

    async def _obey(self, line: bytes) -> None:
        word, _, rest = line.partition(b" ")
        verb = word.upper().decode("latin-1")
        permitted = self.permitted(verb)
        if permitted is not None:
            raise permitted
        method = self._smtp_methods.get(verb)
        if len(line) > COMMAND_OCTETS and verb != "AUTH":
            self._count_error(answer.LINE_TOO_LONG)
        if method is None or _CONTROL.search(line):
            self._count_error(answer.UNKNOWN_COMMAND)
        else:
            # What is no UTF-8 stays what it is, and fits no address.
            await method(rest.decode("utf-8", "surrogateescape").rstrip(" "))

    def _count_error(self, reply: Reply) -> None:
        self._errors += 1
        if self._errors >= _MAX_ERRORS:
            raise Refusal(answer.TOO_MANY_ERRORS, close=True)
        raise Refusal(reply)

    def _parting(self, reply: Reply) -> None:
        """A last word, without waiting whether it is taken."""
        if self.transport is not None:
            self._writer.write(render(reply).encode("ascii") + b"\r\n")

    # --- for the verbs ------------------------------------------------------------
    async def entered(self) -> Reply | None:
        """Greet; or a reply that ends the session at once."""
        raise NotImplementedError

    def left(self, reason: Reason | None) -> None:
        """The session is over; `reason` says why if it ended oddly."""
        raise NotImplementedError

    def referred(self, reply: Reply) -> Reply:
        """A refusal as it is said: with our reference where people may see it."""
        raise NotImplementedError

    def permitted(self, verb: str) -> Refusal | None:
        """Whether a verb may be used now; a refusal if not."""
        raise NotImplementedError


def _drop(transport: Any) -> None:
    """Abort, also where it was closed twice: Python before 3.11.4 raises then."""
    with contextlib.suppress(AttributeError):
        transport.abort()


def _nothing() -> None:
    pass


def render(reply: Reply) -> str:
    """A reply as sent, without the final CR LF: printable ASCII, bounded lines."""
    lines = tuple(_UNPRINTABLE.sub("?", line)[:_LINE_OCTETS] for line in reply.lines)
    return Reply(reply.code, reply.enhanced, lines).render()
