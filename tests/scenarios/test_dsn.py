"""DSN, REQUIRETLS and SMTPUTF8 from a client through the gateway to real Postfix hops.

Postfix 3.7 offers DSN and SMTPUTF8, and not REQUIRETLS; settings take the first two
away. The client is the one of the standard library, so that every parameter is its own.
"""

import contextlib
import dataclasses
import email
import email.policy
import itertools
import smtplib
import ssl

import pytest

from gateway.demo import _WVGGZ as WVGGZ
from tests import certs
from tests.peers import daemon, gateway, nsd, postfix

pytestmark = [pytest.mark.peers, pytest.mark.xdist_group("dsn")]

SENDER = "j.devries@gemeente.test"
ORDINARY = "De vergadering van donderdag begint om 10.00 uur in zaal 2.\n"
_NUMBER = itertools.count(1)
PARTNERS = 'municipality = "gemeente"\n' + "".join(
    f"""
[[partner]]
id = "{name}"
name = "Partner {name}"
roles = ["geneesheer_directeur"]
domains = ["{name}.test"]
state = "verified"
verified_on = 2026-11-01
"""
    for name in ("dsn-eist", "dsn-nee")
)


def compose(body: str, to: str, sender: str = SENDER, *, more: str = "") -> bytes:
    return (
        f"{more}From: {sender}\r\nTo: {to}\r\nSubject: Zaak Z-2026-000123\r\n"
        f"Message-ID: <dsn-{next(_NUMBER)}@gemeente.test>\r\n"
        "Date: Wed, 25 Nov 2026 10:00:00 +0100\r\nMIME-Version: 1.0\r\n"
        "Content-Type: text/plain; charset=utf-8\r\n"
        "Content-Transfer-Encoding: 8bit\r\n\r\n" + body.replace("\n", "\r\n")
    ).encode()


@dataclasses.dataclass
class Town:
    """The gateway, the municipality's own server, which takes notices, and DNS."""

    own: postfix.Postfix
    gateway: gateway.Gateway
    zones: nsd.Zones
    resolver: object

    def hand_over(self, octets, recipients, mail=(), sender=SENDER) -> str:
        """One transaction over STARTTLS; our reference, from the 250."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with smtplib.SMTP(self.gateway.address, gateway.PORT, timeout=60) as client:
            client.starttls(context=context)
            client.ehlo()
            code, text = client.mail(sender, list(mail))
            assert code == 250, text
            for to, options in recipients.items():
                code, text = client.rcpt(to, list(options))
                assert code == 250, (to, text)
            code, text = client.data(octets)
        assert code == 250, text
        return text.decode().split()[-1]

    def events(self, reference) -> list[str]:
        return [r["event"] for r in self.gateway.trace(reference)["records"]]

    def wait(self, reference, event, within_s=40) -> dict:
        found = []

        def seen() -> bool:
            records = self.gateway.trace(reference)["records"]
            found[:] = [r for r in records if r["event"] == event]
            return bool(found)

        assert daemon.until(seen, within_s), (
            self.gateway.trace(reference),
            self.gateway.log[-3000:],
        )
        return found[-1]["facts"]

    def notice(self, reference, within_s=40) -> email.message.EmailMessage:
        """The notice that the municipality's own server got about a message."""
        found = []

        def seen() -> bool:
            mails = [
                email.message_from_bytes(d.octets, policy=email.policy.default)
                for d in self.own.deliveries()
            ]
            found[:] = [
                mail
                for mail in mails
                if mail.is_multipart()
                and reference in next(mail.iter_parts()).get_content()
            ]
            return bool(found)

        assert daemon.until(seen, within_s), self.own.log_lines()[-20:]
        (mail,) = found
        return mail


