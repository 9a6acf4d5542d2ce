"""R8: what "sends everything" also sends, with Postfix and the dialogue of Exchange.

Mail forwarded for outside senders, bounces, automatic replies, invitations, and
mailboxes that nobody reads.
"""

import dataclasses
import itertools

import pytest

from gateway.demo import _WVGGZ as WVGGZ
from tests import certs
from tests.peers import daemon, exchange, gateway, loopback, nsd, postfix
from tests.scenarios.client_town import KNOWN_BY_NETWORK, compose

pytestmark = [pytest.mark.peers, pytest.mark.xdist_group("ordinary-life")]

ORDINARY = b"De vergadering van donderdag begint om 10.00 uur in zaal 2.\r\n"
SUSPECT = b"Is de crisismaatregel van die meneer al verlopen?\r\n"
CASE = WVGGZ.encode().replace(b"\n", b"\r\n")
CUSTOMER = "klant@buiten.test"
FRIEND = "vriend@elders.test"
PRINTER = "printer@gemeente.test"
OFFICER = "postmaster@gemeente.test"
CLIENTS = """[[client]]
id = "postfix"
municipality = "gemeente"
networks = ["{own}/32"]
foreign_from = "none-only"
[[client]]
id = "exchange"
municipality = "gemeente"
networks = ["127.0.0.1/32"]
"""
_NUMBER = itertools.count(1)


@dataclasses.dataclass
class Town:
    """The municipality's Postfix and Exchange, the gateway, and the world outside."""

    gateway: gateway.Gateway
    own: postfix.Postfix
    outside: postfix.Postfix
    ca: certs.Credential

    def hand_over(self, octets: bytes, to: str, sender: str = "") -> exchange.Dialogue:
        server = (self.gateway.address, gateway.PORT)
        name = "ex01.gemeente.test"
        connector = exchange.connector(server, "gw.gemeente.test", self.ca, name, None)
        return connector.send(sender, [to], octets)

    def arrived(self, to: str) -> postfix.Delivery:
        """What came outside for this recipient."""
        found = []

        def seen() -> bool:
            found[:] = [
                each for each in self.outside.deliveries() if each.recipient == to
            ]
            return bool(found)

        assert daemon.until(seen, 60), self.gateway.log[-3000:]
        return found[-1]

    def notices(self, mailbox: str, about: str) -> list[postfix.Delivery]:
        return [
            each
            for each in self.own.deliveries()
            if each.recipient == mailbox and about.encode() in each.octets
        ]

    def records(self, dialogue: exchange.Dialogue) -> list[dict]:
        reference = dialogue.final.split()[-1]
        return self.gateway.trace(reference)["records"]


@pytest.fixture(scope="module")
def town(ca, zones, resolver, start_once):
    own_address = loopback.claim()
    leaf = certs.issue(ca, ["mail.gemeente.test"])
    running = start_once(
        gateway.run(
            ca,
            own_address,
            leaf.pin.spki_sha256,
            resolver=resolver,
            names=(zones.secure_name, zones.bogus_name),
            municipality=f'unattended = ["{PRINTER}"]',
            serve=False,
        )
    )
    text = running.config.read_text("utf-8")
    assert KNOWN_BY_NETWORK in text
    clients = CLIENTS.format(own=own_address)
    running.config.write_text(text.replace(KNOWN_BY_NETWORK, clients), "utf-8")
    outside = start_once(postfix.sink("elders.test", "buiten.test"))
    for name in outside.domains:
        zone = zones.add(name, nsd.Security.INSECURE)
        zone.mx("mx1").a("mx1", outside.address)
    zones.publish()
    resolver.flush()
    running.start()
    own = start_once(
        postfix.sender(
            "gemeente.test",
            relay=(running.address, gateway.PORT),
            credential=leaf,
            address=own_address,
            parameters={
                "virtual_alias_maps": f"inline:{{ oud@gemeente.test={FRIEND} }}",
            },
        )
    )
    return Town(running, own, outside, ca)


def trace_of(town: Town, pattern: str) -> dict:
    """What evidence says of the message on the line of Postfix' log that matches."""
    line = town.own.wait_for_log(pattern, 30)
    reference = line.rpartition("reference")[2].lstrip(": ").split()[0][:26]
    return town.gateway.trace(reference)["records"][0]


# --- forwarded mail -------------------------------------------------------------------
def test_postfix_forwards_harmless_mail_of_outside_senders_A_46(town):
    octets = compose(ORDINARY, "oud@gemeente.test", author=CUSTOMER)
    town.own.submit(octets, CUSTOMER, ["oud@gemeente.test"])
    delivery = town.arrived(FRIEND)
    assert delivery.content == octets  # `Received` only (R8)
    assert delivery.reverse_path == CUSTOMER
    record = trace_of(town, rf"to=<{FRIEND}>.*status=sent")
    assert record["event"] == "accepted"
    assert record["facts"]["foreign_author"] is True
    assert record["facts"]["level"] == "none"
    assert record["facts"]["reverse_path"] == CUSTOMER


