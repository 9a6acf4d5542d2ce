import dataclasses
import ipaddress

import pytest

from gateway.config import AllowRange
from gateway.delivery.plan import NoHop, is_partial, plan, route_for
from gateway.model.address import Domain
from gateway.model.assurance import Assurance, TlsResult
from gateway.model.destination import (
    Absent,
    DaneDemand,
    Dnssec,
    FixedDestination,
    Hop,
    MxDestination,
    MxHost,
    Opportunistic,
    Pin,
    PinDemand,
    Present,
    Tlsa,
    TlsDemand,
    Unavailable,
)
from gateway.model.message import NO_MESSAGE_WISH, MessageWish
from gateway.model.partner import Requires, Route, RouteMethod
from gateway.model.reply import Cause, Status

DOMAIN = Domain("example.nl")
SECURE, INSECURE = Dnssec.SECURE, Dnssec.INSECURE
RECORD = Tlsa(3, 1, 1, bytes(32))
PINS = frozenset({Pin("ab" * 32)})
BOGUS = Unavailable(bogus=True, detail="SERVFAIL, EDE 6")
ROUTE = Route(RouteMethod.MX, Assurance.AUTHENTICATED)
ORDINARY = Route(RouteMethod.MX, Assurance.NONE)


def host(label: str, preference: int = 10, address: str = "9.9.9.9", **changes):
    name = Domain(f"{label}.example.nl")
    standard = MxHost(
        name=name,
        preference=preference,
        addresses=Present((address,), SECURE, 300),
        tlsa=Present(frozenset({RECORD}), SECURE, 300),
        tlsa_base=name,
    )
    return dataclasses.replace(standard, **changes)


def destination(*hosts: MxHost, dnssec: Dnssec = SECURE) -> MxDestination:
    names = tuple(h.name for h in hosts) or (DOMAIN,)
    return MxDestination(DOMAIN, Present(names, dnssec, 300), hosts)


def planned(*hosts: MxHost, route=ROUTE, ranges=(), own=frozenset(), **changes):
    return plan(route, destination(*hosts, **changes), ranges, own)


def names(answer) -> list[str]:
    assert not isinstance(answer, NoHop), answer
    return [hop.host for hop in answer]


def test_a_hop_says_everything_that_dialling_and_evidence_need() -> None:
    assert planned(host("mx1")) == (
        Hop(
            host="mx1.example.nl",
            port=25,
            addresses=("9.9.9.9",),
            sni="mx1.example.nl",
            demand=DaneDemand(frozenset({RECORD}), (Domain("mx1.example.nl"), DOMAIN)),
            dnssec="mx:secure host:secure tlsa:secure",
        ),
    )


def test_b03_hops_stand_in_order_of_preference_and_equals_as_they_came() -> None:
    answer = planned(host("c", 20), host("b", 10), host("a", 10), host("d", 5))
    assert [n.partition(".")[0] for n in names(answer)] == ["d", "b", "a", "c"]


# --- reference names, SNI -----------------------------------------------------------


def test_b21_b22_an_alias_gives_the_tlsa_base_as_sni_and_keeps_all_names() -> None:
    base = Domain("real.provider.nl")
    (hop,) = planned(host("mx1", tlsa_base=base))
    assert hop.sni == "real.provider.nl"
    assert hop.demand.reference_names == (base, Domain("mx1.example.nl"), DOMAIN)


def test_b21_the_domain_is_no_reference_name_behind_an_insecure_mx() -> None:
    mx1 = host("mx1")
    route = dataclasses.replace(ROUTE, vouched_hosts=frozenset({mx1.name}))
    (hop,) = planned(mx1, route=route, dnssec=INSECURE)
    assert hop.demand.reference_names == (mx1.name,)


def test_b18_digest_agility_is_applied_before_anything_is_demanded() -> None:
    strong = Tlsa(3, 1, 2, bytes(64))
    both = Present(frozenset({RECORD, strong}), SECURE, 300)
    (hop,) = planned(host("mx1", tlsa=both))
    assert hop.demand.records == {strong}


# --- addresses of which one is not secure -------------------------------------------


def test_b13_tlsa_of_a_host_with_insecure_addresses_is_ignored() -> None:
    mx1 = host("mx1", addresses=Present(("9.9.9.9",), INSECURE, 300))
    assert planned(mx1).cause is Cause.NOT_AUTHENTICATED
    (hop,) = planned(mx1, route=ORDINARY)
    assert hop.demand == Opportunistic()


def test_b14_tlsa_of_a_secure_alias_counts_though_its_target_is_insecure() -> None:
    mx1 = host("mx1", addresses=Present(("9.9.9.9",), INSECURE, 300), secure_alias=True)
    (hop,) = planned(mx1)
    assert isinstance(hop.demand, DaneDemand)


# --- several hosts ------------------------------------------------------------------


def test_b24_a_host_that_cannot_prove_enough_is_left_out() -> None:
    bare = host("mx1", 5, tlsa=Absent(SECURE, nxdomain=True, ttl_s=300))
    assert names(planned(bare, host("mx2"))) == ["mx2.example.nl"]


