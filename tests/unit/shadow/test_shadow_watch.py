"""R3: a copy is decided as in earnest; nothing of it leaves, nothing but numbers stays."""

import dataclasses
import sqlite3

import pytest

from gateway.demo import _WVGGZ as WVGGZ
from gateway.model.errors import TemporaryFailure
from gateway.model.ids import MessageId
from gateway.model.message import Message
from gateway.model.tally import Counted, CountKind, Seen
from gateway.shadow import watch
from gateway.store.shadow import SqlShadow
from tests.unit.root import relay_bed
from tests.unit.shadow.shadow_bed import COPY, envelope, journal, mail

SUSPECT = "Is de crisismaatregel van die meneer al verlopen?"
ORDINARY = "De vergadering begint om tien uur."
SHADOW = dataclasses.replace(relay_bed.PEER, shadow=True)
STRANGER = "info@onbekend.example"


@pytest.fixture
def house(tmp_path):
    house = relay_bed.House(tmp_path)
    yield house
    house.close()


class Kept:
    """Takes the counts as the store would."""

    def __init__(self):
        self.added = []

    async def add(self, municipality, day, tally):
        self.added.append((municipality, day, dict(tally)))


async def handed(house, octets, of=None, tallies=None, peer=SHADOW):
    kept = tallies or Kept()
    message = Message(MessageId("m-1"), of or envelope(), octets, house.now)
    reply = await watch.receive(message, peer, house.relay, kept)
    assert reply.code == 250
    assert "not sent" in reply.lines[0]
    if tallies is None:
        ((_, day, tally),) = kept.added
        assert day == house.now.date()
        return tally
    return None


def message(seen):
    return Counted(CountKind.MESSAGE, seen)


def rows(tally):
    return {
        (counted.name, counted.seen): count
        for counted, count in tally.items()
        if counted.kind is CountKind.ROW
    }


def causes(tally):
    return {counted.name for counted in tally if counted.kind is CountKind.CAUSE}


@pytest.mark.parametrize(
    ("body", "to", "seen", "row"),
    [
        (ORDINARY, STRANGER, Seen.RELAY, "2"),
        (WVGGZ, "crisis@ggz.example", Seen.RELAY, "12"),
        (WVGGZ, STRANGER, Seen.REFUSE, "4 K301"),
        (SUSPECT, STRANGER, Seen.HOLD, "5a K302"),
    ],
)
async def test_a_copy_is_counted_as_it_would_be_decided(house, body, to, seen, row):
    await house.register(relay_bed.partner())
    tally = await handed(house, mail(body, f"To: {to}"))
    assert tally[message(seen)] == 1
    assert rows(tally) == {(row, seen): 1}
    domain = to.partition("@")[2]
    assert tally[Counted(CountKind.DOMAIN, seen, domain)] == 1


async def test_what_caused_a_refusal_is_named_by_rule_and_no_rule_of_what_passes(house):
    stopped = await handed(house, mail(WVGGZ, f"To: {STRANGER}"))
    assert causes(stopped)
    assert all(name.startswith("wvggz/") for name in causes(stopped))
    passed = await handed(house, mail(WVGGZ, "To: iemand@voorbeeldstad.example"))
    assert causes(passed) == set()


async def test_the_worst_of_the_recipients_is_that_of_the_message(house):
    await house.register(relay_bed.partner())
    tally = await handed(house, mail(WVGGZ, f"To: crisis@ggz.example, {STRANGER}"))
    assert tally[message(Seen.REFUSE)] == 1
    assert rows(tally) == {("12", Seen.RELAY): 1, ("4 K301", Seen.REFUSE): 1}


async def test_a_rule_counts_once_for_a_message_with_many_recipients(house):
    many = ", ".join(f"p{n}@onbekend.example" for n in range(5))
    tally = await handed(house, mail(WVGGZ, f"To: {many}"))
    assert rows(tally) == {("4 K301", Seen.REFUSE): 5}
    counts = {c.name: n for c, n in tally.items() if c.kind is CountKind.CAUSE}
    assert set(counts.values()) == {1}


async def test_a_part_that_cannot_be_read_is_a_cause_by_its_reason(house):
    attachment = mail("x", "To: iemand@gmail.com").replace(
        b"text/plain; charset=utf-8", b"application/zip"
    )
    tally = await handed(house, attachment)
    assert causes(tally) == {"unreadable/unknown-format"}


