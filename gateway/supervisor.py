"""Keeps the processes of one gateway running: mail workers and the evidence sequencer.

The parent holds no socket and no database, so it has nothing to lose. Each child is
forked from it, restarts alone after a crash (with a growing pause), and ends by itself
when the parent is gone: it watches a pipe whose other end only the parent holds.
SIGTERM and SIGINT drain and stop; SIGHUP restarts the children one after another with
the settings as they are now, or keeps the old ones when those cannot be used.
"""

import contextlib
import dataclasses
import os
import signal
import socket
import sys
import time
from collections.abc import Callable

_SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD})
_DRAIN_S = 40.0
_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 30.0
_HEALTHY_AFTER_S = 60.0

Log = Callable[..., None]
# Runs one process until it should end; gets its name and the descriptor of the pipe
# that becomes readable when the parent is gone. Answers the exit status.
Main = Callable[[str, int], int]


@dataclasses.dataclass
class _Child:
    name: str
    main: Main
    pid: int = 0
    started_at: float = 0.0
    pause_s: float = _FIRST_PAUSE_S
    due_at: float = 0.0


class Supervisor:
    """Starts children and starts them again.

    `load` gives the processes of the present settings as (name, main) pairs; it raises
    when the settings cannot be used.
    """

    def __init__(self, load: Callable[[], list[tuple[str, Main]]], log: Log) -> None:
        self._load = load
        self._log = log
        self._children: list[_Child] = []
        self._read_end, self._write_end = os.pipe()

    def run(self) -> int:
        """Run until told to stop; answers the exit status."""
        self._children = [_Child(name, main) for name, main in self._load()]
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        for child in self._children:
            self._start(child)
        _notify("READY=1")
        self._log("gateway-started", count=len(self._children))
        while True:
            signalled = signal.sigtimedwait(_SIGNALS, 0.5)
            number = 0 if signalled is None else signalled.si_signo
            if number in {signal.SIGTERM, signal.SIGINT}:
                return self._stop()
            self._reap()
            if number == signal.SIGHUP:
                self._reload()
            self._start_due()

    def _start(self, child: _Child) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            self._become(child)
        child.pid, child.started_at = pid, time.monotonic()

    def _become(self, child: _Child) -> None:
        """In the child: never returns."""
        status = 3
        try:
            os.close(self._write_end)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            # Sent to the whole group by a terminal: the parent tells us what to do.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
            status = child.main(child.name, self._read_end)
        except BaseException as error:  # noqa: BLE001 - nothing may unwind the parent's stack
            self._log("worker-died", worker=child.name, error=type(error).__name__)
        finally:
            with contextlib.suppress(Exception):  # they may be closed at the far end
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            for child in self._children:
                if child.pid == pid:
                    self._ended(child, os.waitstatus_to_exitcode(status))

    def _ended(self, child: _Child, status: int) -> None:
        lived_s = time.monotonic() - child.started_at
        if lived_s > _HEALTHY_AFTER_S:
            child.pause_s = _FIRST_PAUSE_S
        child.pid, child.due_at = 0, time.monotonic() + child.pause_s
        child.pause_s = min(child.pause_s * 2, _LONGEST_PAUSE_S)
        self._log("worker-died", worker=child.name, status=status)

    def _start_due(self) -> None:
        for child in self._children:
            if child.pid == 0 and time.monotonic() >= child.due_at:
                self._start(child)

    def _reload(self) -> None:
        _notify("RELOADING=1")
        try:
            wanted = [_Child(name, main) for name, main in self._load()]
        except Exception as error:  # noqa: BLE001 - whatever it is, the old ones go on
            self._log("reload", status="refused", error=type(error).__name__)
            _notify("READY=1")
            return
        for old in self._children:
            self._end([old])
            new = next((c for c in wanted if c.name == old.name), None)
            if new is not None and new.pid == 0:
                self._start(new)
        for new in wanted:
            if new.pid == 0:
                self._start(new)
        self._children = wanted
        self._log("reload", status="done")
        _notify("READY=1")

    def _stop(self) -> int:
        _notify("STOPPING=1")
        self._log("gateway-stopping")
        workers = [c for c in self._children if not c.name.startswith("sequencer")]
        self._end(workers)
        # The sequencer ends last, so that what the workers wrote is signed, too.
        self._end([c for c in self._children if c not in workers])
        return 0

    def _end(self, children: list[_Child]) -> None:
        """Tell children to end, wait, and kill those that do not."""
        running = [child for child in children if child.pid]
        for child in running:
            os.kill(child.pid, signal.SIGTERM)
        deadline = time.monotonic() + _DRAIN_S
        for child in running:
            while child.pid:
                pid, _ = os.waitpid(child.pid, os.WNOHANG)
                if pid:
                    child.pid = 0
                elif time.monotonic() > deadline:
                    os.kill(child.pid, signal.SIGKILL)
                    os.waitpid(child.pid, 0)
                    child.pid = 0
                else:
                    time.sleep(0.02)


def _notify(state: str) -> None:
    """Tell systemd, when it asked to be told (sd_notify); never an error."""
    path = os.environ.get("NOTIFY_SOCKET")  # noqa: TID251 - the protocol's only door
    if not path:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        try:
            channel.connect("\0" + path[1:] if path.startswith("@") else path)
            channel.send(state.encode())
        except OSError:
            return
