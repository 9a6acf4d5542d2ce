"""Verbs, TLS, AUTH and who may send, against the real server."""

import base64
import logging
import re
import ssl

import pytest
from aiosmtpd.smtp import SMTP

from gateway.intake.verbs import IntakeProtocol
from gateway.model.address import Mailbox, ReversePath
from gateway.model.peer import Identification
from gateway.texts import render
from tests.unit.intake.intake_desk import (
    CHEAP,
    HEAD,
    IMPLICIT,
    NETWORK,
    OK,
    OPEN,
    PASSWORD,
    STARTTLS,
    USER,
    Talker,
    client_context,
    running,
    settings,
)

ENHANCED = re.compile(r"([245])\d\d[ -]\1\.\d{1,3}\.\d{1,3} \S")
VERBS = sorted(
    name.removeprefix("smtp_") for name in dir(SMTP) if name.startswith("smtp_")
)


def b64(text):
    return base64.b64encode(text.encode()).decode()


def plain(user="scanner", password=PASSWORD, authzid=""):
    return b64(f"{authzid}\0{user}\0{password}")


def test_every_verb_of_the_library_has_our_own_meaning():
    assert len(VERBS) >= 13
    for verb in [*VERBS, "BDAT"]:
        method = getattr(IntakeProtocol, f"smtp_{verb}")
        assert method.__module__.startswith("gateway.")


# --- greeting and advertisement -----------------------------------------------
async def test_a12_banner_and_help_name_no_product(intake, connect):
    desk = await intake()
    talker = await connect(desk)
    assert talker.greeting == "220 poort.voorbeeld.nl ESMTP"
    shown = talker.greeting + await talker.do("HELP") + await talker.greet()
    assert not re.search(r"(?i)python|aiosmtpd|ketenmail|\d\.\d\.\d\d", shown)


async def test_only_what_is_carried_through_is_advertised(intake, connect):
    desk = await intake()
    before = await (await connect(desk, STARTTLS)).greet()
    inside = await (await connect(desk, IMPLICIT, tls=True)).greet()
    common = ["PIPELINING", "SIZE 52428800", "8BITMIME", "ENHANCEDSTATUSCODES"]
    common += ["SMTPUTF8", "DSN"]
    host = "250-poort.voorbeeld.nl"
    assert [line[4:] for line in before.splitlines()[1:]] == [*common, "STARTTLS"]
    assert [line[4:] for line in inside.splitlines()[1:]] == [
        *common,
        "REQUIRETLS",
        "AUTH PLAIN LOGIN",
    ]
    assert before.splitlines()[0] == inside.splitlines()[0] == host


async def test_auth_is_not_offered_when_no_client_has_a_password(intake, connect):
    desk = await intake(configuration=settings(NETWORK))
    talker = await connect(desk, IMPLICIT, tls=True)
    assert "AUTH" not in await talker.greet()
    assert await talker.code(f"AUTH PLAIN {plain()}") == "502 5.5.1"


# --- replies -------------------------------------------------------------------
SESSION = """HELO|HELO x|EHLO|EHLO x|NOOP|NOOP x|RSET x|RSET|VRFY x|EXPN x|HELP|HELP MAIL
AUTH|AUTH PLAIN|STARTTLS x|MAIL|MAIL x|MAIL FROM:x|MAIL FROM:<x@evil.example>
MAIL FROM:<jan@gem.nl> SMTPUTF8|MAIL FROM:<jan@gem.nl> X=|MAIL FROM:<jan@gem.nl> SIZE=y
MAIL FROM:<jan@gem.nl> BODY=BINARYMIME|MAIL FROM:<jan@gem.nl> RET=HDRS|RCPT TO:<a@b.nl>
MAIL FROM:<\xe9@gem.nl>|DATA x|MAIL FROM:<>|MAIL FROM:<>|RCPT|RCPT TO:<a@b.nl> NOTIFY=NEVER
RCPT TO:<a>|RCPT TO:<a@b.nl>|RCPT TO:<c@d.nl>|QUIT now|FOO|XCLIENT a=b|foo bar|QUIT"""


