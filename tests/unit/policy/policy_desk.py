"""The shipped policy, and small parts to decide about, for tests of this room."""

import datetime
import functools
import pathlib

from gateway import config
from gateway.model.address import Domain, Mailbox, ReversePath
from gateway.model.assurance import Assurance
from gateway.model.classification import Classification, Level, RegimeFinding
from gateway.model.document import Document, Segment
from gateway.model.ids import ClientId, MunicipalityId, PartnerId, RegimeId, Role
from gateway.model.message import Envelope
from gateway.model.partner import Partner, PartnerState, Route, RouteMethod
from gateway.model.peer import Identification, Peer
from gateway.policy import rulebook

ROOT = pathlib.Path(__file__).parents[3]
POLICIES = ROOT / "policies"
TODAY = datetime.date(2026, 3, 1)
CONFIG = """
[gateway]
hostname = "mailpoort.voorbeeldstad.example"
state_dir = "/var/lib/ketenmail"
[keys]
directory = "/var/lib/ketenmail-keys"
master_key_file = "/etc/ketenmail/master.key"
[[listener]]
port = 25
tls = "starttls"
certificate = "/etc/ketenmail/tls.pem"
key = "/etc/ketenmail/tls.key"
[[municipality]]
id = "voorbeeldstad"
name = "Voorbeeldstad"
sender_domains = ["voorbeeldstad.example"]
notices_from = "mailpoort@voorbeeldstad.example"
%s
[municipality.route]
method = "fixed"
host = "127.0.0.1"
port = 2525
least = "encrypted"
[[client]]
id = "exchange"
municipality = "voorbeeldstad"
networks = ["10.1.2.3/32"]
"""
OWN = Domain.parse("voorbeeldstad.example")
SENDER = Mailbox.parse("ambtenaar@voorbeeldstad.example")


@functools.cache
def pack_texts() -> tuple[tuple[str, str], ...]:
    paths = sorted((POLICIES / "regimes").glob("*.toml"))
    return tuple(
        (p.name, p.read_text("utf-8"))
        for p in paths
        if not p.name.endswith(".examples.toml")
    )


@functools.cache
def policy(municipality: str = "") -> rulebook.Policy:
    """The shipped policy; `municipality` holds more lines of its settings."""
    return rulebook.build(
        dict(pack_texts()),
        (POLICIES / "decision.toml").read_text("utf-8"),
        (POLICIES / "consumer-domains.toml").read_text("utf-8"),
        config.parse(CONFIG % municipality),
    )


def document(text: str, subject: str = "", **more) -> Document:
    segments = (Segment("subject", subject), Segment("body/1", text))
    return Document(segments, **more)


def classification(level: Level, **regimes: Level) -> Classification:
    found = tuple(
        RegimeFinding(RegimeId(name), at, 10, ()) for name, at in regimes.items()
    )
    return Classification(level, found)


def peer(helo: str = "mail.voorbeeldstad.example") -> Peer:
    return Peer(
        "10.1.2.3",
        helo,
        True,
        None,
        ClientId("exchange"),
        MunicipalityId("voorbeeldstad"),
        frozenset({OWN}),
        Identification.NETWORK,
    )


def envelope(*recipients: str, sender: Mailbox | None = SENDER) -> Envelope:
    return Envelope(ReversePath(sender), tuple(map(Mailbox.parse, recipients)))


def partner(**change) -> Partner:
    values = {
        "id": PartnerId("om-voorbeeld"),
        "municipality": MunicipalityId("voorbeeldstad"),
        "name": "OM Voorbeeld",
        "roles": frozenset({Role("om")}),
        "domains": frozenset({Domain.parse("om.example")}),
        "mailboxes": (),
        "state": PartnerState.VERIFIED,
        "verified_on": datetime.date(2026, 1, 1),
        "valid_until": datetime.date(2026, 12, 31),
        "route": Route(RouteMethod.MX, Assurance.AUTHENTICATED),
        "digest": "0" * 64,
    }
    return Partner(**(values | change))
