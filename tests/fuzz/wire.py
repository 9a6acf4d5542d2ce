"""A connection without a socket, and an event loop whose clock does not wait.

The loop is asyncio's own, only its doors are other ones: the selector never sleeps (when
nothing is ready, whoever waits for quiet goes on, or else the clock jumps to the next
timer), nothing listens, an accepted socket is a `Door`, and TLS is believed without
cryptography. Work for threads is done at once and answered a little later, so that a
dialogue goes the same way each time it is run.
"""

import asyncio
import collections
import selectors
import ssl

PLAIN_HIGH_WATER = 64 * 1024  # as asyncio's own transports


class _Still(selectors.BaseSelector):
    """Says that nothing is ready, and tells the loop that it would have to wait."""

    def __init__(self):
        self._map = {}
        self.loop = None

    def register(self, fileobj, events, data=None):
        key = selectors.SelectorKey(fileobj, fileobj, events, data)
        self._map[fileobj] = key
        return key

    def unregister(self, fileobj):
        return self._map.pop(fileobj)

    def modify(self, fileobj, events, data=None):
        return self.register(fileobj, events, data)

    def get_key(self, fileobj):
        return self._map[fileobj]  # KeyError: what asyncio expects of an unknown one

    def get_map(self):
        return self._map

    def select(self, timeout=None):
        if timeout is None or timeout > 0:
            self.loop.nothing_is_ready(timeout)
        return []


class StillLoop(asyncio.SelectorEventLoop):
    """A loop for dialogues in memory; `faults` are what reached its handler."""

    def __init__(self):
        selector = _Still()
        super().__init__(selector)
        selector.loop = self
        self.now = 1000.0
        self.faults = []
        self._waiting_for_quiet = None
        self.set_exception_handler(lambda _, context: self.faults.append(context))

    def time(self):
        return self.now

    def nothing_is_ready(self, timeout):
        if self._waiting_for_quiet is not None:
            waiting, self._waiting_for_quiet = self._waiting_for_quiet, None
            waiting.set_result(None)
        elif timeout is None:
            raise RuntimeError("all wait for one another")
        else:
            self.now += timeout

    async def quiet(self):
        """Until nothing goes on but timers."""
        self._waiting_for_quiet = self.create_future()
        await self._waiting_for_quiet

    def run_in_executor(self, executor, work, *arguments):
        future = self.create_future()
        try:
            result = work(*arguments)
        except Exception as error:
            self.call_soon(self.call_soon, _settle, future, None, error)
        else:
            self.call_soon(self.call_soon, _settle, future, result, None)
        return future

    async def getaddrinfo(self, host, port, **options):
        return []  # so there is nothing to listen on

    async def sock_recv(self, door, octets):
        taken, door.front = door.front[:octets], door.front[octets:]
        return taken

    async def connect_accepted_socket(self, factory, door, *, ssl=None, **options):
        protocol = factory()
        door.wire = door.connect(self, protocol, is_tls=ssl is not None)
        return door.wire.end, protocol

    async def start_tls(self, transport, protocol, context, **options):
        return await transport.wire.shake(options["ssl_handshake_timeout"])


class Door:
    """What is accepted: `front` is what a load balancer says first."""

    def __init__(self, connect, front=b""):
        self.connect, self.front = connect, front
        self.wire = None
        self.closed = False

    def close(self):
        self.closed = True


def _settle(future, result, error):
    if future.done():
        return  # who asked is gone
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)


class TlsView:
    """What an established TLS session shows of itself."""

    def __init__(self, certificate=None):
        self._certificate = certificate

    def cipher(self):
        return ("TLS_AES_256_GCM_SHA384", "TLSv1.3", 256)

    def version(self):
        return "TLSv1.3"

    def getpeercert(self, binary_form=False):
        return self._certificate


class _End(asyncio.Transport):
    """The server's hold on the wire, plain or after TLS began."""

    def __init__(self, wire, extra):
        super().__init__(extra)
        self.wire = wire

    def write(self, data):
        self.wire.from_server(bytes(data))

    def close(self):
        self.wire.close()

    def abort(self):
        self.wire.lose(None)

    def is_closing(self):
        return self.wire.closing

    def pause_reading(self):
        self.wire.paused = True

    def resume_reading(self):
        self.wire.paused = False
        self.wire.deliver()

    def is_reading(self):
        return not (self.wire.paused or self.wire.closing)

    def set_protocol(self, protocol):
        self.wire.protocol = protocol

    def get_protocol(self):
        return self.wire.protocol

    def get_write_buffer_size(self):
        return len(self.wire.unsent)

    def can_write_eof(self):
        return False