@pytest.fixture(scope="module")
def town(ca, zones, resolver):
    with contextlib.ExitStack() as stack:
        leaf = certs.issue(ca, ["mail.gemeente.test"])
        own = stack.enter_context(
            postfix.sink(
                "gemeente.test",
                credential=leaf,
                parameters={"smtputf8_enable": "yes"},
            )
        )
        running = stack.enter_context(
            gateway.run(
                ca,
                own.address,
                leaf.pin.spki_sha256,
                resolver=resolver,
                names=(zones.secure_name, zones.bogus_name),
            )
        )
        running.apply(PARTNERS)
        yield Town(own, running, zones, resolver)


@pytest.fixture
def partner(town, ca, start):
    """Start a partner's Postfix under a name of its own, with DANE."""

    def begin(name, parameters=None, tlsa=None):
        leaf = certs.issue(ca, [f"mx1.{name}.test"])
        server = start(
            postfix.sink(f"{name}.test", credential=leaf, parameters=parameters)
        )
        zone = town.zones.add(f"{name}.test", nsd.Security.SECURE)
        zone.mx("mx1").a("mx1", server.address)
        zone.tlsa("mx1", tlsa or certs.tlsa(leaf.certificate))
        town.zones.publish()
        town.resolver.flush()
        return server

    return begin


def commands(server, verb) -> list[str]:
    """What was said to it that begins with this verb, whole."""
    server.wait_until_idle()
    said = [line for session in server.transcript() for line in session.commands]
    return [line for line in said if line.upper().startswith(verb)]


def fields(notice) -> tuple[dict, list[dict]]:
    """The delivery status: fields of the message, and of each recipient."""
    report = list(notice.iter_parts())[1]
    assert report.get_content_type() == "message/delivery-status"
    message, *recipients = [dict(g) for g in report.get_payload() if g.keys()]
    return message, recipients


WISHES = ("NOTIFY=SUCCESS,FAILURE", "ORCPT=rfc822;Oud+2BAdres@Dsn-Ja.test")


def test_a26_a_hop_with_dsn_gets_the_wishes_word_for_word_and_we_are_silent(
    town, partner
):
    server = partner("dsn-ja")
    to = "info@dsn-ja.test"
    reference = town.hand_over(
        compose(ORDINARY, to), {to: WISHES}, ["RET=HDRS", "ENVID=aBc+2B"]
    )
    facts = town.wait(reference, "delivered")
    assert facts["hops/1/dsn"] is True
    (mail,) = commands(server, "MAIL")
    assert mail.split()[-2:] == ["RET=HDRS", "ENVID=aBc+2B"]
    (rcpt,) = commands(server, "RCPT")
    assert rcpt == f"RCPT TO:<{to}> {' '.join(WISHES)}"
    assert town.events(reference) == ["accepted", "intent", "delivered"]
    accepted = town.wait(reference, "accepted")
    assert accepted["envid"] == "aBc+2B"
    assert accepted["recipients/1/notify"] == "SUCCESS,FAILURE"


def test_a26_a_hop_without_dsn_makes_us_tell_the_sender_that_it_was_relayed(
    town, partner
):
    server = partner("dsn-geen", {"smtpd_discard_ehlo_keywords": "dsn"})
    to = "info@dsn-geen.test"
    reference = town.hand_over(
        compose(ORDINARY, to), {to: WISHES}, ["RET=FULL", "ENVID=aBc+2B"]
    )
    notice = town.notice(reference)
    message, (recipient,) = fields(notice)
    assert message["Original-Envelope-Id"] == "aBc+"
    assert recipient["Original-Recipient"] == "rfc822; Oud+Adres@Dsn-Ja.test"
    assert recipient["Final-Recipient"] == f"rfc822; {to}"
    assert recipient["Action"] == "relayed"
    assert recipient["Status"].startswith("2.")
    assert recipient["Remote-MTA"] == "dns; mx1.dsn-geen.test"
    assert notice["To"] == SENDER
    assert commands(server, "RCPT") == [f"RCPT TO:<{to}>"]
    assert town.wait(reference, "delivered")["hops/1/dsn"] is False
    # Our notice asked the own server, which does offer DSN, for no notice about it.
    said = [line for line in commands(town.own, "RCPT") if SENDER in line]
    assert said
    assert all(line.endswith(" NOTIFY=NEVER") for line in said)


