"""A sandbox chain on loopback: no root, no DNS, throw-away keys, nothing leaves.

Everything the gateway does here it does for real: its own processes, its store, its
evidence. Only the partners are small stand-ins on loopback ports, one in order, one
without STARTTLS, one with another certificate than was agreed, and a mailbox of the
municipality that receives the notices.
"""

import asyncio
import contextlib
import dataclasses
import datetime
import email.policy
import hashlib
import pathlib
import smtplib
import socket
import ssl
import threading
from collections.abc import Iterator
from email.message import EmailMessage
from typing import Any

from aiosmtpd.smtp import SMTP
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from gateway import clock

MUNICIPALITY = "voorbeeldstad"
SENDER = "j.devries@voorbeeldstad.example"


@dataclasses.dataclass
class Stand:
    """One stand-in mail server: where it listens, and what it received."""

    name: str
    socket: socket.socket
    received: list[bytes] = dataclasses.field(default_factory=list)

    @property
    def port(self) -> int:
        """The port that was free."""
        return int(self.socket.getsockname()[1])


class _Inbox:
    """Keeps what is delivered to a stand-in."""

    def __init__(self, stand: Stand) -> None:
        self._stand = stand

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802
        self._stand.received.append(bytes(envelope.content))
        return "250 2.0.0 Ontvangen"


def reserve_port() -> socket.socket:
    """A free port of loopback, kept from others until the socket is closed.

    The gateway can still listen on it: its listeners share their port (SO_REUSEPORT).
    """
    keeper = socket.socket()
    keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    keeper.bind(("127.0.0.1", 0))
    return keeper


def answers(port: int) -> bool:
    """Whether something listens on this loopback port."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


def make_certificate(folder: pathlib.Path, name: str) -> tuple[str, str, str]:
    """A throw-away self-signed certificate.

    Returns:
        Path of the certificate, path of the key (mode 0600), SPKI pin in hexadecimal.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = clock.now()
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), False)
        .sign(key, hashes.SHA256())
    )
    cert_path, key_path = folder / f"{name}.crt", folder / f"{name}.key"
    cert_path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_path.touch(mode=0o600)
    key_path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    spki = key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return str(cert_path), str(key_path), hashlib.sha256(spki).hexdigest()


@dataclasses.dataclass(frozen=True, slots=True)
class Sandbox:
    """Where everything of the sandbox is."""

    folder: pathlib.Path
    gate: socket.socket  # keeps the gateway's port
    stands: tuple[tuple[Stand, ssl.SSLContext | None], ...]

    @property
    def config(self) -> pathlib.Path:
        """The settings."""
        return self.folder / "gateway.toml"

    @property
    def partners(self) -> pathlib.Path:
        """The partner file."""
        return self.folder / "partners.toml"

    @property
    def port(self) -> int:
        """Where the gateway listens."""
        return int(self.gate.getsockname()[1])

    def stand(self, name: str) -> Stand:
        """The stand-in of that name."""
        return next(stand for stand, _ in self.stands if stand.name == name)


def _server_context(certificate: str, key: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, key)
    return context


