"""Runs made-up dialogues against the real intake, in memory, and says what is wrong.

    python -m tests.fuzz.dialogue --dialogues 1000000 --processes 2 --seed 1
    python -m tests.fuzz.dialogue --seed 1 --only 4711     # one again, told in full

Each dialogue has an intake of its own (`listen`, its handler, its counts), so that it
goes the same way whenever it is run. After each: nothing reached the loop's handler of
exceptions, no log event tells of a fault that was not put in, no task is left, all
counts are what they were, and the referee has nothing to say.
"""

import argparse
import asyncio
import collections
import concurrent.futures
import contextlib
import dataclasses
import gc
import hashlib
import itertools
import pathlib
import sys
import tempfile
import time
import traceback
import warnings

from gateway import telemetry
from gateway.intake.clients import ClientTable
from gateway.intake.handler import Handler
from gateway.intake.server import Intake, listen
from gateway.intake.turns import Turns
from gateway.model.errors import StoreFull
from gateway.model.reply import Reply
from tests.fuzz.referee import Referee
from tests.fuzz.said import FoulError
from tests.fuzz.script import write_script
from tests.fuzz.wire import Door, StillLoop, TlsView, Wire
from tests.fuzz.words import CERTIFICATE
from tests.unit.intake.intake_desk import (
    AT,
    HASH,
    NETWORK,
    OK,
    USER,
    make_drafts,
    proxied,
    proxy_header,
    server_context,
    settings,
)

PRINTER = f"""
[[client]]
id = "printer"
municipality = "zwolle"
certificate_sha256 = ["{hashlib.sha256(CERTIFICATE).hexdigest()}"]
"""
BALANCER = "198.51.100.7"
REFUSED = Reply(550, "5.7.1", ("K201 refused", "K201 geweigerd"))
# Who was here is remembered on purpose, in bounds that have tests of their own.
_REMEMBERING = {"clients", "guesses", "_buckets"}
_LOOK_EVERY = 500  # dialogues, for what is seen of the whole process only
_SHOWN = 20
_WIDTH = 1000


@dataclasses.dataclass(frozen=True, slots=True)
class Taken:
    """A message as the handler's use case got it."""

    octets: bytes
    sender: str
    recipients: tuple[str, ...]
    body: str

    def split(self):
        """Our own field, and what came."""
        end = self.octets.index(b"+0000\r\n") + 7
        return self.octets[:end], self.octets[end:]


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """What was wrong with one dialogue."""

    number: int
    what: str


class Store:
    """The use case behind the handler: decides as the script says."""

    def __init__(self, decision):
        self.decision = decision
        self.taken = []
        self.faults = 0
        self.log = []

    async def receive(self, message, peer):
        octets = message.octets
        whole = octets if isinstance(octets, bytes) else b"".join(octets.chunks())
        if self.decision in {"slow", "very-slow"}:
            await asyncio.sleep(0)
            await asyncio.sleep(0 if self.decision == "slow" else 40)
        if self.decision == "fault":
            self.faults += 1
            raise RuntimeError("jan@gem.nl\r\n250 2.0.0 OK")
        if self.decision == "full":
            raise StoreFull("jan@gem.nl")
        if self.decision == "refuse":
            return REFUSED
        envelope = message.envelope
        self.taken.append(
            Taken(
                whole,
                str(envelope.reverse_path),
                tuple(map(str, envelope.recipients)),
                envelope.body.value,
            )
        )
        return OK

    def write_log(self, event, /, **fields):
        self.log.append((event, fields))


@dataclasses.dataclass(slots=True)
class Sitting:
    """One intake with one connection, while it runs."""

    store: Store
    handler: Handler
    intake: Intake
    before: dict
    wire: Wire