async def test_every_reply_bears_an_enhanced_status_of_its_own_class(intake, connect):
    desk = await intake()
    talker = await connect(desk)
    seen = []
    for line in re.split(r"[|\n]", SESSION):
        reply = await talker.do(line)
        assert reply, line
        if not (reply.startswith("250") and line[:4] in {"EHLO", "HELO"}):
            seen += reply.splitlines()
    assert len(seen) > 35
    assert [line for line in seen if not ENHANCED.match(line)] == []


async def test_replies_never_echo_and_are_ascii(intake, connect):
    desk = await intake()
    talker = await connect(desk)
    for line in (
        "VRFY canary",
        "VRFY \xe9canary",
        "HELP canary",
        "EXPN canary",
        "CANARY canary",
        "CAN\x01ARY",
        "EHLO canary",
        "MAIL FROM:<canary@evil.example>",
        "MAIL FROM:canary",
        "RCPT TO:<canary@x.nl>",
        "NOOP canary",
    ):
        reply = await talker.do(line)
        assert reply
        assert "canary" not in reply.lower()


@pytest.mark.parametrize(
    "octets",
    [
        b"NOOP\n",
        b"NOOP\r\r\n",
        b"NO\rOP\r\n",
        b"NOOP \0\r\n",
        b"\0\r\n",
        b"MAIL FROM:<jan@gem.nl>\nRCPT TO:<a@b.nl>\r\n",
        b'MAIL FROM:<"\r"@gem.nl>\r\n',
        b'MAIL FROM:<"\0"@gem.nl>\r\n',
        b"EHLO x\ry\r\n",
    ],
)
async def test_broken_command_line_is_refused_and_nothing_behind_it_obeyed(
    intake, connect, octets
):
    desk = await intake()
    talker = await connect(desk)
    await talker.greet()
    talker.send(octets + b"NOOP\r\n")
    replies = await talker.rest()
    assert len(replies) == 1
    assert replies[0].startswith("500 5.5.2 Lines end with CR LF")


async def test_long_command_is_refused_and_an_endless_one_ends_the_session(
    intake, connect
):
    desk = await intake()
    talker = await connect(desk)
    talker.send(b"NOOP " + b"x" * 2043 + b"\r\n" + b"NOOP " + b"x" * 2044 + b"\r\n")
    assert await talker.reply() == "250 2.0.0 OK"
    assert (await talker.reply()).startswith("500 5.5.2 Command line too long")
    talker.send(b"NOOP " + b"x" * 14000 + b"\r\n")
    assert (await talker.reply()).startswith("500 5.5.2 Command line too long")
    assert await talker.do("NOOP") == "250 2.0.0 OK"
    talker.send(b"x" * 200_000)
    assert len(await talker.rest()) <= 1


async def test_twenty_greetings_change_no_limit_of_another_session(intake, connect):
    desk = await intake()
    one, other = await connect(desk), await connect(desk)
    for _ in range(20):
        await one.greet()
    await other.greet()
    assert await other.code("MAIL FROM:<jan@gem.nl> " + "X" * 2100) == "500 5.5.2"
    assert await other.code("MAIL FROM:<jan@gem.nl> " + "X" * 1900) == "555 5.5.4"


async def test_ten_unknown_commands_end_the_session(intake, connect):
    desk = await intake()
    talker = await connect(desk)
    talker.send(b"FOO\r\n" * 30)
    replies = [reply[:9] for reply in await talker.rest()]
    assert replies == ["500 5.5.2"] * 9 + ["421 4.7.0"]


async def test_bdat_is_refused_and_its_chunk_never_obeyed(intake, connect):
    desk = await intake()
    talker = await connect(desk)
    await talker.begin()
    talker.send(b"BDAT 20 LAST\r\nMAIL FROM:<jan@gem.nl>\r\n")
    assert [reply[:9] for reply in await talker.rest()] == ["502 5.5.1"]


