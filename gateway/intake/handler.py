"""From a received transaction to the reply that is a promise (A-01 ... A-03).

What the client does can no longer stop a commit: `receive` runs in a task of its own,
shielded from the session, and is waited for at shutdown. Whatever fails in it is a
fault of ours: one fixed 451 line, and a log line without the exception's text, which
may hold anything.
"""

import asyncio
import datetime
import traceback
from collections.abc import Awaitable, Callable
from typing import Protocol

from gateway.intake import answer
from gateway.intake.header import Defect
from gateway.intake.reception import NO_ROOM, Bench, PeerBy, Reception
from gateway.intake.turns import Turns
from gateway.model.address import Domain
from gateway.model.errors import StoreFull
from gateway.model.message import Envelope, Message
from gateway.model.peer import Peer
from gateway.model.reply import Reply
from gateway.ports import Drafts

Receive = Callable[[Message, Peer], Awaitable[Reply]]


class Log(Protocol):
    """Takes one log event; fields hold no personal data."""

    def __call__(self, event: str, /, **fields: object) -> None:
        """Write it."""
        ...


class Handler:
    """Hands messages to the use case `receive`."""

    def __init__(  # noqa: PLR0913, PLR0917 - the doors of intake
        self,
        hostname: Domain,
        receive: Receive,
        new_id: Callable[[], str],
        now: Callable[[], datetime.datetime],
        log: Log,
        drafts: Drafts,
        turns: Turns,
    ) -> None:
        self._bench = Bench(hostname.name, drafts, new_id, now)
        self._receive = receive
        self._log = log
        self._turns = turns
        self._running: set[asyncio.Task[Reply]] = set()

    def reception(self, envelope: Envelope, peer_by: PeerBy) -> Reception:
        """Begin to take in one transaction.

        Args:
            envelope: As authorised.
            peer_by: Who hands it over, told when the header is known.
        """
        return Reception(self._bench, envelope, peer_by)

    async def accept(
        self,
        reception: Reception,
        rest: bytes,
        client: str,
        release: Callable[[], None],
    ) -> Reply:
        """Take responsibility for a message; the answer is what the final dot gets.

        Args:
            reception: Whose content is complete and without fault.
            rest: What of it was not put away yet.
            client: Who began it.
            release: Called when its octets are in memory no longer, whatever became of
                the session: memory is counted until then (A-50).
        """
        if not self._turns.take(client):
            release()
            return self.refuse(NO_ROOM, client)
        reception.is_handed_over = True
        task = asyncio.create_task(self._accept(reception, rest, client, release))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:  # the client is gone
            self._turns.give_up(task)
            raise

    async def settled(self) -> None:
        """Wait until no commit runs."""
        while self._running:
            await asyncio.wait(self._running)

    def fault(self, error: Exception) -> Reply:
        """Log a fault of ours: where it came up, never what it says; 451."""
        frames = traceback.extract_tb(error.__traceback__)
        where = f"{frames[-1].name}:{frames[-1].lineno}" if frames else "unknown"
        self._log("intake-fault", error=type(error).__name__, where=where)
        return answer.FAULT

    def refuse(self, defect: Defect, client: str) -> Reply:
        """Log why content is refused, and say it."""
        reference = self._bench.new_id()
        self._log(
            "intake-content-refused",
            message=reference,
            client=client,
            fault=defect.fault,
        )
        if not answer.is_for_people(defect.reply):
            return defect.reply
        return answer.with_reference(defect.reply, reference)

    def refer(self, reply: Reply, client: str | None) -> Reply:
        """A refusal of a command with our reference, when it is one for people."""
        if not answer.is_for_people(reply):
            return reply
        reference = self._bench.new_id()
        self._log(
            "intake-command-refused",
            message=reference,
            client=client,
            code=reply.enhanced,
        )
        return answer.with_reference(reply, reference)

    async def _accept(
        self,
        reception: Reception,
        rest: bytes,
        client: str,
        release: Callable[[], None],
    ) -> Reply:
        try:
            came = await reception.finish(rest)
            if isinstance(came, Defect):
                return self.refuse(came, client)
            return await self._receive(*came)
        except StoreFull:
            self._log("store-full")
            return answer.STORE_FULL
        except Exception as error:  # noqa: BLE001 - whatever fails is our fault: 451
            return self.fault(error)
        finally:
            reception.discard()
            self._turns.give_back(client)
            release()
