"""The SMTP server: the listeners, and the graceful stop."""

import asyncio
import contextlib
import ssl
from collections.abc import Sequence

from gateway.config import Config
from gateway.intake.clients import ClientTable
from gateway.intake.entrance import Entrance
from gateway.intake.handler import Handler, Log
from gateway.intake.lobby import Gate, Lobby


class Intake(Lobby):
    """All listeners and sessions of one process."""

    def __init__(
        self, config: Config, clients: ClientTable, handler: Handler, log: Log
    ) -> None:
        super().__init__(config, clients, handler, log)
        self.servers: list[Entrance] = []

    async def open(self, gate: Gate) -> None:
        """Start one listener, shared with other processes by SO_REUSEPORT."""
        entrance = Entrance(self, gate)
        await entrance.open()
        self.servers.append(entrance)

    async def stop(self, grace_s: float = 30.0) -> None:
        """Stop gracefully (A-14).

        Listeners close. Idle sessions get 421 4.3.2 now, others at their next command;
        those that are not gone after `grace_s` are cut. Running commits are waited for
        without limit: who cannot wait must end the process.
        """
        self.is_stopping = True
        for entrance in self.servers:
            await entrance.close()
        for session in tuple(self.sessions):
            session.part_if_idle()
        ends = [session.gone.wait() for session in self.sessions]
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.gather(*ends), grace_s)
        for session in tuple(self.sessions):
            session.cut()
            await session.gone.wait()
        await self.handler.settled()


async def listen(
    config: Config,
    contexts: Sequence[ssl.SSLContext],
    clients: ClientTable,
    handler: Handler,
    log: Log,
) -> Intake:
    """Open all listeners of the configuration.

    Args:
        config: `listeners`, `limits` and `hostname` are used; limits hold per process.
        contexts: The TLS context of each listener, in the same order. For client
            certificates it must ask for one: `CERT_OPTIONAL` and the CA loaded.
        clients: Who may send, and for what.
        handler: Hands messages on.
        log: Takes the events `intake-*`.

    Raises:
        OSError: When an address cannot be bound; those opened are closed again.
    """
    intake = Intake(config, clients, handler, log)
    try:
        for listener, context in zip(config.listeners, contexts, strict=True):
            await intake.open(Gate(listener, context))
    except BaseException:
        await intake.stop(0)
        raise
    return intake
