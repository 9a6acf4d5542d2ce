"""Made-up dialogues against the intake, and that the harness sees what it looks for.

The long form is `make fuzz`; its figures stand in docs/assurance.md.
"""

import asyncio
import contextlib
import dataclasses

import pytest

from gateway.model.reply import Reply
from tests.fuzz.dialogue import Bench, Store, open_files, run_many, stays_open
from tests.fuzz.script import Script, write_script
from tests.fuzz.sound import flaws, without_stripped
from tests.fuzz.wire import Wire
from tests.fuzz.words import CLIENT
from tests.unit.intake.intake_desk import HEAD, OK, OPEN

SEED = 20261125
SHARES = [range(at, at + 500) for at in range(0, 3000, 500)]
GOOD = (
    b"EHLO x\r\nMAIL FROM:<jan@gem.nl>\r\nRCPT TO:<a@b.nl>\r\nDATA\r\n"
    + HEAD
    + b"..\r\n.\r\nNOOP\r\nQUIT\r\n"
)
LARGE = GOOD.replace(b"..\r\n", b"x\r\n" * 100)


@pytest.mark.parametrize("numbers", SHARES, ids=lambda share: f"from-{share[0]}")
def test_made_up_dialogues_find_no_fault(numbers):
    """A-01, A-11, A-22, A-27, A-29, A-31, A-40, A-41, A-45, INV-5, INV-6."""
    counts, findings = run_many(SEED, numbers)
    assert findings == []
    assert counts["dialogues"] == len(numbers)
    assert counts["commands"] > 5 * len(numbers)
    assert counts["compared"] > len(numbers) / 20  # not all of it is nonsense


def test_a_number_is_one_dialogue_for_ever():
    assert write_script(1, 7) == write_script(1, 7)
    assert len({repr(write_script(1, number)) for number in range(50)}) == 50


@pytest.mark.parametrize("turns", range(12))
def test_a_client_that_goes_while_its_file_is_opened_leaves_none(turns):
    """A-50: neither a file on the disk nor a descriptor."""
    steps = (("send", LARGE), ("turn", turns), ("reset", None))
    with contextlib.closing(Bench()) as bench:
        assert bench.run(script(limits={"memory_octets": 10})) is None
        files = open_files()
        going = dataclasses.replace(
            script(limits={"memory_octets": 10}), steps=(("quiet", None), *steps)
        )
        assert bench.run(going) is None
        assert bench.drafts_left() == []
        assert not stays_open(files)


# --- each thing that is looked for is seen ---------------------------------------------
def script(*octets, decision="accept", limits=None):
    steps = tuple(("send", each) for each in octets)
    return Script(
        0, OPEN, CLIENT, None, limits or {}, decision, None, 65536, steps, hurt=False
    )


def finding(store=Store, wire=Wire, **arguments):
    with contextlib.closing(Bench()) as bench:
        bench.store_class, bench.wire_class = store, wire
        found = bench.run(script(GOOD, **arguments))
        return "" if found is None else found.what


class Changing(Store):
    """Keeps other octets than it was given."""

    async def receive(self, message, peer):
        reply = await super().receive(message, peer)
        self.taken = [
            each.__class__(
                each.octets + b"\r\n", each.sender, each.recipients, each.body
            )
            for each in self.taken
        ]
        return reply


class Forgetful(Store):
    """Says 250 and keeps nothing."""

    async def receive(self, message, peer):
        return OK


class Leaking(Store):
    """Leaves a task behind."""

    async def receive(self, message, peer):
        self.task = asyncio.create_task(asyncio.Event().wait())
        return await super().receive(message, peer)


class Broken(Store):
    """Fails, and nobody put that in."""

    async def receive(self, message, peer):
        raise RuntimeError


class Late(Store):
    """Something fails later on, outside of every task."""

    async def receive(self, message, peer):
        asyncio.get_running_loop().call_soon(int, "x")
        return await super().receive(message, peer)


class Talkative(Store):
    """Logs an address."""

    async def receive(self, message, peer):
        self.write_log("message-accepted", reason=str(message.envelope.recipients[0]))
        return await super().receive(message, peer)


def saying(old, new):
    """A wire on which the server's words are changed."""

    class Changed(Wire):
        def from_server(self, octets):
            super().from_server(octets.replace(old, new))

    return Changed


