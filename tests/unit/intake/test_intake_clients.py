"""Which client is who, and what start refuses."""

import asyncio
import concurrent.futures
import hashlib
import ipaddress
import threading

import argon2
import pytest

from gateway.intake.clients import ClientTable
from gateway.intake.password import Passwords
from gateway.model.address import Domain
from gateway.model.errors import ConfigError
from gateway.model.peer import Identification
from gateway.parties import Client
from tests import certs
from tests.unit.intake.intake_desk import (
    CA,
    CHEAP,
    HASH,
    IMPLICIT,
    NETWORK,
    OPEN,
    PASSWORD,
    Talker,
    client_context,
    settings,
)

CERTIFICATE = b"der"
DIGEST = hashlib.sha256(CERTIFICATE).hexdigest()


def client(name, *networks, user=None, digests=()):
    return Client(
        id=name,
        municipality="zwolle",
        sender_domains=frozenset({Domain("gem.nl")}),
        networks=tuple(map(ipaddress.ip_network, networks)),
        user=user,
        password_file=None,
        certificate_sha256=frozenset(digests),
    )


TABLE = ClientTable(
    [
        client("wide", "10.0.0.0/8", "2001:db8::/32"),
        client("narrow", "10.1.2.0/24"),
        client("host", "10.1.2.3/32"),
        client("user", user="u"),
        client("certificate", digests=[DIGEST]),
    ],
    {"u": HASH, "unused": "not looked at"},
)


@pytest.mark.parametrize(
    ("address", "certificate", "user", "expected"),
    [
        ("10.9.9.9", None, None, ("wide", Identification.NETWORK)),
        ("10.1.2.9", None, None, ("narrow", Identification.NETWORK)),
        ("10.1.2.3", None, None, ("host", Identification.NETWORK)),
        ("2001:db8::1", None, None, ("wide", Identification.NETWORK)),
        ("192.0.2.1", None, None, None),
        ("2001:db9::1", None, None, None),
        ("192.0.2.1", CERTIFICATE, None, ("certificate", Identification.CERTIFICATE)),
        ("10.1.2.3", CERTIFICATE, None, ("certificate", Identification.CERTIFICATE)),
        ("10.1.2.3", b"other", None, ("host", Identification.NETWORK)),
        ("192.0.2.1", b"other", None, None),
        ("10.1.2.3", CERTIFICATE, "u", ("user", Identification.AUTH)),
    ],
)
def test_client_is_found(address, certificate, user, expected):
    known = TABLE.identify(address, certificate, user)
    assert expected == (known and (known.client.id, known.by))


@pytest.mark.parametrize(
    "pair",
    [
        [client("a", "10.0.0.0/8"), client("b", "10.0.0.0/8")],
        [client("a", digests=[DIGEST]), client("b", digests=[DIGEST])],
        [client("a", user="u"), client("b", user="u")],
    ],
)
def test_two_clients_that_could_be_one_another_are_refused(pair):
    with pytest.raises(ConfigError, match="is also that of client a"):
        ClientTable(pair, {"u": HASH})


def test_user_without_hash_is_refused():
    with pytest.raises(ConfigError, match=r"client a\.password_file"):
        ClientTable([client("a", user="u")], {})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "plain",
        "$2b$12$xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
        argon2.PasswordHasher(1, 64, 1, type=argon2.Type.I).hash("x"),
    ],
    ids=["empty", "plain", "bcrypt", "argon2i"],
)
def test_anything_but_argon2id_is_refused(text):
    with pytest.raises(ConfigError, match="argon2"):
        Passwords({"u": text})


def test_password_is_verified_and_unknown_users_never_fit():
    passwords = Passwords({"u": HASH})
    assert passwords.verify("u", PASSWORD.encode())
    assert not passwords.verify("u", b"wrong")
    assert not passwords.verify("v", PASSWORD.encode())
    assert not Passwords({}).verify("u", PASSWORD.encode())


def test_unknown_user_is_checked_at_the_highest_cost_in_use():
    dear = argon2.PasswordHasher(time_cost=2, memory_cost=128, parallelism=1)
    passwords = Passwords({"a": CHEAP.hash("x"), "b": dear.hash("x")})
    assert argon2.extract_parameters(passwords._nobody).memory_cost == 128