# --- sequence ---------------------------------------------------------------------
async def test_sequence_of_commands_is_held(intake, connect):
    desk = await intake()
    talker = await connect(desk)
    assert await talker.code("MAIL FROM:<jan@gem.nl>") == "503 5.5.1"
    await talker.greet()
    assert await talker.code("RCPT TO:<a@b.nl>") == "503 5.5.1"
    await talker.do("RSET")
    assert await talker.code("DATA") == "503 5.5.1"
    assert await talker.code("MAIL FROM:<jan@gem.nl>") == "250 2.1.0"
    assert await talker.code("MAIL FROM:<jan@gem.nl>") == "503 5.5.1"
    assert await talker.code("DATA") == "503 5.5.1"
    await talker.do("EHLO again")
    assert await talker.code("RCPT TO:<a@b.nl>") == "503 5.5.1"
    assert await talker.code("QUIT") == "221 2.0.0"
    assert await talker.rest() == []


# --- TLS ------------------------------------------------------------------------------
@pytest.mark.parametrize("verb", sorted({*VERBS, "BDAT", "XCLIENT", "FOO", ""}))
async def test_before_tls_only_four_verbs(intake, connect, verb):
    desk = await intake()
    talker = await connect(desk, STARTTLS)
    await talker.greet()
    argument = {"EHLO": " x", "HELO": " x", "AUTH": f" PLAIN {plain()}"}.get(verb, "")
    code = (await talker.do(verb + argument))[:9]
    expected = {"EHLO": "250-poort", "NOOP": "250 2.0.0", "QUIT": "221 2.0.0"}
    assert code == (expected | {"STARTTLS": "220 2.0.0"}).get(verb, "530 5.7.0")


async def test_pipelining_behind_starttls_ends_the_session(intake, connect):
    desk = await intake()
    for listener in (OPEN, STARTTLS):
        talker = await connect(desk, listener)
        await talker.greet()
        talker.send(b"STARTTLS\r\nMAIL FROM:<jan@gem.nl>\r\nRCPT TO:<a@b.nl>\r\n")
        assert [reply[:9] for reply in await talker.rest()] == ["503 5.5.1"]


async def test_starttls_forgets_everything_that_was_said_in_clear(intake, connect):
    desk = await intake()
    talker = await connect(desk)
    await talker.begin()
    await talker.starttls()
    assert await talker.code("RCPT TO:<a@b.nl>") == "503 5.5.1"
    assert await talker.code("MAIL FROM:<jan@gem.nl>") == "503 5.5.1"
    assert "STARTTLS" not in await talker.greet()
    assert await talker.code("STARTTLS") == "503 5.5.1"
    assert await talker.code("DATA") == "503 5.5.1"
    await talker.begin()
    assert (await talker.data(b"From: jan@gem.nl\r\nSubject: x\r\n\r\n.\r\n"))[
        :3
    ] == "250"
    assert desk.peers[0].tls.version == "TLSv1.3"


async def test_starttls_takes_no_parameter(intake, connect):
    desk = await intake()
    talker = await connect(desk, STARTTLS)
    assert await talker.code("STARTTLS x") == "501 5.5.4"
    await talker.starttls()
    assert "AUTH" in await talker.greet()


async def test_failed_handshake_ends_the_session(intake, connect):
    desk = await intake()
    talker = await connect(desk, STARTTLS)
    await talker.greet()
    assert await talker.code("STARTTLS") == "220 2.0.0"
    talker.send(b"MAIL FROM:<jan@gem.nl>\r\n" * 20)
    octets = await talker.reader.read()
    assert b"250" not in octets
    assert ("intake-handshake-failed", {"error": "SSLError"}) in desk.log


