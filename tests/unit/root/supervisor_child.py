"""A supervisor in a process of its own, with children that say what they live through.

    python -m tests.unit.root.supervisor_child PLACE

`PLACE/settings.json` names the children and what they do; it is read anew at each load.
Each thing that happens is one line `NAME WHAT PID INSTANT` in `PLACE/events`.
"""

import json
import os
import pathlib
import select
import signal
import sys
import time

from gateway import supervisor

PLACE = pathlib.Path(sys.argv[1]) if len(sys.argv) == 2 else pathlib.Path()


def say(name: str, what: str) -> None:
    line = f"{name} {what} {os.getpid()} {time.monotonic()}\n"
    out = os.open(PLACE / "events", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(out, line.encode())
    os.close(out)


def steady(name: str, parent: int) -> int:
    """Lives until it is told to end, or until the parent is gone."""
    told = []
    signal.signal(signal.SIGTERM, lambda *_: told.append(True))
    say(name, "started")
    while not told:
        # Short looks: Python restarts select after a signal that raised nothing.
        if select.select([parent], [], [], 0.02)[0]:
            say(name, "orphaned")
            return 0
    say(name, "told")
    time.sleep(0.1)  # draining
    say(name, "ended")
    return 0


def dying(name: str, _parent: int) -> int:
    say(name, "started")
    return 7


def raising(name: str, _parent: int) -> int:
    say(name, "started")
    raise RuntimeError("kanarie@geel.example")


def closed(name: str, _parent: int) -> int:
    """Ends with a standard output that nobody reads any more."""
    say(name, "started")
    read_end, write_end = os.pipe()
    os.close(read_end)
    sys.stdout = os.fdopen(write_end, "w")
    sys.stdout.write("x")
    return 0


def stubborn(name: str, _parent: int) -> int:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    say(name, "started")
    while True:
        time.sleep(1)


MAINS = {f.__name__: f for f in (steady, dying, raising, closed, stubborn)}


def load():
    settings = json.loads((PLACE / "settings.json").read_text())
    return [(name, MAINS[what]) for name, what in settings.items()]


def log(event: str, **fields: object) -> None:
    with (PLACE / "log").open("a") as out:
        out.write(json.dumps({"event": event, **fields}) + "\n")


def main() -> int:
    supervisor._DRAIN_S = 1.0
    try:
        return supervisor.Supervisor(load, log).run()
    finally:
        say("supervisor", "unwound")


if __name__ == "__main__":
    sys.exit(main())
