"""The processes that `serve` supervises: mail workers and the evidence sequencer.

Each opens the installation for itself, after the fork, and ends on SIGTERM or when the
parent is gone. A store that saw an I/O error ends its process (G-01).
"""

import asyncio
import signal
from collections.abc import Awaitable, Callable

from gateway import clock, relay, telemetry, worker
from gateway.app import (
    Installation,
    config_loaded,
    load_hashes,
    make_house,
    make_resolver,
)
from gateway.config import Config
from gateway.intake.clients import ClientTable
from gateway.intake.handler import Handler
from gateway.intake.server import Intake, listen
from gateway.model.errors import ConfigError, GatewayError
from gateway.model.message import Message
from gateway.model.peer import Peer
from gateway.model.reply import Reply
from gateway.store.evidence import SqlEvidence
from gateway.store.queue import SqlQueue
from gateway.store.spool import SqlSpool
from gateway.store.work import Store

_INTEGRATE_AT_ONCE = 2000
_DRAIN_S = 25.0


async def _open_intake(
    installation: Installation,
    house: relay.House,
    wake: Callable[[], None],
    log: worker.Log,
) -> Intake:
    config = installation.config

    async def receive(message: Message, peer: Peer) -> Reply:
        reply = await relay.receive(message, peer, house)
        event = "message-accepted" if reply.code < 300 else "message-refused"  # noqa: PLR2004
        log(event, message=message.id, client=peer.client, code=reply.enhanced)
        wake()
        return reply

    handler = Handler(config.hostname, receive, clock.new_id, clock.now, log)
    clients = ClientTable(config.clients, load_hashes(config.clients))
    contexts = [installation.keys.server_context(item) for item in config.listeners]
    return await listen(config, contexts, clients, handler, log)


async def serve_mail(config: Config, name: str, stopping: asyncio.Event) -> int:
    """One mail worker: intake and delivery in one event loop, until `stopping`."""
    log = telemetry.make_log(worker=name)
    installation = Installation.open(config)
    try:
        house = make_house(installation)
        owner = f"{name}/{clock.new_id()}"
        loop = worker.DeliveryLoop(house, owner, log)
        intake = await _open_intake(installation, house, loop.wake, log)
        delivering = asyncio.create_task(loop.run())
        log("worker-started")
        await _until_stop_or_broken(installation.store, stopping)
        # Side by side: one after the other would outlast the supervisor's patience.
        await asyncio.gather(intake.stop(_DRAIN_S), loop.stop(_DRAIN_S))
        await delivering
        log("worker-stopped")
        return 3 if installation.store.is_broken else 0
    finally:
        installation.close()


async def _until_stop_or_broken(store: Store, stopping: asyncio.Event) -> None:
    """Wait; a store that saw an I/O error ends the process (G-01)."""
    while not store.is_broken:
        try:
            async with asyncio.timeout(1):
                await stopping.wait()
        except TimeoutError:
            continue
        return


async def _stop_when_broken(store: Store, stopping: asyncio.Event) -> None:
    """End the process whose store saw an I/O error, as a mail worker's ends (G-01)."""
    await _until_stop_or_broken(store, stopping)
    stopping.set()


class _Sequencing:
    """What the sequencer loop asks of the store."""

    def __init__(self, installation: Installation, log: worker.Log) -> None:
        self._log = log
        self._keys = installation.keys
        self.evidence = SqlEvidence(installation.store, f"sequencer/{clock.new_id()}")
        self._spool = SqlSpool(installation.store)

    async def advance(self) -> int:
        """Integrate what is durable, then sign what grew."""
        count = 0
        for origin in await self.evidence.origins():
            try:
                count += await self._advance(origin)
            except GatewayError as error:  # one broken log may not stop the others
                self._log("log-broken", error=type(error).__name__)
        return count

    async def _advance(self, origin: str) -> int:
        count = 0
        while more := await self.evidence.integrate(
            origin, clock.now(), _INTEGRATE_AT_ONCE
        ):
            count += more
        await self.evidence.sign(origin, self._keys.signer(origin), clock.now())
        return count

    async def sweep(self) -> int:
        """Forget octets that no open job needs."""
        return await self._spool.sweep()


async def sequence(config: Config, name: str, stopping: asyncio.Event) -> int:
    """The sequencer: says what was loaded, then integrates and signs until the end."""
    log = telemetry.make_log(worker=name)
    installation = Installation.open(config)
    try:
        reconciled = await SqlSpool(installation.store).reconcile()
        if reconciled.removed:
            log("spool-reconciled", count=reconciled.removed)
        if reconciled.missing:  # accepted octets that are gone: somebody must look
            log("spool-content-missing", count=len(reconciled.missing))
        async with installation.store.work() as work:
            await work.evidence.append(config_loaded(config, installation.policy))
        sequencing = _Sequencing(installation, log)
        log("worker-started")
        watching = asyncio.create_task(_stop_when_broken(installation.store, stopping))
        await worker.run_sequencer(sequencing, log, stopping)
        watching.cancel()
        if installation.store.is_broken:
            return 3
        await sequencing.evidence.release()
        log("worker-stopped")
        return 0
    finally:
        installation.close()


Process = Callable[[Config, str, asyncio.Event], Awaitable[int]]


def run_process(
    main: Process,
    config: Config,
    name: str,
    parent: int,
) -> int:
    """Run one process of the gateway until SIGTERM or until the parent is gone."""

    async def run() -> int:
        stopping = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, stopping.set)
        loop.add_reader(parent, stopping.set)  # end of file: the parent is gone
        waiting = asyncio.create_task(_end_reader(loop, parent, stopping))
        try:
            return await main(config, name, stopping)
        finally:
            waiting.cancel()

    return asyncio.run(run())


async def _end_reader(
    loop: asyncio.AbstractEventLoop, parent: int, stopping: asyncio.Event
) -> None:
    """A pipe at its end is readable for ever: once seen, stop looking."""
    await stopping.wait()
    loop.remove_reader(parent)


def processes(config: Config) -> list[tuple[str, Callable[[str, int], int]]]:
    """The processes that `serve` supervises, by name."""

    def mail(name: str, parent: int) -> int:
        return run_process(serve_mail, config, name, parent)

    def sequencer(name: str, parent: int) -> int:
        return run_process(sequence, config, name, parent)

    named = [(f"mail-{n}", mail) for n in range(1, config.workers + 1)]
    return [("sequencer", sequencer), *named]


def check_start(config: Config) -> None:
    """What must hold before anything is served; also run at each reload.

    Raises:
        ConfigError: The settings, keys, store or resolver may not be used.
        TemporaryFailure: The resolver could not be asked.
    """
    installation = Installation.open(config)
    try:
        waiting = asyncio.run(SqlQueue(installation.store).municipalities())
    finally:
        installation.close()
    for gone in sorted(waiting - config.municipalities.keys()):
        raise ConfigError(
            "municipality",
            f"{gone} is not there, but messages of it are still in the queue",
            "keep it until its queue is empty (ketenmail queue list)",
        )
    stub, _ = make_resolver(config)
    asyncio.run(stub.self_test())