async def test_implicit_tls_knows_that_it_is_tls(intake, connect):
    desk = await intake()
    talker = await connect(desk, IMPLICIT, tls=True)
    shown = await talker.greet()
    assert "AUTH" in shown
    assert "STARTTLS" not in shown
    assert await talker.code("STARTTLS") == "503 5.5.1"
    await talker.begin()
    await talker.data(b"From: jan@gem.nl\r\nSubject: x\r\n\r\n.\r\n")
    assert b" with ESMTPS id id1\r\n" in desk.messages[0].octets


# --- AUTH -----------------------------------------------------------------------------
async def test_auth_only_inside_tls(intake, connect):
    desk = await intake()
    talker = await connect(desk)
    assert "AUTH" not in await talker.greet()
    assert await talker.code(f"AUTH PLAIN {plain()}") == "538 5.7.11"


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([f"AUTH PLAIN {plain()}"], "235 2.7.0"),
        ([f"auth plain {plain()}"], "235 2.7.0"),
        ([f"AUTH PLAIN {plain(authzid='scanner')}"], "235 2.7.0"),
        ([f"AUTH PLAIN {plain(authzid='other')}"], "535 5.7.8"),
        ([f"AUTH PLAIN {plain(password='wrong')}"], "535 5.7.8"),
        ([f"AUTH PLAIN {plain(user='nobody')}"], "535 5.7.8"),
        ([f"AUTH PLAIN {plain(password='x' * 1025)}"], "535 5.7.8"),
        (["AUTH PLAIN", plain()], "235 2.7.0"),
        (["AUTH PLAIN", "*"], "501 5.7.0"),
        (["AUTH PLAIN", "!!"], "501 5.5.2"),
        (["AUTH PLAIN ="], "501 5.5.2"),
        ([f"AUTH PLAIN {b64('a')}"], "501 5.5.2"),
        (["AUTH PLAIN", plain(password="y" * 8000)], "535 5.7.8"),
        (["AUTH LOGIN", b64("scanner"), b64(PASSWORD)], "235 2.7.0"),
        ([f"AUTH login {b64('scanner')}", b64(PASSWORD)], "235 2.7.0"),
        (["AUTH LOGIN", b64("scanner"), b64("wrong")], "535 5.7.8"),
        (["AUTH LOGIN", b64("scanner"), "*"], "501 5.7.0"),
        (["AUTH LOGIN", "*"], "501 5.7.0"),
        (["AUTH LOGIN", "=", "="], "535 5.7.8"),
        (["AUTH CRAM-MD5"], "504 5.5.4"),
        (["AUTH"], "504 5.5.4"),
    ],
)
async def test_auth_dialogues(intake, connect, lines, expected):
    desk = await intake()
    talker = await connect(desk, IMPLICIT, tls=True)
    await talker.greet()
    *first, last = lines
    for line in first:
        assert (await talker.do(line)).startswith("334 ")
    assert await talker.code(last) == expected
    assert await talker.code("NOOP") == "250 2.0.0"


async def test_auth_needs_a_greeting_and_no_transaction_and_happens_once(
    intake, connect
):
    desk = await intake()
    talker = await connect(desk, IMPLICIT, tls=True)
    command = f"AUTH PLAIN {plain()}"
    assert await talker.code(command) == "503 5.5.1"
    await talker.do("HELO x")
    assert await talker.code(command) == "503 5.5.1"
    await talker.begin()
    assert await talker.code(command) == "503 5.5.1"
    await talker.do("RSET")
    assert await talker.code(command) == "235 2.7.0"
    assert await talker.code(command) == "503 5.5.1"


async def test_three_failures_and_no_more_even_with_the_right_password(intake, connect):
    desk = await intake()
    talker = await connect(desk, IMPLICIT, tls=True)
    await talker.greet()
    for guess in ("a", "b", "c"):
        assert await talker.code(f"AUTH PLAIN {plain(password=guess)}") == "535 5.7.8"
    assert await talker.code(f"AUTH PLAIN {plain()}") == "421 4.7.0"
    assert await talker.rest() == []
    assert all("scanner" not in str(entry) for entry in desk.log)