def test_damaged_hash_is_a_fault_of_ours_and_no_wrong_password():
    passwords = Passwords({"u": HASH})
    passwords._hashes["u"] = "$argon2id$damaged"
    with pytest.raises(argon2.exceptions.VerificationError):
        passwords.verify("u", b"x")


@pytest.fixture
async def busy_threads():
    """All threads that the process shares wait until the test ends."""
    loop, go = asyncio.get_running_loop(), threading.Event()
    pool = concurrent.futures.ThreadPoolExecutor(1)
    loop.set_default_executor(pool)
    held = asyncio.create_task(asyncio.to_thread(go.wait))
    await asyncio.sleep(0)
    yield
    go.set()
    await held


@pytest.mark.usefixtures("busy_threads")
async def test_password_is_checked_while_big_mail_holds_the_shared_threads():
    async with asyncio.timeout(10):
        assert await TABLE.authenticate("u", PASSWORD.encode())
        assert not await TABLE.authenticate("u", b"wrong")


async def test_flood_of_guesses_leaves_the_shared_threads_alone(monkeypatch):
    go = threading.Event()
    monkeypatch.setattr(Passwords, "verify", lambda *_: go.wait(10))
    guesses = [
        asyncio.create_task(TABLE.authenticate("u", b"guess")) for _ in range(100)
    ]
    async with asyncio.timeout(5):
        assert await asyncio.to_thread(int) == 0
    assert not any(guess.done() for guess in guesses)
    go.set()
    await asyncio.gather(*guesses)


# --- certificates on the wire ------------------------------------------------------
CLIENT = certs.issue(CA, ["mail.gem.nl"])


def with_certificate(credential):
    digest = hashlib.sha256(credential.chain_der[0]).hexdigest()
    return settings(
        f"""
[[client]]
id = "mail"
municipality = "zwolle"
certificate_sha256 = ["{digest}"]
"""
    )


async def secure(desk, place, credential=None, listener=IMPLICIT):
    context = client_context()
    if credential is not None:
        files = credential.write(place, "client")
        context.load_cert_chain(files.certificate, files.key)
    if listener == IMPLICIT:
        return await Talker.connect(desk.port(listener), context)
    talker = await Talker.connect(desk.port(listener))
    await talker.do("STARTTLS")
    await talker.writer.start_tls(context, server_hostname="localhost")
    return talker


@pytest.mark.parametrize("listener", [IMPLICIT, OPEN])
async def test_listed_client_certificate_identifies(intake, tmp_path, listener):
    desk = await intake(configuration=with_certificate(CLIENT), client_ca=CA)
    talker = await secure(desk, tmp_path, CLIENT, listener)
    await talker.begin()
    assert (await talker.data(b"From: jan@gem.nl\r\nSubject: x\r\n\r\n.\r\n"))[
        :3
    ] == "250"
    assert desk.peers[0].identified_by is Identification.CERTIFICATE
    assert desk.peers[0].tls.chain == CLIENT.chain_der[:1]
    await talker.close()


async def test_certificate_of_the_same_ca_that_is_not_listed_identifies_nobody(
    intake, tmp_path
):
    desk = await intake(configuration=with_certificate(CLIENT), client_ca=CA)
    for credential in (certs.issue(CA, ["mail.gem.nl"]), None):
        talker = await secure(desk, tmp_path, credential)
        await talker.greet()
        assert await talker.code("MAIL FROM:<jan@gem.nl>") == "250 2.1.0"
        assert await talker.code("RCPT TO:<a@b.nl>") == "550 5.7.1"
        await talker.close()


async def test_certificate_of_another_ca_gets_no_session(intake, tmp_path):
    stranger = certs.issue(certs.make_ca("Test CA"), ["mail.gem.nl"])
    desk = await intake(configuration=with_certificate(stranger), client_ca=CA)
    talker = await secure(desk, tmp_path, stranger)
    assert talker.greeting == ""  # TLS 1.3 tells the client at its first read
    await talker.close()
    assert desk.messages == []


async def test_certificate_is_not_asked_for_without_a_ca(intake, tmp_path):
    desk = await intake(configuration=settings(NETWORK))
    talker = await secure(desk, tmp_path, CLIENT)
    await talker.begin()
    await talker.data(b"From: jan@gem.nl\r\nSubject: x\r\n\r\n.\r\n")
    assert desk.peers[0].tls.chain == ()
    assert desk.peers[0].identified_by is Identification.NETWORK
    await talker.close()