class Bench:
    """Runs dialogues, one after the other, in one process."""

    store_class, wire_class = Store, Wire  # tests put in broken ones

    def __init__(self):
        self.loop = StillLoop()
        self._place = tempfile.TemporaryDirectory()
        place = pathlib.Path(self._place.name)
        self.contexts = [server_context(place)] * 3
        self.drafts, self.spool = make_drafts(place), place / "spool"
        self.base = proxied(settings(NETWORK + USER + PRINTER), f"{BALANCER}/32")
        self.clients = ClientTable(self.base.clients, {"scanner": HASH})
        self._ids = itertools.count(1)
        self.counts = collections.Counter()
        self.unraisable = []
        self._hook, sys.unraisablehook = sys.unraisablehook, self.unraisable.append

    def close(self):
        self.loop.close()
        self.drafts.close()
        self._place.cleanup()
        sys.unraisablehook = self._hook

    def run(self, script):
        """What is wrong with this dialogue, or None."""
        try:
            what = self.loop.run_until_complete(self._run(script))
        except Exception:
            what = "the harness: " + traceback.format_exc(limit=-4)
        self.counts["dialogues"] += 1
        what = what or self.fault_outside()
        return None if what is None else Finding(script.number, what)

    def fault_outside(self):
        """What reached the loop or nobody at all since the last look."""
        for what, faults in (
            ("the loop", self.loop.faults),
            ("nobody", self.unraisable),
        ):
            if faults:
                first = str(faults[0])
                faults.clear()
                return f"an exception reached {what}: {first}"
        return None

    def drafts_left(self):
        """Files of large messages; they are removed a little later, in a thread."""
        for _ in range(200):
            if not any(self.spool.iterdir()):
                return []
            time.sleep(0.01)
        return sorted(self.spool.iterdir())

    async def begin(self, script):
        """An intake of its own for this dialogue, and the connection."""
        store = self.store_class(script.decision)
        limits = dataclasses.replace(self.base.limits, **script.limits)
        config = dataclasses.replace(self.base, limits=limits)
        handler = Handler(
            config.hostname,
            store.receive,
            lambda: f"id{next(self._ids)}",
            lambda: AT,
            store.write_log,
            self.drafts,
            Turns(None, config.limits.sessions),
        )
        intake = await listen(
            config, self.contexts, self.clients, handler, store.write_log
        )
        before = state_of(intake)

        def connect(loop, protocol, *, is_tls):
            tls = TlsView(script.certificate) if is_tls else None
            return self.wire_class(
                loop, protocol, script.address, tls, script.high_water
            )

        door = Door(connect, script.front or b"")
        source = script.address if script.front is None else BALANCER
        await intake.servers[script.listener]._receive(door, source)
        return Sitting(store, handler, intake, before, door.wire)

    def left_behind(self, sitting):
        """What of an ended dialogue is still there, or None."""
        tasks = asyncio.all_tasks(self.loop) - {asyncio.current_task()}
        if tasks:
            return f"tasks left: {tasks}"
        after = state_of(sitting.intake)
        after["is_stopping"] = sitting.before["is_stopping"]
        if after != sitting.before:
            return f"counts differ: {sitting.before} {after}"
        return flaw_of_log(sitting.store) or flaw_of_taken(sitting.store.taken)

    async def finish(self, sitting):
        """The client goes, and time passes; what is left then, or None."""
        wire = sitting.wire
        await self.loop.quiet()
        if not wire.lost:
            wire.half_close()
            await self.loop.quiet()
        if not wire.lost:
            wire.kept_waiting = True
            await asyncio.sleep(20_000)
        await sitting.handler.settled()
        await self.loop.quiet()
        if not wire.lost:
            return "the connection never ended"
        if wire.shaking is not None and not wire.shaking.done():
            return "a handshake never ended"
        return self.left_behind(sitting)

    async def _run(self, script):
        sitting = self.sitting = await self.begin(script)
        if sitting.wire is None:  # turned away; a good header is not
            return self.left_behind(sitting)
        stopping = None
        for kind, argument in script.steps:
            if kind == "stop":
                stopping = stopping or asyncio.ensure_future(
                    sitting.intake.stop(argument)
                )
            else:
                await self._step(sitting.wire, script, kind, argument)
        if stopping is not None:
            await stopping
        left = await self.finish(sitting)
        if script.front is not None and not is_good_front(script):
            return left  # who it says to be is anybody's guess
        return self._foul(script, sitting) or left

    def _foul(self, script, sitting):
        referee = Referee(script, sitting.wire, sitting.store.taken)
        try:
            referee.judge()
        except FoulError as foul:
            return str(foul)
        finally:
            self.counts["commands"] += referee.commands
            self.counts["messages"] += len(sitting.store.taken)
            self.counts["compared"] += referee.accepted
        return None

    async def _step(self, wire, script, kind, argument):
        match kind:
            case "send":
                wire.send(argument)
            case "quiet":
                await self.loop.quiet()
            case "turn":
                for _ in range(argument):
                    await asyncio.sleep(0)
            case "wait":
                await asyncio.sleep(argument)
            case "hello":
                wire.hello(script.certificate)
            case "half-close":
                wire.half_close()
            case "reset":
                wire.was_reset = True
                wire.reset()
            case "read-no-more":
                wire.read_no_more()
            case "read-on":
                wire.read_on()


def is_good_front(script):
    here = "2001:db8::1" if ":" in script.address else "192.0.2.1"
    return script.front == proxy_header(script.address, here)


def state_of(holder):
    """The counts of an object of the intake and of those it holds, by name."""
    state = {}
    for name, value in vars(holder).items():
        if name in _REMEMBERING:
            continue
        if isinstance(value, bool | int | set | collections.Counter | dict | list):
            state[name] = repr(value)
        elif type(value).__module__.startswith("gateway.intake.") and hasattr(
            value, "__dict__"
        ):
            state[name] = state_of(value)
    return state