async def test_a_foreign_from_is_counted_as_the_decision_says(house):
    octets = mail(ORDINARY, f"To: {STRANGER}", sender="burger@buiten.example")
    tally = await handed(house, octets, envelope(sender="burger@buiten.example"))
    assert rows(tally) == {("1a K201", Seen.REFUSE): 1}
    assert causes(tally) == {"1a K201"}
    forwarder = dataclasses.replace(SHADOW, forwards=True)
    of = envelope(sender="burger@buiten.example")
    tally = await handed(house, octets, of, peer=forwarder)
    assert rows(tally) == {("2", Seen.RELAY): 1}


async def test_mail_that_comes_in_is_told_apart(house):
    octets = mail(WVGGZ, "To: j@voorbeeldstad.example", sender="burger@buiten.example")
    tally = await handed(house, octets, envelope(sender="burger@buiten.example"))
    assert tally == {message(Seen.INCOMING): 1}


async def test_a_copy_without_a_recipient_to_be_found_is_counted_as_such(house):
    tally = await handed(house, mail(WVGGZ, "To: undisclosed-recipients:;"))
    assert tally == {message(Seen.NOBODY): 1}


async def test_a_journal_report_is_decided_by_what_it_holds(house):
    octets = journal(mail(WVGGZ, "To: team@voorbeeldstad.example"), f"Bcc: {STRANGER}")
    bounces = envelope(sender=None)
    tally = await handed(house, octets, bounces)
    assert rows(tally) == {("4 K301", Seen.REFUSE): 1}


async def test_an_unread_mailbox_or_null_sender_gets_no_notice_of_a_copy(house):
    await handed(house, mail(WVGGZ, f"To: {STRANGER}"), envelope(sender=None))
    assert await house.notices() == []


@pytest.mark.parametrize(
    "recipients",
    [
        (STRANGER,),
        (str(COPY), STRANGER),
        (STRANGER, str(COPY)),
        ("shadow@gmail.com",),  # a mailbox like any other, of somebody else
        ("shadow@onbekend.example", str(COPY)),
    ],
)
async def test_mail_for_people_is_no_copy_and_is_not_taken(house, recipients):
    """INV-1: a 250 would lose what a server sends in earnest by mistake."""
    kept = Kept()
    octets = mail(ORDINARY, f"To: {STRANGER}")
    message = Message(MessageId("m-1"), envelope(*recipients), octets, house.now)
    reply = await watch.receive(message, SHADOW, house.relay, kept)
    assert (reply.code, reply.enhanced) == (451, "4.3.5")
    assert kept.added == []


async def test_a_copy_may_go_to_shadow_at_a_domain_of_the_client(house):
    octets = mail(ORDINARY, f"To: {STRANGER}")
    tally = await handed(house, octets, envelope("Shadow@voorbeeldstad.example"))
    assert tally[message(Seen.RELAY)] == 1


async def test_nothing_is_stored_but_the_counts(house, tmp_path):
    """Neither job nor evidence nor content, and no address in any file of the store."""
    names = ["geheim.adres@onbekend.example", "nog.een@ggz.example"]
    octets = mail(f"{WVGGZ} KANARIE-7f3a", f"To: {', '.join(names)}")
    tallies = SqlShadow(house.store)
    await handed(house, octets, tallies=tallies)
    counted = await tallies.since(relay_bed.PEER.municipality, house.now.date())
    assert {c.name for _, c, _ in counted} >= {"onbekend.example", "ggz.example"}
    assert await house.jobs() == []
    assert await house.records() == []
    assert house.far.dialled == []
    with sqlite3.connect(tmp_path / "ketenmail.db") as database:
        dump = "\n".join(database.iterdump())
    for secret in ("geheim.adres", "nog.een", "KANARIE", "ambtenaar", "Zaak Z-2026"):
        assert secret not in dump
    files = [each for each in tmp_path.rglob("*") if each.is_file()]
    assert not any(b"KANARIE" in each.read_bytes() for each in files)


async def test_counts_that_cannot_be_written_are_a_fault_of_ours(house):
    """451: the client keeps the copy, and the figures stay right."""
    tallies = SqlShadow(house._bed.open(house.fault))
    house.fault.arm("begin", OSError(5, "EIO"))
    with pytest.raises(TemporaryFailure):
        await handed(house, mail(ORDINARY, f"To: {STRANGER}"), tallies=tallies)
    day = house.now.date()
    assert not await tallies.since(relay_bed.PEER.municipality, day)


async def test_a_file_is_judged_as_mail_of_the_own_server(house):
    judgement = await watch.judge_filed(
        mail(WVGGZ, f"To: {STRANGER}"), relay_bed.PEER.municipality, house.relay
    )
    assert judgement.seen is Seen.REFUSE
    assert watch.rules_of(judgement)
    assert [watch.row_of(verdict) for verdict in judgement.verdicts] == ["4 K301"]
