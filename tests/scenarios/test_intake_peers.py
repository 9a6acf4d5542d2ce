"""Real clients against the real intake: swaks, and Postfix as municipal mail server."""

import asyncio
import contextlib
import hashlib
import os
import pathlib
import re
import shutil
import signal
import socket
import tempfile

import pytest

from gateway.model.peer import Identification
from gateway.texts import render
from tests import certs
from tests.peers import presence
from tests.unit.intake.intake_desk import (
    CA,
    IMPLICIT,
    NETWORK,
    OK,
    PASSWORD,
    STARTTLS,
    USER,
    Talker,
    running,
    settings,
)

pytestmark = [
    pytest.mark.peers,
]


@pytest.fixture(autouse=True, scope="module")
def _peers() -> None:
    presence.need("swaks", "postfix")


CLIENT = certs.issue(CA, ["mail.gem.nl"])
CERTIFICATE = f"""
[[client]]
id = "mail"
municipality = "zwolle"
certificate_sha256 = ["{hashlib.sha256(CLIENT.chain_der[0]).hexdigest()}"]
"""


async def swaks(desk, listener, *options, sender="jan@gem.nl"):
    """Run swaks; its exit status and transcript."""
    process = await asyncio.create_subprocess_exec(
        "swaks",
        *("--server", "127.0.0.1", "--port", str(desk.port(listener))),
        *("--from", sender, "--to", "a@b.nl,c@d.nl", "--helo", "swaks.gem.nl"),
        *("--header", "Subject: from swaks", "--body", "one\n.\n..two\n"),
        *options,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(30):
        transcript, _ = await process.communicate()
    return process.returncode, transcript.decode("utf-8", "replace")


AUTH = ("--auth-user", "scanner", "--auth-password", PASSWORD)


@pytest.mark.parametrize(
    ("listener", "options", "protocol", "by"),
    [
        (STARTTLS, ("-tls",), "ESMTPS", Identification.NETWORK),
        (IMPLICIT, ("-tlsc",), "ESMTPS", Identification.NETWORK),
        (STARTTLS, ("-tls", "-a", "PLAIN", *AUTH), "ESMTPSA", Identification.AUTH),
        (STARTTLS, ("-tls", "-a", "LOGIN", *AUTH), "ESMTPSA", Identification.AUTH),
        (IMPLICIT, ("-tlsc", "-a", "PLAIN", *AUTH), "ESMTPSA", Identification.AUTH),
        (IMPLICIT, ("-tlsc", "--pipeline"), "ESMTPS", Identification.NETWORK),
    ],
)
async def test_swaks_delivers(tmp_path, listener, options, protocol, by):
    sender = "s@hattem.example" if by is Identification.AUTH else "jan@gem.nl"
    async with running(tmp_path) as desk:
        status, transcript = await swaks(desk, listener, *options, sender=sender)
    assert status == 0, transcript
    (message,), (peer,) = desk.messages, desk.peers
    assert peer.identified_by is by
    assert peer.tls.version == "TLSv1.3"
    assert f" with {protocol} id " in message.octets.decode("ascii")
    assert b"\r\n\r\none\r\n.\r\n..two\r\n" in message.octets
    recipients = [str(recipient) for recipient in message.envelope.recipients]
    assert recipients == ["a@b.nl", "c@d.nl"]


@pytest.mark.parametrize(
    ("listener", "option"), [(STARTTLS, "-tls"), (IMPLICIT, "-tlsc")]
)
async def test_swaks_with_a_client_certificate_is_known_by_it(
    tmp_path, listener, option
):
    files = CLIENT.write(tmp_path, "client")
    configuration = settings(CERTIFICATE)
    async with running(tmp_path, configuration=configuration, client_ca=CA) as desk:
        status, transcript = await swaks(
            desk,
            listener,
            option,
            *("--tls-cert", str(files.certificate), "--tls-key", str(files.key)),
        )
        refused, _ = await swaks(desk, listener, option)
    assert status == 0, transcript
    assert refused != 0
    assert [peer.identified_by for peer in desk.peers] == [Identification.CERTIFICATE]


async def test_swaks_without_tls_or_with_a_wrong_password_delivers_nothing(tmp_path):
    async with running(tmp_path, configuration=settings(USER)) as desk:
        for options, said in (
            ((), "530 5.7.0"),
            (("-tls",), "530 5.7.0"),
            (
                ("-tls", "-a", "PLAIN", "-au", "scanner", "-ap", "wrong"),
                "535 5.7.8",
            ),
        ):
            status, transcript = await swaks(desk, STARTTLS, *options)
            assert status != 0
            assert said in transcript
    assert desk.messages == []


# --- Postfix --------------------------------------------------------------------------
_MASTER = """
127.0.0.1:{port} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""
_MAIN = """
compatibility_level = 3.6
queue_directory = {place}/spool
data_directory = {place}/data
maillog_file = {place}/log
maillog_file_prefixes = {place}
myhostname = mail.gem.nl
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
relayhost = [127.0.0.1]:{target}
smtp_tls_security_level = encrypt
smtp_tls_CAfile = {place}/ca.pem
default_database_type = hash
alias_maps =
alias_database =
local_recipient_maps =
smtpd_recipient_restrictions = permit_mynetworks, reject
smtp_pix_workaround_threshold_time = 0
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def configure(place, target):
    """Write a Postfix of its own; the port that it listens on."""
    port = free_port()
    place.chmod(0o755)  # its daemons run as another user
    for name in ("spool", "data", "etc"):
        (place / name).mkdir(mode=0o755)
    shutil.chown(place / "data", "postfix")
    (place / "ca.pem").write_bytes(CA.chain_pem)
    main = _MAIN.format(place=place, target=target)
    (place / "etc" / "main.cf").write_text(main)
    (place / "etc" / "master.cf").write_text(_MASTER.format(port=port))
    return port


async def until(predicate, place):
    """Wait for something; when it does not come, show Postfix's own log."""
    for _ in range(400):
        if predicate():
            return
        await asyncio.sleep(0.05)
    log = place / "log"
    pytest.fail(log.read_text() if log.exists() else "Postfix did not start")


@contextlib.asynccontextmanager
async def postfix(target):
    """A Postfix that relays everything to the port `target`; (its port, its place)."""
    place = pathlib.Path(tempfile.mkdtemp(prefix="postfix-"))
    pid_file = place / "spool" / "pid" / "master.pid"
    try:
        port = configure(place, target)
        process = await asyncio.create_subprocess_exec(
            *("postfix", "-c", str(place / "etc"), "start"),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        await process.wait()
        await until(lambda: pid_file.exists() and pid_file.read_text().strip(), place)
        yield port, place
    finally:
        await end(pid_file)
        shutil.rmtree(place, ignore_errors=True)


async def end(pid_file):
    """End the master by its process id; its daemons are its process group."""
    if not pid_file.exists():
        return
    master = int(pid_file.read_text())
    for _ in range(100):
        try:
            os.kill(master, signal.SIGTERM)
        except ProcessLookupError:
            return
        await asyncio.sleep(0.05)
    os.kill(master, signal.SIGKILL)


HEADER = (
    b"From: Jan <jan@gem.nl>\r\nTo: a@b.nl\r\nSubject: =?utf-8?q?Zorg?=\r\n"
    b"Date: Wed, 25 Nov 2026 12:00:00 +0000\r\nMessage-ID: <1@gem.nl>\r\n"
    b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
    b"Content-Transfer-Encoding: 8bit\r\n\r\n"
)
LENGTHS = (76, 500, 990, 0, 0, 1)  # Postfix itself folds lines over 990 octets
BODY = (
    "Geachte,\r\n\r\n.\r\n..\r\n...\r\n.a\r\n \t trailing \r\n\r\n"
    "overlegd met café Zoë\r\nFrom the start\r\n"
).encode() + b"".join(b"x" * length + b"\r\n" for length in LENGTHS)


async def hand_over(port, sender, recipients, content):
    talker = await Talker.connect(port)
    await talker.greet()
    assert (await talker.do(f"MAIL FROM:<{sender}> BODY=8BITMIME"))[:3] == "250"
    for recipient in recipients:
        assert (await talker.do(f"RCPT TO:<{recipient}>"))[:3] == "250"
    stuffed = (b"\r\n" + content).replace(b"\r\n.", b"\r\n..")[2:]
    assert (await talker.data(stuffed + b".\r\n"))[:3] == "250"
    await talker.close()


async def test_postfix_relays_over_tls_and_the_body_arrives_byte_identical(tmp_path):
    recipients = [f"r{at}@b.nl" for at in range(30)]
    async with (
        running(tmp_path, configuration=settings(NETWORK)) as desk,
        postfix(desk.port(STARTTLS)) as (port, place),
    ):
        await hand_over(port, "jan@gem.nl", recipients, HEADER + BODY)
        await until(lambda: desk.messages, place)
    (message,), (peer,) = desk.messages, desk.peers
    ours = message.octets.index(b"+0000\r\n") + len(b"+0000\r\n")
    theirs = re.match(rb"Received: .*\r\n(?:[ \t].*\r\n)+", message.octets[ours:])
    assert message.octets[ours + theirs.end() :] == HEADER + BODY
    assert b"ESMTPS id" in message.octets[:ours]
    assert peer.tls.version == "TLSv1.3"
    assert peer.helo == "mail.gem.nl"
    assert message.envelope.body.value == "8BITMIME"
    got = [str(each) for each in message.envelope.recipients]
    assert got == sorted(recipients)  # Postfix sorts them


async def test_postfix_bounce_of_a_refused_sender_shows_the_reason(tmp_path):
    async with (
        running(tmp_path, configuration=settings(NETWORK)) as desk,
        postfix(desk.port(STARTTLS)) as (port, place),
    ):
        await hand_over(port, "jan@evil.example", ["a@b.nl", "c@b.nl"], HEADER + BODY)
        await until(lambda: desk.messages, place)
    (bounce,) = desk.messages  # the bounce itself, through the same relay
    assert bounce.envelope.reverse_path.is_null
    assert [str(each) for each in bounce.envelope.recipients] == ["jan@evil.example"]
    text = b" ".join(bounce.octets.split())
    for language in render.LANGUAGES:
        said = f"K201 {render.sentence('K201', language)}"
        assert said.encode() in text
    assert text.count(b"Action: failed") == 2


async def test_postfix_keeps_what_we_put_off_and_sends_it_again(tmp_path):
    tries = []

    async def first_full(message, peer):
        tries.append(message)
        if len(tries) == 1:
            raise RuntimeError("the store is away")
        return OK

    async with (
        running(tmp_path, receive=first_full, configuration=settings(NETWORK)) as desk,
        postfix(desk.port(STARTTLS)) as (port, place),
    ):
        await hand_over(port, "jan@gem.nl", ["a@b.nl"], HEADER + BODY)
        await until(lambda: "status=deferred" in (place / "log").read_text(), place)
        assert "451 4.3.0 Local error" in (place / "log").read_text()
        flush = await asyncio.create_subprocess_exec(
            *("postqueue", "-c", str(place / "etc"), "-f"),
            stderr=asyncio.subprocess.DEVNULL,
        )
        await flush.wait()
        await until(lambda: desk.messages, place)
    assert len(tries) == 2
    assert desk.messages[0].octets.endswith(BODY)
