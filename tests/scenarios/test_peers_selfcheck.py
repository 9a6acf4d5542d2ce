"""The real peers themselves: what other scenarios rely on, shown once."""

import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import sys

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.query
import dns.rcode
import pytest

from tests import certs
from tests.peers import (
    daemon,
    finger,
    loopback,
    nsd,
    postfix,
    presence,
    proxy,
    swaks,
    unbound,
)

pytestmark = [pytest.mark.peers, pytest.mark.xdist_group("peers-selfcheck")]

MESSAGE = (
    b"From: Jan <jan@gemeente.test>\r\n"
    b"To: piet@partner.test\r\n"
    b"Bcc: klaas@partner.test\r\n"
    b"Subject: =?utf-8?q?proef?=\r\n"
    b"Message-ID: <1@gemeente.test>\r\n"
    b"\r\n"
    b"Een regel\r\n"
    b".begint met een punt\r\n"
    b"..en met twee\r\n"
    b"\ttab en spaties aan het eind   \r\n"
    b"From aan het begin van een regel\r\n" + b"x" * 998 + b"\r\n"
    b"\xc3\xbc\xe2\x82\xac\r\n"
    b"\r\n"
    b"einde\r\n"
)
FROM, TO = "jan@gemeente.test", "piet@partner.test"


# --- DNS ----------------------------------------------------------------------
def ask(resolver: unbound.Unbound, name: str, rdtype: str) -> dns.message.Message:
    query = dns.message.make_query(name, rdtype, use_edns=0)
    query.flags |= dns.flags.AD
    return dns.query.udp(query, resolver.address, timeout=5, port=resolver.port)


def seen(reply: dns.message.Message) -> tuple[str, bool, int]:
    """Reply code, AD bit, number of answers."""
    return (
        dns.rcode.to_text(reply.rcode()),
        bool(reply.flags & dns.flags.AD),
        len(reply.answer),
    )


def test_a_signed_zone_is_answered_with_ad(zones, resolver):
    zones.add("signed.test").mx("mx1").a("mx1", "127.0.2.1")
    zones.publish()
    assert seen(ask(resolver, "signed.test", "MX")) == ("NOERROR", True, 1)


def test_absence_in_a_signed_zone_is_proven(zones, resolver):
    zones.add("denies.test").mx("mx1").a("mx1", "127.0.2.1")
    zones.publish()
    absent = ask(resolver, "_25._tcp.mx1.denies.test", "TLSA")
    without_v6 = ask(resolver, "mx1.denies.test", "AAAA")
    assert seen(absent) == ("NXDOMAIN", True, 0)
    assert seen(without_v6) == ("NOERROR", True, 0)


def test_an_unsigned_delegation_is_answered_without_ad(zones, resolver):
    zones.add("unsigned.test", nsd.Security.INSECURE).mx("mx1")
    zones.publish()
    assert seen(ask(resolver, "unsigned.test", "MX")) == ("NOERROR", False, 1)


@pytest.mark.parametrize(
    ("security", "code"),
    [
        (nsd.Security.BOGUS, dns.edns.EDECode.DNSSEC_BOGUS),
        (nsd.Security.EXPIRED, dns.edns.EDECode.SIGNATURE_EXPIRED),
    ],
)
def test_a_broken_zone_is_servfail_with_its_extended_error(
    zones, resolver, security, code
):
    name = f"{security.name.lower()}-zone.test"
    zones.add(name, security).mx("mx1")
    zones.publish()
    reply = ask(resolver, name, "MX")
    assert seen(reply) == ("SERVFAIL", False, 0)
    assert [code] == [option.code for option in reply.extended_errors()]


def test_one_record_set_can_be_bogus_and_be_repaired_while_running(zones, resolver):
    owner = "_25._tcp.mx1.partly.test"
    record = certs.tlsa(certs.self_signed().certificate)
    zone = zones.add("partly.test").mx("mx1").tlsa("mx1", record)
    zone.damage("_25._tcp.mx1", "TLSA")
    zones.publish()
    resolver.flush()
    assert seen(ask(resolver, owner, "TLSA")) == ("SERVFAIL", False, 0)
    assert seen(ask(resolver, "partly.test", "MX")) == ("NOERROR", True, 1)
    zone.repair()
    zones.publish()
    resolver.flush()
    repaired = ask(resolver, owner, "TLSA")
    assert seen(repaired) == ("NOERROR", True, 1)
    assert record.data == repaired.answer[0][0].cert


