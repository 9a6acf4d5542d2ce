"""The shipped policy over small settings, jobs, messages and outcomes, with set times."""

import datetime
import email
import email.policy
import functools
import hmac
import itertools

from gateway import app, config
from gateway.model.address import Domain, Mailbox, ReversePath
from gateway.model.assurance import Assurance, Mechanism
from gateway.model.classification import Classification, Finding, Level, RegimeFinding
from gateway.model.document import Document, UnreadablePart
from gateway.model.ids import (
    ClientId,
    Code,
    Digest,
    JobId,
    MessageId,
    MunicipalityId,
    PartnerId,
    RegimeId,
    RuleId,
)
from gateway.model.job import Job, JobKind, JobRecipient, JobState
from gateway.model.message import (
    NO_MESSAGE_WISH,
    Body,
    Envelope,
    Message,
    MessageWish,
    Notify,
    RecipientWish,
)
from gateway.model.partner import Route, RouteMethod
from gateway.model.peer import Identification, Peer, TlsFacts
from gateway.model.reply import HopFacts, Outcome, RecipientOutcome, RemoteReply, Status
from gateway.model.verdict import Hold, Reason, Refuse, Relay
from gateway.policy.rulebook import Policy
from gateway.queue.admission import Commitment, Decided
from gateway.queue.notice import Desk

