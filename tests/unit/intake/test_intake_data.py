"""DATA against the real server: smuggling, limits, dots, pipelining."""

import asyncio
import base64
import itertools

import pytest

from tests.unit.intake.intake_desk import (
    HEAD,
    IMPLICIT,
    PASSWORD,
    first_of,
    settings,
)

ENDS = {"LF": b"\n", "CR": b"\r", "CRLF": b"\r\n", "CRCRLF": b"\r\r\n"}
ALL_PAIRS = list(itertools.product(ENDS, ENDS))
# Where CR LF . CR LF stands in it, it is the real end, and what follows is pipelining.
NO_END = [p for p in ALL_PAIRS if not (p[0].endswith("CRLF") and p[1] == "CRLF")]
PLAIN = base64.b64encode(f"\0scanner\0{PASSWORD}".encode()).decode()
EVIL = (
    b"MAIL FROM:<evil@gem.nl>\r\nRCPT TO:<x@y.nl>\r\nDATA\r\nSubject: smuggled\r\n\r\n"
)


@pytest.mark.parametrize(("before", "after"), ALL_PAIRS)
async def test_only_the_real_end_ends_data_and_bare_newlines_are_refused_after_it(
    intake, connect, before, after
):
    desk = await intake()
    talker = await connect(desk)
    await talker.begin()
    assert (await talker.do("DATA")).startswith("354 ")
    sequence = ENDS[before] + b"." + ENDS[after]
    talker.send(
        b"From: jan@gem.nl\r\nSubject: x\r\n\r\nbody"
        + sequence
        + b"tail\r\n.\r\nNOOP\r\n"
    )

    reply = await talker.reply()
    if before == after == "CRLF":
        # It is the real end: "tail" and "." are then (unknown) commands of this client.
        assert reply.startswith("250 2.0.0")
        assert [await talker.reply() for _ in range(3)] == [
            "500 5.5.2 Command not recognized",
            "500 5.5.2 Command not recognized",
            "250 2.0.0 OK",
        ]
        assert desk.content() == b"From: jan@gem.nl\r\nSubject: x\r\n\r\nbody\r\n"
    elif before == "CRCRLF" and after == "CRLF":
        assert reply.startswith("554-5.5.2")  # the end was real, the CR before it bare
        assert desk.messages == []
    else:
        assert reply.startswith("554-5.5.2")
        assert await talker.reply() == "250 2.0.0 OK"
        assert desk.messages == []


@pytest.mark.parametrize(("before", "after"), NO_END)
async def test_smuggled_commands_never_run(intake, connect, before, after):
    desk = await intake()
    talker = await connect(desk)
    await talker.begin()
    await talker.do("DATA")
    talker.send(
        b"From: jan@gem.nl\r\nSubject: x\r\n\r\nb"
        + ENDS[before]
        + b"."
        + ENDS[after]
        + EVIL
        + b".\r\n"
    )
    talker.send(b"QUIT\r\n")

    replies = await talker.rest()

    assert [reply[:9] for reply in replies] == ["554-5.5.2", "221 2.0.0"]
    assert desk.messages == []


async def test_split_end_cr_in_one_packet_and_lf_in_the_next_is_the_end(
    intake, connect
):
    desk = await intake()
    talker = await connect(desk)
    await talker.begin()
    await talker.do("DATA")
    for octet in b"From: jan@gem.nl\r\nSubject: x\r\n\r\nhello\r\n.\r\n":
        talker.send(bytes([octet]))
        await talker.writer.drain()
        await asyncio.sleep(0)
    assert (await talker.reply()).startswith("250")
    assert desk.content() == b"From: jan@gem.nl\r\nSubject: x\r\n\r\nhello\r\n"


@pytest.mark.parametrize(
    "content",
    [
        b"Sub\0ject: x\r\n\r\n.\r\n",
        b"From: jan@gem.nl\r\nSubject: x\r\n\r\n\0\r\n.\r\n",
        b"From: jan@gem.nl\r\nSubject: x\r\n\r\na\r\n\0.\r\n.\r\n",
        b"From: jan@gem.nl\r\nSubject: x\r\n\r\na\r\n.\0\r\n.\r\n",
    ],
)
async def test_nul_anywhere_is_refused(intake, connect, content):
    desk = await intake()
    talker = await connect(desk)
    await talker.begin()
    assert (await talker.data(content)).startswith("550-5.6.0")
    assert desk.messages == []