def test_a_changed_record_is_seen_after_a_flush(zones, resolver):
    zone = zones.add("moves.test").mx("old")
    zones.publish()
    assert "old" in ask(resolver, "moves.test", "MX").answer[0].to_text()
    zone.remove("@", "MX").mx("new")
    zones.publish()
    resolver.flush()
    assert "new" in ask(resolver, "moves.test", "MX").answer[0].to_text()


def test_an_alias_across_zones_carries_ad_of_the_whole_chain(zones, resolver):
    zones.add("target.test").a("mx1", "127.0.2.1")
    zones.add("plain.test", nsd.Security.INSECURE).a("mx1", "127.0.2.1")
    zones.add("alias.test").cname("good", "mx1.target.test.").cname(
        "weak", "mx1.plain.test."
    )
    zones.publish()
    assert seen(ask(resolver, "good.alias.test", "A")) == ("NOERROR", True, 2)
    assert seen(ask(resolver, "weak.alias.test", "A")) == ("NOERROR", False, 2)


def test_the_names_for_the_self_test_are_secure_and_bogus(zones, resolver):
    assert seen(ask(resolver, zones.secure_name, "A")) == ("NOERROR", True, 1)
    assert seen(ask(resolver, zones.bogus_name, "A")) == ("SERVFAIL", False, 0)


def test_a_paused_resolver_does_not_answer(start, zones):
    resolver = start(unbound.resolve(zones))
    query = dns.message.make_query(zones.secure_name, "A")
    resolver.pause()
    with pytest.raises(dns.exception.Timeout):
        dns.query.udp(query, resolver.address, timeout=0.2, port=resolver.port)
    resolver.resume()
    assert seen(ask(resolver, zones.secure_name, "A")) == ("NOERROR", True, 1)


def test_a_zone_delegated_to_a_dead_server_gets_no_timely_answer(zones, resolver):
    zones.delegate("dead.test", loopback.claim())
    zones.publish()
    resolver.flush()
    query = dns.message.make_query("dead.test", "MX")
    with pytest.raises(dns.exception.Timeout):
        dns.query.udp(query, resolver.address, timeout=0.3, port=resolver.port)


# --- mail ---------------------------------------------------------------------
@pytest.fixture(scope="session")
def leaf(ca):
    return certs.issue(ca, ["mx1.partner.test"])


def test_swaks_over_starttls_arrives_octet_for_octet(start, leaf):
    partner = start(postfix.sink("partner.test", credential=leaf))
    done = swaks.send((partner.address, 25), FROM, (TO,), "--tls", octets=MESSAGE)
    assert done.exit_code == 0, done.transcript
    (delivery,) = partner.wait_for_deliveries()
    assert delivery.octets == MESSAGE
    assert (delivery.reverse_path, delivery.recipient) == (FROM, TO)
    assert b"with cipher TLS_AES_256_GCM_SHA384" in delivery.trace


def test_the_transcript_shows_every_command_before_and_after_starttls(start, leaf):
    partner = start(postfix.sink("partner.test", credential=leaf))
    swaks.send((partner.address, 25), FROM, (TO,), "--tls", "--ehlo", "gw.test")
    partner.wait_until_idle()
    (session,) = partner.transcript()
    expected = ("EHLO", "STARTTLS", "EHLO", "MAIL", "RCPT", "DATA", "QUIT")
    assert expected == session.verbs
    assert session.commands[0] == "EHLO gw.test"
    assert session.envelope_seen


def test_a_session_that_ends_before_mail_shows_no_envelope(start, leaf):
    partner = start(postfix.sink("partner.test", credential=leaf))
    quitting = ("--tls", "--quit-after", "TLS")
    swaks.send((partner.address, 25), FROM, (TO,), *quitting)
    partner.wait_until_idle()
    (session,) = partner.transcript()
    assert "MAIL" not in session.verbs
    assert not session.envelope_seen


def test_a_sink_without_certificate_offers_no_starttls(start):
    partner = start(postfix.sink("partner.test"))
    done = swaks.send((partner.address, 25), FROM, (TO,), "--tls")
    assert done.exit_code == 29  # swaks: STARTTLS wanted, not advertised
    partner.wait_until_idle()
    assert not partner.transcript()[0].envelope_seen