def flaw_of_log(store):
    """Only faults that were put in, only what is listed, nobody's address (INV-8)."""
    faults = [fields for event, fields in store.log if event == "intake-fault"]
    if len(faults) != store.faults:
        return f"a fault of ours: {faults}"
    for event, fields in store.log:
        if event not in telemetry.EVENTS or not fields.keys() <= telemetry.FIELDS:
            return f"a log event that is not listed: {event} {sorted(fields)}"
        if "@" in str(fields):
            return f"a log event with an address: {event}"
    return None


def flaw_of_taken(taken):
    """Nothing bare was accepted, and 8-bit content is marked (INV-6, A-23)."""
    for message in taken:
        octets = message.octets
        if (
            b"\0" in octets
            or octets.count(b"\r") != octets.count(b"\r\n")
            or octets.count(b"\n") != octets.count(b"\r\n")
        ):
            return "a bare CR, LF or a NUL was accepted (INV-6)"
        if not octets.isascii() and message.body == "7BIT":
            return "8-bit content is marked as 7-bit (A-23)"
    return None


# --- many of them ------------------------------------------------------------------
def open_files():
    return len(list(pathlib.Path("/proc/self/fd").iterdir()))


def stays_open(files):
    """Whether more files than that stay open; a thread may be closing one."""
    for _ in range(200):
        if open_files() <= files:
            return False
        time.sleep(0.01)
    return True


def run_many(seed, numbers):
    """Run the dialogues with these numbers; what was counted, and the findings."""
    with contextlib.closing(Bench()) as bench:
        findings = []
        files = open_files()
        for number in numbers:
            finding = bench.run(write_script(seed, number))
            if finding is not None:
                findings.append(finding)
            if number % _LOOK_EVERY == 0:
                findings += _look(bench, number, files)
        findings += _look(bench, numbers[-1], files)
        return bench.counts, findings


def _look(bench, number, files):
    """What is of no dialogue alone: exceptions nobody asked for, files left open."""
    gc.collect()
    left = bench.drafts_left()
    fault = bench.fault_outside()
    if fault is None and stays_open(files):
        fault = "a file was left open"
    if fault is None and left:
        fault = f"files left: {left}"
    return [] if fault is None else [Finding(number, fault)]


def _run_share(arguments):
    warnings.simplefilter("error")  # a coroutine never awaited is a finding too
    return run_many(*arguments)


def _shares(seed, first, count, size=5000):
    return [
        (seed, range(at, min(at + size, first + count)))
        for at in range(first, first + count, size)
    ]


def campaign(seed, first, count, processes):
    """Run many over several processes; yields counts and findings as they come."""
    shares = _shares(seed, first, count)
    if processes == 1:
        yield from map(_run_share, shares)
        return
    with concurrent.futures.ProcessPoolExecutor(processes) as pool:
        yield from pool.map(_run_share, shares)


def shortest(bench, script):
    """The steps without those that the finding can do without."""
    at = len(script.steps)
    while at > 0:
        at -= 1
        shorter = dataclasses.replace(
            script, steps=script.steps[:at] + script.steps[at + 1 :]
        )
        if bench.run(shorter) is not None:
            script = shorter
    return script


def tell(seed, number):
    """One dialogue in full, for who looks for its fault; as short as it can be made."""
    with contextlib.closing(Bench()) as bench:
        script = write_script(seed, number)
        if bench.run(script) is not None:
            script = shortest(bench, script)
        finding = bench.run(script)
        say(dataclasses.replace(script, steps=()))
        for step in script.steps:
            say(step)
        wire = bench.sitting.wire
        for name in ("took", "said"):
            say((name, wire and [bytes(each)[:_WIDTH] for each in getattr(wire, name)]))
        say(bench.sitting.store.log)
        say(finding)


def say(what):
    sys.stdout.write(f"{str(what)[:_WIDTH]}\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--dialogues", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int)
    options = parser.parse_args()
    if options.only is not None:
        tell(options.seed, options.only)
        return 0
    began, counts, findings = time.monotonic(), collections.Counter(), []
    for counted, found in campaign(
        options.seed, options.first, options.dialogues, options.processes
    ):
        counts += counted
        findings += found
    seconds = time.monotonic() - began
    for finding in findings[:_SHOWN]:
        say(f"{finding.number}: {finding.what}")
    say(
        f"seed {options.seed}: {counts['dialogues']} dialogues,"
        f" {counts['commands']} commands, {counts['messages']} messages accepted"
        f" ({counts['compared']} compared), {len(findings)} findings;"
        f" {seconds:.0f} s, {counts['dialogues'] / seconds:.0f} a second"
    )
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
