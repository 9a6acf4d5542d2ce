"""The processes that `serve` supervises: mail workers and the evidence sequencer.

Each opens the installation for itself, after the fork, and ends on SIGTERM or when the
parent is gone. A store that saw an I/O error ends its process (G-01).
"""

import asyncio
import contextlib
import dataclasses
import datetime
import functools
import gc
import pathlib
import signal
from collections.abc import Awaitable, Callable

from gateway import clock, metrics, relay, telemetry, worker
from gateway.app import (
    Installation,
    config_loaded,
    load_hashes,
    make_house,
    make_resolver,
    make_turns,
)
from gateway.config import Config
from gateway.intake.clients import ClientTable
from gateway.intake.handler import Handler
from gateway.intake.server import Intake, listen
from gateway.intake.turns import Turns
from gateway.model.errors import ConfigError, GatewayError, StoreFull
from gateway.model.message import Message
from gateway.model.peer import Peer
from gateway.model.reply import Reply
from gateway.net import tls
from gateway.pressure import EVERY_S, Pressure
from gateway.shadow import watch
from gateway.store.engine import database_path
from gateway.store.evidence import SqlEvidence
from gateway.store.gauges import SqlGauges
from gateway.store.queue import SqlQueue
from gateway.store.shadow import SqlShadow
from gateway.store.spool import SqlSpool
from gateway.store.work import Store
from gateway.trust import keystore, selftest

_INTEGRATE_AT_ONCE = 2000
_DRAIN_S = 25.0
_CLEAN_UP_EVERY = datetime.timedelta(minutes=10)
_LEFT_FOR = datetime.timedelta(minutes=10)  # nobody wrote to it for so long


async def _open_intake(
    installation: Installation,
    house: relay.House,
    watched: "Watched",
    wake: Callable[[], None],
    turns: Turns,
    log: worker.Log,
) -> Intake:
    config = installation.config
    tallies = SqlShadow(installation.store)

    async def receive(message: Message, peer: Peer) -> Reply:
        began = asyncio.get_running_loop().time()
        try:
            return await decide(message, peer)
        finally:
            watched.row.received(asyncio.get_running_loop().time() - began)

    async def decide(message: Message, peer: Peer) -> Reply:
        if watched.pressure.reason is not None:  # since MAIL
            raise StoreFull("store: a water mark is passed")
        if peer.shadow:
            reply = await watch.receive(message, peer, house, tallies)
            event = "message-counted"
        else:
            reply = await relay.receive(message, peer, house)
            event = "message-accepted"
        event = event if reply.code < 300 else "message-refused"  # noqa: PLR2004
        log(event, message=message.id, client=peer.client, code=reply.enhanced)
        wake()
        return reply

    handler = Handler(
        config.hostname,
        receive,
        clock.new_id,
        clock.now,
        log,
        installation.store.drafts,
        turns,
    )
    clients = ClientTable(config.clients, load_hashes(config.clients))
    contexts = [installation.keys.server_context(item) for item in config.listeners]
    intake = await listen(config, contexts, clients, handler, log)
    intake.pressure = lambda: watched.pressure.reason
    return intake


@dataclasses.dataclass(frozen=True, slots=True)
class Watched:
    """What a mail worker knows of its own state, and where it shows that."""

    pressure: Pressure
    row: metrics.Row

    async def show(self, intake: Intake) -> None:
        """Keep the row up to date, until cancelled."""
        while True:
            sessions, held = len(intake.sessions), intake.room.held
            self.row.show(sessions, held, self.pressure.marks)
            await asyncio.sleep(EVERY_S)


def _gauges(installation: Installation) -> SqlGauges:
    config = installation.config
    database = database_path(config.store_url).parent
    return SqlGauges(installation.store, pathlib.Path(config.state_dir), database)


async def serve_mail(
    config: Config, name: str, stopping: asyncio.Event, board: metrics.Board
) -> int:
    """One mail worker: intake and delivery in one event loop, until `stopping`."""
    row = board.row(name)
    row.leave()
    log = telemetry.make_log(row.count, worker=name)
    installation = Installation.open(config)
    try:
        turns = make_turns(config)
        house = make_house(installation, log, turns)
        watched = Watched(Pressure(_gauges(installation), config.limits, log), row)
        await watched.pressure.look()  # before the first client
        owner = f"{name}/{clock.new_id()}"
        loop = worker.DeliveryLoop(house, owner, log)
        gc.collect()
        gc.freeze()  # what is there stays; so what a session left is found soon
        intake = await _open_intake(installation, house, watched, loop.wake, turns, log)
        watching = asyncio.gather(watched.pressure.run(), watched.show(intake))
        delivering = asyncio.create_task(loop.run())
        log("worker-started")
        await _until_stop_or_broken(installation.store, stopping)
        # Side by side: one after the other would outlast the supervisor's patience.
        await asyncio.gather(intake.stop(_DRAIN_S), loop.stop(_DRAIN_S))
        await delivering
        watching.cancel()
        log("worker-stopped")
        return 3 if installation.store.is_broken else 0
    finally:
        row.leave()
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
        self._clean_up_at = clock.now() + _CLEAN_UP_EVERY

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
        """Forget octets that no open job needs, and now and then what was left behind.

        A worker that was killed leaves the files of what was just coming in.
        """
        if clock.now() >= self._clean_up_at:
            self._clean_up_at = clock.now() + _CLEAN_UP_EVERY
            reconciled = await self._spool.reconcile(_LEFT_FOR)
            if reconciled.removed:
                self._log("spool-reconciled", count=reconciled.removed)
        return await self._spool.sweep()


async def _open_door(
    installation: Installation, board: metrics.Board, log: worker.Log
) -> asyncio.Server | None:
    """Show figures, where the settings say so; evidence never waits for a port."""
    gauges, settings = _gauges(installation), installation.config.metrics

    async def look() -> metrics.Now:
        figures = free = None
        with contextlib.suppress(GatewayError):
            figures = await gauges.figures(clock.now())
        with contextlib.suppress(OSError):
            free = gauges.free_octets()
        return metrics.Now(figures, free)

    if settings is None:
        return None
    try:
        return await metrics.Door(board, look).listen(settings)
    except OSError as error:
        log("metrics-unavailable", error=type(error).__name__)
        return None


async def sequence(
    config: Config, name: str, stopping: asyncio.Event, board: metrics.Board
) -> int:
    """The sequencer: says what was loaded, then integrates and signs until the end.

    It also shows the figures of all processes: there is one of it.
    """
    log = telemetry.make_log(board.row(name).count, worker=name)
    installation = Installation.open(config)
    door = await _open_door(installation, board, log)
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
        if door is not None:
            door.close()
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


def processes(
    config: Config, board: metrics.Board
) -> list[tuple[str, Callable[[str, int], int]]]:
    """The processes that `serve` supervises, by name; all count on `board`."""

    def mail(name: str, parent: int) -> int:
        return run_process(
            functools.partial(serve_mail, board=board), config, name, parent
        )

    def sequencer(name: str, parent: int) -> int:
        return run_process(
            functools.partial(sequence, board=board), config, name, parent
        )

    named = [(f"mail-{n}", mail) for n in range(1, config.workers + 1)]
    for name, _ in named:
        board.row(name)  # before the sequencer is forked, which reads it
    return [("sequencer", sequencer), *named]


def find_tls_weakness() -> str | None:
    """What is weaker in our TLS, in or out, than we say; None: nothing (C-03, C-04)."""
    return selftest.find_weakness(keystore.listener_context, tls.client_context)


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