async def test_control_character_in_a_header_field_is_refused(intake, connect):
    desk = await intake()
    talker = await connect(desk)
    await talker.begin()
    assert (await talker.data(b"Subject: \x1b\r\n\r\n.\r\n")).startswith("550-5.6.0")
    assert desk.log[-1] == (
        "intake-content-refused",
        {"message": "id1", "client": "mta", "fault": "header-control"},
    )
    await talker.begin()
    assert (await talker.data(HEAD + b"\x0c\r\n.\r\n")).startswith("250")


async def test_dots_come_through_exactly(intake, connect):
    desk = await intake()
    talker = await connect(desk)
    lines = [b"", b".", b"..", b".a", b"a.", b"...", b". ", b"\xe9.", b""]
    content = b"From: jan@gem.nl\r\nSubject: x\r\n\r\n" + b"".join(
        line + b"\r\n" for line in lines
    )
    stuffed = content.replace(b"\r\n.", b"\r\n..")
    await talker.begin()
    assert (await talker.data(stuffed + b".\r\n")).startswith("250")
    assert desk.content() == content


async def test_first_line_dot_is_unstuffed_and_no_text_is_a_text(intake, connect):
    desk = await intake()
    talker = await connect(desk)
    for field in (b"..x: y\r\n", b""):
        await talker.begin()
        content = field + b"From: jan@gem.nl\r\n.\r\n"
        assert (await talker.data(content)).startswith("250")
    assert [desk.content(0), desk.content(1)] == [
        b".x: y\r\nFrom: jan@gem.nl\r\n",
        b"From: jan@gem.nl\r\n",
    ]


@pytest.mark.parametrize(
    ("octets", "expected"), [(999, "250"), (1000, "250"), (1001, "552 5.3.4")]
)
async def test_size_limit_counts_crlf_and_not_stuffing(
    intake, connect, octets, expected
):
    desk = await intake(configuration=settings(size_octets=1000))
    talker = await connect(desk)
    head = b"From: jan@gem.nl\r\nSubject: x\r\n\r\n"
    dots = b"." * (octets - len(head) - 2 - 200) + b"\r\n"
    content = head + b"y" * 198 + b"\r\n" + dots
    assert len(content) == octets
    await talker.begin()
    reply = await talker.data(content.replace(b"\r\n.", b"\r\n..") + b".\r\n")
    assert first_of(reply).startswith(first_of(expected))
    assert len(desk.messages) == (expected == "250")
    assert await talker.do("NOOP") == "250 2.0.0 OK"


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ("1000", "250 2.1.0"),
        ("1001", "552 5.3.4"),
        ("99999999999999999999", "552 5.3.4"),
        ("999999999999999999999", "501 5.5.4"),
        ("-1", "501 5.5.4"),
        ("1e3", "501 5.5.4"),
        ("", "501 5.5.4"),
        ("0", "250 2.1.0"),
    ],
)
async def test_declared_size(intake, connect, size, expected):
    desk = await intake(configuration=settings(size_octets=1000))
    talker = await connect(desk)
    assert "250-SIZE 1000" in await talker.greet()
    assert await talker.code(f"MAIL FROM:<jan@gem.nl> SIZE={size}") == expected


async def test_declared_size_is_not_trusted(intake, connect):
    desk = await intake(configuration=settings(size_octets=1000))
    talker = await connect(desk)
    await talker.greet()
    await talker.do("MAIL FROM:<jan@gem.nl> SIZE=1")
    await talker.do("RCPT TO:<a@b.nl>")
    reply = await talker.data(
        b"From: jan@gem.nl\r\nSubject: x\r\n\r\n" + b"y\r\n" * 400 + b".\r\n"
    )
    assert first_of(reply) == "552 5.3.4"
    assert desk.messages == []


@pytest.mark.parametrize(("octets", "expected"), [(998, "250"), (999, "554-5.6.0")])
@pytest.mark.parametrize("first", [b"x", b".."])
async def test_line_limit(intake, connect, octets, expected, first):
    desk = await intake()
    talker = await connect(desk)
    line = first + b"x" * (octets - 1)  # a transparency dot does not count
    await talker.begin()
    reply = await talker.data(
        b"From: jan@gem.nl\r\nSubject: x\r\n\r\n" + line + b"\r\n.\r\n"
    )
    assert first_of(reply).startswith(first_of(expected))
    assert len(desk.messages) == (expected == "250")


