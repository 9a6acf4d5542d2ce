"""Real processes: what ends is started again, what is told to end ends, in order."""

import itertools
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import pytest

from gateway import supervisor

ROOT = pathlib.Path(__file__).parents[3]
PATIENCE_S = 30.0


def until(condition, what=""):
    """Wait for something that must come; only how long it may take is bounded."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.02)
    raise AssertionError(f"did not come: {what}")


class Running:
    """A supervisor under test."""

    def __init__(self, place, children, environment=None):
        self.place = place
        self.settle(**children)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.unit.root.supervisor_child", str(place)],
            cwd=ROOT,
            env={**os.environ, **(environment or {})},
        )

    def settle(self, **children):
        names = {name.replace("_", "-"): what for name, what in children.items()}
        (self.place / "settings.json").write_text(json.dumps(names))

    def events(self):
        try:
            text = (self.place / "events").read_text()
        except FileNotFoundError:
            return []
        return [tuple(line.split()) for line in text.splitlines()]

    def said(self, name, what):
        return [e for e in self.events() if e[:2] == (name, what)]

    def pids(self, name):
        return [int(event[2]) for event in self.said(name, "started")]

    def wait(self, name, what, times=1):
        return until(
            lambda: (found := self.said(name, what))[times - 1 :] and found,
            f"{name} {what}: {self.events()}",
        )

    def log(self, event):
        try:
            text = (self.place / "log").read_text()
        except FileNotFoundError:
            return []
        lines = map(json.loads, text.splitlines())
        return [line for line in lines if line["event"] == event]

    def signal(self, number):
        self.process.send_signal(number)

    def end(self):
        return self.process.wait(PATIENCE_S)


def is_alive(pid):
    """Whether it is a running child of ours: not a zombie, nor another's by now."""
    try:
        command = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
    except FileNotFoundError:
        return False
    return b"tests.unit.root.supervisor_child" in command


@pytest.fixture
def start(tmp_path):
    started = []

    def begin(environment=None, **children):
        running = Running(tmp_path, children, environment)
        started.append(running)
        return running

    yield begin
    for running in started:
        if running.process.poll() is None:
            running.process.kill()
            running.process.wait(PATIENCE_S)
        for name, what, pid, _ in running.events():
            if what == "started" and is_alive(int(pid)):
                os.kill(int(pid), signal.SIGKILL)
                until(lambda pid=pid: not is_alive(int(pid)), name)


def test_a_child_that_dies_is_started_again_after_a_growing_pause(start):
    running = start(mail_1="dying", mail_2="steady")
    starts = running.wait("mail-1", "started", times=4)
    instants = [float(event[3]) for event in starts[:4]]
    pauses = [after - before for before, after in itertools.pairwise(instants)]
    for pause, least in zip(pauses, (0.5, 1.0, 2.0), strict=True):
        assert pause >= least
    assert running.log("worker-died")[0] == {
        "event": "worker-died",
        "worker": "mail-1",
        "status": 7,
    }
    assert len(running.pids("mail-2")) == 1  # each restarts alone


def test_a_killed_child_is_started_again_and_the_others_go_on(start):
    running = start(sequencer="steady", mail_1="steady")
    running.wait("sequencer", "started")
    running.wait("mail-1", "started")
    os.kill(running.pids("mail-1")[0], signal.SIGKILL)
    running.wait("mail-1", "started", times=2)
    assert running.log("worker-died")[0]["status"] == -signal.SIGKILL
    assert is_alive(running.pids("sequencer")[0])
    assert len(running.pids("sequencer")) == 1


def test_an_exception_in_a_child_never_unwinds_into_the_supervisor(start):
    running = start(mail_1="raising", mail_2="closed")
    running.wait("mail-1", "started", times=2)
    running.wait("mail-2", "started", times=2)
    assert running.said("supervisor", "unwound") == []
    statuses = {(e["worker"], e.get("status")) for e in running.log("worker-died")}
    assert {("mail-1", 3), ("mail-2", 0)} <= statuses
    assert "kanarie" not in (running.place / "log").read_text()
    running.signal(signal.SIGTERM)
    assert running.end() == 0
    assert [int(e[2]) for e in running.said("supervisor", "unwound")] == [
        running.process.pid
    ]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_being_told_to_stop_ends_the_children_the_sequencer_last(start, number):
    running = start(sequencer="steady", mail_1="steady", mail_2="steady")
    for name in ("sequencer", "mail-1", "mail-2"):
        running.wait(name, "started")
    running.signal(number)
    assert running.end() == 0
    order = [event[:2] for event in running.events()]
    told = order.index(("sequencer", "told"))
    assert order.index(("mail-1", "ended")) < told
    assert order.index(("mail-2", "ended")) < told
    assert ("sequencer", "ended") in order
    assert running.log("gateway-stopping")
    assert not any(map(is_alive, running.pids("mail-1") + running.pids("sequencer")))


def test_the_workers_are_told_together_and_not_one_after_the_other(start):
    running = start(mail_1="steady", mail_2="steady")
    running.wait("mail-1", "started")
    running.wait("mail-2", "started")
    running.signal(signal.SIGTERM)
    assert running.end() == 0
    order = [event[:2] for event in running.events()]
    assert order.index(("mail-2", "told")) < order.index(("mail-1", "ended"))


