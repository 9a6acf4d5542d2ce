"""R3: trying the policy on live mail, with Postfix and with journal reports.

The municipality's mail goes where it always went; the gateway sees copies of it.
"""

import dataclasses
import itertools
import sqlite3

import pytest

from gateway.demo import _WVGGZ as WVGGZ
from tests import certs
from tests.peers import daemon, exchange, gateway, loopback, postfix
from tests.scenarios.client_town import KNOWN_BY_NETWORK, compose
from tests.unit.shadow.shadow_bed import journal

pytestmark = [pytest.mark.peers, pytest.mark.xdist_group("shadow")]

ORDINARY = b"De vergadering van donderdag begint om 10.00 uur in zaal 2.\r\n"
SUSPECT = b"Is de crisismaatregel van die meneer al verlopen?\r\n"
CASE = WVGGZ.encode().replace(b"\n", b"\r\n")
SENDER = "j.devries@gemeente.test"
COPY = "shadow@gw.gemeente.test"
CLIENTS = """[[client]]
id = "kopie"
municipality = "gemeente"
networks = ["{own}/32", "127.0.0.1/32"]
mode = "shadow"
"""
_NUMBER = itertools.count(1)


@dataclasses.dataclass
class Town:
    """The municipality's Postfix, the world, and a gateway that gets copies only."""

    gateway: gateway.Gateway
    own: postfix.Postfix
    outside: postfix.Postfix
    ca: certs.Credential

    def report(self) -> dict:
        return self.gateway.ask("policy", "report", "--json").json

    def messages(self) -> dict:
        return self.report()["messages"]

    def send(self, body: bytes, to: str, sender: str = SENDER) -> None:
        """Send a mail, and wait until it arrived and its copy was handed over."""
        octets = compose(body, to, author=sender)
        copies = self.copies()
        before = self.messages()["all"]
        self.own.submit(octets, sender, [to])
        assert daemon.until(lambda: self.copies() > copies, 60), self.own.log_lines()
        assert self.messages()["all"] == before + 1

    def copies(self) -> int:
        """How often Postfix was told that a copy was counted."""
        return sum(
            f"to=<{COPY}>" in line and "status=sent" in line and "not sent" in line
            for line in self.own.log_lines()
        )

    def journal(self, octets: bytes) -> exchange.Dialogue:
        """Hand over a report as Microsoft 365 does: from nobody, to one address."""
        server = (self.gateway.address, gateway.PORT)
        name = "mail-am6.outbound.test"
        connector = exchange.connector(server, "gw.gemeente.test", self.ca, name, None)
        return connector.send("", [COPY], octets)


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
            serve=False,
        )
    )
    text = running.config.read_text("utf-8")
    assert KNOWN_BY_NETWORK in text
    clients = CLIENTS.format(own=own_address)
    running.config.write_text(text.replace(KNOWN_BY_NETWORK, clients), "utf-8")
    running.start()
    outside = start_once(postfix.sink("elders.test"))
    door = f"[{running.address}]:{gateway.PORT}"
    own = start_once(
        postfix.sender(
            "gemeente.test",
            relay=(outside.address, 25),
            tls="may",
            credential=leaf,
            address=own_address,
            parameters={
                "always_bcc": COPY,
                "transport_maps": f"inline:{{ gw.gemeente.test=smtp:{door} }}",
                "smtp_tls_policy_maps": f"inline:{{ {{{door}=encrypt}} }}",
            },
        )
    )
    return Town(running, own, outside, ca)


def stored(town: Town, *tables: str) -> list[int]:
    with sqlite3.connect(town.gateway.place / "state" / "ketenmail.db") as database:
        return [
            database.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            for table in tables
        ]


@pytest.mark.parametrize(
    ("body", "verdict"), [(ORDINARY, "relay"), (SUSPECT, "hold"), (CASE, "refuse")]
)
def test_postfix_copies_every_mail_and_it_goes_where_it_always_went(
    town, body, verdict
):
    to = f"p{next(_NUMBER)}@elders.test"
    before = town.messages()[verdict]
    town.send(body, to)
    assert town.messages()[verdict] == before + 1
    assert daemon.until(
        lambda: to in {each.recipient for each in town.outside.deliveries()}, 60
    )
    assert town.own.queue() == ()  # nothing waits, nothing was returned
    assert all(each.reverse_path for each in town.own.deliveries())  # no notice


def test_postfix_may_copy_only_what_its_own_people_send(town, start):
    """As docs/shadow.md says: `sender_bcc_maps` in place of `always_bcc`."""
    door = f"[{town.gateway.address}]:{gateway.PORT}"
    other = start(
        postfix.sender(
            "gemeente.test",
            relay=(town.outside.address, 25),
            tls="may",
            address=loopback.claim(),
            parameters={
                "sender_bcc_maps": f"inline:{{ @gemeente.test={COPY} }}",
                "transport_maps": f"inline:{{ gw.gemeente.test=smtp:{door} }}",
                "smtp_tls_policy_maps": f"inline:{{ {{{door}=encrypt}} }}",
                "smtp_bind_address": town.own.address,
            },
        )
    )
    before = town.messages()
    for sender in ("burger@buiten.test", SENDER):
        to = f"p{next(_NUMBER)}@gemeente.test"
        other.submit(compose(ORDINARY, to, author=sender), sender, [to])
    other.wait_for_log(f"to=<{COPY}>.*status=sent .*not sent")
    other.wait_for_deliveries(2)
    assert town.messages() == before | {
        "all": before["all"] + 1,
        "relay": before["relay"] + 1,
    }


