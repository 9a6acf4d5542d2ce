"""From a received transaction to the reply that is a promise (A-01 ... A-03).

What the client does can no longer stop a commit: `receive` runs in a task of its own,
shielded from the session, and is waited for at shutdown. Whatever fails in it is a
fault of ours: one fixed 451 line, and a log line without the exception's text, which
may hold anything.
"""

import asyncio
import dataclasses
import datetime
import traceback
from collections.abc import Awaitable, Callable
from typing import Protocol

from gateway.intake import answer
from gateway.intake.content import Content
from gateway.intake.header import Defect, check_header, strip_fields
from gateway.intake.received import format_received
from gateway.model.address import Domain
from gateway.model.errors import StoreFull
from gateway.model.ids import MessageId
from gateway.model.message import Body, Envelope, Message
from gateway.model.peer import Peer
from gateway.model.reply import Reply

Receive = Callable[[Message, Peer], Awaitable[Reply]]


class Log(Protocol):
    """Takes one log event; fields hold no personal data."""

    def __call__(self, event: str, /, **fields: object) -> None:
        """Write it."""
        ...


class Handler:
    """Hands messages to the use case `receive`."""

    def __init__(
        self,
        hostname: Domain,
        receive: Receive,
        new_id: Callable[[], str],
        now: Callable[[], datetime.datetime],
        log: Log,
    ) -> None:
        self._hostname = hostname.name
        self._receive = receive
        self._new_id = new_id
        self._now = now
        self._log = log
        self._running: set[asyncio.Task[Reply]] = set()

    async def accept(self, envelope: Envelope, content: Content, peer: Peer) -> Reply:
        """Take in one transaction; the answer is what the final dot gets.

        Args:
            envelope: As authorised.
            content: Complete and without fault.
            peer: Who handed it over.
        """
        task = asyncio.create_task(self._accept(envelope, content, peer))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return await asyncio.shield(task)

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

    def _refuse(self, defect: Defect, peer: Peer) -> Reply:
        self._log("intake-content-refused", client=peer.client, fault=defect.fault)
        return defect.reply

    async def _accept(self, envelope: Envelope, content: Content, peer: Peer) -> Reply:
        try:
            identifier, at = MessageId(self._new_id()), self._now()
            trace = format_received(
                peer, self._hostname, identifier, envelope.recipients, at
            )
            octets = content.octets(trace)
            defect = check_header(octets, len(trace), self._hostname)
            if defect is not None:
                return self._refuse(defect, peer)
            octets, removed = strip_fields(octets, len(trace))
            if not octets.isascii():  # look, do not trust the parameter
                envelope = dataclasses.replace(envelope, body=Body.EIGHT_BIT)
            message = Message(identifier, envelope, octets, at, removed)
            return await self._receive(message, peer)
        except StoreFull:
            self._log("store-full")
            return answer.STORE_FULL
        except Exception as error:  # noqa: BLE001 - whatever fails is our fault: 451
            return self.fault(error)
