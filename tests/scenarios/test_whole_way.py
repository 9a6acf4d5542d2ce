"""Postfix -> gateway -> Postfix over NSD and Unbound; each case is one change from it.

A scenario compares a small outcome: what the partner saw, what the sender was told,
and what evidence says.
"""

import dataclasses
import email
import email.policy
import itertools
import re

import pytest

from gateway.demo import _PBW as PBW
from gateway.demo import _WVGGZ as WVGGZ
from gateway.evidence import verify
from tests import certs
from tests.peers import daemon, gateway, loopback, nsd, postfix, proxy

pytestmark = [pytest.mark.peers, pytest.mark.xdist_group("whole-way")]

SENDER = "j.devries@gemeente.test"
_NUMBER = itertools.count(1)
ORDINARY = "De vergadering van donderdag begint om 10.00 uur in zaal 2.\n"


def compose(body: str, to: str, subject: str = "Zaak Z-2026-000123") -> bytes:
    lines = body.encode().replace(b"\n", b"\r\n")
    return (
        (
            f"From: {SENDER}\r\nTo: {to}\r\nSubject: {subject}\r\n"
            f"Message-ID: <{next(_NUMBER)}@gemeente.test>\r\n"
            "Date: Wed, 25 Nov 2026 10:00:00 +0100\r\nMIME-Version: 1.0\r\n"
            "Content-Type: text/plain; charset=utf-8\r\n"
            "Content-Transfer-Encoding: 8bit\r\n\r\n"
        ).encode()
        + lines
        + b".begint met een punt\r\n..en twee\r\n  spaties  \r\n"
    )


@dataclasses.dataclass
class Chain:
    """The municipality's Postfix, the gateway, and the partners' names."""

    own: postfix.Postfix
    gateway: gateway.Gateway
    zones: nsd.Zones
    resolver: object

    def send(self, octets: bytes, to: str) -> None:
        self.own.submit(octets, SENDER, [to])

    def reference(self, to: str, within_s: float = 20) -> str:
        """Our reference, from the line that Postfix logs for the recipient."""
        line = self.own.wait_for_log(
            rf"postfix/smtp\[\d+\].*to=<{to}>.*status=(sent|bounced)", within_s
        )
        return re.search(r"reference:? ([0-9a-z]{26})", line)[1]

    def wait(self, reference: str, event: str, within_s: float = 20) -> dict:
        found: list[dict] = []

        def seen() -> bool:
            records = self.gateway.trace(reference)["records"]
            found[:] = [r for r in records if r["event"] == event]
            return bool(found)

        assert daemon.until(seen, within_s), (
            event,
            self.gateway.trace(reference),
            self.gateway.log[-3000:],
        )
        return found[-1]["facts"]

    def notice(self, to: str, within_s: float = 30) -> email.message.EmailMessage:
        """The notice in the sender's mailbox that is about this recipient."""
        found: list[bytes] = []

        def seen() -> bool:
            found[:] = [
                d.octets
                for d in self.own.deliveries()
                if d.reverse_path == "" and to.encode() in d.octets
            ]
            return bool(found)

        assert daemon.until(seen, within_s), self.own.log_lines()[-20:]
        return email.message_from_bytes(found[-1], policy=email.policy.default)


PARTNERS = """
municipality = "gemeente"
""" + "".join(
    f"""
[[partner]]
id = "{name}"
name = "Partner {name}"
roles = ["{role}"]
domains = ["{name}.test"]
state = "verified"
verified_on = 2026-11-01
"""
    for name, role in (
        ("dane-ee", "geneesheer_directeur"),
        ("dane-ta", "geneesheer_directeur"),
        ("mismatch", "geneesheer_directeur"),
        ("bogus-mx", "geneesheer_directeur"),
        ("bogus-tlsa", "geneesheer_directeur"),
        ("stripped", "geneesheer_directeur"),
        ("insecure", "geneesheer_directeur"),
        ("pi", "pi_directeur"),
    )
)


