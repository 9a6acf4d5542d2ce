"""What the decision is told: each domain asked once, each question only where needed."""

import datetime

import pytest

from gateway.config import AllowRange
from gateway.facts import RegistryFacts, is_near, resembling
from gateway.model.address import Domain, Mailbox
from gateway.model.assurance import Assurance
from gateway.model.classification import Classification, Level
from gateway.model.destination import (
    Absent,
    Dnssec,
    MxDestination,
    MxHost,
    Present,
    Tlsa,
    Unavailable,
)
from gateway.model.ids import PartnerId, Role
from gateway.model.message import Envelope
from gateway.model.partner import Partner, PartnerState, Route, RouteMethod
from tests.unit.queue import queue_desk as desk

MX = Route(RouteMethod.MX, Assurance.AUTHENTICATED)


def partner(name: str, *domains: str, **changes) -> Partner:
    values = {
        "id": PartnerId(name),
        "municipality": desk.OWNER,
        "name": name.upper(),
        "roles": frozenset({Role("om")}),
        "domains": frozenset(map(Domain.parse, domains)),
        "mailboxes": (),
        "state": PartnerState.VERIFIED,
        "verified_on": datetime.date(2026, 1, 1),
        "valid_until": None,
        "route": MX,
        "digest": "0" * 64,
    }
    return Partner(**values | changes)


OM = partner("om", "openbaarministerie.example", "om.example")


class Registry:
    """Partners of one municipality in memory; remembers what was asked."""

    def __init__(self, *partners):
        self.partners = partners
        self.asked = []
        self.listed = 0

    async def load(self, municipality, domain):
        assert municipality == desk.OWNER
        self.asked.append(domain.name)
        return next((p for p in self.partners if domain in p.domains), None)

    async def list_all(self, municipality):
        assert municipality == desk.OWNER
        self.listed += 1
        return self.partners


class Dns:
    """Answers each MX question with one destination; remembers what was asked."""

    def __init__(self, tlsa, addresses=("192.0.2.1",), mx=Dnssec.SECURE):
        name = Domain.parse("mx.onbekend.example")
        found = Present(addresses, Dnssec.SECURE, 60)
        self._host = MxHost(name, 10, found, tlsa, name)
        self._mx = mx
        self.asked = []

    async def fetch_destination(self, route, domain, *, fresh=False):
        self.asked.append((route, domain.name))
        mx = Present((self._host.name,), self._mx, 60)
        return MxDestination(domain, mx, (self._host,))


TLSA = Present(frozenset({Tlsa(3, 1, 1, b"x" * 32)}), Dnssec.SECURE, 60)
GLOBAL = ("8.8.8.8",)


def facts_of(registry, dns=None, allow_ranges=()):
    return RegistryFacts(registry, dns or Dns(TLSA), allow_ranges, frozenset())


def envelope(*recipients):
    return Envelope(desk.job().reverse_path, tuple(map(Mailbox.parse, recipients)))


async def load(facts, level, *recipients):
    return await facts.load(
        envelope(*recipients), desk.OWNER, Classification(level, ())
    )


async def test_each_domain_is_looked_up_once_however_many_recipients_it_has():
    registry = Registry(OM)
    addresses = ["a@om.example", "b@om.example", "c@x-y.example", "A@om.example"]
    found = await load(facts_of(registry), Level.SUSPECT, *addresses)
    assert sorted(registry.asked) == ["om.example", "x-y.example"]
    assert [found[Mailbox.parse(a)].partner for a in addresses] == [OM, OM, None, OM]
    assert all(key == fact.recipient for key, fact in found.items())


@pytest.mark.parametrize("level", Level)
async def test_the_list_is_read_only_for_a_certain_case_without_a_partner(level):
    registry = Registry(OM)
    found = await load(facts_of(registry), level, "a@openbaarministrie.example")
    (fact,) = found.values()
    assert registry.listed == (level is Level.CERTAIN)
    assert fact.resembles == ("OM" if level is Level.CERTAIN else None)


@pytest.mark.parametrize("level", Level)
async def test_the_route_is_asked_only_for_unreadable_mail_without_a_partner(level):
    dns = Dns(TLSA, GLOBAL)
    found = await load(facts_of(Registry(OM), dns), level, "a@onbekend.example")
    (fact,) = found.values()
    unreadable = level is Level.UNREADABLE
    assert dns.asked == ([(MX, "onbekend.example")] if unreadable else [])
    assert fact.authenticated_route is unreadable


