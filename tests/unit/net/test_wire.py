"""What a real hop can hardly be made to do at the right instant."""

import asyncio
import contextlib
import socket

import pytest

from gateway.net.dialogue import STARTTLS
from gateway.net.tls import client_context
from gateway.net.wire import HopLost, TlsBroken, Wire


@contextlib.asynccontextmanager
async def connected(said: bytes):
    """A wire to a socket that says this and then neither reads nor speaks."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        wire = await Wire.connect("127.0.0.1", listener.getsockname()[1], 5)
        far_end, _ = listener.accept()
        with far_end:
            far_end.sendall(said)
            try:
                yield wire
            finally:
                wire.abort()
                await wire.close()


async def in_order(*portions):
    for portion in portions:
        yield portion


async def test_nothing_goes_out_on_a_connection_that_is_over() -> None:
    async with connected(b"220 x\r\n") as wire:
        await wire.reply(5)
        await wire.close()
        with pytest.raises(HopLost):
            wire.ask(STARTTLS)


async def test_a_connection_that_is_over_takes_no_handshake() -> None:
    async with connected(b"220 x\r\n") as wire:
        await wire.reply(5)
        await wire.close()
        with pytest.raises(TlsBroken):
            await wire.start_tls(client_context(), None, 5)


async def test_a_connection_that_is_being_dropped_takes_no_handshake() -> None:
    async with connected(b"220 x\r\n") as wire:
        await wire.reply(5)
        wire.abort()
        with pytest.raises(TlsBroken):
            await wire.start_tls(client_context(), None, 5)


async def test_a_handshake_without_answer_ends_in_time() -> None:
    async with connected(b"220 x\r\n") as wire:
        await wire.reply(5)
        with pytest.raises(TlsBroken):
            await wire.start_tls(client_context(), None, 0.2)


async def test_a_connection_without_answer_ends_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(HopLost, match="time-out"):
            await Wire.connect("127.0.0.1", port, 0)


async def test_a_hop_that_reads_nothing_cannot_hold_up_the_end(monkeypatch) -> None:
    monkeypatch.setattr("gateway.net.wire._GRACE_S", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        wire = await Wire.connect("127.0.0.1", listener.getsockname()[1], 5)
        with pytest.raises(HopLost, match="not taken"):
            await wire.send_content(in_order(b"x" * 50_000_000), 0.1)
        await wire.close()
        with pytest.raises(HopLost, match="ended"):
            await wire.send_content(in_order(b"x"), 5)


async def test_a_hop_that_reads_slowly_gets_everything() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        wire = await Wire.connect("127.0.0.1", listener.getsockname()[1], 5)
        far_end, _ = listener.accept()
        with far_end:
            portions = [bytes([n]) * 1_000_000 for n in range(20)]
            reading = asyncio.to_thread(_read, far_end, 20_000_000)
            read = asyncio.create_task(reading)
            await wire.send_content(in_order(*portions), 30)
            assert await read == b"".join(portions)
            await wire.close()


def _read(connection: socket.socket, most: int) -> bytes:
    found = bytearray()
    while len(found) < most and (data := connection.recv(65536)):
        found += data
    return bytes(found)
