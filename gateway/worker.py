"""The loops of one mail worker: lease and attempt; and of the sequencer.

A worker renews its leases every 15 s while it works on them (R29); a worker that dies
leaves leases that run out, and another one takes the jobs. Nothing here decides
anything: that is `relay`.
"""

import asyncio
import datetime
import traceback
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from gateway import relay
from gateway.model.errors import GatewayError, LeaseLost
from gateway.model.job import Job

LEASE = datetime.timedelta(seconds=60)
RENEW_EVERY_S = 15.0
_IDLE_S = 0.5
MOST_AT_ONCE = 20

Log = Callable[..., None]
Lease = Callable[
    [str, int, datetime.datetime, datetime.datetime], Awaitable[Sequence[Job]]
]
Use = Callable[[Job, relay.House], Awaitable[None]]


class DeliveryLoop:
    """Leases due jobs and attempts them, a bounded number at a time."""

    def __init__(
        self,
        house: relay.House,
        owner: str,
        log: Log,
        *,
        most_at_once: int = MOST_AT_ONCE,
        renew_every_s: float = RENEW_EVERY_S,
    ) -> None:
        self._house = house
        self._owner = owner
        self._log = log
        self._most_at_once = most_at_once
        self._renew_every_s = renew_every_s
        # A job may be there twice: when this process slept through its own lease.
        self._running: dict[asyncio.Task[None], Job] = {}
        self._taking = asyncio.Lock()
        self._wake = asyncio.Event()
        self._stopping = False

    def wake(self) -> None:
        """There may be something to do: look now."""
        self._wake.set()

    async def run(self) -> None:
        """Work until `stop`; a fault of ours is logged and never ends the loop."""
        renewing = asyncio.create_task(self._renew())
        try:
            while not self._stopping:
                if not await self._take():
                    await self._rest()
        finally:
            renewing.cancel()
            await asyncio.gather(renewing, return_exceptions=True)

    async def stop(self, patience_s: float) -> None:
        """Take nothing new; let attempts under way end, within `patience_s`."""
        self._stopping = True
        self._wake.set()
        async with self._taking:  # what is being leased now is to be waited for, too
            tasks = list(self._running)
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=patience_s)
            for task in late:  # before the dot it is deferred, after it unknown
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _take(self) -> bool:
        """Lease what is due; answers whether there was anything."""
        queue = self._house.ports.queue
        async with self._taking:
            try:
                # Holds first: ending one is quick, and mail may not crowd them out.
                holds = await self._lease(queue.lease_expired_holds, relay.expire_hold)
                return await self._lease(queue.lease, relay.attempt) or holds
            except Exception as error:  # noqa: BLE001 - a bug may not end the loop
                self._log("queue-unavailable", error=type(error).__name__)
                return False

    async def _lease(self, lease: Lease, what: Use) -> bool:
        """Lease as many as there is room for and start on them at once."""
        room = self._most_at_once - len(self._running)
        if room <= 0 or self._stopping:
            return False
        now = self._house.ports.now()
        jobs = await lease(self._owner, room, now, now + LEASE)
        for job in jobs:
            self._running[asyncio.create_task(self._guard(job, what))] = job
        return bool(jobs)

    async def _guard(self, job: Job, what: Use) -> None:
        try:
            await what(job, self._house)
        except LeaseLost:
            self._log("lease-lost", job=job.id)
        except GatewayError as error:
            self._log("attempt-failed", job=job.id, error=type(error).__name__)
        except Exception as error:  # noqa: BLE001 - a bug may not stop the others
            # Where it came up, never what it says: that may hold anything.
            frame = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{frame.name}:{frame.lineno}"
            name = type(error).__name__
            self._log("attempt-crashed", job=job.id, error=name, where=where)
        finally:
            task = asyncio.current_task()
            assert task is not None  # noqa: S101 - we are in it
            del self._running[task]
            self._wake.set()

    async def _rest(self) -> None:
        try:
            async with asyncio.timeout(_IDLE_S):
                await self._wake.wait()
        except TimeoutError:
            pass
        self._wake.clear()

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(self._renew_every_s)
            # Of a job that is there twice the later lease counts.
            leases = {job.id: job.lease_token for job in self._running.values()}
            if not leases:
                continue
            ports = self._house.ports
            try:
                held = await ports.queue.renew(leases, ports.now() + LEASE)
            except Exception as error:  # noqa: BLE001 - without renewal copies arise
                self._log("queue-unavailable", error=type(error).__name__)
                continue
            # Some were settled while the question waited: those have no lease to lose.
            still = {job.id for job in self._running.values()}
            for job in (leases.keys() - held) & still:
                self._log("lease-lost", job=job)


class Sequencing(Protocol):
    """What the sequencer does in each round."""

    async def advance(self) -> int:
        """Put durable records in the trees and sign; answers how many."""
        ...

    async def sweep(self) -> int:
        """Forget octets that nobody needs any more; answers how many messages."""
        ...


async def run_sequencer(
    sequencing: Sequencing, log: Log, stopping: asyncio.Event, every_s: float = 1.0
) -> None:
    """Integrate and sign each second until `stopping`, and at the end once more."""
    last = False
    while not last:
        last = stopping.is_set()
        try:
            await sequencing.advance()
            await sequencing.sweep()
        except GatewayError as error:
            log("sequencer-failed", error=type(error).__name__)
        if not last:
            try:
                async with asyncio.timeout(every_s):
                    await stopping.wait()
            except TimeoutError:
                continue