def test_the_report_names_rules_and_domains_and_nobody(town):
    to = f"geheim{next(_NUMBER)}@elders.test"
    town.send(CASE, to)
    report = town.report()
    assert report["domains"][0]["domain"] == "elders.test"
    assert {rule["rule"].partition("/")[0] for rule in report["rules"]} == {"wvggz"}
    assert len(report["rules"]) <= 10
    assert ("4 K301", "refuse") in {(r["row"], r["verdict"]) for r in report["rows"]}
    text = town.gateway.ask("--lang", "en", "policy", "report")
    assert text.status == 0
    assert "What would stop most messages:" in text.out
    for each in (text.out, town.gateway.log, str(report)):
        assert to.partition("@")[0] not in each
        assert "j.devries" not in each


def test_incoming_mail_is_told_apart_from_what_leaves(town):
    before = town.messages()["incoming"]
    town.send(CASE, "balie@gemeente.test", sender="burger@buiten.test")
    assert town.messages()["incoming"] == before + 1


def test_a_journal_report_is_counted_by_what_it_holds(town):
    before = town.messages()
    inner = compose(CASE, "team@gemeente.test")
    report = journal(inner, "Bcc: crisis@elders.test", sender=SENDER)
    dialogue = town.journal(report)
    assert dialogue.final.startswith("250 2.0.0")
    assert "not sent" in dialogue.final
    assert town.messages()["refuse"] == before["refuse"] + 1


def test_a_spoiled_copy_is_not_returned_to_who_wrote_the_mail(town):
    """What the gateway would refuse for its form gets 250, too: it is a copy."""
    before = town.messages()["refuse"]
    octets = (
        b"From: a@gemeente.test\r\nFrom: b@gemeente.test\r\n"
        b"To: x@elders.test\r\n\r\nx\r\n"
    )
    dialogue = town.journal(octets)
    assert dialogue.final.startswith("250")
    assert town.messages()["refuse"] == before + 1


@pytest.mark.parametrize(
    "spoiled", [b"los\nregeleinde\r\n", b"x" * 1200 + b"\r\n", b"a\0b\r\n"]
)
def test_r3_a_copy_that_cannot_be_read_for_its_form_is_not_returned_either(
    town, spoiled
):
    before = town.messages()
    octets = b"From: a@gemeente.test\r\nTo: x@elders.test\r\n\r\n" + spoiled
    dialogue = town.journal(octets)
    assert dialogue.final.startswith("250 2.0.0 Counted, not sent")
    assert "its form" in dialogue.final
    assert town.messages() == before  # nobody knows what it says
    assert "intake-content-refused" in town.gateway.log


def test_r3_postfix_hands_over_a_copy_that_is_too_large_and_nobody_is_written_to(town):
    """Its client returns by itself what is over a SIZE that it heard of."""
    to = f"p{next(_NUMBER)}@elders.test"
    body = b"Dit is een regel van een veel te lange gewone brief.\r\n" * 1_100_000
    copies, before = town.copies(), town.messages()
    town.own.submit(compose(body, to, author=SENDER), SENDER, [to])
    assert daemon.until(lambda: town.copies() > copies, 120), town.own.log_lines()
    assert town.messages() == before
    assert all(each.reverse_path for each in town.own.deliveries())  # no notice
    assert any("refused for its form" in line for line in town.own.log_lines())


def test_a_server_that_sends_its_real_mail_here_keeps_it(town):
    """It waits in the server's queue, where people look, and is not lost."""
    before = town.messages()
    to = f"p{next(_NUMBER)}@elders.test"
    door = (town.gateway.address, gateway.PORT)
    connector = exchange.connector(door, "gw.gemeente.test", town.ca, "ex", None)
    dialogue = connector.send(SENDER, [to], compose(ORDINARY, to))
    assert dialogue.final.startswith("451-4.3.5")
    assert town.messages() == before


def test_nothing_but_counts_is_stored(town):
    town.send(CASE, f"p{next(_NUMBER)}@elders.test")
    assert stored(town, "message", "job") == [0, 0]
    (counts,) = stored(town, "shadow_count")
    assert counts > 0
    spool = town.gateway.place / "state" / "spool"
    assert [each for each in spool.rglob("*") if each.is_file()] == []
    # The only evidence is that the gateway was started.
    with sqlite3.connect(town.gateway.place / "state" / "ketenmail.db") as database:
        events = database.execute("SELECT DISTINCT event FROM evidence_record")
        assert {event for (event,) in events} == {"config-loaded"}


def test_a_message_of_many_megabytes_leaves_nothing_either(town):
    before = town.messages()["relay"]
    body = b"Dit is een regel van een lange gewone brief.\r\n" * 150_000
    town.send(body, f"p{next(_NUMBER)}@elders.test")
    assert town.messages()["all"]
    assert town.messages()["relay"] + town.messages()["hold"] > before
    spool = town.gateway.place / "state" / "spool"
    assert daemon.until(
        lambda: [each for each in spool.rglob("*") if each.is_file()] == [], 10
    )
