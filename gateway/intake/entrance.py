"""One listener: takes connections, learns who comes, begins TLS where it comes first.

The sockets are accepted here and not by asyncio, for three reasons: a PROXY header must
be read to its last octet and no further, because the ClientHello may stand right behind
it; a handshake that may not begin must cost nothing (A-51); and a session in handshake
has a place like any other (A-50).
"""

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import Sequence

from gateway.intake import proxy
from gateway.intake.ending import Reason, Where
from gateway.intake.lobby import HANDSHAKE_S, Gate, Lobby
from gateway.intake.places import Guest
from gateway.intake.session import Arrival
from gateway.intake.verbs import IntakeProtocol

PROXY_S = 5.0  # for the header of a balancer, which sends it at once
_BACKLOG = 1024  # a burst at one worker while the others start
_PAUSE_S = 1.0  # when there is nothing left to accept with


class Entrance:
    """The open sockets of one listener."""

    def __init__(self, lobby: Lobby, gate: Gate) -> None:
        self._lobby = lobby
        self._gate = gate
        self.sockets: Sequence[socket.socket] = ()
        self._accepting: list[asyncio.Task[None]] = []
        self._arriving: set[asyncio.Task[None]] = set()
        self._most = 2 * lobby.limits.sessions  # who arrive and have no place yet

    async def open(self) -> None:
        """Bind and accept, shared with other processes by SO_REUSEPORT.

        Raises:
            OSError: When an address cannot be bound; nothing stays open then.
        """
        self.sockets = await _bind(
            self._gate.listener.address, self._gate.listener.port
        )
        self._accepting = [
            asyncio.create_task(self._accept(listening)) for listening in self.sockets
        ]

    async def close(self) -> None:
        """Take nobody any more, and let go who is not in yet."""
        tasks = [*self._accepting, *self._arriving]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for listening in self.sockets:
            listening.close()

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, source = await loop.sock_accept(listening)
            except ConnectionError:
                continue  # gone before we came
            except OSError:  # no descriptor or memory left: not better at once
                self._lobby.ended(Reason.SCARCE, Where.GREETING)
                await asyncio.sleep(_PAUSE_S)
                continue
            if len(self._arriving) >= self._most:
                self._turn_away(connection, Reason.FULL, Where.GREETING)
            else:
                task = asyncio.create_task(self._receive(connection, source[0]))
                self._arriving.add(task)
                task.add_done_callback(self._arriving.discard)
            await asyncio.sleep(0)  # a queue at the door may not stop those inside

    async def _receive(self, connection: socket.socket, source: str) -> None:
        try:
            arrival = await self._arrival(connection, proxy.normal_address(source))
            guest = self._lobby.admit(arrival)
        except (OSError, EOFError, proxy.ProxyError):  # a time-out is an OSError
            self._turn_away(connection, Reason.PROXY, Where.PROXY)
        except asyncio.CancelledError:
            connection.close()
            raise
        except Exception as error:  # noqa: BLE001 - whatever fails is our fault
            self._lobby.handler.fault(error)
            self._turn_away(connection, Reason.FAULT, Where.GREETING)
        else:
            await self._settle(connection, arrival, guest)

    async def _settle(
        self, connection: socket.socket, arrival: Arrival, guest: Guest | None
    ) -> None:
        session = IntakeProtocol(self._lobby, self._gate, arrival, guest)
        try:
            await self._let_in(connection, session, guest)
        finally:
            if guest is not None and session.transport is None:  # it never began
                self._lobby.places.give_back(guest)

    async def _arrival(self, connection: socket.socket, address: str) -> Arrival:
        """Whom we have to do with: the peer, or whom a balancer speaks for."""
        host = ipaddress.ip_address(address)
        if not any(host in balancer for balancer in self._gate.listener.proxy_from):
            return Arrival(address)

        async def read(octets: int) -> bytes:
            return await _read_exactly(connection, octets)

        async with asyncio.timeout(PROXY_S):
            source = await proxy.read_source(read)
        return Arrival(address, is_check=True) if source is None else Arrival(source)

    async def _let_in(
        self, connection: socket.socket, session: IntakeProtocol, guest: Guest | None
    ) -> None:
        loop = asyncio.get_running_loop()
        if not self._gate.is_implicit:
            with contextlib.suppress(OSError):  # gone already; the session says so
                await loop.connect_accepted_socket(lambda: session, connection)
        elif guest is None:  # cannot be told: that would cost the handshake
            self._turn_away(connection, Reason.FULL, Where.HANDSHAKE)
        else:
            await self._shake_hands(connection, session, guest)

    async def _shake_hands(
        self, connection: socket.socket, session: IntakeProtocol, guest: Guest
    ) -> None:
        lobby, loop = self._lobby, asyncio.get_running_loop()
        pressure = lobby.handshakes.begin(guest, loop.time())
        if pressure is not None:
            self._turn_away(connection, Reason(pressure.value), Where.HANDSHAKE)
            return
        try:
            await loop.connect_accepted_socket(
                lambda: session,
                connection,
                ssl=self._gate.context,
                ssl_handshake_timeout=HANDSHAKE_S,
            )
        except OSError as error:  # ssl.SSLError and time-out are such
            lobby.handshake_failed(error, guest)
        finally:
            lobby.handshakes.end(guest)

    def _turn_away(
        self, connection: socket.socket, reason: Reason, where: Where
    ) -> None:
        connection.close()
        self._lobby.ended(reason, where)


async def _bind(address: str, port: int) -> Sequence[socket.socket]:
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(
        address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    opened: list[socket.socket] = []
    try:
        for family, place in dict.fromkeys((each[0], each[4]) for each in found):
            listening = socket.create_server(
                (str(place[0]), int(place[1])),
                family=family,
                backlog=_BACKLOG,
                reuse_port=True,
            )
            opened.append(listening)
            listening.setblocking(False)
    except OSError:
        for listening in opened:
            listening.close()
        raise
    return opened


async def _read_exactly(connection: socket.socket, octets: int) -> bytes:
    loop = asyncio.get_running_loop()
    got = b""
    while len(got) < octets:
        more = await loop.sock_recv(connection, octets - len(got))
        if not more:
            raise EOFError
        got += more
    return got