class Wire:
    """One connection. The client's side is `send`, `end`, `reset` and what is `heard`.

    `took` are the octets the server was given, `said` what it wrote (whether the client
    reads or not), both in two phases: before and inside TLS begun by STARTTLS.
    """

    def __init__(self, loop, protocol, address, tls=None, high_water=PLAIN_HIGH_WATER):
        self.loop, self.protocol = loop, protocol
        self._high_water = high_water
        self._extra = {"peername": (address, 40000), "sockname": ("192.0.2.1", 25)}
        extra = dict(self._extra)
        if tls is not None:
            extra |= {"ssl_object": tls, "sslcontext": object()}
        self.secure = self.began_secure = tls is not None
        self.was_reset = self.kept_waiting = False
        self.inbox = collections.deque()
        self.took = [bytearray()]
        self.said = [bytearray()]
        self.unsent = bytearray()
        self.paused = self.closing = self.lost = False
        self.client_reads, self._writing_paused = True, False
        self.ended = self.server_closed = False
        self._half_open = False
        self.shaking = None
        self.end = _End(self, extra)
        protocol.connection_made(self.end)

    # --- the server's side ------------------------------------------------------
    def from_server(self, octets):
        if self.closing:
            return
        self.said[-1] += octets
        self.unsent += octets
        self._flush()
        if len(self.unsent) > self._high_water and not self._writing_paused:
            self._writing_paused = True
            self.protocol.pause_writing()

    def _flush(self):
        if not self.client_reads:
            return
        self.unsent.clear()
        if self._writing_paused:
            self._writing_paused = False
            self.protocol.resume_writing()
        if self.closing:
            self.lose(None)

    def close(self):
        if self.closing:
            return
        self.closing = self.server_closed = True
        self.inbox.clear()
        if self.client_reads:
            self.lose(None)

    def lose(self, error):
        """The connection is gone for both."""
        if self.lost:
            return
        self.closing = self.lost = True
        self.inbox.clear()
        self.unsent.clear()
        self._fail_shaking(error or ConnectionResetError())
        self.loop.call_soon(self.protocol.connection_lost, error)

    async def shake(self, timeout_s):
        """The server waits for a handshake; in its time, or the connection ends."""
        self.shaking = waiting = self.loop.create_future()
        try:
            async with asyncio.timeout(timeout_s):
                tls = await waiting
        except TimeoutError:
            self.lose(None)
            raise ConnectionAbortedError from None
        except BaseException:
            self.close()  # as asyncio does, also for a server that gives up
            raise
        extra = {"ssl_object": tls, "sslcontext": object()}
        self.end = _End(self, self._extra | extra)
        return self.end

    # --- the client's side --------------------------------------------------------
    def send(self, octets):
        """Octets on the way; none after the client's end of file."""
        if not (self.closing or self.ended):
            self.inbox.append(octets)
            self.deliver()

    def deliver(self):
        while self.inbox and not (self.paused or self.closing):
            octets = self.inbox.popleft()
            if octets is None:
                self._half_open = bool(self.protocol.eof_received())
                if not self._half_open:
                    self.close()
            elif self.shaking is not None:
                self._fail_handshake()
            else:
                self.took[-1] += octets
                self.protocol.data_received(octets)

    def _fail_handshake(self):
        self._fail_shaking(ssl.SSLError("no handshake"))
        self.lose(None)

    def _fail_shaking(self, error):
        waiting, self.shaking = self.shaking, None
        if waiting is not None and not waiting.done():
            waiting.set_exception(error)

    def hello(self, certificate=None):
        """The client's part of a handshake, if the server waits for one."""
        waiting, self.shaking = self.shaking, None
        if waiting is None or waiting.done():
            return
        # What comes inside TLS may be here before the server's task goes on.
        self.secure = True
        self.took.append(bytearray())
        self.said.append(bytearray())
        waiting.set_result(TlsView(certificate))

    def half_close(self):
        if not (self.closing or self.ended):
            self.ended = True
            if self.shaking is not None:
                self._fail_handshake()
            else:
                self.inbox.append(None)
                self.deliver()

    def reset(self):
        self.ended = True
        self.lose(ConnectionResetError())

    def read_no_more(self):
        self.client_reads = False

    def read_on(self):
        if not self.lost:
            self.client_reads = True
            self._flush()