NOW = datetime.datetime(2026, 11, 25, 12, 0, tzinfo=datetime.UTC)
MINUTE = datetime.timedelta(minutes=1)
HOUR = 60 * MINUTE
DAY = 24 * HOUR
HOSTNAME = "mailpoort.voorbeeldstad.example"
OWNER = MunicipalityId("voorbeeldstad")
SENDER = Mailbox.parse("ambtenaar@voorbeeldstad.example")
NOTICES = Mailbox.parse("postkamer@voorbeeldstad.example")
SECRET = bytes(range(32))
WVGGZ = RegimeId("wvggz")
PARTNER_ROUTE = Route(RouteMethod.MX, Assurance.AUTHENTICATED)
BODY_CANARY = "betrokkene werd om 14.03 uur opgenomen"
HEADER = (
    b"Received: from exchange (10.1.2.3) by mailpoort.voorbeeldstad.example;\r\n"
    b"\tWed, 25 Nov 2026 13:00:00 +0100\r\n"
    b"From: ambtenaar@voorbeeldstad.example\r\n"
    b"To: crisis@ggz.example\r\n"
    b"Subject: Zaak Z-2026-000123\r\n"
    b"Message-ID: <1@voorbeeldstad.example>\r\n"
)
OCTETS = HEADER + b"\r\n" + BODY_CANARY.encode() + b"\r\n"
COMMITMENT = Commitment(SECRET, hmac.digest(SECRET, OCTETS, "sha256").hex())
ON_LOOPBACK = 'least = "encrypted"'
_CONFIG = """
[gateway]
hostname = "mailpoort.voorbeeldstad.example"
state_dir = "/var/lib/ketenmail"
[keys]
directory = "/var/lib/ketenmail-keys"
master_key_file = "/etc/ketenmail/master.key"
[queue]
retry_s = [60, 300]
warn_after_s = 3600
expire_after_s = 86400
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
hold_hours = 2
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
WITH_NOTICES_TO = f'notices_to = "{NOTICES}"'
REFUSE_ALL = 'mixed = "refuse-all"'


@functools.cache
def policy(municipality: str = "", own_route: str = ON_LOOPBACK) -> Policy:
    """The shipped policy.

    Args:
        municipality: More lines of its settings.
        own_route: How its own server is proven, or that it need not be.
    """
    text = (_CONFIG % municipality).replace(ON_LOOPBACK, own_route)
    return app.load_policy(config.parse(text))


def ids(prefix: str = "id"):
    """Identifiers that tell in which order they were asked for."""
    numbers = itertools.count(1)
    return lambda: f"{prefix}-{next(numbers)}"


def desk(municipality: str = "", now: datetime.datetime = NOW) -> Desk:
    return Desk(policy(municipality), HOSTNAME, ids(), now)


def mailbox(address: str) -> Mailbox:
    return Mailbox.parse(address)


def job(*recipients: str, **changes) -> Job:
    """A leased job of a crisismaatregel for a partner; tried never."""
    values = {
        "id": JobId("job-1"),
        "message": MessageId("message-1"),
        "municipality": OWNER,
        "kind": JobKind.MESSAGE,
        "state": JobState.LEASED,
        "reverse_path": ReversePath(SENDER),
        "recipients": tuple(
            JobRecipient(mailbox(r)) for r in recipients or ("crisis@ggz.example",)
        ),
        "route": PARTNER_ROUTE,
        "partner": PartnerId("ggz"),
        "level": Level.CERTAIN,
        "regimes": frozenset({WVGGZ}),
        "body": Body.SEVEN_BIT,
        "smtputf8": False,
        "size_octets": len(OCTETS),
        "policy": Digest("d" * 64),
        "accepted_at": NOW,
        "next_attempt_at": NOW,
        "expires_at": NOW + 4 * HOUR,  # the clock of wvggz
        "lease_token": 1,
    }
    return Job(**values | changes)


def notify(*words: str, orcpt: str | None = None) -> RecipientWish:
    """The wish of `RCPT TO:<...> NOTIFY=words ORCPT=orcpt`."""
    return RecipientWish(frozenset(map(Notify, words)), orcpt)


def wishing(address: str, *words: str, orcpt: str | None = None) -> JobRecipient:
    """A recipient of a job about whom the sender wants to hear just that."""
    return JobRecipient(mailbox(address), wish=notify(*words, orcpt=orcpt))


def result(address: str, status: Status, **more) -> RecipientOutcome:
    return RecipientOutcome(mailbox(address), status, **more)


def outcome(*results: RecipientOutcome, hops: tuple[HopFacts, ...] = ()) -> Outcome:
    return Outcome(hops, results)


def reply(code: int, enhanced: str | None, text: str = "said the hop") -> RemoteReply:
    return RemoteReply(code, enhanced, text)


def hop(**changes) -> HopFacts:
    values = {
        "host": "mx1.ggz.example",
        "address": "192.0.2.7",
        "port": 25,
        "dnssec": "mx:secure host:secure tlsa:secure",
        "mechanism": Mechanism.DANE_EE,
        "tls": TlsFacts("TLSv1.3", "TLS_AES_256_GCM_SHA384"),
        "matched": "tlsa 3 1 1",
        "tls_result": None,
        "detail": "",
        "started_at": NOW,
        "ended_at": NOW + datetime.timedelta(seconds=2),
    }
    return HopFacts(**values | changes)


def relay(address: str, **changes) -> Relay:
    values = {
        "recipient": mailbox(address),
        "row": RuleId("12"),
        "route": PARTNER_ROUTE,
        "partner": PartnerId("ggz"),
        "regimes": frozenset({WVGGZ}),
    }
    return Relay(**values | changes)


def refuse(address: str, code: str = "K301") -> Refuse:
    parameters = (("recipient_kind", "unknown"),)
    return Refuse(mailbox(address), RuleId("4"), Reason(Code(code), parameters))


def hold(address: str, code: str = "K302") -> Hold:
    parameters = (("recipient_kind", "unknown"),)
    return Hold(mailbox(address), RuleId("5a"), Reason(Code(code), parameters))


def decided(
    *verdicts,
    municipality: str = "",
    sender: Mailbox | None = SENDER,
    tls: TlsFacts | None = None,
    octets: bytes = OCTETS,
    wish: MessageWish = NO_MESSAGE_WISH,
    wishes: dict[str, RecipientWish] | None = None,
) -> Decided:
    """A message at `certain` of wvggz with these verdicts."""
    envelope = Envelope(
        ReversePath(sender),
        tuple(v.recipient for v in verdicts),
        wish=wish,
        recipient_wishes={mailbox(a): w for a, w in (wishes or {}).items()},
    )
    finding = Finding(RuleId("wvggz.opname"), "body/1", 2, 5)
    return Decided(
        Message(MessageId("message-1"), envelope, octets, NOW),
        Peer(
            "10.1.2.3",
            "mail.voorbeeldstad.example",
            True,
            tls,
            ClientId("exchange"),
            OWNER,
            frozenset({Domain.parse("voorbeeldstad.example")}),
            Identification.NETWORK,
        ),
        Document((), message_id="<1@voorbeeldstad.example>"),
        Classification(
            Level.CERTAIN,
            (RegimeFinding(WVGGZ, Level.CERTAIN, 15, (finding,)),),
            (UnreadablePart("attachment:zip", "encrypted"),),
        ),
        tuple(verdicts),
        policy(municipality),
        HOSTNAME,
    )


class Opened:
    """A notice as a mail program reads it, with the standard library."""

    def __init__(self, octets: bytes) -> None:
        self.octets = octets
        self.mail = email.message_from_bytes(octets, policy=email.policy.default)
        self.human, self.report, self.returned = self.mail.iter_parts()
        self.text = self.human.get_content().replace("\r\n", "\n")
        self.message_fields, *self.recipients = [
            group for group in self.report.get_payload() if group.keys()
        ]

    def fields(self, name: str) -> list[str | None]:
        """One field of the delivery status, of each recipient named."""
        return [group[name] for group in self.recipients]


def notice_of(batch) -> Opened:
    """The one notice that a batch queues."""
    (notice_job,) = [j for j in batch.jobs if j.kind is JobKind.NOTICE]
    (content,) = [c for c in batch.contents if c.message == notice_job.message]
    return Opened(content.octets)


def events(batch) -> list[str]:
    return [record.event for record in batch.records]


def fact(facts, name: str):
    return dict(facts)[name]


def addresses(record) -> list[str]:
    return [fact(facts, "address") for facts in record.recipients]
