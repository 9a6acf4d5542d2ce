"""How long a normal client waits while hundreds of connections drip (A-49).

usage: python bench/slow_drip.py [MESSAGES] [DRIPS] [SECONDS BETWEEN OCTETS]

A real gateway with the limits it ships with; what is cut drips anew at once, so that as
many are open all the time. A message is a whole session, from the connection to the
reply to QUIT: first alone, then beside the drips. Prints one JSON object: seconds at the
50th and 99th percentile and the worst, how many drips were open meanwhile, how many were
turned away, and how long those lived that were cut. Exit 1 when the 99th percentile
beside the drips is 1 s or more.
"""

import asyncio
import collections
import contextlib
import json
import pathlib
import sys
import time

ROOT = pathlib.Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests import certs  # noqa: E402
from tests.scenarios import drip, siege  # noqa: E402

BUDGET_S = 1.0
_PAUSE_S = 0.1  # between messages: the drips shall have their time, too


def deliver(running, number):
    began = time.perf_counter()
    with siege.calling(running, siege.client(number % 3)) as caller:
        caller.deliver(siege.compose(f"normal{number}"))
        caller.ask("QUIT")
    return time.perf_counter() - began


async def measure(running, messages):
    spent = []
    for number in range(messages):
        spent.append(await asyncio.to_thread(deliver, running, number))
        await asyncio.sleep(_PAUSE_S)
    spent.sort()
    return {
        "p50_s": round(spent[len(spent) // 2], 3),
        "p99_s": round(spent[min(int(len(spent) * 0.99), len(spent) - 1)], 3),
        "worst_s": round(spent[-1], 3),
    }


class Attack:
    """So many drips; each begins anew when it was cut or turned away."""

    def __init__(self, server, count, interval_s):
        self._server = server
        self._interval_s = interval_s
        self._now = drip.drips(count)
        self.cut = collections.defaultdict(list)
        self.turned_away = 0

    @property
    def open(self):
        return sum(each.is_open for each in self._now)

    async def keep(self, at):
        while True:
            old = self._now[at]
            each = self._now[at] = drip.Drip(old.point, old.source, self._interval_s)
            with contextlib.suppress(OSError):
                await each.run(self._server)
            if each.lived_s is None:
                self.turned_away += 1
                await asyncio.sleep(1)
            else:
                self.cut[each.point.value].append(round(each.lived_s, 1))

    @contextlib.asynccontextmanager
    async def running(self):
        tasks = [asyncio.create_task(self.keep(at)) for at in range(len(self._now))]
        try:
            await asyncio.sleep(5)  # for all to come to where they drip
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def run(running, messages, count, interval_s):
    alone = await measure(running, messages)
    attack = Attack(running.address, count, interval_s)
    seen = []

    async def watch():
        while True:
            seen.append(attack.open)
            await asyncio.sleep(0.5)

    async with attack.running():
        watching = asyncio.create_task(watch())
        beside = await measure(running, messages)
        watching.cancel()
    cut = {
        kind: {"count": len(lived), "least_s": min(lived), "most_s": max(lived)}
        for kind, lived in attack.cut.items()
    }
    return {
        "messages": messages,
        "drips": count,
        "alone": alone,
        "beside": beside,
        "open": {"least": min(seen), "most": max(seen)},
        "turned_away": attack.turned_away,
        "cut": cut,
    }


def main():
    messages = int(sys.argv[1]) if len(sys.argv) > 1 else 800
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 300
    interval_s = float(sys.argv[3]) if len(sys.argv) > 3 else drip.INTERVAL_S
    with siege.besieged(certs.make_ca("bench")) as running:
        answer = asyncio.run(run(running, messages, count, interval_s))
    print(json.dumps(answer))
    return int(answer["beside"]["p99_s"] >= BUDGET_S)


if __name__ == "__main__":
    sys.exit(main())
