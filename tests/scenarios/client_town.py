"""A town with its gateway, where no client is known by where it is, and a partner.

For the scenarios of mail clients and servers: each shows a certificate or a password,
and is nobody without. What is refused is read where its sender reads it (R23).
"""

import dataclasses
import hashlib
import itertools
import re
import ssl

import argon2

from gateway.demo import _WVGGZ as WVGGZ
from tests import certs
from tests.peers import daemon, gateway, loopback, nsd, postfix

NAME = "gw.gemeente.test"
SENDER = "j.devries@gemeente.test"
STRANGER = "crisis@onbekend.test"
USER, PASSWORD = "balie", "correct horse battery staple"
MOST_RECIPIENTS = 100
ORDINARY = b"De vergadering van donderdag begint om 10.00 uur in zaal 2.\r\n"
REFERENCE = r"Kenmerk / reference: [0-9a-z]{26}"
CLIENTS = """
[[client]]
id = "mailserver"
municipality = "gemeente"
certificate_sha256 = ["{fingerprint}"]
[[client]]
id = "balie"
municipality = "gemeente"
user = "{user}"
password_file = "{password_file}"
[limits]
recipients = {recipients}
"""
KNOWN_BY_NETWORK = """[[client]]
id = "postfix"
municipality = "gemeente"
networks = ["127.0.0.0/8"]
"""
_NUMBER = itertools.count(1)


def compose(
    body: bytes, to: str, subject: str = "Vergadering", author: str = SENDER
) -> bytes:
    return (
        f"From: {author}\r\nTo: {to}\r\nSubject: {subject}\r\n"
        f"Message-ID: <{next(_NUMBER)}@gemeente.test>\r\n"
        "Date: Wed, 25 Nov 2026 10:00:00 +0100\r\nMIME-Version: 1.0\r\n"
        "Content-Type: text/plain; charset=utf-8\r\n"
        "Content-Transfer-Encoding: 8bit\r\n\r\n"
    ).encode() + body


def case(to: str) -> bytes:
    """A message about a crisismaatregel: nobody but a partner may have it."""
    body = WVGGZ.encode().replace(b"\n", b"\r\n")
    return compose(body, to, "Zaak Z-2026-000123")


@dataclasses.dataclass
class Town:
    """The gateway, a partner that takes ordinary mail, and who may hand over."""

    gateway: gateway.Gateway
    sink: postfix.Postfix
    certificate: certs.Credential
    files: certs.Files
    ca: certs.Credential
    own_address: str

    @property
    def starttls(self) -> tuple[str, int]:
        return self.gateway.address, gateway.PORT

    @property
    def implicit(self) -> tuple[str, int]:
        return self.gateway.address, gateway.IMPLICIT_PORT

    def context(self, *, certificate: bool = False) -> ssl.SSLContext:
        context = ssl.create_default_context(cadata=self.ca.chain_pem.decode())
        context.check_hostname = False  # smtplib knows the address only
        if certificate:
            context.load_cert_chain(self.files.certificate, self.files.key)
        return context

    def received(self, to: str, count: int = 1) -> list[postfix.Delivery]:
        """What the partner got for this recipient, as soon as it is `count`."""
        found: list[postfix.Delivery] = []

        def seen() -> bool:
            found[:] = [each for each in self.sink.deliveries() if each.recipient == to]
            return len(found) >= count

        assert daemon.until(seen, 60), (self.gateway.log[-3000:], to)
        return found


def build(ca, zones, resolver, start, place) -> Town:
    """Start it all with `start`; certificates of the client are written to `place`."""
    own_address = loopback.claim()
    certificate = certs.issue(ca, ["mail.gemeente.test"])
    running = start(
        gateway.run(
            ca,
            own_address,
            certificate.pin.spki_sha256,
            resolver=resolver,
            names=(zones.secure_name, zones.bogus_name),
            serve=False,
        )
    )
    configure(running, ca, certificate)
    sink = start(postfix.sink("gewoon.test"))
    zone = zones.add("gewoon.test", nsd.Security.INSECURE)
    zone.mx("mx1").a("mx1", sink.address)
    zones.publish()
    resolver.flush()
    running.start()
    files = certificate.write(place, "client")
    return Town(running, sink, certificate, files, ca, own_address)


def configure(running, ca, certificate):
    """Ask clients for a certificate; know them by that or by a password."""
    anchor = running.place / "client-ca.pem"
    anchor.write_bytes(ca.chain_pem)
    password_file = running.place / "password"
    hasher = argon2.PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)
    password_file.write_text(hasher.hash(PASSWORD))
    password_file.chmod(0o600)
    text = running.config.read_text("utf-8")
    assert KNOWN_BY_NETWORK in text
    text = text.replace(KNOWN_BY_NETWORK, "").replace(
        "[[listener]]\n", f'[[listener]]\nclient_ca = "{anchor}"\n'
    )
    fingerprint = hashlib.sha256(certificate.chain_der[0]).hexdigest()
    text += CLIENTS.format(
        fingerprint=fingerprint,
        user=USER,
        password_file=password_file,
        recipients=MOST_RECIPIENTS,
    )
    running.config.write_text(text, "utf-8")


def assert_explained(text: str) -> None:
    """Reason, remedy and reference are there, in both languages (R23)."""
    text = " ".join(text.split())
    assert "K301" in text
    assert "is geen geregistreerde ketenpartner" in text
    assert "Controleer het adres" in text
    assert "is no registered chain partner" in text
    assert "Check the address" in text
    assert re.search(REFERENCE, text)
