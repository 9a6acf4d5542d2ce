"""A-20, A-50, G-15: a running gateway that is full says 452, and recovers by itself."""

import contextlib
import dataclasses
import json
import os
import pathlib
import re
import shutil
import smtplib
import ssl
import subprocess

import pytest

from tests import certs
from tests.peers import daemon, gateway, presence, swaks

pytestmark = [pytest.mark.peers, pytest.mark.xdist_group("pressure")]

SENDER, TO = "j.devries@gemeente.test", "info@elders.test"
OCTETS = (
    f"From: {SENDER}\r\nTo: {TO}\r\nSubject: Agenda\r\n"
    "Date: Wed, 25 Nov 2026 10:00:00 +0100\r\n\r\nTot donderdag.\r\n"
).encode()
PUT_OFF = "452 4.3.1 Insufficient storage, try again later"
MIB = 2**20


@dataclasses.dataclass
class House:
    """A gateway whose room can be taken and given back."""

    running: gateway.Gateway

    @property
    def state(self) -> pathlib.Path:
        return self.running.place / "state"

    def send(self) -> str:
        """The last reply: to MAIL or to the final dot."""
        where = (self.running.address, gateway.PORT)
        run = swaks.send(where, SENDER, (TO,), "--tls", octets=OCTETS)
        return next(line for line in reversed(run.replies) if line[:3] != "221")

    def accepted(self) -> str:
        """Our reference; the message must be accepted."""
        return re.fullmatch(r"250 .*reference ([0-9a-z]{26})", self.send())[1]

    def pressure(self) -> list[tuple[str, str]]:
        """What the log says of it, in order."""
        lines = map(json.loads, filter(None, self.running.log.splitlines()))
        return [
            (line["reason"], line["status"])
            for line in lines
            if line.get("event") == "intake-pressure"
        ]

    def wait(self, reason: str, status: str, count: int = 2) -> None:
        """Until all workers say so: the kernel chooses who takes the next client."""

        def said() -> bool:
            return self.pressure().count((reason, status)) >= count

        assert daemon.until(said, 60), self.running.log[-2000:]

    def waits(self, reference: str, event: str) -> dict:
        found: list[dict] = []

        def seen() -> bool:
            records = self.running.trace(reference)["records"]
            found[:] = [r for r in records if r["event"] == event]
            return bool(found)

        assert daemon.until(seen, 60), self.running.log[-2000:]
        return found[-1]["facts"]


@contextlib.contextmanager
def own_disk(place: pathlib.Path, size: str):
    """What is in a folder, on a file system of its own of this size."""
    aside = place.with_name("aside")
    place.rename(aside)
    place.mkdir(mode=0o700)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "none", place]
    subprocess.run(mount, check=True)
    try:
        shutil.copytree(aside, place, dirs_exist_ok=True)
        yield
    finally:
        subprocess.run(["umount", place], check=True)


def make(ca, start, limits: str, **more) -> House:
    presence.need("swaks")
    pin = certs.issue(ca, ["mail.gemeente.test"]).pin.spki_sha256
    made = start(gateway.run(ca, "127.0.0.1", pin, serve=False, **more))
    text = made.config.read_text("utf-8")
    made.config.write_text(f"{text}[limits]\n{limits}\n", "utf-8")
    return House(made)


@pytest.fixture
def small(ca, start):
    """A gateway with a disk of 320 MiB that asks 150 MiB; notices of delay after 3 s."""
    if os.geteuid() != 0:
        pytest.fail("run as root: a file system is mounted")
    limits = f"disk_free_octets = {150 * MIB}"
    house = make(ca, start, limits, warn_after_s=3)
    with own_disk(house.state, "320m"):
        house.running.start()
        yield house
        house.running.stop()


def fill(house: House, left: int) -> pathlib.Path:
    """Take room until `left` octets are free; 0: until a write fails."""
    ballast = house.state / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while not left or shutil.disk_usage(house.state).free > left:
            file.write(bytes(MIB // 4 if left else 4096))
    return ballast


def test_a_disk_past_its_mark_puts_mail_off_and_notices_go_on(small):
    """G-15: 452 at MAIL; attempts, evidence and the notice of delay are still written."""
    reference = small.accepted()
    ballast = fill(small, 110 * MIB)
    small.wait("disk", "on")
    assert small.send() == PUT_OFF
    told = small.waits(reference, "notice-sent")
    assert told["kind"] == "delayed"
    assert small.send() == PUT_OFF  # it was written while mail was put off
    assert '"event": "intake-put-off"' in small.running.log
    ballast.unlink()
    small.wait("disk", "off")
    small.accepted()
    assert "worker-died" not in small.running.log


def test_a_disk_without_an_octet_left_is_recovered_from_without_a_restart(small):
    """G-15: never half-written; whoever was told 250 has evidence of it."""
    references = [small.accepted()]
    ballast = fill(small, 0)
    assert shutil.disk_usage(small.state).free < MIB
    assert small.send() == PUT_OFF  # before the next look, the store itself says so
    small.wait("disk", "on")
    assert small.send() == PUT_OFF
    ballast.unlink()
    small.wait("disk", "off")
    references.append(small.accepted())
    for reference in references:
        assert small.waits(reference, "accepted")
        assert small.waits(reference, "deferred")
    ended = [line for line in small.running.log.splitlines() if "worker-died" in line]
    assert not [line for line in ended if "mail-" in line]


def test_a_mark_that_is_passed_while_content_comes_is_told_at_the_dot(small):
    """A-20: 452 after the final dot; nothing of it is kept, and the session goes on."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with smtplib.SMTP(small.running.address, gateway.PORT, timeout=60) as session:
        session.starttls(context=context)
        session.ehlo("mail.gemeente.test")
        assert session.mail(SENDER)[0] == 250
        assert session.rcpt(TO)[0] == 250
        assert session.docmd("DATA")[0] == 354
        ballast = fill(small, 110 * MIB)
        small.wait("disk", "on")
        session.send(OCTETS + b".\r\n")
        code, text = session.getreply()
        assert f"{code} {text.decode()}" == PUT_OFF
        assert session.mail(SENDER)[0] == 452
        ballast.unlink()
        small.wait("disk", "off")
        assert session.sendmail(SENDER, [TO], OCTETS) == {}
    assert len(small.running.ask("queue", "list", "--json").json) == 1


def test_so_many_open_jobs_put_mail_off_until_they_are_done(ca, start):
    """A-50; `open_jobs` 1: the next is welcome when the first has come to its end."""
    house = make(ca, start, "open_jobs = 1", expire_after_s=6)
    house.running.start()
    reference = house.accepted()
    house.wait("jobs", "on")
    assert house.send() == PUT_OFF
    house.waits(reference, "expired")  # then its notice is an open job, too
    house.wait("jobs", "off")
    house.accepted()


def test_a_gateway_that_starts_without_room_takes_nothing_in(ca, start):
    """The first look is before the first client."""
    house = make(ca, start, f"disk_free_octets = {2**60}")
    house.running.start()
    assert house.send() == PUT_OFF
    assert set(house.pressure()) == {("disk", "on")}


def test_a_mark_within_the_reserve_is_refused_at_the_start(ca, start):
    house = make(ca, start, f"disk_free_octets = {64 * MIB}")
    answer = house.running.ask("config", "check", "--json")
    assert answer.status == 2
    assert "limits.disk_free_octets" in answer.out + answer.err