async def test_endless_line_is_drained_and_the_connection_closed_at_the_cap(
    intake, connect
):
    desk = await intake(configuration=settings(size_octets=65536))
    talker = await connect(desk)
    await talker.begin()
    await talker.do("DATA")

    async def flood():
        for _ in range(1024):
            talker.send(b"x" * 65536)
            await talker.writer.drain()

    with pytest.raises(ConnectionError):
        await flood()
    assert desk.messages == []


async def test_pipelined_content_behind_a_refused_mail_never_runs_as_commands(
    intake, connect
):
    desk = await intake()
    talker = await connect(desk)
    await talker.greet()
    talker.send(
        b"MAIL FROM:<x@evil.example>\r\nRCPT TO:<a@b.nl>\r\nDATA\r\n"
        b"From: jan@gem.nl\r\nSubject: x\r\n\r\nRSET\r\nMAIL FROM:<jan@gem.nl>\r\nRCPT TO:<a@b.nl>\r\n"
        b"DATA\r\n..\r\n.\r\nNOOP\r\nQUIT\r\n"
    )
    assert [reply[:9] for reply in await talker.rest()] == [
        "550-5.7.1",
        "503 5.5.1",
        "354 End d",
        "554 5.5.1",
        "250 2.0.0",
        "221 2.0.0",
    ]
    assert desk.messages == []


async def test_data_without_any_transaction_closes_when_something_follows(
    intake, connect
):
    desk = await intake()
    talker = await connect(desk)
    await talker.greet()
    assert await talker.code("DATA") == "503 5.5.1"
    talker.send(b"DATA\r\nRSET\r\n")
    assert [reply[:9] for reply in await talker.rest()] == ["503 5.5.1"]


async def test_two_messages_pipelined_in_one_segment_are_two_messages(intake, connect):
    desk = await intake()
    talker = await connect(desk)
    await talker.greet()
    one = (
        b"MAIL FROM:<jan@gem.nl> BODY=8BITMIME\r\nRCPT TO:<a@b.nl>\r\nDATA\r\n"
        b"From: jan@gem.nl\r\nSubject: %d\r\n\r\n.\r\n"
    )
    talker.send(one % 1 + one % 2 + b"QUIT\r\n")
    assert [reply[:3] for reply in await talker.rest()] == [
        *("250", "250", "354", "250") * 2,
        "221",
    ]
    assert [desk.content(0), desk.content(1)] == [
        b"From: jan@gem.nl\r\nSubject: 1\r\n\r\n",
        b"From: jan@gem.nl\r\nSubject: 2\r\n\r\n",
    ]


@pytest.mark.parametrize("hops", [98, 99, 100, 101])
async def test_loop_is_stopped_at_a_hundred_received_fields(intake, connect, hops):
    desk = await intake()
    talker = await connect(desk)
    fields = b"Received: by a;\r\n" * (hops - 1) + b"rEcEiVeD: by b;\r\n"
    folded = HEAD[:-2] + b" Received: in a fold\r\n\r\nReceived: in the body\r\n"
    await talker.begin()
    reply = await talker.data(fields + folded + b".\r\n")
    assert first_of(reply) == ("250 2.0.0" if hops < 100 else "554 5.4.6")
    assert len(desk.messages) == (hops < 100)


async def test_eight_bit_content_is_seen_whatever_the_parameter_says(intake, connect):
    desk = await intake()
    talker = await connect(desk)
    for parameter, content in (
        ("", b"x"),
        ("", b"\xc3\xa9"),
        (" BODY=7bit", b"\xff"),
        (" body=8bitmime", b"x"),
    ):
        await talker.greet()
        await talker.do(f"MAIL FROM:<jan@gem.nl>{parameter}")
        await talker.do("RCPT TO:<a@b.nl>")
        assert (await talker.data(HEAD + content + b"\r\n.\r\n"))[:3] == "250"
    bodies = [message.envelope.body.value for message in desk.messages]
    assert bodies == ["7BIT", "8BITMIME", "8BITMIME", "7BIT"]


