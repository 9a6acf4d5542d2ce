"""A real server process in a folder of its own, ended with all its children.

The process leads its own process group; ending is always by that group's id, first
kindly and then not. The kernel ends it too when the test process dies, so that an
interrupted run leaves nothing behind.
"""

import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence

# From util-linux: the kernel sends the signal when the forking thread ends.
_ENDS_WITH_PARENT = ("setpriv", "--pdeathsig", "TERM", "--")


class NotStarted(Exception):
    """A peer did not come up; the text holds the end of its log."""


@contextlib.contextmanager
def folder(name: str) -> Iterator[pathlib.Path]:
    """A temporary folder that servers which drop their privileges can enter."""
    made = pathlib.Path(tempfile.mkdtemp(prefix=f"ketenmail-{name}-"))
    made.chmod(0o755)
    try:
        yield made
    finally:
        shutil.rmtree(made)


class Daemon:
    """A started server process; end it with `stop()`."""

    def __init__(self, argv: Sequence[str], log: pathlib.Path) -> None:
        # Only the main thread lives as long as the tests do.
        main = threading.current_thread() is threading.main_thread()
        self.log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [*(_ENDS_WITH_PARENT if main else ()), *argv],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self.pid = self._process.pid

    def wait_until(self, ready: Callable[[], object], within_s: float = 15) -> None:
        """Return as soon as `ready` neither raises nor answers False."""
        until = time.monotonic() + within_s
        why: object = None
        while time.monotonic() < until:
            if self._process.poll() is not None:
                break
            try:
                if ready() is not False:
                    return
            except (OSError, AssertionError) as error:
                why = error
            time.sleep(0.01)
        self.stop()
        tail = self.log.read_text("utf-8", "replace")[-3000:]
        raise NotStarted(f"{self._process.args}: {why}\n{tail}")

    def signal(self, sign: signal.Signals) -> None:
        """Send a signal to the whole group."""
        os.killpg(self.pid, sign)

    def stop(self) -> None:
        """End the process and all of its group; returns when they are gone."""
        for sign, patience_s in ((signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0)):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, sign)
                os.killpg(self.pid, signal.SIGCONT)  # a paused one ends, too
            until = time.monotonic() + patience_s
            while time.monotonic() < until:
                self._process.poll()
                if not members(self.pid):
                    self._process.wait(5)
                    return
                time.sleep(0.01)
        raise RuntimeError(f"process group {self.pid} does not end")


def until(ready: Callable[[], bool], within_s: float = 10) -> bool:
    """Whether `ready` came true in time; returns as soon as it does."""
    end = time.monotonic() + within_s
    while not ready():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def members(group: int) -> tuple[int, ...]:
    """Ids of the live processes of a process group (zombies are not alive)."""
    alive = []
    for entry in pathlib.Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            stat = (entry / "stat").read_text("ascii", "replace")
        except OSError:
            continue
        state, _parent, found = stat.rpartition(")")[2].split()[:3]
        if int(found) == group and state != "Z":
            alive.append(int(entry.name))
    return tuple(alive)