def test_a_sink_takes_no_mail_for_other_domains(start):
    partner = start(postfix.sink("partner.test"))
    done = swaks.send((partner.address, 25), FROM, ("x@elsewhere.test",))
    assert done.exit_code == 24  # swaks: no recipient accepted
    assert any("Relay access denied" in reply for reply in done.replies)


def test_a_sink_can_refuse_one_recipient(start):
    wish = {
        "smtpd_recipient_restrictions": "check_recipient_access "
        "inline:{ { gone@partner.test = 550 5.1.1 no such user } }"
    }
    partner = start(postfix.sink("partner.test", parameters=wish))
    done = swaks.send((partner.address, 25), FROM, ("gone@partner.test",))
    assert any(reply.startswith("550 5.1.1") for reply in done.replies)
    assert partner.deliveries() == ()


def test_the_sender_relays_over_verified_tls_octet_for_octet(start, ca, leaf):
    partner = start(postfix.sink("partner.test", credential=leaf))
    municipality = start(
        postfix.sender(
            "gemeente.test",
            relay=(partner.address, 25),
            tls="verify",
            relay_ca=ca,
            parameters={"smtp_tls_verify_cert_match": "mx1.partner.test"},
        )
    )
    municipality.submit(MESSAGE, FROM, [TO])
    (delivery,) = partner.wait_for_deliveries()
    assert delivery.content == MESSAGE
    municipality.wait_for_log("Verified TLS connection established")
    assert f"[{municipality.address}]".encode() in delivery.trace


def test_the_sender_reads_a_notice_when_the_next_hop_refuses(start, leaf):
    partner = start(postfix.sink("partner.test", credential=leaf))
    relay = (partner.address, 25)
    municipality = start(postfix.sender("gemeente.test", relay=relay))
    municipality.submit(MESSAGE, FROM, ["x@elsewhere.test"])
    (notice,) = municipality.wait_for_deliveries()
    assert (notice.reverse_path, notice.recipient) == ("", FROM)
    assert b"Relay access denied" in notice.octets
    assert b"Action: failed" in notice.octets


def test_the_sender_tries_again_after_a_deferral(start, leaf):
    partner = start(postfix.sink("partner.test"))
    front = proxy.before(
        (partner.address, 25), proxy.Fault.DEFER_AFTER_DOT, credential=leaf
    )
    fault = start(front)
    relay = (fault.address, 25)
    municipality = start(postfix.sender("gemeente.test", relay=relay))
    municipality.submit(MESSAGE, FROM, [TO])
    municipality.wait_for_log("status=deferred")
    assert partner.deliveries() == ()
    assert len(municipality.queue()) == 1
    fault.fault = proxy.Fault.NONE
    municipality.flush()
    (delivery,) = partner.wait_for_deliveries()
    assert delivery.content == MESSAGE


@pytest.mark.parametrize("usage", [2, 3])
def test_posttls_finger_finds_the_certificate_that_dns_vouches_for(
    start, zones, resolver, ca, leaf, usage
):
    partner = start(postfix.sink("partner.test", credential=leaf))
    vouched = certs.tlsa((ca if usage == 2 else leaf).certificate, usage)
    zones.add("partner.test").mx("mx1").a("mx1", partner.address).tlsa("mx1", vouched)
    zones.publish()
    resolver.flush()
    verdict = finger.judge("partner.test", resolver)
    assert verdict.verified, verdict.output
    assert verdict.usages == (("DANE-TA",) if usage == 2 else ("DANE-EE",))
    partner.wait_until_idle()
    assert not partner.transcript()[0].envelope_seen


def test_posttls_finger_does_not_verify_another_certificate(
    start, zones, resolver, leaf
):
    partner = start(postfix.sink("partner.test", credential=leaf))
    other = certs.tlsa(certs.self_signed().certificate)
    zones.add("partner.test").mx("mx1").a("mx1", partner.address).tlsa("mx1", other)
    zones.publish()
    resolver.flush()
    verdict = finger.judge("partner.test", resolver)
    assert not verdict.verified
    assert "no matching DANE TLSA records" in verdict.output


# --- faults -------------------------------------------------------------------
F = proxy.Fault