def test_a26_mixed_notify_over_three_refused_recipients(town, partner):
    rejecting = "check_recipient_access inline:{ {nee@=REJECT} {nooit@=REJECT} {niets@=REJECT} {succes@=REJECT} }, permit"
    partner("dsn-mix", {"smtpd_recipient_restrictions": rejecting})
    names = ("nee", "nooit", "niets", "succes")
    refused, never, silent, success = (f"{name}@dsn-mix.test" for name in names)
    reference = town.hand_over(
        compose(ORDINARY, refused),
        {
            refused: ["NOTIFY=FAILURE,DELAY"],
            never: ["NOTIFY=NEVER"],
            silent: [],
            success: ["NOTIFY=SUCCESS"],
        },
        ["RET=FULL"],
    )
    notice = town.notice(reference)
    _, recipients = fields(notice)
    assert [r["Final-Recipient"] for r in recipients] == [
        f"rfc822; {refused}",
        f"rfc822; {silent}",
    ]
    assert {r["Action"] for r in recipients} == {"failed"}
    assert list(notice.iter_parts())[2].get_content_type() == "text/rfc822-headers"
    assert b"vergadering" not in notice.as_bytes()
    failed = town.wait(reference, "failed")
    assert [failed[f"recipients/{n}/address"] for n in (1, 2, 3, 4)] == [
        refused, never, silent, success,
    ]  # fmt: skip
    assert "notice-dropped" in town.events(reference)


def test_a35_a_partner_without_requiretls_gets_nothing_and_the_sender_5_7_30(
    town, partner
):
    server = partner("dsn-eist")
    to = "crisis@dsn-eist.test"
    reference = town.hand_over(compose(WVGGZ, to), {to: []}, ["REQUIRETLS"])
    failed = town.wait(reference, "failed")
    assert failed["recipients/1/code"] == "K413"
    assert failed["hops/1/mechanism"] == "dane-ee"
    server.wait_until_idle()
    assert not any(session.envelope_seen for session in server.transcript())
    notice = town.notice(reference)
    _, (recipient,) = fields(notice)
    assert (recipient["Action"], recipient["Status"]) == ("failed", "5.7.30")
    # The own Postfix has no REQUIRETLS either: so nothing of the message goes along.
    assert len(list(notice.iter_parts())) == 2
    assert b"Zaak" not in notice.as_bytes()
    assert town.wait(reference, "accepted")["requiretls"] is True


def test_a35_ordinary_mail_with_requiretls_goes_nowhere_without_proof(town, ca, start):
    leaf = certs.issue(ca, ["mx1.dsn-kaal.test"])
    server = start(postfix.sink("dsn-kaal.test", credential=leaf))
    zone = town.zones.add("dsn-kaal.test", nsd.Security.SECURE)
    zone.mx("mx1").a("mx1", server.address)
    town.zones.publish()
    town.resolver.flush()
    to = "info@dsn-kaal.test"
    reference = town.hand_over(compose(ORDINARY, to), {to: []}, ["REQUIRETLS"])
    assert town.wait(reference, "failed")["recipients/1/code"] == "K401"
    _, (recipient,) = fields(town.notice(reference))
    assert recipient["Status"] == "5.7.10"
    assert server.transcript() == ()


@pytest.mark.parametrize("body", [WVGGZ, ORDINARY], ids=["sensitive", "ordinary"])
def test_a36_tls_required_no_lets_nothing_past_a_hop_that_fails_dane(
    town, partner, body
):
    name = "dsn-nee" if body is WVGGZ else "dsn-nee-gewoon"
    other = certs.tlsa(certs.self_signed().certificate)
    server = partner(name, tlsa=other)
    to = f"crisis@{name}.test"
    octets = compose(body, to, more="TLS-Required: No\r\n")
    reference = town.hand_over(octets, {to: []})
    assert town.wait(reference, "deferred")["recipients/1/code"] == "K404"
    server.wait_until_idle()
    assert not any(session.envelope_seen for session in server.transcript())


