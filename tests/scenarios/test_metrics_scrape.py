"""H-21: a running gateway is scraped, mail goes through it, and it is scraped again."""

import json
import os
import pathlib
import re
import signal
import socket
import urllib.error
import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests import certs
from tests.peers import daemon, gateway, loopback, presence, swaks

pytestmark = [pytest.mark.peers, pytest.mark.xdist_group("metrics")]

SENDER, TO = "j.devries@gemeente.test", "kanarie@geheim.test"
OCTETS = (
    f"From: {SENDER}\r\nTo: {TO}\r\nSubject: Agenda\r\n"
    "Date: Wed, 25 Nov 2026 10:00:00 +0100\r\n\r\nTot donderdag.\r\n"
).encode()
ACCEPTED = ("ketenmail_events_total", "message-accepted", "")


class Watched:
    """A gateway, and what it shows."""

    def __init__(self, running: gateway.Gateway, port: int) -> None:
        self.running = running
        self.port = port

    def fetch(self, path: str) -> tuple[int, bytes]:
        try:
            url = f"http://127.0.0.1:{self.port}{path}"
            with urllib.request.urlopen(url, timeout=20) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def scrape(self) -> dict:
        status, body = self.fetch("/metrics")
        assert status == 200
        return {
            (sample.name, *sample.labels.values()): sample.value
            for family in text_string_to_metric_families(body.decode())
            for sample in family.samples
        }

    def send(self, sender: str = SENDER) -> str:
        where = (self.running.address, gateway.PORT)
        run = swaks.send(where, sender, (TO,), "--tls", octets=OCTETS)
        # Empty when the connection was that of a worker that is being replaced.
        said = (line for line in reversed(run.replies) if line[:3] != "221")
        return next(said, "")

    def workers(self) -> list[int]:
        """The process ids of the mail workers, by the log."""
        lines = map(json.loads, filter(None, self.running.log.splitlines()))
        names = {
            line["worker"]
            for line in lines
            if line.get("event") == "worker-started" and "mail" in line["worker"]
        }
        assert len(names) == 2
        group = daemon.members(self.running.process.pid)
        return [pid for pid in group if self.listens(pid)]

    def listens(self, pid: int) -> bool:
        """Whether a process has the intake's socket open."""
        table = pathlib.Path("/proc/net/tcp").read_text("ascii").splitlines()
        sockets = [line.split() for line in table[1:]]
        port, listening = f":{gateway.PORT:04X}", "0A"
        inodes = {
            fields[9]
            for fields in sockets
            if fields[1].endswith(port) and fields[3] == listening
        }
        for entry in pathlib.Path(f"/proc/{pid}/fd").iterdir():
            found = re.fullmatch(r"socket:\[(\d+)\]", str(entry.readlink()))
            if found and found[1] in inodes:
                return True
        return False


@pytest.fixture(scope="module")
def watched(ca, start_once):
    presence.need("swaks")
    pin = certs.issue(ca, ["mail.gemeente.test"]).pin.spki_sha256
    made = start_once(gateway.run(ca, "127.0.0.1", pin, serve=False))
    port = loopback.free_port()
    text = made.config.read_text("utf-8")
    made.config.write_text(f"{text}[metrics]\nport = {port}\n", "utf-8")
    made.start()
    watched = Watched(made, port)
    assert daemon.until(lambda: watched.fetch("/health")[0] == 200, 30)
    return watched


def test_what_happens_shows_in_the_next_scrape(watched):
    before = watched.scrape()
    for _ in range(4):  # over both workers, as the kernel likes
        assert watched.send().startswith("250")
    assert watched.send("vreemd@elders.test").startswith("550")
    after = watched.scrape()
    assert after[ACCEPTED] == before[ACCEPTED] + 4
    name = "ketenmail_receive_seconds_count"
    assert after[name,] == before[name,] + 4
    refused = ("ketenmail_events_total", "intake-sender-refused", "")
    assert after[refused] == before[refused] + 1
    jobs = {k[1]: v for k, v in after.items() if k[0] == "ketenmail_jobs"}
    assert sum(jobs.values()) == 4
    assert after["ketenmail_disk_free_octets",] > 0
    assert after["ketenmail_workers",] == 2
    assert {v for k, v in after.items() if k[0] == "ketenmail_pressure"} == {0}

    def signed() -> bool:
        return watched.scrape()["ketenmail_evidence_behind_records",] == 0

    assert daemon.until(signed, 30)


def test_no_figure_names_who_or_where(watched):
    """The review of H-21, on what a running gateway really says."""
    watched.send()
    watched.send("vreemd@elders.test")
    for path in ("/metrics", "/health"):
        _, body = watched.fetch(path)
        text = body.decode()
        for canary in ("kanarie", "geheim", "gemeente", "elders", "postfix", "127.0"):
            assert canary not in text
        assert "@" not in text
        assert not re.search(r"\d+\.\d+\.\d+\.\d+|\.test|\.nl", text)


def test_health_says_what_lives(watched):
    status, body = watched.fetch("/health")
    assert status == 200
    assert json.loads(body) == {
        "status": "ok",
        "workers": 2,
        "store": True,
        "pressure": [],
    }
    assert watched.fetch("/")[0] == 404


def test_a_worker_that_dies_takes_no_count_along(watched):
    watched.send()
    before = watched.scrape()
    pids = watched.workers()
    assert len(pids) == 2
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    died = ("ketenmail_events_total", "worker-died", "other")
    assert daemon.until(lambda: watched.scrape().get(died, 0) >= 2, 30)
    loopback.wait_until_open(watched.running.address, gateway.PORT, 60)
    assert watched.scrape()[ACCEPTED] == before[ACCEPTED]
    assert watched.send().startswith("250")
    assert watched.scrape()[ACCEPTED] == before[ACCEPTED] + 1


def test_a_reload_keeps_the_counts_and_opens_the_door_anew(watched):
    before = watched.scrape()
    os.kill(watched.running.process.pid, signal.SIGHUP)
    done = ("ketenmail_events_total", "reload", "done")

    def reloaded() -> bool:
        try:
            return watched.scrape().get(done, 0) == 1
        except OSError:  # the old sequencer is gone, the new one not there yet
            return False

    assert daemon.until(reloaded, 60)
    assert watched.scrape()[ACCEPTED] == before[ACCEPTED]
    assert daemon.until(lambda: watched.send().startswith("250"), 30)
    assert watched.scrape()[ACCEPTED] == before[ACCEPTED] + 1


def test_a_port_that_is_taken_stops_nothing_but_the_figures(ca, start):
    """Evidence and mail never wait for metrics."""
    presence.need("swaks")
    pin = certs.issue(ca, ["mail.gemeente.test"]).pin.spki_sha256
    made = start(gateway.run(ca, "127.0.0.1", pin, serve=False))
    text = made.config.read_text("utf-8")
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        made.config.write_text(f"{text}[metrics]\nport = {port}\n", "utf-8")
        made.start()
        assert Watched(made, 0).send().startswith("250")
        assert daemon.until(lambda: "metrics-unavailable" in made.log, 30)
    assert "worker-died" not in made.log