def lay_out(folder: pathlib.Path) -> Sandbox:
    """Write certificates, settings and the partner file of a fresh sandbox."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    names = ("gateway", "ggz", "kliniek", "pi", "inbox")
    certs = {n: make_certificate(folder, f"{n}.sandbox.example") for n in names}
    stands = tuple(
        (
            Stand(name, reserve_port()),
            None if name == "kliniek" else _server_context(*certs[name][:2]),
        )
        for name in names[1:]
    )
    sandbox = Sandbox(folder, reserve_port(), stands)
    ports = {stand.name: stand.port for stand, _ in stands}
    settings = _CONFIG.format(
        state=_quoted(folder / "state"),
        keys=_quoted(folder / "keys"),
        master_key=_quoted(folder / "master.key"),
        port=sandbox.port,
        cert=_quoted(certs["gateway"][0]),
        key=_quoted(certs["gateway"][1]),
        inbox_port=ports["inbox"],
        inbox_pin=certs["inbox"][2],
        ports=sorted(ports.values()),
    )
    sandbox.config.write_text(settings, encoding="utf-8")
    # The pin agreed with the prison is that of another key than its server has now.
    partners = _PARTNERS.format(
        today=clock.now().date().isoformat(),
        ggz_port=ports["ggz"],
        ggz_pin=certs["ggz"][2],
        kliniek_port=ports["kliniek"],
        pi_port=ports["pi"],
        other_pin="0" * 64,
    )
    sandbox.partners.write_text(partners, encoding="utf-8")
    return sandbox


def _quoted(path: object) -> str:
    """A path as a string of TOML."""
    return '"' + str(path).replace("\\", "\\\\").replace('"', '\\"') + '"'


@contextlib.contextmanager
def run_stands(sandbox: Sandbox) -> Iterator[None]:
    """Run the stand-ins in a thread of their own while the block lasts."""
    loop = asyncio.new_event_loop()
    started = threading.Event()

    async def run() -> None:
        servers = [
            await loop.create_server(
                lambda stand=stand, context=context: SMTP(  # type: ignore[misc]
                    _Inbox(stand),
                    hostname=f"{stand.name}.sandbox.example",
                    ident="Sandbox",
                    tls_context=context,
                    auth_exclude_mechanism=["LOGIN", "PLAIN"],
                    loop=loop,
                ),
                sock=stand.socket,
            )
            for stand, context in sandbox.stands
        ]
        started.set()
        await over.wait()
        for server in servers:
            server.close()

    over = asyncio.Event()
    thread = threading.Thread(target=loop.run_until_complete, args=[run()], daemon=True)
    thread.start()
    started.wait(10)
    try:
        yield
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(10)


@dataclasses.dataclass(frozen=True, slots=True)
class Sample:
    """One message that the demo sends, and what one should see."""

    title: tuple[str, str]  # nl, en
    recipient: str
    subject: str
    body: str
    outcome: str  # delivered, refused or failed
    code: str = ""  # the reason, where it is not delivered


_WVGGZ = (
    "Geachte collega,\n\nHierbij de crisismaatregel (art. 7:1 Wvggz) die vannacht is"
    " genomen voor betrokkene,\nmevrouw A. Verzonnen, geboren 03-04-1981, BSN"
    " 999994669, met de medische verklaring\nvan de psychiater. De"
    " geneesheer-directeur is op de hoogte.\n"
)
_PBW = (
    "Geachte directeur,\n\nOp grond van artikel 18b Pbw wissel ik gegevens uit over de"
    " gedetineerde dhr. B. Bedacht,\ngeboren 12-11-1979, met het oog op het risico op"
    " een ernstig geweldsmisdrijf na zijn\ninvrijheidstelling uit de penitentiaire"
    " inrichting.\n"
)

SAMPLES = (
    Sample(
        ("Gewone post aan een partner", "Ordinary mail to a partner"),
        "info@ggz.sandbox.example",
        "Openingstijden gemeentehuis",
        "Het gemeentehuis is donderdag tot 20.00 uur open.\n",
        "delivered",
    ),
    Sample(
        (
            "Wvggz-zaak naar de GGZ-partner die in orde is",
            "Wvggz case to the mental health partner that is in order",
        ),
        "crisisdienst@ggz.sandbox.example",
        "Zaak Z-2026-000123",
        _WVGGZ,
        "delivered",
    ),
    Sample(
        ("Wvggz-zaak naar een onbekend adres", "Wvggz case to an unknown address"),
        "crisisdienst@gzz.sandbox.example",
        "Zaak Z-2026-000123",
        _WVGGZ,
        "refused",
        "K301",
    ),
    Sample(
        (
            "Wvggz-zaak naar de penitentiaire inrichting (rol hoort niet bij de zaak)",
            "Wvggz case to the prison (role does not fit the case)",
        ),
        "directeur@pi.sandbox.example",
        "Zaak Z-2026-000123",
        _WVGGZ,
        "refused",
        "K304",
    ),
    Sample(
        (
            "Wvggz-zaak naar de kliniek waarvan de server geen STARTTLS biedt",
            "Wvggz case to the clinic whose server offers no STARTTLS",
        ),
        "opname@kliniek.sandbox.example",
        "Zaak Z-2026-000124",
        _WVGGZ,
        "failed",
        "K403",
    ),
    Sample(
        (
            "18b-zaak naar de reclassering, die in orde is",
            "18b case to the probation service, which is in order",
        ),
        "toezicht@reclassering.sandbox.example",
        "Zaak Z-2026-000125",
        _PBW.replace("directeur", "reclassering"),
        "delivered",
    ),
    Sample(
        (
            "18b-zaak naar de PI, waarvan de server een ander certificaat heeft",
            "18b case to the prison, whose certificate is not the one agreed",
        ),
        "directeur@pi.sandbox.example",
        "Zaak Z-2026-000125",
        _PBW,
        "failed",
        "K405",
    ),
)


def submit(sandbox: Sandbox, sample: Sample) -> tuple[int, str]:
    """Hand one sample to the gateway as a mail server would.

    Returns:
        Code and text of the reply to the end of DATA.
    """
    message = EmailMessage(policy=email.policy.SMTP)
    message["From"] = SENDER
    message["To"] = sample.recipient
    message["Subject"] = sample.subject
    message["Date"] = clock.now()
    message["Message-ID"] = f"<{clock.new_id()}@voorbeeldstad.example>"
    message.set_content(sample.body)
    context = ssl.create_default_context(
        cafile=str(sandbox.folder / "gateway.sandbox.example.crt")
    )
    context.check_hostname = False
    # Closed, not quit, when Ctrl-C comes in the middle: a late reply is none to QUIT.
    gate = smtplib.SMTP("127.0.0.1", sandbox.port, timeout=30)
    with contextlib.closing(gate) as client:
        client.starttls(context=context)
        client.ehlo()
        client.mail(SENDER)
        code, text = client.rcpt(sample.recipient)
        if code == 250:  # noqa: PLR2004
            code, text = client.data(message.as_bytes())
        client.quit()
    return code, text.decode("utf-8", "replace")


_CONFIG = """\
# A sandbox: written by `ketenmail demo`, thrown away afterwards.
[gateway]
hostname = "gateway.sandbox.example"
state_dir = {state}
workers = 2