def test_b11_one_bogus_host_and_one_without_dane_defers() -> None:
    """The bogus one may pass tomorrow: nothing is proven yet."""
    bare = host("mx1", 5, tlsa=Absent(SECURE, nxdomain=True, ttl_s=300))
    broken = host("mx2", tlsa=BOGUS)
    assert planned(bare, broken) == NoHop(
        Status.DEFERRED,
        Cause.DNS_BOGUS,
        TlsResult.DNSSEC_INVALID,
        "K402",
        "TLSA of mx2.example.nl: SERVFAIL, EDE 6",
    )


def test_of_several_proven_reasons_the_weightiest_is_told() -> None:
    lost = host("mx1", 1, addresses=Absent(SECURE, nxdomain=True, ttl_s=300))
    barred = host("mx2", 2, address="10.0.0.1")
    bare = host("mx3", 3, tlsa=Absent(SECURE, nxdomain=True, ttl_s=300))
    assert planned(lost, barred).code == "K408"
    assert planned(lost, barred, bare).code == "K401"
    route = dataclasses.replace(ROUTE, requires=Requires.DANE)
    assert planned(lost, barred, bare, route=route).code == "K412"


def test_an_mx_answer_without_any_host_fails() -> None:
    answer = planned()
    assert (answer.status, answer.code) == (Status.FAILED, "K407")


# --- B-04: self, barred addresses ----------------------------------------------------


def test_b04_our_own_name_drops_itself_and_all_that_is_not_better() -> None:
    hosts = (host("mx1", 5), host("gw", 10), host("mx3", 10), host("mx4", 20))
    answer = planned(*hosts, own=frozenset({"gw.example.nl"}))
    assert names(answer) == ["mx1.example.nl"]


@pytest.mark.parametrize("own", ["8.8.8.8", "gw.example.nl", "alias.example.nl"])
def test_b04_nothing_left_but_ourselves_fails(own: str) -> None:
    alias = Domain("alias.example.nl")
    answer = planned(
        host("gw", address="8.8.8.8", tlsa_base=alias),
        host("mx2", 20),
        own=frozenset({own}),
    )
    assert answer == NoHop(
        Status.FAILED,
        Cause.BARRED_ADDRESS,
        None,
        "K408",
        "the mail would loop back to this gateway",
    )


BARRED = [
    "127.0.0.1",
    "127.9.9.9",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "0.0.0.0",
    "224.0.0.1",
    "239.1.1.1",
    "240.0.0.1",
    "255.255.255.255",
    "192.0.2.1",
    "198.18.0.1",
    "::",
    "::1",
    "fe80::1",
    "fc00::1",
    "fd12::1",
    "ff02::1",
    "2001:db8::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "::127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::a00:1",
    "2002:7f00:1::",
    "2002:a00:1::",
    "2002:909:909::1",
    "2001:0:4136:e378:8000:63bf:80ff:fffe",
]


@pytest.mark.parametrize("address", BARRED)
def test_b04_a_barred_address_is_never_connected_to(address: str) -> None:
    answer = planned(host("mx1", address=address))
    assert (answer.status, answer.cause) == (Status.FAILED, Cause.BARRED_ADDRESS)


@pytest.mark.parametrize("address", ["9.9.9.9", "2620:fe::fe", "64:ff9b::909:909"])
def test_b04_a_public_address_is_not_barred(address: str) -> None:
    assert names(planned(host("mx1", address=address))) == ["mx1.example.nl"]


def test_b04_the_addresses_that_are_not_barred_remain() -> None:
    mixed = Present(("::1", "9.9.9.9", "127.0.0.1"), SECURE, 300)
    (hop,) = planned(host("mx1", addresses=mixed))
    assert hop.addresses == ("9.9.9.9",)


def opened(text: str, *ports: int) -> tuple[AllowRange, ...]:
    return (AllowRange(ipaddress.ip_network(text), frozenset(ports)),)


def test_r20_an_allowed_range_opens_its_addresses_for_its_ports_only() -> None:
    mx1 = host("mx1", address="127.0.0.2")
    assert names(planned(mx1, ranges=opened("127.0.0.0/8", 25))) == ["mx1.example.nl"]
    for ranges in (opened("127.0.0.0/8", 26), opened("127.0.1.0/24", 25)):
        assert planned(mx1, ranges=ranges).code == "K408"


def test_r20_a_mapped_address_is_not_in_the_range_that_it_hides() -> None:
    mx1 = host("mx1", address="::ffff:127.0.0.2")
    assert planned(mx1, ranges=opened("127.0.0.0/8", 25)).code == "K408"


# --- B-07: fixed routes ---------------------------------------------------------------


def fixed(host="relay.example.nl", addresses=None, port=2525) -> FixedDestination:
    found = Present(("9.9.9.9",), INSECURE, 60) if addresses is None else addresses
    return FixedDestination(host, port, found)


def fixed_route(least=Assurance.AUTHENTICATED, pins=PINS, requires=Requires.ANY):
    return Route(RouteMethod.FIXED, least, "relay.example.nl", 2525, pins, requires)