async def test_unknown_user_costs_a_hash_like_a_known_one(intake, connect, monkeypatch):
    verified = []
    real = CHEAP.__class__.verify

    def verify(self, text, password):
        verified.append(text.split("$")[:4])
        return real(self, text, password)

    monkeypatch.setattr(CHEAP.__class__, "verify", verify)
    desk = await intake()
    talker = await connect(desk, IMPLICIT, tls=True)
    await talker.greet()
    for user in ("scanner", "nobody"):
        code = await talker.code(f"AUTH PLAIN {plain(user=user, password='wrong')}")
        assert code == "535 5.7.8"
    assert len(verified) == 2
    assert verified[0] == verified[1]  # the same algorithm and cost


# --- who may send -------------------------------------------------------------------------
async def test_authenticated_client_wins_over_its_network(intake, connect):
    desk = await intake()
    talker = await connect(desk, IMPLICIT, tls=True)
    await talker.greet()
    await talker.do(f"AUTH PLAIN {plain()}")
    assert await talker.code("MAIL FROM:<jan@gem.nl>") == "550 5.7.1"
    assert await talker.code("MAIL FROM:<scan@hattem.example>") == "250 2.1.0"
    await talker.do("RCPT TO:<a@b.nl>")
    await talker.data(b"From: jan@gem.nl\r\nSubject: x\r\n\r\n.\r\n")
    peer = desk.peers[0]
    assert (peer.client, peer.municipality) == ("scanner", "hattem")
    assert peer.identified_by is Identification.AUTH
    assert peer.helo == "client.example"
    assert b" with ESMTPSA id " in desk.messages[0].octets


async def test_unknown_client_is_asked_to_authenticate_and_may_not_relay(
    intake, connect
):
    desk = await intake(configuration=settings(USER))
    for listener in (OPEN, IMPLICIT):
        talker = await connect(desk, listener, tls=listener == IMPLICIT)
        await talker.greet()
        for sender in ("jan@gem.nl", "", "x@y.nl"):
            assert await talker.code(f"MAIL FROM:<{sender}>") == "530 5.7.0"
        assert await talker.code("RCPT TO:<a@b.nl>") == "503 5.5.1"
    assert ("intake-unknown-client", {"network": "127.0.0.0/24"}) in desk.log


@pytest.mark.parametrize(
    "recipient",
    [
        "a@b.nl",
        "a@gem.nl",
        '"u@evil.example"@gem.nl',
        "u%evil.example@gem.nl",
        "evil.example!u@gem.nl",
        "postmaster@poort.voorbeeld.nl",
        "postmaster",
    ],
)
async def test_nobody_relays_for_an_unknown_client_when_auth_cannot_help(
    intake, connect, recipient
):
    other = NETWORK.replace("127.0.0.0/8", "192.0.2.0/24")
    desk = await intake(configuration=settings(other))
    talker = await connect(desk)
    await talker.greet()
    assert await talker.code("MAIL FROM:<jan@gem.nl>") == "250 2.1.0"
    assert await talker.code(f"RCPT TO:<{recipient}>") == "550 5.7.1"
    reply = await talker.data(b"From: jan@gem.nl\r\nSubject: x\r\n\r\n.\r\n")
    assert reply.startswith("554 5.5.1")
    assert desk.messages == []


@pytest.mark.parametrize(
    ("sender", "expected"),
    [
        ("jan@gem.nl", "250 2.1.0"),
        ("JAN@GEM.NL", "250 2.1.0"),
        ("jan@gemeente.example", "250 2.1.0"),
        ("", "250 2.1.0"),
        ("jan@evilgem.nl", "550 5.7.1"),
        ("jan@sub.gem.nl", "550 5.7.1"),
        ("jan@hattem.example", "550 5.7.1"),
        ("jan@gem.nl.evil.example", "550 5.7.1"),
    ],
)
async def test_sender_domain_must_be_the_clients(intake, connect, sender, expected):
    desk = await intake()
    talker = await connect(desk)
    await talker.greet()
    assert await talker.code(f"MAIL FROM:<{sender}>") == expected


