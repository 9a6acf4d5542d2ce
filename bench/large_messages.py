"""How much memory the gateway takes while everybody sends something large (A-50, A-10).

usage: python bench/large_messages.py [CONNECTIONS] [MEGABYTES] [GIBIBYTE-CONNECTIONS]

A real gateway with the limits it ships with. All connections come at once, over TLS, and
send so many megabytes each; who is told 421, 452 or 454 (TLS later) counts as told. Beside them some send
1 GiB without any line end. Prints one JSON object: what each was told, the seconds it
took, and how far the resident memory of all processes of the gateway together grew
(the greatest of a look every 100 ms). Exit 1 when that is 256 MiB or more, or when
anybody was left without an answer.
"""

import asyncio
import collections
import json
import os
import pathlib
import ssl
import sys
import time

ROOT = pathlib.Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests import certs  # noqa: E402
from tests.peers import gateway  # noqa: E402
from tests.scenarios import siege  # noqa: E402

BUDGET_OCTETS = 256 * 1024 * 1024
MEGABYTE = 1024 * 1024
_BLOCK = (b"0123456789abcdef" * 60 + b"\r\n") * 68  # about 64 KiB
_PAGE = os.sysconf("SC_PAGE_SIZE")


def resident(group):
    """Octets in memory of all processes of a group, the shared ones counted each."""
    total = 0
    for place in pathlib.Path("/proc").iterdir():
        if not place.name.isdigit():
            continue
        try:
            stat = (place / "stat").read_text("ascii", "replace").rpartition(")")[2]
            if int(stat.split()[2]) == group:
                total += int((place / "statm").read_text("ascii").split()[1]) * _PAGE
        except OSError:  # it has ended
            continue
    return total


def client_context():
    """Whose certificate it is does not matter here."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class Caller:
    """One session, over TLS once the gateway greeted."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    @classmethod
    async def connect(cls, address, source):
        return cls(
            *await asyncio.open_connection(
                address, gateway.PORT, local_addr=(source, 0)
            )
        )

    async def reply(self):
        """The code of one reply; "gone" when the connection ends instead."""
        line = b"-" * 4
        while line[3:4] == b"-":
            line = await asyncio.wait_for(self.reader.readline(), 900)
            if not line:
                return "gone"
        return line[:3].decode()

    async def say(self, command):
        self.writer.write(f"{command}\r\n".encode())
        return await self.reply()

    async def begin(self, context):
        """To 354, or to the code that says no."""
        said = await self.reply()
        if said == "220":
            await self.say("EHLO large.gemeente.test")
            said = await self.say("STARTTLS")
        if said != "220":
            return said
        await self.writer.start_tls(
            context, server_hostname="localhost", ssl_handshake_timeout=300
        )
        for command in (
            "EHLO large.gemeente.test",
            f"MAIL FROM:<{siege.SENDER}>",
            "RCPT TO:<crisis@ggz.test>",
            "DATA",
        ):
            said = await self.say(command)
            if said[:1] not in "23":
                break
        return said


async def upload(address, source, blocks, context, counts):
    """One session that sends so many blocks in one message."""
    caller = None
    try:
        caller = await Caller.connect(address, source)
        said = await caller.begin(context)
        if said == "354":
            caller.writer.write(siege.compose("large"))
            for block in blocks:
                caller.writer.write(block)
                await caller.writer.drain()
            caller.writer.write(b"\r\n.\r\n")
            said = await caller.reply()
        counts[said] += 1
    except (OSError, TimeoutError) as error:
        counts[f"cut: {type(error).__name__}"] += 1
    finally:
        if caller is not None:
            caller.writer.transport.abort()


async def run(running, connections, megabytes, endless):
    context = client_context()
    group = running.process.pid
    before, most, counts = resident(group), 0, collections.Counter()
    blocks = [_BLOCK] * (megabytes * MEGABYTE // len(_BLOCK))
    gibibyte = [b"x" * 65536] * (1024 * MEGABYTE // 65536)
    endless_counts = collections.Counter()
    began = time.monotonic()
    uploads = [
        # Of another client, that has room of its own; and first, or it would get none.
        asyncio.create_task(
            upload(
                running.address,
                siege.other_client(number),
                gibibyte,
                context,
                endless_counts,
            )
        )
        for number in range(endless)
    ] + [
        asyncio.create_task(
            upload(running.address, siege.client(number), blocks, context, counts)
        )
        for number in range(connections)
    ]
    while not all(each.done() for each in uploads):
        most = max(most, await asyncio.to_thread(resident, group))
        await asyncio.sleep(0.1)
    await asyncio.gather(*uploads)
    return {
        "connections": connections,
        "megabytes": megabytes,
        "seconds": round(time.monotonic() - began, 1),
        "told": dict(counts),
        "gibibyte_without_line_end": dict(endless_counts),
        "before_mib": before // MEGABYTE,
        "growth_mib": (most - before) // MEGABYTE,
        "afterwards_mib": (resident(group) - before) // MEGABYTE,
    }


def main():
    connections = int(sys.argv[1]) if len(sys.argv) > 1 else 500
    megabytes = int(sys.argv[2]) if len(sys.argv) > 2 else 30
    endless = int(sys.argv[3]) if len(sys.argv) > 3 else 2
    with siege.besieged(certs.make_ca("bench"), retry_s=3600) as running:
        result = asyncio.run(run(running, connections, megabytes, endless))
        if "--log" in sys.argv:
            sys.stderr.write(running.log)
    print(json.dumps(result))
    left = [said for said in result["told"] if said not in {"250", "421", "452", "454"}]
    return int(result["growth_mib"] >= BUDGET_OCTETS // MEGABYTE or bool(left))


if __name__ == "__main__":
    sys.exit(main())