async def hold_back(holders, octets):
    """Each sends so much and keeps back its final dot."""
    line = b"x" * 998 + b"\r\n"
    for holder in holders:
        assert (await holder.do("DATA")).startswith("354 ")
        holder.send(HEAD + line * (octets // 1000))
        await holder.writer.drain()


async def until_full(desk, client, octets):
    """Wait until the intake has read so much of a client."""
    async with asyncio.timeout(10):
        while desk.intake.room._held[client] < octets:
            await asyncio.sleep(0)


async def until(there):
    """Wait for something, without counting the time."""
    async with asyncio.timeout(10):
        while not there():
            await asyncio.sleep(0)


async def test_a50_content_over_half_the_room_of_the_process_goes_to_the_disk(
    intake, connect
):
    desk = await intake(configuration=settings(memory_octets=800_000))
    holders = [await connect(desk) for _ in range(5)]
    for holder in holders:
        await holder.begin()
    for at, holder in enumerate(holders[:4], 1):
        await hold_back([holder], 95_000)
        await until_full(desk, "mta", at * 94_000)
    assert desk.drafted() == []
    await hold_back(holders[4:], 95_000)
    await until(desk.drafted)
    for holder in reversed(holders):
        holder.send(b".\r\n")
        assert (await holder.reply())[:9] == "250 2.0.0"
    assert len(set(map(desk.content, range(5)))) == 1
    assert desk.intake.room._free == 800_000
    await until(lambda: desk.drafted() == [])  # this store took nothing over


async def test_a50_without_room_for_its_header_a_message_is_put_off(intake, connect):
    desk = await intake(configuration=settings(memory_octets=200_000))
    holder, other = await connect(desk), await connect(desk)
    await holder.begin()
    await other.begin()
    await hold_back([holder], 95_000)
    await until_full(desk, "mta", 94_000)
    assert (await other.do("DATA")).startswith("354 ")
    other.send(b"X: y\r\n" * 20_000 + HEAD + b"text\r\n.\r\n")
    assert (await other.reply())[:9] == "452 4.3.1"
    holder.send(b".\r\n")
    assert (await holder.reply())[:9] == "250 2.0.0"


async def test_stalled_uploads_of_one_client_leave_room_for_another_municipality(
    intake, connect
):
    desk = await intake(configuration=settings(memory_octets=800_000))
    stalled = [await connect(desk) for _ in range(10)]
    for holder in stalled:
        await holder.begin()
    await hold_back(stalled, 95_000)
    await until_full(desk, "mta", 300_000)
    other = await connect(desk, IMPLICIT, tls=True)
    await other.greet()
    await other.do(f"AUTH PLAIN {PLAIN}")
    for command in ("MAIL FROM:<scan@hattem.example>", "RCPT TO:<a@b.nl>"):
        assert (await other.do(command))[:3] == "250"
    await hold_back([other], 95_000)
    other.send(b".\r\n")
    assert (await other.reply())[:9] == "250 2.0.0"


async def test_content_that_is_refused_gives_its_room_back_before_its_end(
    intake, connect
):
    desk = await intake(configuration=settings(memory_octets=800_000))
    talker = await connect(desk)
    await talker.begin()
    await hold_back([talker], 90_000)
    await until_full(desk, "mta", 80_000)
    talker.send(b"a\nb\r\n" + b"x\r\n" * 1000)
    async with asyncio.timeout(10):
        while desk.intake.room._free < 800_000:
            await asyncio.sleep(0)
    talker.send(b".\r\n")
    assert (await talker.reply())[:9] == "554-5.5.2"


async def test_a10_long_lines_pass_where_the_setting_says_so(intake, connect):
    line = b"x" * 3000 + b"\r\n"
    desk = await intake(configuration=settings(line_octets=4000))
    talker = await connect(desk)
    await talker.begin()
    assert (await talker.data(HEAD + line + b".\r\n")).startswith("250 ")
    assert desk.content().endswith(b"\r\n" + line)
    await talker.begin()
    reply = await talker.data(HEAD + b"x" * 4001 + b"\r\n.\r\n")
    assert reply.startswith("554-5.6.0")
    assert "quoted-printable" in reply