async def test_refused_sender_is_told_why_in_two_languages(intake, connect):
    desk = await intake()
    talker = await connect(desk)
    await talker.greet()
    reply = await talker.do("MAIL FROM:<jan@evil.example>")
    *said, last = reply.splitlines()
    assert said == [
        f"550-5.7.1 K201 {render.sentence('K201', language)}"
        f" {render.remedy('K201', language)}"
        for language in ("nl", "en")
    ]
    assert last == "550 5.7.1 Kenmerk / reference: id1"
    fields = {"message": "id1", "client": "mta", "code": "5.7.1"}
    assert ("intake-command-refused", fields) in desk.log
    assert "namens deze afzender" in reply
    assert "for this sender" in reply
    assert ("intake-sender-refused", {"client": "mta"}) in desk.log


async def test_null_reverse_path_is_accepted_and_stored_as_empty(intake, connect):
    desk = await intake()
    talker = await connect(desk)
    await talker.begin(sender="")
    await talker.data(b"From: jan@gem.nl\r\nSubject: x\r\n\r\n.\r\n")
    assert desk.messages[0].envelope.reverse_path.is_null
    assert str(desk.messages[0].envelope.reverse_path) == ""


async def test_recipients_over_the_limit_only_are_put_off(intake, connect):
    desk = await intake(configuration=settings(recipients=100))
    talker = await connect(desk)
    await talker.greet()
    await talker.do("MAIL FROM:<jan@gem.nl>")
    codes = [await talker.code(f"RCPT TO:<r{at}@b.nl>") for at in range(150)]
    assert codes == ["250 2.1.5"] * 100 + ["452 4.5.3"] * 50
    assert await talker.code("RCPT TO:<r5@B.nl>") == "250 2.1.5"  # is in already
    assert (await talker.data(b"From: jan@gem.nl\r\nSubject: x\r\n\r\n.\r\n"))[
        :3
    ] == "250"
    recipients = desk.messages[0].envelope.recipients
    assert [str(each) for each in recipients] == [f"r{at}@b.nl" for at in range(100)]
    assert b"\tfor <" not in desk.messages[0].octets


async def test_postmaster_without_domain_is_that_of_the_sender(intake, connect):
    desk = await intake()
    talker = await connect(desk)
    for sender in ("jan@gemeente.example", ""):
        await talker.begin("Postmaster", sender=sender)
        await talker.data(b"From: jan@gem.nl\r\nSubject: x\r\n\r\n.\r\n")
    assert [str(message.envelope.recipients[0]) for message in desk.messages] == [
        "Postmaster@gemeente.example",
        "Postmaster@gem.nl",
    ]


# --- Received ---------------------------------------------------------------------------
async def test_one_received_field_is_put_in_front(intake, connect):
    desk = await intake()
    talker = await connect(desk)
    await talker.begin("piet@politie.example")
    await talker.data(b"Received: by x;\r\nFrom: jan@gem.nl\r\nSubject: x\r\n\r\n.\r\n")
    assert desk.messages[0].octets == (
        b"Received: from client.example ([127.0.0.1])\r\n"
        b"\tby poort.voorbeeld.nl with ESMTP id id1\r\n"
        b"\tfor <piet@politie.example>;\r\n"
        b"\tWed, 25 Nov 2026 12:00:00 +0000\r\n"
        b"Received: by x;\r\nFrom: jan@gem.nl\r\nSubject: x\r\n\r\n"
    )