def test_b07_a_fixed_route_with_a_pin_demands_it() -> None:
    assert plan(fixed_route(), fixed(), (), frozenset()) == (
        Hop(
            host="relay.example.nl",
            port=2525,
            addresses=("9.9.9.9",),
            sni="relay.example.nl",
            demand=PinDemand(PINS),
            dnssec="fixed",
        ),
    )


def test_b22_a_fixed_route_to_an_ip_address_has_no_sni() -> None:
    (hop,) = plan(fixed_route(), fixed("9.9.9.9"), (), frozenset())
    assert hop.sni is None


@pytest.mark.parametrize(
    ("least", "demand"),
    [(Assurance.ENCRYPTED, TlsDemand()), (Assurance.NONE, Opportunistic())],
)
def test_b07_a_fixed_route_on_loopback_needs_an_allowed_range(least, demand) -> None:
    route = fixed_route(least, pins=frozenset())
    there = fixed("127.0.0.1", Present(("127.0.0.1",), INSECURE, 0))
    (hop,) = plan(route, there, opened("127.0.0.1/32", 2525), frozenset())
    assert hop.demand == demand
    answer = plan(route, there, opened("127.0.0.1/32", 25), frozenset())
    assert answer == NoHop(
        Status.DEFERRED,
        Cause.BARRED_ADDRESS,
        None,
        "K408",
        "127.0.0.1 port 2525 is barred: see net.allow_ranges",
    )


def test_b07_a_fixed_route_may_lead_to_an_address_of_our_own() -> None:
    """The municipality's server may run on the same machine, on another port."""
    there = fixed("127.0.0.1", Present(("127.0.0.1",), INSECURE, 0))
    own = frozenset({"127.0.0.1"})
    assert not isinstance(
        plan(fixed_route(), there, opened("127.0.0.1/32", 2525), own), NoHop
    )


@pytest.mark.parametrize(
    ("addresses", "status", "code"),
    [
        (Absent(SECURE, nxdomain=True, ttl_s=60), Status.DEFERRED, "K406"),
        (Unavailable(bogus=False, detail="time-out"), Status.DEFERRED, "K402"),
        (BOGUS, Status.DEFERRED, "K402"),
    ],
    ids=["absent", "unavailable", "bogus"],
)
def test_b07_a_fixed_host_that_is_not_found_defers(addresses, status, code) -> None:
    answer = plan(fixed_route(), fixed(addresses=addresses), (), frozenset())
    assert (answer.status, answer.code) == (status, code)


@pytest.mark.parametrize(
    ("route", "code"),
    [
        (fixed_route(pins=frozenset()), "K401"),
        (fixed_route(requires=Requires.DANE), "K412"),
        (fixed_route(Assurance.NONE, frozenset(), Requires.PIN), "K412"),
    ],
    ids=["no pin", "dane", "pin required, none there"],
)
def test_b25_a_fixed_route_that_cannot_prove_enough_fails(route, code) -> None:
    answer = plan(route, fixed(), (), frozenset())
    assert (answer.status, answer.code) == (Status.FAILED, code)


# --- evidence ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tlsa", "word"),
    [
        (None, "not-asked"),
        (Absent(SECURE, nxdomain=False, ttl_s=1), "secure-absent"),
        (BOGUS, "bogus"),
        (Unavailable(bogus=False, detail="time-out"), "unavailable"),
    ],
)
def test_b35_the_dnssec_states_are_told_for_evidence(tlsa, word) -> None:
    route = dataclasses.replace(ORDINARY, pins=PINS, requires=Requires.PIN)
    (hop,) = planned(host("mx1", tlsa=tlsa), route=route)
    assert hop.dnssec == f"mx:secure host:secure tlsa:{word}"


# --- what the message itself demands (A-35, B-36) ------------------------------


@pytest.mark.parametrize("least", Assurance)
def test_a35_requiretls_demands_an_authenticated_hop_whatever_the_route(least) -> None:
    route = dataclasses.replace(ROUTE, least=least)
    tagged = route_for(route, MessageWish(requiretls=True))
    assert tagged == dataclasses.replace(route, least=Assurance.AUTHENTICATED)
    assert route_for(route, NO_MESSAGE_WISH) == route


def test_a35_ordinary_mail_with_requiretls_does_not_go_without_dane() -> None:
    bare = host("mx1", tlsa=Absent(SECURE, nxdomain=True, ttl_s=60))
    route = route_for(ORDINARY, MessageWish(requiretls=True))
    answer = planned(bare, route=route)
    assert isinstance(answer, NoHop)
    assert (answer.status, answer.code) == (Status.FAILED, "K401")
    assert names(planned(bare, route=ORDINARY)) == ["mx1.example.nl"]


def test_inv3_a_host_that_cannot_be_asked_about_leaves_things_unproven() -> None:
    known = host("mx1")
    assert not is_partial(destination(known))
    assert is_partial(destination(known, host("mx2", tlsa=BOGUS)))
    assert is_partial(destination(known, host("mx2", addresses=BOGUS)))
    assert not is_partial(fixed())