@pytest.mark.parametrize("level", Level)
async def test_of_a_partner_nothing_more_is_asked(level):
    dns, registry = Dns(TLSA, GLOBAL), Registry(OM)
    found = await load(facts_of(registry, dns), level, "a@om.example")
    (fact,) = found.values()
    assert (fact.partner, fact.resembles, fact.authenticated_route) == (OM, None, False)
    assert (dns.asked, registry.listed) == ([], 0)


@pytest.mark.parametrize(
    "dns",
    [
        Dns(Absent(Dnssec.SECURE, True, 60), GLOBAL),
        Dns(Unavailable(True, "bogus"), GLOBAL),
        Dns(TLSA, GLOBAL, mx=Dnssec.INSECURE),
        Dns(TLSA, ("10.0.0.1",)),
    ],
    ids=["no-tlsa", "bogus", "insecure-mx", "barred"],
)
async def test_a_route_that_is_not_proven_is_no_authenticated_route(dns):
    facts = facts_of(Registry(), dns)
    found = await load(facts, Level.UNREADABLE, "a@onbekend.example")
    assert [fact.authenticated_route for fact in found.values()] == [False]


async def test_an_allowed_range_counts_for_the_route_too():
    import ipaddress

    network = ipaddress.ip_network("10.0.0.0/24")
    allowed = (AllowRange(network, frozenset({25})),)
    facts = facts_of(Registry(), Dns(TLSA, ("10.0.0.1",)), allowed)
    found = await load(facts, Level.UNREADABLE, "a@onbekend.example")
    assert [fact.authenticated_route for fact in found.values()] == [True]


async def test_the_recheck_asks_the_registry_about_open_recipients_only():
    from gateway.model.job import JobRecipient, RecipientStatus

    recipients = (
        JobRecipient(Mailbox.parse("a@om.example"), RecipientStatus.DELIVERED),
        JobRecipient(Mailbox.parse("b@openbaarministerie.example")),
        JobRecipient(Mailbox.parse("c@openbaarministrie.example")),
    )
    registry, dns = Registry(OM), Dns(TLSA, GLOBAL)
    found = await facts_of(registry, dns).load_now(desk.job(recipients=recipients))
    assert [fact.partner for fact in found.values()] == [OM, None]
    assert "om.example" not in registry.asked
    assert (registry.listed, dns.asked) == (0, [])


@pytest.mark.parametrize(
    ("domain", "expected"),
    [
        ("openbaarministrie.example", "OM"),  # one letter is missing
        ("openbaarministreie.example", "OM"),  # two are swapped
        ("openbaarministerie.exmple", "OM"),
        ("mail.openbaarministerie.example", "OM"),
        ("ministerie.example", None),
        ("gemeente.example", None),
        ("openbaarministerie.example", None),  # the very same
    ],
)
def test_a_typing_error_resembles_a_partner(domain, expected):
    assert resembling(Domain.parse(domain), [partner("ggz", "ggz-x.example"), OM]) == (
        expected
    )


def test_a_name_too_short_to_tell_resembles_nobody():
    assert resembling(Domain("om.nl"), [partner("om", "cm.nl", "omg.nl")]) is None
    assert resembling(Domain("omx.nl"), [partner("om", "omy.nl")]) == "OM"


def test_without_partners_nothing_resembles():
    assert resembling(Domain.parse("onbekend.example"), []) is None


@pytest.mark.parametrize(
    ("one", "other", "near"),
    [
        ("abcdef.nl", "abcdef.nl", False),
        ("abcdef.nl", "abcdeg.nl", True),
        ("abcdef.nl", "abcdgh.nl", True),
        ("abcdef.nl", "abcghi.nl", False),
        ("abcdef.nl", "abcde.nl", True),
        ("abcdef.nl", "abcd.nl", True),
        ("abcdef.nl", "abc.nl", False),
        ("abcdef.nl", "xabcdefx.nl", True),
        ("abcdef.nl", "bacdef.nl", True),
        ("abcdef.nl", "mail.abcdef.nl", True),
        ("abcdef.nl", "mailabcdef.nl", False),
        ("abcdef.nl", "abcdef.com", False),
        ("abcdef.nl", "abcdef.be", True),
    ],
)
def test_near_is_at_most_two_edits_or_a_label_in_front(one, other, near):
    assert is_near(one, other) is near
    assert is_near(other, one) is near