@pytest.mark.parametrize("verb", ["EHLO", "HELO"])
async def test_greeting_name_cannot_shape_our_header_field(intake, connect, verb):
    desk = await intake()
    talker = await connect(desk)
    await talker.do(f"{verb} a) b(\\;\xe9,<>@\t" + "x" * 300)
    await talker.do("MAIL FROM:<jan@gem.nl>")
    await talker.do("RCPT TO:<a@b.nl>")
    await talker.data(b"From: jan@gem.nl\r\nSubject: x\r\n\r\n.\r\n")
    field = desk.messages[0].octets.partition(b"Subject")[0].decode("ascii")
    name = re.match(r"Received: from (\S+) \(\[127\.0\.0\.1\]\)\r\n\tby ", field)[1]
    assert name == "a??b" + "?" * 9 + "x" * 242
    assert f" with {'ESMTP' if verb == 'EHLO' else 'SMTP'} id " in field
    assert len(desk.peers[0].helo) == 255


# --- logging ----------------------------------------------------------------------------
async def test_a15_no_logger_sees_an_address_or_content_at_debug(
    tmp_path, caplog, monkeypatch
):
    caplog.set_level(logging.DEBUG)
    logging.getLogger("mail.log").setLevel(logging.DEBUG)
    async with running(tmp_path) as desk:
        talker = await Talker.connect(desk.port(OPEN))
        await talker.begin("canary@b.nl")
        await talker.data(b"From: jan@gem.nl\r\nSubject: canary\r\n\r\ncanary\r\n.\r\n")
        await talker.close()
    assert desk.messages
    assert [record.name for record in caplog.records if record.name == "mail.log"] == []
    assert "canary" not in caplog.text
    assert "jan@" not in caplog.text


async def test_client_with_old_tls_only_gets_no_session(intake, connect):
    desk = await intake()
    context = client_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    talker = await Talker.connect(desk.port(IMPLICIT), context)
    assert talker.greeting.startswith("220")  # what is allowed is the context's choice
    await talker.close()


async def test_a50_a_session_ends_after_so_many_transactions(intake, connect):
    desk = await intake()
    talker = await connect(desk)
    await talker.greet()
    for _ in range(1000):
        assert await talker.code("MAIL FROM:<jan@gem.nl>") == "250 2.1.0"
        assert await talker.code("RSET") == "250 2.0.0"
    assert await talker.code("MAIL FROM:<jan@gem.nl>") == "421 4.7.0"
    assert await talker.rest() == []
    await (await connect(desk)).begin()  # who comes back is served


async def test_a50_a_session_ends_after_so_many_refused_recipients(intake, connect):
    desk = await intake()
    talker = await connect(desk)
    await talker.begin()
    for _ in range(100):
        assert await talker.code("RCPT TO:<a@b@c.nl>") == "501 5.1.3"
    assert await talker.code("RCPT TO:<good@b.nl>") == "250 2.1.5"
    assert await talker.code("RCPT TO:<a@b@c.nl>") == "421 4.7.0"
    assert await talker.rest() == []
    assert "intake-recipients-refused" in [event for event, _ in desk.log]


async def test_a09_recipients_over_the_limit_are_not_counted_as_refused(
    intake, connect
):
    desk = await intake(configuration=settings(recipients=100))
    talker = await connect(desk)
    await talker.begin(*(f"a{number}@b.nl" for number in range(100)))
    for number in range(150):
        assert await talker.code(f"RCPT TO:<c{number}@b.nl>") == "452 4.5.3"
    assert (await talker.data(b"From: jan@gem.nl\r\n\r\nx\r\n.\r\n")).startswith("250 ")
    assert len(desk.messages[0].envelope.recipients) == 100


@pytest.mark.parametrize("value", ["<>", "a+40b", "jan@gem.nl"])
async def test_a32_the_auth_parameter_is_taken_and_believed_by_nobody(
    intake, connect, value
):
    desk = await intake()
    talker = await connect(desk)
    await talker.greet()
    said = await talker.code(f"MAIL FROM:<jan@gem.nl> AUTH={value}")
    assert said == "250 2.1.0"
    await talker.do("RCPT TO:<a@b.nl>")
    assert await talker.data(HEAD + b".\r\n") == OK.render()
    assert desk.peers[0].identified_by is Identification.NETWORK
    assert desk.messages[0].envelope.reverse_path == ReversePath(
        Mailbox.parse("jan@gem.nl")
    )