@pytest.mark.parametrize(
    ("arguments", "seen"),
    [
        ({}, ""),
        ({"decision": "refuse"}, ""),
        ({"decision": "fault"}, ""),
        ({"decision": "full"}, ""),
        ({"store": Changing}, "octets differ"),
        ({"store": Forgetful}, "250 without a message"),
        ({"store": Leaking}, "tasks left"),
        ({"store": Broken}, "code=451"),
        ({"store": Late}, "an exception reached the loop"),
        ({"store": Talkative}, "a log event with an address"),
        ({"wire": saying(b"250 2.1.5", b"250 5.1.5")}, "no enhanced status"),
        ({"wire": saying(b"250 2.1.5 R", b"250 R")}, "no enhanced status"),
        ({"wire": saying(b"250 2.1.5", b"\xe9")}, "no line of a reply"),
        ({"wire": saying(b"Recipient OK", b"x" * 520)}, "no line of a reply"),
        ({"wire": saying(b"Recipient OK", b"a@b.nl")}, "echoes"),
        ({"wire": saying(b"250 2.1.5 Recipient OK\r\n", b"")}, "an ordinary recipient"),
        ({"wire": saying(b"221 2.0.0 Goodbye\r\n", b"")}, "no reply to b'QUIT"),
        ({"wire": saying(b"221 2.0.0 ", b"221 2.0.0 x\r\n421 4.4.2 ")}, "after the last word"),
        ({"wire": saying(b"250 2.0.0 OK", b"451 4.3.0 Local error")}, "was due"),
        ({"wire": saying(b"250 2.0.0 OK", b"500 5.5.2 What")}, "was due"),
        ({"limits": {"size_octets": 20}}, ""),
    ],
)  # fmt: skip
def test_the_harness_sees_what_it_looks_for(arguments, seen):
    what = finding(**arguments)
    assert seen in what
    assert bool(what) == bool(seen)


@pytest.mark.parametrize(
    "lines",
    [
        b"MAIL FROM:<jan@gem.nl>\r\n",  # not greeted
        b"EHLO x\r\nMAIL FROM:<jan@evil.example>\r\n",
        b"EHLO x\r\nMAIL FROM:<jan@gem.nl\r\n",
        b"EHLO x\r\nRCPT TO:<a@b.nl>\r\n",
        b"EHLO x\r\nMAIL FROM:<jan@gem.nl>\r\nRCPT TO:<a@b..nl>\r\n",
        b"EHLO x\r\nNOOP\n",
        b"EHLO x\r\nAUTH PLAIN AAA=\r\n",
    ],
)
def test_the_referee_knows_what_may_not_be_accepted(lines):
    with contextlib.closing(Bench()) as bench:
        assert bench.run(script(lines)) is None
        bench.wire_class = _yes_to_the_last(lines.count(b"\n"))
        assert bench.run(script(lines)) is not None


def _yes_to_the_last(count):
    class Yes(Wire):
        """Says 250 to this command, whatever the server says."""

        replies = -1  # the greeting is none

        def from_server(self, octets):
            self.replies += 1
            super().from_server(
                b"250 2.1.0 OK\r\n" if self.replies == count else octets
            )

    return Yes


# --- the plain words on what is sound -------------------------------------------------------
@pytest.mark.parametrize(
    ("content", "replies"),
    [
        (HEAD + b"x\r\n", set()),
        (HEAD + b"x", {(554, "5.5.2")}),
        (HEAD + b"\n\r\n", {(554, "5.5.2")}),
        (HEAD + b"\0\r\n", {(550, "5.6.0")}),
        (HEAD + b"x" * 31 + b"\r\n", {(554, "5.6.0")}),
        (HEAD + b"." + b"x" * 30 + b"\r\n", set()),
        (HEAD + b"x\r\n" * 30, {(552, "5.3.4")}),
        (b"Subject: x\r\n\r\n", {(550, "5.6.0")}),
        (b" " + HEAD, {(550, "5.6.0")}),
        (b"Received: x\r\n" * 3 + HEAD, set()),
    ],
)
def test_flaws_of_content(content, replies):
    assert flaws(content, 100, 30) == replies


def test_what_is_stripped():
    kept = b"A: bcc\r\n bcc: x\r\n"
    assert (
        without_stripped(
            b"BCC: x\r\n\ty\r\n" + kept + b"X-Ketenmail-A: 1\r\n\r\nbcc: z\r\n"
        )
        == kept + b"\r\nbcc: z\r\n"
    )


def test_a_reply_that_was_refused_is_not_taken_for_a_message():
    with contextlib.closing(Bench()) as bench:
        bench.store_class = _refusing(Reply(550, "5.7.1", ("no",)))
        assert bench.run(script(GOOD, decision="refuse")) is None
        assert bench.counts["messages"] == 0


def _refusing(reply):
    class Refusing(Store):
        async def receive(self, message, peer):
            return reply

    return Refusing
