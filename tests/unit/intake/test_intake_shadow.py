"""R3: a copy whose content is at fault is not returned to whoever wrote the mail.

The client that hands over copies is not the author: on 5xx its server would write to the
author, who knows of no copy. Nothing of such a copy is kept.
"""

import dataclasses

import pytest

from gateway.intake.clients import Known
from gateway.model.peer import Identification
from gateway.parties import ClientMode
from tests.unit.intake.intake_desk import (
    HEAD,
    OPEN,
    Talker,
    first_of,
    running,
    settings,
)

COPY = "shadow@poort.voorbeeld.nl"
SHADOW = """
[[client]]
id = "copies"
municipality = "zwolle"
networks = ["127.0.0.1/32"]
mode = "shadow"
[[client]]
id = "mta"
municipality = "zwolle"
networks = ["127.0.0.2/32"]
"""
SIZE = 100_000
SPOILED = {
    "bare-newline": b"hallo\nwereld\r\n.\r\n",
    "nul": b"a\0b\r\n.\r\n",
    "long-line": b"x" * 1200 + b"\r\n.\r\n",
    "too-big": (b"y" * 70 + b"\r\n") * 2000 + b".\r\n",
}
COUNTED = "Counted, not sent: this client is in shadow mode"


@pytest.fixture
async def desk(tmp_path):
    async with running(tmp_path, None, settings(SHADOW, size_octets=SIZE)) as desk:
        yield desk


def refused(desk):
    """Client and fault of each content that was refused, as the log has it."""
    return [
        (fields["client"], fields["fault"])
        for event, fields in desk.log
        if event == "intake-content-refused"
    ]


async def handed(desk, octets, *recipients, source="127.0.0.1"):
    talker = await Talker.connect(desk.port(OPEN), source=source)
    await talker.begin(*recipients or (COPY,), sender="klant@gem.nl")
    reply = await talker.data(octets)
    assert (await talker.do("NOOP")).startswith("250")  # the session goes on
    await talker.close()
    return reply


@pytest.mark.parametrize("fault", SPOILED)
async def test_r3_a_copy_that_would_be_refused_for_its_form_is_counted_not_returned(
    desk, fault
):
    octets = HEAD + SPOILED[fault]
    reply = await handed(desk, octets)
    assert reply == f"250 2.0.0 {COUNTED}; refused for its form"
    assert refused(desk) == [("copies", fault)]
    assert desk.messages == []
    assert desk.drafted() == []
    assert (await handed(desk, HEAD + b"x\r\n.\r\n")).startswith("250")
    assert len(desk.messages) == 1


@pytest.mark.parametrize("fault", SPOILED)
async def test_r3_the_same_content_of_another_client_is_refused(desk, fault):
    reply = await handed(desk, HEAD + SPOILED[fault], COPY, source="127.0.0.2")
    assert reply.startswith("5")
    assert refused(desk) == [("mta", fault)]


@pytest.mark.parametrize(
    "recipients",
    [("a@b.nl",), (COPY, "a@b.nl"), ("a@b.nl", COPY), ("shadow@gmail.com",)],
)
async def test_inv1_mail_for_people_is_never_taken_for_a_spoiled_copy(desk, recipients):
    """A 250 would lose it; it stays in the server's queue, as it does when it is sound."""
    reply = await handed(desk, HEAD + SPOILED["bare-newline"], *recipients)
    assert first_of(reply) == "451 4.3.5"
    assert desk.messages == []


async def test_r3_what_one_transaction_was_for_says_nothing_of_the_next(desk):
    talker = await Talker.connect(desk.port(OPEN))
    await talker.begin("a@b.nl", COPY)
    await talker.do("RSET")
    await talker.begin(COPY)
    reply = await talker.data(HEAD + SPOILED["nul"])
    assert first_of(reply) == "250 2.0.0"
    await talker.begin("shadow@gem.nl")  # a domain of the client itself
    reply = await talker.data(HEAD + SPOILED["nul"])
    assert first_of(reply) == "250 2.0.0"
    await talker.close()


async def test_r3_no_server_is_told_of_a_size_above_which_it_would_return_a_copy(desk):
    """RFC 1870 section 4: SIZE 0 is no limit."""
    talker = await Talker.connect(desk.port(OPEN))
    assert "SIZE 0" in (await talker.greet()).replace("250-", "").split("\n")
    reply = await talker.do(f"MAIL FROM:<klant@gem.nl> SIZE={SIZE + 1}")
    assert first_of(reply) == "250 2.1.0"
    await talker.close()
    talker = await Talker.connect(desk.port(OPEN), source="127.0.0.2")
    assert f"SIZE {SIZE}" in (await talker.greet()).replace("250-", "").split("\n")
    reply = await talker.do(f"MAIL FROM:<klant@gem.nl> SIZE={SIZE + 1}")
    assert first_of(reply) == "552 5.3.4"
    await talker.close()


async def test_a50_a_copy_for_which_there_is_no_room_is_still_put_off(tmp_path):
    """That is our own fault and no fault of the content: the server tries it again."""
    configuration = settings(SHADOW, memory_octets=1)
    async with running(tmp_path, None, configuration, reserve_octets=2**60) as desk:
        reply = await handed(desk, HEAD + SPOILED["too-big"])
    assert first_of(reply) == "452 4.3.1"


def test_r3_of_several_clients_behind_one_certificate_all_must_hand_over_copies():
    plain = settings().clients[0]
    shadow = dataclasses.replace(plain, mode=ClientMode.SHADOW)
    by = Identification.CERTIFICATE
    assert Known(shadow, by).is_shadow
    assert Known(shadow, by, (shadow, shadow)).is_shadow
    assert not Known(plain, by).is_shadow
    assert not Known(shadow, by, (shadow, plain)).is_shadow
