"""Another process on the same store: `python -m tests.contract.store_child WHAT ...`.

It says on standard output what the store told it, one line at a time.
"""

import asyncio
import pathlib
import sys

from gateway.store.queue import SqlQueue
from tests.contract.store_bed import NOW, SECOND, Bed, accept, make_octets


def say(text):
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


async def write_for_ever(store, name):
    """Accept mail until killed; say what was acknowledged."""
    numbers = iter(range(10**9))

    async def one():
        for n in numbers:
            size = 1_100_000 if n % 16 == 0 else 2000
            say(f"begun {name}-{n}")
            await accept(store, f"{name}-{n}", make_octets(size))
            say(f"done {name}-{n}")

    await asyncio.gather(*(one() for _ in range(8)))


async def write_many(store, name, count):
    """Accept so many messages, 50 at a time."""
    numbers = iter(range(count))

    async def one():
        for n in numbers:
            await accept(store, f"{name}-{n}")
            say(f"done {name}-{n}")

    await asyncio.gather(*(one() for _ in range(50)))


async def lease_all(store, name):
    """Lease until nothing is due; say which."""
    queue = SqlQueue(store)
    while jobs := await queue.lease(name, 7, NOW, NOW + 60 * SECOND):
        for job in jobs:
            say(f"{job.id} {job.lease_token}")


async def main(what, place, name, *more):
    bed = Bed(pathlib.Path(place)).join()
    store = bed.open()
    say("ready")
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    todo = {"for-ever": write_for_ever, "many": write_many, "lease": lease_all}
    await todo[what](store, name, *map(int, more))
    bed.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