@pytest.fixture(scope="module")
def chain(ca, zones, resolver, start_once):
    address = loopback.claim()
    own_leaf = certs.issue(ca, ["mail.gemeente.test"])
    gateway_run = gateway.run(
        ca,
        address,
        own_leaf.pin.spki_sha256,
        resolver=resolver,
        names=(zones.secure_name, zones.bogus_name),
        warn_after_s=2,
        expire_after_s=3600,
    )
    running = start_once(gateway_run)
    running.apply(PARTNERS)
    own = start_once(
        postfix.sender(
            "gemeente.test",
            relay=(running.address, gateway.PORT),
            tls="verify",
            relay_ca=ca,
            credential=own_leaf,
            address=address,
            parameters={"smtp_tls_verify_cert_match": "gw.gemeente.test"},
        )
    )
    return Chain(own, running, zones, resolver)


def add_partner(chain, name, server, *tlsa, security=nsd.Security.SECURE):
    zone = chain.zones.add(f"{name}.test", security).mx("mx1").a("mx1", server)
    if tlsa:
        zone.tlsa("mx1", *tlsa)
    return zone


@pytest.fixture
def ee(ca, start, chain):
    leaf = certs.issue(ca, ["mx1.dane-ee.test"])
    sink = start(postfix.sink("dane-ee.test", credential=leaf))
    add_partner(chain, "dane-ee", sink.address, certs.tlsa(leaf.certificate))
    chain.zones.publish()
    chain.resolver.flush()
    return sink


def test_a_wvggz_case_is_delivered_over_dane_ee_octet_for_octet(chain, ee):
    to = "crisis1@dane-ee.test"
    octets = compose(WVGGZ, to)
    chain.send(octets, to)
    (delivery,) = ee.wait_for_deliveries()
    assert delivery.content == octets
    facts = chain.wait(chain.reference(to), "delivered")
    assert facts["hops/1/mechanism"] == "dane-ee"
    assert facts["hops/1/tls_version"] == "TLSv1.3"
    assert facts["hops/1/tls_cipher"].startswith("TLS_")
    assert len(facts["hops/1/chain_sha256"]) == 64
    assert facts["hops/1/host"] == "mx1.dane-ee.test"
    assert facts["recipients/1/reply_code"] == 250
    assert facts["hops/1/matched"].startswith("tlsa 3 1 1")


def test_a_wvggz_case_is_delivered_over_dane_ta(chain, ca, start):
    middle = certs.make_ca("Ketenmail test intermediate", parent=ca)
    leaf = certs.issue(middle, ["mx1.dane-ta.test"])
    sink = start(postfix.sink("dane-ta.test", credential=leaf))
    anchor = certs.tlsa(middle.certificate, usage=2)
    add_partner(chain, "dane-ta", sink.address, anchor)
    chain.zones.publish()
    chain.resolver.flush()
    to = "crisis@dane-ta.test"
    octets = compose(WVGGZ, to)
    chain.send(octets, to)
    (delivery,) = sink.wait_for_deliveries()
    assert delivery.content == octets
    facts = chain.wait(chain.reference(to), "delivered")
    assert facts["hops/1/mechanism"] == "dane-ta"
    assert facts["hops/1/matched"].startswith("tlsa 2 1 1")


def test_tlsa_mismatch_defers_without_an_envelope_and_the_sender_is_told(
    chain, ca, start
):
    leaf = certs.issue(ca, ["mx1.mismatch.test"])
    other = certs.self_signed()
    sink = start(postfix.sink("mismatch.test", credential=leaf))
    add_partner(chain, "mismatch", sink.address, certs.tlsa(other.certificate))
    chain.zones.publish()
    chain.resolver.flush()
    to = "crisis@mismatch.test"
    chain.send(compose(WVGGZ, to), to)
    reference = chain.reference(to)
    facts = chain.wait(reference, "deferred")
    assert facts["recipients/1/code"] == "K404"
    assert facts["recipients/1/cause"] == "tls"
    sink.wait_until_idle()
    assert all(not session.envelope_seen for session in sink.transcript())
    assert sink.transcript()[0].verbs[:2] == ("EHLO", "STARTTLS")
    assert_told(chain.notice(to), "delayed", "4.7.5")


