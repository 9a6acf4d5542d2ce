"""R18: what becomes of a message by what the scanner said; store and policy are real."""

import dataclasses
import json

import pytest

from gateway import relay
from gateway.model.errors import TemporaryFailure
from gateway.model.scan import Clean, Infected, ScanFault, Unscanned
from gateway.services import ScannerDown
from tests.unit.root import relay_bed as bed


@dataclasses.dataclass
class Says:
    """A scanner that says this; `seen` is what it was given."""

    scan_result: object
    seen: list = dataclasses.field(default_factory=list)

    async def scan(self, octets):
        self.seen.append(octets)
        if isinstance(self.scan_result, Exception):
            raise self.scan_result
        return self.scan_result


class NeverRead:
    """An extractor that may not be asked."""

    async def extract(self, message):
        raise AssertionError("it was read")


@pytest.fixture
def house(tmp_path):
    made = bed.House(tmp_path)
    yield made
    made.close()


async def receive(house, said, down=ScannerDown.REFUSE, *to, **ports):
    scanner = None if said is None else Says(said)
    there = dataclasses.replace(house.over(scanner=scanner, **ports), scanner_down=down)
    message = bed.message(*to, text="Tot donderdag.")
    reply = await relay.receive(message, bed.PEER, there)
    if scanner is not None:
        assert scanner.seen == [message.octets]
    return reply


async def facts(house, event):
    """The opened facts of the last record of an event."""
    found = [record for record in await house.records() if record.event == event]
    openings = json.loads(found[-1].openings)
    return {path: opening["value"] for path, opening in openings.items()}


@pytest.mark.parametrize(
    ("said", "down", "word"),
    [
        (None, ScannerDown.REFUSE, "off"),
        (Clean(), ScannerDown.REFUSE, "clean"),
        (Unscanned(ScanFault.UNREACHABLE), ScannerDown.ACCEPT, "no"),
    ],
)
async def test_what_may_go_goes_and_evidence_says_how_it_was_scanned(
    house, said, down, word
):
    assert (await receive(house, said, down)).code == 250
    accepted = await facts(house, "accepted")
    assert (accepted["scanned"], accepted["malware"]) == (word, None)


@pytest.mark.parametrize(
    ("fault", "down"),
    [
        *((fault, ScannerDown.REFUSE) for fault in ScanFault),
        *(
            (fault, ScannerDown.ACCEPT)
            for fault in ScanFault
            if fault is not ScanFault.UNREACHABLE
        ),
    ],
)
async def test_what_was_not_scanned_is_put_off_and_nothing_of_it_is_written(
    house, fault, down
):
    """INV-10: our own fault is 451; a message cannot make itself too odd to be scanned."""
    reply = await receive(house, Unscanned(fault), down, extractor=NeverRead())
    assert (reply.code, reply.enhanced) == (451, "4.3.0")
    assert [line[:4] for line in reply.lines] == ["K902", "K902"]
    assert all(len(line) < 480 and line.isascii() for line in reply.lines)
    assert await house.records() == []
    assert await house.jobs() == []


async def test_infected_mail_is_read_by_nobody_and_refused_for_all(house):
    to = (bed.TO, "b@elders.example", "c@voorbeeldstad.example")
    found = Infected("Eicar-Signature")
    for down in ScannerDown:
        reply = await receive(house, found, down, *to, extractor=NeverRead())
        assert (reply.code, reply.enhanced) == (550, "5.7.1")
    refused = await facts(house, "refused")
    assert (refused["scanned"], refused["malware"]) == ("infected", found.name)
    assert [refused[f"recipients/{n}/code"] for n in (1, 2, 3)] == ["K603"] * 3
    assert refused["level"] == "unreadable"
    assert await house.jobs() == []
    assert await house.notices() == []


async def test_octets_that_cannot_be_read_are_a_fault_of_ours(house):
    with pytest.raises(TemporaryFailure):
        await receive(house, TemporaryFailure("the disk is away"))
    assert await house.records() == []