JORG = "j\u00f6rg"


def test_a24_an_address_outside_ascii_is_delivered_as_it_is(town, partner):
    server = partner("dsn-utf", {"smtputf8_enable": "yes"})
    to = f"{JORG}@dsn-utf.test"
    octets = compose(ORDINARY, to)
    reference = town.hand_over(octets, {to: []}, ["SMTPUTF8", "BODY=8BITMIME"])
    town.wait(reference, "delivered")
    (delivery,) = server.wait_for_deliveries()
    assert delivery.content == octets


def test_a24_a_hop_without_smtputf8_gives_5_6_7_to_the_sender(town, partner):
    server = partner("dsn-ascii", {"smtputf8_enable": "no"})
    to = f"{JORG}@dsn-ascii.test"
    reference = town.hand_over(
        compose(ORDINARY, to),
        {to: [f"ORCPT=utf-8;{JORG}@dsn-ascii.test"]},
        ["SMTPUTF8", "BODY=8BITMIME"],
    )
    assert town.wait(reference, "failed")["recipients/1/code"] == "K414"
    notice = town.notice(reference)
    _, (recipient,) = fields(notice)
    address = "utf-8; j\\x{F6}rg@dsn-ascii.test"
    assert recipient["Final-Recipient"] == recipient["Original-Recipient"] == address
    assert recipient["Status"] == "5.6.7"
    assert to in next(notice.iter_parts()).get_content()
    returned = list(notice.iter_parts())[2].get_payload(decode=True)
    assert f"To: {to}".encode() in returned
    server.wait_until_idle()
    assert not any(session.envelope_seen for session in server.transcript())


def test_a24_a_sender_outside_ascii_gets_the_notice(town, partner):
    partner(
        "dsn-weg",
        {"smtpd_recipient_restrictions": "reject", "smtputf8_enable": "yes"},
    )
    sender = "andr\u00e9@gemeente.test"
    to = "info@dsn-weg.test"
    octets = compose(ORDINARY, to, sender)
    reference = town.hand_over(octets, {to: []}, ["SMTPUTF8", "BODY=8BITMIME"], sender)
    assert town.wait(reference, "failed")["recipients/1/code"] == "K409"
    notice = town.notice(reference)
    assert sender in notice.as_bytes().decode()
    said = [line for line in commands(town.own, "MAIL") if "SMTPUTF8" in line]
    assert said


def test_a23_eight_bits_to_a_hop_without_8bitmime_are_refused_not_changed(
    town, partner
):
    server = partner("dsn-zeven", {"smtpd_discard_ehlo_keywords": "8bitmime"})
    to = "info@dsn-zeven.test"
    for mail in ([], ["BODY=8BITMIME"], ["BODY=7BIT"]):
        octets = compose("Caf\u00e9\n", to)
        reference = town.hand_over(octets, {to: []}, mail)
        assert town.wait(reference, "failed")["recipients/1/code"] == "K411"
        _, (recipient,) = fields(town.notice(reference))
        assert recipient["Status"] == "5.6.3"
    server.wait_until_idle(3)
    assert not any(session.envelope_seen for session in server.transcript())


def test_a21_what_is_too_large_for_the_hop_fails_at_once(town, partner):
    server = partner("dsn-klein", {"message_size_limit": "20000"})
    to = "info@dsn-klein.test"
    reference = town.hand_over(compose(ORDINARY * 500, to), {to: []})
    assert town.wait(reference, "failed")["recipients/1/code"] == "K415"
    _, (recipient,) = fields(town.notice(reference))
    assert recipient["Status"] == "5.3.4"
    server.wait_until_idle()
    assert not any(session.envelope_seen for session in server.transcript())