[keys]
directory = {keys}
master_key_file = {master_key}

[dns]
self_test = false          # no resolver here: the routes are fixed, with pins

[net]
[[net.allow_ranges]]
range = "127.0.0.0/8"      # the stand-ins
ports = {ports}

[queue]
retry_s = [1]
warn_after_s = 1
expire_after_s = 4

[[listener]]
address = "127.0.0.1"
port = {port}
tls = "starttls"
certificate = {cert}
key = {key}

[[municipality]]
id = "voorbeeldstad"
name = "Gemeente Voorbeeldstad"
sender_domains = ["voorbeeldstad.example"]
notices_from = "mailgateway@voorbeeldstad.example"
notices_to = "postmaster@voorbeeldstad.example"
[municipality.alternative_person]
nl = "Gebruik het beveiligde portaal of bel 14 000."
en = "Use the secure portal or call 14 000."

[municipality.alternative_unknown]
nl = "Vraag de privacy officer de partner aan te sluiten."
en = "Ask the privacy officer to connect this partner."

[municipality.route]
method = "fixed"
host = "127.0.0.1"
port = {inbox_port}
pins = ["{inbox_pin}"]

[[client]]
id = "mailserver"
municipality = "voorbeeldstad"
networks = ["127.0.0.1/32"]
"""

_PARTNERS = """\
municipality = "voorbeeldstad"

[[partner]]
id = "ggz-sandbox"
name = "GGZ Sandbox"
roles = ["geneesheer_directeur", "zorgaanbieder"]
domains = ["ggz.sandbox.example"]
state = "verified"
verified_on = {today}
[partner.route]
method = "fixed"
host = "127.0.0.1"
port = {ggz_port}
pins = ["{ggz_pin}"]

[[partner]]
id = "reclassering-sandbox"
name = "Reclassering Sandbox"
roles = ["reclassering"]
domains = ["reclassering.sandbox.example"]
state = "verified"
verified_on = {today}
[partner.route]
method = "fixed"
host = "127.0.0.1"
port = {ggz_port}
pins = ["{ggz_pin}"]

[[partner]]
id = "kliniek-sandbox"
name = "Kliniek zonder STARTTLS"
roles = ["zorgaanbieder"]
domains = ["kliniek.sandbox.example"]
state = "verified"
verified_on = {today}
[partner.route]
method = "fixed"
host = "127.0.0.1"
port = {kliniek_port}
pins = ["{other_pin}"]

[[partner]]
id = "pi-sandbox"
name = "Penitentiaire Inrichting Sandbox"
roles = ["pi_directeur"]
domains = ["pi.sandbox.example"]
state = "verified"
verified_on = {today}
[partner.route]
method = "fixed"
host = "127.0.0.1"
port = {pi_port}
pins = ["{other_pin}"]
"""