def test_stripped_starttls_defers_without_an_envelope_and_the_sender_is_told(
    chain, ca, start
):
    leaf = certs.issue(ca, ["mx1.stripped.test"])
    sink = start(postfix.sink("stripped.test", credential=leaf))
    middle = start(
        proxy.before((sink.address, 25), fault=proxy.Fault.STRIP_STARTTLS, port=25)
    )
    add_partner(chain, "stripped", middle.address, certs.tlsa(leaf.certificate))
    chain.zones.publish()
    chain.resolver.flush()
    to = "crisis@stripped.test"
    chain.send(compose(WVGGZ, to), to)
    facts = chain.wait(chain.reference(to), "deferred")
    assert facts["recipients/1/code"] == "K403"
    assert middle.sessions
    assert all(not session.envelope_seen for session in middle.sessions)
    sink.wait_until_idle()
    assert all(not session.envelope_seen for session in sink.transcript())
    assert_told(chain.notice(to), "delayed", "4.7.4")


@pytest.mark.parametrize("name", ["bogus-mx", "bogus-tlsa"])
def test_a_bogus_zone_defers_without_a_connection(chain, ca, start, name):
    leaf = certs.issue(ca, [f"mx1.{name}.test"])
    sink = start(postfix.sink(f"{name}.test", credential=leaf))
    zone = add_partner(chain, name, sink.address, certs.tlsa(leaf.certificate))
    if name == "bogus-mx":
        zone.security = nsd.Security.BOGUS
    else:
        zone.damage("_25._tcp.mx1", "TLSA")
    chain.zones.publish()
    chain.resolver.flush()
    to = f"crisis@{name}.test"
    chain.send(compose(WVGGZ, to), to)
    facts = chain.wait(chain.reference(to), "deferred")
    assert facts["recipients/1/code"] == "K402"
    assert facts["recipients/1/cause"] == "dns-bogus"
    assert sink.transcript() == ()
    assert_told(chain.notice(to), "delayed", "4.4.3")


def test_a_partner_in_an_unsigned_zone_is_blocked_and_the_sender_is_told(
    chain, ca, start
):
    leaf = certs.issue(ca, ["mx1.insecure.test"])
    sink = start(postfix.sink("insecure.test", credential=leaf))
    tlsa = certs.tlsa(leaf.certificate)
    add_partner(chain, "insecure", sink.address, tlsa, security=nsd.Security.INSECURE)
    chain.zones.publish()
    chain.resolver.flush()
    to = "crisis@insecure.test"
    chain.send(compose(WVGGZ, to), to)
    facts = chain.wait(chain.reference(to), "failed")
    assert facts["recipients/1/code"] == "K401"
    assert sink.transcript() == ()
    assert_told(chain.notice(to), "failed", "5.7.10")


def assert_told(notice, action, status):
    """The notice is an RFC 3464 report in Dutch and English without the body."""
    assert notice.get_content_type() == "multipart/report"
    human, report, returned = notice.iter_parts()
    text = human.get_content()
    assert "Dutch" not in text
    assert "uw bericht" in text.lower()
    assert "your message" in text.lower()
    fields = report.get_payload()[1]
    assert fields["Action"] == action
    assert fields["Status"] == status
    assert returned.get_content_type() == "text/rfc822-headers"
    assert b"crisismaatregel" not in notice.as_bytes()
    assert "crisismaatregel" not in text