@pytest.mark.parametrize(
    ("fault", "replies", "delivered"),
    [
        (F.NONE, "221", 1),
        (F.CUT_BEFORE_DOT_IS_PASSED_ON, "354", 0),
        (F.CUT_AFTER_DOT, "354", 1),
        (F.SILENT_AFTER_DOT, "354", 1),
        (F.GARBAGE_AFTER_DOT, "354", 1),
        (F.DEFER_AFTER_DOT, "451", 0),
        (F.CUT_AFTER_MAIL, "250", 0),
        (F.INJECT_AFTER_STARTTLS, None, 0),
        (F.CUT_IN_HANDSHAKE, "220", 0),
    ],
)
def test_a_fault_behind_tls_does_just_what_it_says(
    start, leaf, fault, replies, delivered
):
    partner = start(postfix.sink("partner.test"))
    front = start(proxy.before((partner.address, 25), fault, credential=leaf))
    options = ("--tls", "--timeout", "1")
    done = swaks.send((front.address, 25), FROM, (TO,), *options, octets=MESSAGE)
    assert replies is None or done.replies[-1].startswith(replies)
    partner.wait_until_idle()
    found = partner.wait_for_deliveries(delivered)
    assert [MESSAGE] * delivered == [each.octets for each in found]
    if delivered:
        assert front.sessions[0].content == MESSAGE
        assert front.sessions[0].tls_version == "TLSv1.3"


@pytest.mark.parametrize("fault", [F.STRIP_STARTTLS, F.REFUSE_STARTTLS])
def test_a_man_in_the_middle_keeps_a_client_from_tls(start, leaf, fault):
    partner = start(postfix.sink("partner.test", credential=leaf))
    middle = start(proxy.before((partner.address, 25), fault))
    done = swaks.send((middle.address, 25), FROM, (TO,), "--tls")
    assert done.exit_code == 29
    assert not middle.sessions[0].tls
    partner.wait_until_idle()
    assert "STARTTLS" not in partner.transcript()[0].verbs


def test_a_recording_proxy_passes_tls_through_unread(start, leaf):
    partner = start(postfix.sink("partner.test", credential=leaf))
    middle = start(proxy.before((partner.address, 25)))
    swaks.send((middle.address, 25), FROM, (TO,), "--tls", octets=MESSAGE)
    (delivery,) = partner.wait_for_deliveries()
    assert delivery.octets == MESSAGE
    assert middle.sessions[0].verbs == ("EHLO", "STARTTLS")
    assert middle.sessions[0].tls


# --- housekeeping ---------------------------------------------------------------
def test_no_process_and_no_folder_is_left_when_a_test_fails():
    with pytest.raises(ZeroDivisionError), contextlib.ExitStack() as stack:  # noqa: PT012
        names = stack.enter_context(nsd.serve("test"))
        resolver = stack.enter_context(unbound.resolve(names))
        partner = stack.enter_context(postfix.sink("partner.test"))
        groups = [names.pid, resolver.pid, partner.pid]
        assert all(daemon.members(group) for group in groups)
        raise ZeroDivisionError
    assert [daemon.members(group) for group in groups] == [(), (), ()]
    assert not partner.place.exists()


def test_a_peer_ends_when_the_test_process_is_killed(tmp_path):
    script = (
        "import sys\n"
        "from tests.peers import nsd\n"
        "with nsd.serve() as zones:\n"
        "    print(zones.pid, flush=True)\n"
        "    sys.stdin.read()\n"
    )
    root = pathlib.Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root), "TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
    ) as run:
        group = int(run.stdout.readline())
        assert daemon.members(group)
        run.send_signal(signal.SIGKILL)
        run.wait(10)
        gone = daemon.until(lambda: not daemon.members(group))
    assert gone


def test_a_peer_that_cannot_start_says_why(tmp_path):
    started = daemon.Daemon(["nsd", "--no-such-option"], tmp_path / "log")
    with pytest.raises(daemon.NotStarted, match="invalid option"):
        started.wait_until(lambda: False)


def test_a_missing_peer_fails_in_ci_and_skips_elsewhere(monkeypatch):
    monkeypatch.setitem(presence.PACKAGES, "no-such-peer", "no-such-package")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="no-such-package"):
        presence.need("no-such-peer")
    monkeypatch.setenv("CI", "")
    with pytest.raises(pytest.skip.Exception, match="apt-get install"):
        presence.need("no-such-peer")


def test_two_claims_never_share_an_address():
    first, second = loopback.claim(), loopback.claim()
    assert first != second
    with pytest.raises(OSError), socket.create_server((first, 9)):
        pass
