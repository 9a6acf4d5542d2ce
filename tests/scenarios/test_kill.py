"""kill -9 of every process at random instants during a flow of mail (INV-1, INV-4).

The sender behaves as a mail server does: without a 250 it sends the same message
again. Afterwards evidence, queue and the partner's mailboxes are compared: nothing that
got a 250 is lost, each 250 has its evidence, and the partner has a second copy only
where the gateway said that an outcome was unknown.
"""

import asyncio
import collections
import contextlib
import dataclasses
import json
import os
import random
import re
import signal
import smtplib
import ssl
import sys
import threading
import time

import pytest

from gateway import app
from gateway.model.job import JobState
from gateway.store.evidence import SqlEvidence
from gateway.store.queue import SqlQueue
from tests import certs
from tests.peers import gateway, loopback, postfix

pytestmark = [pytest.mark.peers, pytest.mark.xdist_group("kill")]

SENDERS = 4
BODY = "Crisismaatregel (Wvggz) voor betrokkene, geboren 03-04-1981, BSN 999994669."
PARTNERS = """
municipality = "gemeente"
[[partner]]
id = "ggz"
name = "GGZ"
roles = ["geneesheer_directeur"]
domains = ["ggz.test"]
state = "verified"
verified_on = 2026-11-01
[partner.route]
method = "fixed"
host = "{host}"
port = 25
pins = ["{pin}"]
"""


@dataclasses.dataclass
class Flow:
    """Sends numbered messages; knows for each which reference a 250 gave."""

    address: str
    count: int
    references: dict[int, str] = dataclasses.field(default_factory=dict)
    silent: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    _next: int = 0
    _lock: threading.Lock = dataclasses.field(default_factory=threading.Lock)

    def run(self) -> None:
        while (number := self._take()) is not None:
            while number not in self.references:
                self._try(number)

    def _take(self) -> int | None:
        with self._lock:
            if self._next >= self.count:
                return None
            self._next += 1
            return self._next

    def _try(self, number: int) -> None:
        """One attempt; a lost connection after the dot is counted as silent."""
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        asked = False
        try:
            with smtplib.SMTP(self.address, gateway.PORT, timeout=20) as client:
                client.starttls(context=context)
                client.ehlo()
                client.mail("a@gemeente.test")
                if client.rcpt("crisis@ggz.test")[0] != 250:
                    return
                asked = True
                code, text = client.data(octets(number))
                if code == 250:
                    self.references[number] = text.decode().split()[-1]
                asked = False
        except (OSError, smtplib.SMTPException):
            time.sleep(0.05)
        finally:
            if asked and number not in self.references:
                self.silent[number] += 1


def octets(number: int) -> bytes:
    return (
        "From: a@gemeente.test\r\nTo: crisis@ggz.test\r\n"
        f"Subject: zaak\r\nMessage-ID: <n{number}@gemeente.test>\r\n"
        f"Date: Wed, 25 Nov 2026 10:00:00 +0100\r\n\r\n{BODY}\r\n"
    ).encode()


def kill_everything(running: gateway.Gateway) -> None:
    os.killpg(running.process.pid, signal.SIGKILL)
    running.process.stop()


def start_again(running: gateway.Gateway) -> None:
    running.starts += 1
    log = running.place / f"serve-{running.starts:04}.log"
    running.process = gateway.daemon.Daemon(running.command("serve"), log)


def all_events(config_path: str) -> dict[str, list[tuple[str, dict]]]:
    """Events with their opened values, by our message id, in order of commitment."""
    found: dict[str, list[tuple[str, dict]]] = collections.defaultdict(list)
    with app.opened(config_path) as installation:
        evidence = SqlEvidence(installation.store, "test")
        origin = app.log_origin(installation.config, gateway.MUNICIPALITY)

        async def read() -> None:
            size = await evidence.size(origin)
            leaves = [json.loads(x) for x in await evidence.leaves(origin, 0, size)]
            openings = await evidence.openings([leaf["id"] for leaf in leaves])
            for leaf in leaves:
                opened = json.loads(openings[leaf["id"]])
                values = {name: o["value"] for name, o in opened.items()}
                if leaf["message"] is not None:
                    found[leaf["message"]].append((leaf["event"], values))

        asyncio.run(read())
    return found