def test_an_unknown_partner_is_refused_at_the_dot_in_both_languages(chain):
    to = "crisis@onbekend.test"
    chain.send(compose(WVGGZ, to), to)
    line = chain.own.wait_for_log(rf"to=<{to}>.*status=bounced")
    assert "550" in line
    assert "5.7.1" in line
    assert "K301" in line
    bounce = " ".join(chain.notice(to).as_string().split())
    assert "is geen geregistreerde ketenpartner" in bounce  # the reason
    assert "Controleer het adres" in bounce  # the remedy
    assert "Check the address" in bounce
    assert re.search(r"Kenmerk / reference: [0-9a-z]{26}", bounce)  # R23
    facts = chain.wait(chain.reference(to), "refused")
    assert facts["level"] == "certain"
    assert facts["recipients/1/code"] == "K301"


def test_a_partner_in_a_role_that_does_not_fit_is_refused(chain):
    to = "directeur@pi.test"
    chain.send(compose(WVGGZ, to), to)
    line = chain.own.wait_for_log(rf"to=<{to}>.*status=bounced")
    assert "K304" in line


def test_an_18b_case_reaches_the_director_over_dane(chain, ca, start):
    leaf = certs.issue(ca, ["mx1.pi.test"])
    sink = start(postfix.sink("pi.test", credential=leaf))
    add_partner(chain, "pi", sink.address, certs.tlsa(leaf.certificate))
    chain.zones.publish()
    chain.resolver.flush()
    to = "post@pi.test"
    chain.send(compose(PBW, to), to)
    sink.wait_for_deliveries()
    assert chain.wait(chain.reference(to), "delivered")["hops/1/mechanism"] == "dane-ee"


@pytest.mark.parametrize("tls", [True, False])
def test_ordinary_mail_is_relayed_anywhere(chain, ca, start, tls):
    name = "gewoon-tls" if tls else "gewoon"
    leaf = certs.issue(ca, [f"mx1.{name}.test"])
    sink = start(postfix.sink(f"{name}.test", credential=leaf if tls else None))
    add_partner(chain, name, sink.address, security=nsd.Security.INSECURE)
    chain.zones.publish()
    chain.resolver.flush()
    to = f"info@{name}.test"
    octets = compose(ORDINARY, to, "Vergadering")
    chain.send(octets, to)
    (delivery,) = sink.wait_for_deliveries()
    assert delivery.content == octets
    facts = chain.wait(chain.reference(to), "delivered")
    assert facts["hops/1/mechanism"] == ("unauthenticated-tls" if tls else "plaintext")


def test_ordinary_mail_honours_dane_where_it_is_published(chain, ca, start):
    leaf = certs.issue(ca, ["mx1.gewoon-dane.test"])
    sink = start(postfix.sink("gewoon-dane.test", credential=leaf))
    other = certs.tlsa(certs.self_signed().certificate)
    add_partner(chain, "gewoon-dane", sink.address, other)
    chain.zones.publish()
    chain.resolver.flush()
    to = "info@gewoon-dane.test"
    chain.send(compose(ORDINARY, to, "Vergadering"), to)
    facts = chain.wait(chain.reference(to), "deferred")
    assert facts["recipients/1/code"] == "K404"
    sink.wait_until_idle()
    assert all(not session.envelope_seen for session in sink.transcript())


def test_a_rolled_over_key_is_seen_although_the_old_record_is_cached(chain, ca, start):
    """B-23: a mismatch is asked for anew once, past our own cache."""
    old = certs.issue(ca, ["mx1.gewoon-rol.test"])
    first = postfix.sink("gewoon-rol.test", credential=old)
    with first as sink:
        address = sink.address
        add_partner(chain, "gewoon-rol", address, certs.tlsa(old.certificate))
        chain.zones.publish()
        chain.resolver.flush()
        chain.send(compose(ORDINARY, "een@gewoon-rol.test"), "een@gewoon-rol.test")
        sink.wait_for_deliveries()
    new = certs.issue(ca, ["mx1.gewoon-rol.test"])
    again = start(postfix.sink("gewoon-rol.test", credential=new, address=address))
    add_partner(chain, "gewoon-rol", address, certs.tlsa(new.certificate))
    chain.zones.publish()
    chain.resolver.flush()
    to = "twee@gewoon-rol.test"
    chain.send(compose(ORDINARY, to), to)
    again.wait_for_deliveries()
    facts = chain.wait(chain.reference(to), "delivered")
    # The stale record was tried, or the other worker had none: no envelope either way.
    assert facts["attempt"] == 1
    seen = [session.envelope_seen for session in again.transcript()]
    assert seen.count(True) == 1