def test_a_child_that_does_not_end_is_killed(start):
    running = start(mail_1="stubborn")
    running.wait("mail-1", "started")
    running.signal(signal.SIGTERM)
    assert running.end() == 0
    assert not is_alive(running.pids("mail-1")[0])


def test_a_reload_restarts_every_child_with_the_settings_as_they_are_now(start):
    running = start(sequencer="steady", mail_1="steady", mail_2="steady")
    for name in ("sequencer", "mail-1", "mail-2"):
        running.wait(name, "started")
    running.settle(sequencer="steady", mail_1="steady", mail_3="steady")
    running.signal(signal.SIGHUP)
    running.wait("sequencer", "started", times=2)
    running.wait("mail-1", "started", times=2)
    running.wait("mail-3", "started")
    until(lambda: running.log("reload") == [{"event": "reload", "status": "done"}])
    assert len(running.pids("mail-2")) == 1
    assert not is_alive(running.pids("mail-2")[0])
    for name in ("sequencer", "mail-1"):
        old, new = running.pids(name)
        assert not is_alive(old)
        assert is_alive(new)
    # One after another: a worker ends only when the one before it is there again.
    order = [event[:2] for event in running.events()]
    again = len(order) - 1 - order[::-1].index(("sequencer", "started"))
    assert again < order.index(("mail-1", "ended"))
    running.signal(signal.SIGTERM)
    assert running.end() == 0
    assert not is_alive(running.pids("mail-3")[0])


def test_a_reload_with_settings_that_cannot_be_used_keeps_the_children(start):
    running = start(sequencer="steady", mail_1="steady")
    running.wait("sequencer", "started")
    running.wait("mail-1", "started")
    (running.place / "settings.json").write_text("{")
    running.signal(signal.SIGHUP)
    until(lambda: running.log("reload"))
    assert running.log("reload") == [
        {"event": "reload", "status": "refused", "error": "JSONDecodeError"}
    ]
    assert is_alive(running.pids("mail-1")[0])
    running.signal(signal.SIGTERM)
    assert running.end() == 0
    assert len(running.pids("mail-1")) == len(running.pids("sequencer")) == 1


def test_a_child_that_waits_for_its_restart_is_started_by_a_reload(start):
    running = start(mail_1="dying")
    running.wait("mail-1", "started", times=2)
    running.settle(mail_1="steady")
    running.signal(signal.SIGHUP)
    until(lambda: running.log("reload"))
    until(lambda: is_alive(running.pids("mail-1")[-1]))


def test_children_of_a_killed_supervisor_end_by_themselves(start):
    running = start(sequencer="steady", mail_1="steady", mail_2="steady")
    names = ("sequencer", "mail-1", "mail-2")
    for name in names:
        running.wait(name, "started")
    running.signal(signal.SIGKILL)
    running.end()
    for name in names:
        running.wait(name, "orphaned")
        until(lambda name=name: not is_alive(running.pids(name)[0]), name)


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT])
def test_a_signal_meant_for_the_whole_group_ends_no_child_by_itself(start, number):
    running = start(mail_1="steady")
    running.wait("mail-1", "started")
    (pid,) = running.pids("mail-1")
    os.kill(pid, number)
    os.kill(pid, signal.SIGTERM)  # it was there to be told
    ((_, _, ended, _),) = running.wait("mail-1", "ended")
    assert int(ended) == pid


def test_settings_that_cannot_be_used_at_the_start_start_nothing(start):
    running = start(mail_1="no-such-main")
    assert running.end() == 1
    assert running.pids("mail-1") == []


# --- parts ------------------------------------------------------------------


def child_that_lived(seconds, pause_s):
    child = supervisor._Child("mail-1", lambda *_: 0, pid=1, pause_s=pause_s)
    child.started_at = time.monotonic() - seconds
    gateway = supervisor.Supervisor(list, lambda *_a, **_k: None)
    gateway._ended(child, 0)
    os.close(gateway._read_end)
    os.close(gateway._write_end)
    return child


def test_a_child_that_was_healthy_for_long_starts_over_with_a_short_pause():
    child = child_that_lived(61, 16)
    assert child.pause_s == 1.0
    assert child.due_at <= time.monotonic() + 0.5


def test_the_pause_has_a_bound():
    assert child_that_lived(0, 16).pause_s == 30.0
    assert child_that_lived(0, 30).pause_s == 30.0


@pytest.mark.parametrize("abstract", [False, True], ids=["path", "abstract"])
def test_systemd_is_told_when_it_is_ready_reloads_and_stops(start, tmp_path, abstract):
    name = f"ketenmail-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind("\0" + name if abstract else name)
        channel.settimeout(PATIENCE_S)
        environment = {"NOTIFY_SOCKET": "@" + name if abstract else name}
        running = start(environment, mail_1="steady")
        running.wait("mail-1", "started")
        assert channel.recv(100) == b"READY=1"
        running.signal(signal.SIGHUP)
        assert channel.recv(100).startswith(b"RELOADING=1")
        assert channel.recv(100) == b"READY=1"
        running.signal(signal.SIGTERM)
        assert channel.recv(100) == b"STOPPING=1"
        assert running.end() == 0


def test_a_notify_socket_that_is_not_there_is_no_fault(monkeypatch, tmp_path):
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    supervisor._notify("READY=1")


def test_without_a_notify_socket_nobody_is_told(monkeypatch):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    monkeypatch.setattr(socket, "socket", None)
    supervisor._notify("READY=1")