def unfinished(config_path: str) -> int:
    with app.opened(config_path) as installation:
        counts = asyncio.run(SqlQueue(installation.store).counts())
    return sum(n for state, n in counts.items() if state is not JobState.DONE)


def storm(ca, messages: int, kills: int, seed: int) -> dict[str, int]:
    chance = random.Random(seed)
    leaf = certs.issue(ca, ["mx.ggz.test"])
    own = loopback.claim()
    with contextlib.ExitStack() as stack:
        sink = stack.enter_context(
            postfix.sink("ggz.test", credential=leaf, transcript=False)
        )
        running = stack.enter_context(
            gateway.run(ca, own, leaf.pin.spki_sha256, serve=False)
        )
        running.apply(PARTNERS.format(host=sink.address, pin=leaf.pin.spki_sha256))
        running.start()
        flow = Flow(running.address, messages)
        threads = [threading.Thread(target=flow.run) for _ in range(SENDERS)]
        for thread in threads:
            thread.start()
        killed = 0
        # The flow is spread over the kills: whoever is early waits for the next start.
        while killed < kills:
            time.sleep(chance.uniform(0.05, 2.5))
            kill_everything(running)
            start_again(running)
            killed += 1
            if not any(thread.is_alive() for thread in threads):
                flow.count += messages // 4  # the storm outlasts the flow: more mail
                threads = [threading.Thread(target=flow.run) for _ in range(SENDERS)]
                for thread in threads:
                    thread.start()
        loopback.wait_until_open(running.address, gateway.PORT, 60)
        for thread in threads:
            thread.join(300)
            assert not thread.is_alive()
        config = str(running.config)
        until = time.monotonic() + 200  # leases of the dead run out after a minute
        while unfinished(config) and time.monotonic() < until:
            time.sleep(1)
        assert unfinished(config) == 0
        running.stop()  # the sequencer integrates what is left
        return check(flow, all_events(config), sink)


def check(flow: Flow, events, sink: postfix.Postfix) -> dict[str, int]:
    """The invariants; answers the figures."""
    copies = collections.Counter(
        int(re.search(rb"Message-ID: <n(\d+)@", d.octets)[1]) for d in sink.deliveries()
    )
    by_number: dict[int, list[str]] = collections.defaultdict(list)
    unknown: collections.Counter = collections.Counter()
    for message, of in events.items():
        names = [name for name, _ in of]
        accepted = [values for name, values in of if name == "accepted"]
        assert len(accepted) == 1, names
        number = int(accepted[0]["message_id"].split("@")[0].lstrip("<n"))
        by_number[number].append(message)
        assert names.count("delivered") == 1, names
        unknown[number] += names.count("delivery-unknown")
        assert names.count("intent") >= 1 + names.count("delivery-unknown"), names
    lost = [n for n in range(1, flow.count + 1) if copies[n] == 0]
    assert lost == []
    assert set(flow.references.values()) <= set(events)  # each 250 has its evidence
    for number in range(1, flow.count + 1):
        stored = by_number[number]
        # Stored twice only where the sender saw no reply and had to send again.
        assert 1 <= len(stored) <= 1 + flow.silent[number]
        assert len(stored) <= copies[number] <= len(stored) + unknown[number]
    return {
        "messages": flow.count,
        "stored": len(events),
        "copies": sum(copies.values()),
        "unknown": sum(unknown.values()),
        "silent": sum(flow.silent.values()),
    }


def test_kill_9_loses_nothing_and_doubles_only_what_is_unknown(ca):
    figures = storm(ca, messages=200, kills=12, seed=20261125)
    assert figures["messages"] >= 200


@pytest.mark.long
def test_kill_9_at_200_instants_during_2000_messages(ca):
    figures = storm(ca, messages=2000, kills=200, seed=7516)
    sys.stdout.write(f"{json.dumps(figures)}\n")
    assert figures["messages"] >= 2000