def test_a13_mixed_recipients_are_split_and_the_sender_gets_one_notice(chain, ee):
    good, bad = "crisis2@dane-ee.test", "crisis2@onbekend.test"
    octets = compose(WVGGZ, good)
    # One transaction with both, as a client hands it over itself.
    done = submit_together(chain, octets, [good, bad])
    assert done.startswith("Accepted")
    deliveries = ee.wait_for_deliveries()
    assert [d.recipient for d in deliveries] == [good]
    notice = chain.notice(bad)
    text = next(notice.iter_parts()).get_content()
    assert good in text
    assert bad in text
    reports = list(notice.iter_parts())[1].get_payload()
    assert [r["Action"] for r in reports[1:]] == ["failed"]


def submit_together(chain, octets, recipients):
    import smtplib
    import ssl

    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with smtplib.SMTP(chain.gateway.address, gateway.PORT, timeout=30) as client:
        client.starttls(context=context)
        client.ehlo()
        client.mail(SENDER, ["BODY=8BITMIME"])
        for recipient in recipients:
            assert client.rcpt(recipient)[0] == 250
        code, text = client.data(octets)
    assert code == 250, text
    return text.decode().split(" ", 1)[1]


def test_a_suspect_message_to_a_stranger_is_held_and_the_sender_told_at_once(chain):
    to = "iemand@onbekend.test"
    body = "Is de crisismaatregel van die meneer al verlopen?\n"
    chain.send(compose(body, to, "Vraag"), to)
    reference = chain.reference(to)
    facts = chain.wait(reference, "held")
    assert facts["code"] == "K302"
    (job,) = chain.gateway.trace(reference)["jobs"]
    assert job["state"] == "held"
    assert_told(chain.notice(to), "delayed", "4.7.1")


def test_evidence_of_all_this_verifies_offline(chain, ee, tmp_path):
    to = "crisis3@dane-ee.test"
    chain.send(compose(WVGGZ, to), to)
    ee.wait_for_deliveries()
    reference = chain.reference(to)
    chain.wait(reference, "delivered")
    bundle = tmp_path / "bewijs.zip"

    def exported() -> bool:
        answer = chain.gateway.ask("evidence", "export", str(bundle), "--json")
        return answer.status == 0 and reference in str(
            chain.gateway.trace(reference)["records"][-1]
        )

    assert daemon.until(exported, 20)
    key = chain.gateway.ask("evidence", "key").out.strip()
    verified = chain.gateway.ask("evidence", "verify", str(bundle), "--key", key)
    assert verified.status == 0, verified
    without = chain.gateway.ask("evidence", "verify", str(bundle))
    assert without.status == 1
    assert "origin not proven" in without.out
    assert_every_octet_counts(bundle.read_bytes(), key)


def assert_every_octet_counts(data, key):
    """Some 500 octets, spread over the whole bundle: each, changed, is found."""
    trust = verify.Trust(verify.read_trust(key))
    assert verify.verify_bundle(data, trust).exit_code == 0
    for at in range(0, len(data), max(1, len(data) // 500)):
        changed = bytearray(data)
        changed[at] ^= 1 + at % 255
        report = verify.verify_bundle(bytes(changed), trust)
        assert report.exit_code == 1, at
        assert report.finding["place"], at


def test_no_personal_data_or_content_is_in_the_logs(chain):
    log = chain.gateway.log
    assert log
    for canary in ("crisismaatregel", SENDER, "@dane-ee.test", "999994669", "Zaak"):
        assert canary not in log