def test_a_case_is_not_forwarded_and_does_not_leave_in_the_bounce_either(town):
    """Postfix returns the whole message to the outside sender, through us."""
    octets = compose(CASE, "oud@gemeente.test", "Zaak", author="tweede@buiten.test")
    town.own.submit(octets, "tweede@buiten.test", ["oud@gemeente.test"])
    record = trace_of(town, rf"to=<{FRIEND}>.*status=bounced")
    assert record["event"] == "refused"
    assert record["facts"]["recipients/1/code"] == "K202"
    bounce = trace_of(town, r"to=<tweede@buiten.test>.*status=bounced")
    assert bounce["event"] == "refused"
    assert bounce["facts"]["reverse_path"] == ""
    assert bounce["facts"]["recipients/1/row"] == "4a"
    recipients = {each.recipient for each in town.outside.deliveries()}
    assert "tweede@buiten.test" not in recipients


def test_a_server_that_may_not_forward_is_refused_at_once_A_46(town):
    octets = compose(ORDINARY, FRIEND, author=CUSTOMER)
    dialogue = town.hand_over(octets, FRIEND, sender=CUSTOMER)
    mail = next(at for at, said in enumerate(dialogue.commands) if said[:4] == "MAIL")
    assert dialogue.replies[mail + 1].startswith("550-5.7.1 K201")  # 0 is the banner
    assert not dialogue.final.startswith("2")
    dialogue = town.hand_over(octets, FRIEND, sender="j@gemeente.test")
    assert dialogue.final.startswith("550")
    assert "K202" in dialogue.diagnostic


def test_our_own_mail_is_not_foreign(town):
    own = compose(ORDINARY, "eigen@elders.test")
    town.own.submit(own, "j.devries@gemeente.test", ["eigen@elders.test"])
    record = trace_of(town, r"to=<eigen@elders.test>.*status=sent")
    assert record["facts"]["foreign_author"] is False


# --- automatic mail -------------------------------------------------------------------
def out_of_office(text: bytes, to: str, subject: str = "Vraag") -> bytes:
    author = "j.devries@gemeente.test"
    head = exchange.OUT_OF_OFFICE.format(subject=subject, author=author)
    return f"From: {author}\r\nTo: {to}\r\n{head}".encode() + text


def test_an_out_of_office_reply_of_exchange_goes_A_06(town):
    to = f"afwezig-{next(_NUMBER)}@elders.test"
    dialogue = town.hand_over(out_of_office(b"Ik ben er maandag weer.\r\n", to), to)
    assert dialogue.final.startswith("250")
    assert town.arrived(to).reverse_path == ""


@pytest.mark.parametrize("quoted", [CASE, SUSPECT])
def test_an_out_of_office_reply_that_quotes_a_case_is_refused_and_never_held(
    town, quoted
):
    to = f"afwezig-{next(_NUMBER)}@elders.test"
    text = b"Ik ben er maandag weer.\r\n\r\n> U schreef:\r\n> " + quoted
    dialogue = town.hand_over(out_of_office(text, to), to)
    assert dialogue.final.startswith("550")
    assert "K301" in dialogue.diagnostic
    (record,) = town.records(dialogue)
    assert record["event"] == "refused"
    assert not town.notices(OFFICER, to)


INVITATION = (
    "Content-Class: urn:content-classes:calendarmessage\r\nMIME-Version: 1.0\r\n"
    'Content-Type: multipart/alternative; boundary="b"\r\n\r\n'
    "--b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n\r\n"
    "--b\r\nContent-Type: text/calendar; charset=utf-8; method=REPLY\r\n\r\n"
    "BEGIN:VCALENDAR\r\nMETHOD:REPLY\r\nVERSION:2.0\r\nBEGIN:VEVENT\r\n"
    "ATTENDEE;PARTSTAT=ACCEPTED;CN=J. de Vries:mailto:j.devries@gemeente.test\r\n"
    "UID:7\r\nSUMMARY:{summary}\r\nDTSTART:20261126T090000Z\r\n"
    "DTSTAMP:20261125T090000Z\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n--b--\r\n"
)


def accept(to: str, summary: str) -> bytes:
    head = f"From: j.devries@gemeente.test\r\nTo: {to}\r\nSubject: Geaccepteerd\r\n"
    return (head + INVITATION.format(summary=summary)).encode()


def test_an_invitation_is_answered(town):
    to = f"agenda-{next(_NUMBER)}@elders.test"
    dialogue = town.hand_over(
        accept(to, "Overleg zaal 2"), to, "j.devries@gemeente.test"
    )
    assert dialogue.final.startswith("250")
    assert b"METHOD:REPLY" in town.arrived(to).octets


def test_an_answer_to_an_invitation_about_a_case_is_refused(town):
    to = f"agenda-{next(_NUMBER)}@elders.test"
    summary = " ".join(CASE.decode().split())
    dialogue = town.hand_over(accept(to, summary), to, "j.devries@gemeente.test")
    assert dialogue.final.startswith("550")
    assert "K301" in dialogue.diagnostic


# --- nobody to tell -------------------------------------------------------------------
@pytest.mark.parametrize("sender", ["", PRINTER, PRINTER.upper()])
def test_what_nobody_would_read_is_told_to_the_municipalitys_mailbox_A_06(town, sender):
    to = f"gehouden-{next(_NUMBER)}@elders.test"
    octets = compose(SUSPECT, to, author=PRINTER)
    dialogue = town.hand_over(octets, to, sender)
    assert dialogue.final.startswith("250")
    assert daemon.until(lambda: town.notices(OFFICER, to), 60)
    assert not town.notices(PRINTER, to)
    facts = {each["event"]: each["facts"] for each in town.records(dialogue)}
    assert facts["held"]["code"] == "K302"
    assert facts["notice-sent"]["addressee"] == OFFICER
