"""Who writes? Arrangements of worker processes on one SQLite database, compared.

    turn    each process has its writer thread; they take turns by a lock file
    busy    no lock of ours: SQLite's busy handler decides
    socket  one store process; the workers hand it units over a Unix socket

A unit is what one accepted message costs: content of 4 KB, one job, two records; sealed
sizes, random octets. Run: python bench/store_writers.py [seconds]. ADR 0002 holds what
came out.
"""

import asyncio
import contextlib
import os
import pathlib
import pickle
import secrets
import struct
import subprocess
import sys
import tempfile
import time

from sqlalchemy import insert

from gateway.store import engine, tables
from gateway.store.migrate import migrate
from gateway.store.spoolfile import SpoolDirectory
from gateway.store.work import Setting, Store

MODES = ("turn", "busy", "socket")
_HEAD = struct.Struct(">II")


class NoKeys:
    def wrap(self, _municipality, _retention_class, _key):
        return "e" * 32, b"w" * 40

    def unwrap(self, _epoch, _wrapped):
        raise NotImplementedError


def open_store(place, mode):
    path = pathlib.Path(place) / "bench.db"
    turn = engine.Turn(path) if mode == "turn" else None
    directory = SpoolDirectory(pathlib.Path(place) / "spool", lambda _step: None)
    setting = Setting(lambda m: f"bench/{m}", "0")
    return Store(
        engine.create_engines(f"sqlite:///{path}"), turn, directory, NoKeys(), setting
    )


def make_rows():
    name = secrets.token_hex(13)
    keys = {"epoch": "e" * 32, "wrapped_key": b"w" * 40}
    message = {
        "id": name,
        "municipality": "m",
        "size_octets": 4096,
        "content": os.urandom(4112),
        **keys,
    }
    job = {
        "id": f"j{name}",
        "message_id": name,
        "municipality": "m",
        "kind": "message",
        "state": "ready",
        "level": "none",
        "size_octets": 4096,
        "policy": "p" * 64,
        "accepted_at": 1,
        "next_attempt_at": 1,
        "expires_at": 2,
        "due_at": 1,
        "attempts": 0,
        "crashes": 0,
        "unknowns": 0,
        "lease_token": 0,
        "delay_notice_sent": False,
        "sealed": os.urandom(400),
        **keys,
    }
    records = [
        {
            "id": f"{kind}{name}",
            "origin": "bench/m",
            "municipality": "m",
            "message_id": name,
            "at": 1,
            "event": "accepted",
            "retention_class": "sensitive",
            "leaf": os.urandom(1500),
            "openings": os.urandom(2500),
            **keys,
        }
        for kind in "ai"
    ]
    return message, job, records


_MESSAGE, _JOB, _RECORD = map(
    insert, (tables.message, tables.job, tables.evidence_record)
)


def write_rows(rows, connection):
    message, job, records = rows
    connection.execute(_MESSAGE, message)
    connection.execute(_JOB, job)
    connection.execute(_RECORD, records)


class Local:
    def __init__(self, place, mode):
        self._store = open_store(place, mode)

    async def start(self):
        pass

    async def write(self, rows):
        await self._store.write(lambda connection: write_rows(rows, connection))

    async def close(self):
        self._store.close()


class Remote:
    def __init__(self, place, _mode):
        self._path = f"{place}/socket"
        self._waiting = {}
        self._next = 0

    async def start(self):
        self._reader, self._writer = await asyncio.open_unix_connection(self._path)
        self._task = asyncio.create_task(self._listen())

    async def _listen(self):
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                number, _ = _HEAD.unpack(await self._reader.readexactly(_HEAD.size))
                self._waiting.pop(number).set_result(None)

    async def write(self, rows):
        self._next += 1
        future = asyncio.get_running_loop().create_future()
        self._waiting[self._next] = future
        octets = pickle.dumps(rows)
        self._writer.write(_HEAD.pack(self._next, len(octets)) + octets)
        await self._writer.drain()
        await future

    async def close(self):
        self._writer.close()
        await self._task


async def serve(place):
    store = open_store(place, "busy")

    async def client(reader, writer):
        async def one(number, octets):
            rows = pickle.loads(octets)
            await store.write(lambda connection: write_rows(rows, connection))
            writer.write(_HEAD.pack(number, 0))

        async with asyncio.TaskGroup() as group:
            with contextlib.suppress(asyncio.IncompleteReadError):
                while True:
                    head = await reader.readexactly(_HEAD.size)
                    number, size = _HEAD.unpack(head)
                    group.create_task(one(number, await reader.readexactly(size)))
        writer.close()

    server = await asyncio.start_unix_server(client, f"{place}/socket")
    print("ready", flush=True)
    async with server:
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    store.close()


async def work(place, mode, seconds, tasks):
    door = (Remote if mode == "socket" else Local)(place, mode)
    await door.start()
    print("ready", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    end = time.perf_counter() + seconds
    waits = []

    async def one():
        while time.perf_counter() < end:
            rows = make_rows()
            began = time.perf_counter()
            await door.write(rows)
            waits.append(time.perf_counter() - began)

    await asyncio.gather(*(one() for _ in range(tasks)))
    await door.close()
    waits.sort()
    print(
        len(waits),
        waits[len(waits) // 2],
        waits[int(len(waits) * 0.99)],
        waits[-1],
        flush=True,
    )


def start(*arguments):
    child = subprocess.Popen(
        [sys.executable, __file__, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    if child.stdout.readline() != "ready\n":
        raise SystemExit("a child did not start")
    return child


def run(mode, seconds, tasks, workers):
    with tempfile.TemporaryDirectory() as place:
        migrate(f"sqlite:///{place}/bench.db")
        children = []
        server = start("serve", place) if mode == "socket" else None
        try:
            children = [
                start("work", place, mode, seconds, tasks) for _ in range(workers)
            ]
            for child in children:
                child.stdin.write("go\n")
                child.stdin.flush()
            lines = [child.communicate()[0].split() for child in children]
        finally:
            for child in (*children, *([server] if server else [])):
                if child.poll() is None:
                    child.stdin.close()
                    child.wait(20)
    counts = [int(line[0]) for line in lines]
    waits = [max(float(line[at]) for line in lines) * 1000 for at in (1, 2, 3)]
    print(
        f"{mode:6} {workers} x {tasks:2} tasks  {sum(counts) / seconds:6.0f} units/s  "
        f"shares {min(counts)} to {max(counts)}  p50 {waits[0]:6.1f}  p99 {waits[1]:6.1f}  "
        f"max {waits[2]:7.1f} ms"
    )


def main():
    match sys.argv[1:]:
        case ["serve", place]:
            asyncio.run(serve(place))
        case ["work", place, mode, seconds, tasks]:
            asyncio.run(work(place, mode, float(seconds), int(tasks)))
        case arguments:
            seconds = float(arguments[0]) if arguments else 5.0
            for workers, tasks in ((2, 1), (2, 25), (4, 25)):
                for mode in MODES:
                    run(mode, seconds, tasks, workers)


if __name__ == "__main__":
    main()
