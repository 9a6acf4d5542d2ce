"""The stub and the destination against a real validating Unbound (B-10 ... B-14)."""

import asyncio
import contextlib
import random

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest

from gateway.config import Dns
from gateway.model.address import Domain
from gateway.model.assurance import Assurance
from gateway.model.destination import (
    Absent,
    Dnssec,
    FixedDestination,
    MxDestination,
    Present,
    Tlsa,
    Unavailable,
)
from gateway.model.errors import ConfigError, TemporaryFailure
from gateway.model.partner import Route, RouteMethod
from gateway.net.destination import MAX_HOSTS, DestinationResolver
from gateway.net.dns import ValidatingResolver
from tests.unit.net import dnsbed

A, AAAA, MX = dns.rdatatype.A, dns.rdatatype.AAAA, dns.rdatatype.MX
CNAME, TXT = dns.rdatatype.CNAME, dns.rdatatype.TXT
SECURE, INSECURE = Dnssec.SECURE, Dnssec.INSECURE
RECORD = frozenset({Tlsa(3, 1, 1, bytes.fromhex("ab" * 32))})
OTHER = frozenset({Tlsa(3, 1, 1, bytes.fromhex("cd" * 32))})
BY_MX = Route(RouteMethod.MX, Assurance.AUTHENTICATED)


@pytest.fixture(scope="module")
def bed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dns")
    folder.chmod(0o755)
    with dnsbed.served(folder) as ports:
        yield ports


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def stub(port: int, clock=None, **changes) -> ValidatingResolver:
    names = {"secure_name": "signed.example", "bogus_name": "bogus.example"}
    settings = Dns(port=port, **{"timeout_s": 5, **names, **changes})
    return ValidatingResolver(settings, clock or Clock())


@pytest.fixture
def resolver(bed) -> ValidatingResolver:
    return stub(bed[0])


async def look_up(resolver, name: str, route=BY_MX, shuffle=lambda _list: None):
    finder = DestinationResolver(resolver, shuffle)
    return await finder.fetch_destination(route, Domain(name))


async def only_host(resolver, name: str):
    destination = await look_up(resolver, name)
    (host,) = destination.hosts
    return host


# --- the stub -------------------------------------------------------------------------


@pytest.mark.peers
@pytest.mark.parametrize(
    ("name", "kind", "dnssec", "canonical"),
    [
        ("mx1.signed.example", A, SECURE, "mx1.signed.example"),
        ("MX1.Signed.Example", A, SECURE, "mx1.signed.example"),
        ("alias.signed.example", A, SECURE, "mx1.signed.example"),
        ("host.unsigned.example", A, INSECURE, "host.unsigned.example"),
        ("out.signed.example", A, INSECURE, "host.unsigned.example"),
        ("out.signed.example", CNAME, SECURE, "out.signed.example"),
    ],
)
async def test_b11_b12_a_present_answer_has_the_state_of_its_whole_chain(
    resolver, name, kind, dnssec, canonical
) -> None:
    answer = await resolver.fetch(name, kind)
    assert isinstance(answer, Present)
    assert (answer.dnssec, answer.value.canonical) == (dnssec, canonical)
    assert 0 < answer.ttl_s <= 300


@pytest.mark.peers
@pytest.mark.parametrize(
    ("name", "dnssec", "nxdomain"),
    [
        ("mx2.signed.example", SECURE, False),
        ("missing.signed.example", SECURE, True),
        ("host.unsigned.example", INSECURE, False),
        ("missing.unsigned.example", INSECURE, True),
    ],
)
async def test_b12_a_denial_is_a_proof_only_when_it_is_secure(
    resolver, name, dnssec, nxdomain
) -> None:
    answer = await resolver.fetch(name, AAAA)
    assert isinstance(answer, Absent)
    assert (answer.dnssec, answer.nxdomain) == (dnssec, nxdomain)
    assert 0 < answer.ttl_s <= 300


@pytest.mark.peers
@pytest.mark.parametrize(
    "name", ["host.bogus.example", "missing.bogus.example", "bogus.example"]
)
async def test_b11_a_bogus_answer_is_unavailable_and_says_so(resolver, name) -> None:
    answer = await resolver.fetch(name, A)
    assert isinstance(answer, Unavailable)
    assert answer.bogus
    assert answer.detail.startswith("SERVFAIL, EDE ")


@pytest.mark.parametrize("name", ["a..b", "x" * 64 + ".example", "." + "a" * 300])
async def test_a_name_that_cannot_be_asked_for_is_unavailable(name) -> None:
    answer = await stub(1).fetch(name, A)
    assert answer == Unavailable(bogus=False, detail="the name cannot be asked for")


# --- what a resolver can do wrong: a fake one, for what Unbound cannot be made to do -----


class Fake(asyncio.DatagramProtocol):
    """Answers UDP with whatever `reply` makes of the query; counts."""

    def __init__(self, reply) -> None:
        self.reply = reply
        self.asked = 0
        self.last: dns.message.Message | None = None

    def connection_made(self, transport) -> None:
        self.transport = transport

    def datagram_received(self, data, address) -> None:
        self.asked += 1
        self.last = dns.message.from_wire(data)
        answer = self.reply(self.last)
        if answer is not None:
            wire = answer if isinstance(answer, bytes) else answer.to_wire()
            self.transport.sendto(wire, address)


@contextlib.asynccontextmanager
async def faked(reply):
    loop = asyncio.get_running_loop()
    transport, fake = await loop.create_datagram_endpoint(
        lambda: Fake(reply), ("127.0.0.1", 0)
    )
    fake.port = transport.get_extra_info("sockname")[1]
    try:
        yield fake
    finally:
        transport.close()
        await asyncio.sleep(0)


def answering(rcode=dns.rcode.NOERROR, flags=0, address="127.0.0.9", ede=None, ttl=60):
    def reply(query):
        answer = dns.message.make_response(query)
        answer.set_rcode(rcode)
        answer.flags |= flags | dns.flags.RA
        if address is not None:
            name = query.question[0].name
            answer.answer.append(dns.rrset.from_text(name, ttl, "IN", "A", address))
        if ede is not None:
            answer.use_edns(0, options=[dns.edns.EDEOption(ede)])
        return answer

    return reply


@pytest.mark.parametrize(
    ("rcode", "ede", "expected"),
    [
        (dns.rcode.SERVFAIL, None, Unavailable(bogus=False, detail="SERVFAIL")),
        (dns.rcode.SERVFAIL, 6, Unavailable(bogus=True, detail="SERVFAIL, EDE 6")),
        (dns.rcode.SERVFAIL, 22, Unavailable(bogus=False, detail="SERVFAIL, EDE 22")),
        (dns.rcode.REFUSED, None, Unavailable(bogus=False, detail="REFUSED")),
        (dns.rcode.FORMERR, None, Unavailable(bogus=False, detail="FORMERR")),
        (dns.rcode.NOTIMP, None, Unavailable(bogus=False, detail="NOTIMP")),
    ],
)
async def test_b11_an_error_is_unavailable_never_absent(rcode, ede, expected) -> None:
    async with faked(answering(rcode, address=None, ede=ede)) as fake:
        assert await stub(fake.port).fetch("x.example", A) == expected


@pytest.mark.parametrize(
    "reply",
    [lambda _query: None, lambda _query: b"garbage", lambda query: query],
    ids=["silence", "garbage", "an echo"],
)
async def test_b11_no_usable_answer_in_time_is_unavailable(reply) -> None:
    async with faked(reply) as fake:
        answer = await stub(fake.port, timeout_s=1).fetch("x.example", A)
    assert answer == Unavailable(bogus=False, detail="time-out")
    assert fake.asked == 2  # one datagram may be lost


async def test_b11_a_truncated_answer_without_tcp_is_unavailable() -> None:
    async with faked(answering(flags=dns.flags.TC, address=None)) as fake:
        answer = await stub(fake.port).fetch("x.example", A)
    assert isinstance(answer, Unavailable)
    assert answer.detail.startswith("no usable answer")


async def test_b11_an_answer_that_contradicts_itself_is_unavailable() -> None:
    async with faked(answering(dns.rcode.NXDOMAIN)) as fake:
        answer = await stub(fake.port).fetch("x.example", A)
    assert isinstance(answer, Unavailable)


async def test_a_resolver_that_is_not_there_is_unavailable() -> None:
    async with faked(answering()) as fake:
        port = fake.port
    answer = await stub(port, timeout_s=1).fetch("x.example", A)
    assert isinstance(answer, Unavailable)


async def test_b10_the_question_asks_for_ad_and_carries_edns() -> None:
    async with faked(answering()) as fake:
        await stub(fake.port).fetch("x.example", A)
    assert fake.last.flags & dns.flags.AD
    assert fake.last.flags & dns.flags.RD
    assert not fake.last.flags & dns.flags.CD
    assert (fake.last.edns, fake.last.payload) == (0, 1232)


async def test_b23_an_answer_is_kept_no_longer_than_its_ttl() -> None:
    clock = Clock()
    async with faked(answering(ttl=60)) as fake:
        resolver = stub(fake.port, clock)
        first = await resolver.fetch("x.example", A)
        clock.now += 59
        assert await resolver.fetch("X.example", A) == first
        assert fake.asked == 1
        clock.now += 1
        await resolver.fetch("x.example", A)
        assert fake.asked == 2


async def test_b23_a_fresh_answer_passes_the_cache_by_and_renews_it() -> None:
    async with faked(answering(ttl=60)) as fake:
        resolver = stub(fake.port)
        await resolver.fetch("x.example", A)
        await resolver.fetch("x.example", A, fresh=True)
        await resolver.fetch("x.example", A)
    assert fake.asked == 2


async def test_r10_no_answer_is_kept_over_fifteen_minutes() -> None:
    clock = Clock()
    async with faked(answering(ttl=86400)) as fake:
        resolver = stub(fake.port, clock)
        await resolver.fetch("x.example", A)
        clock.now += 900
        await resolver.fetch("x.example", A)
    assert fake.asked == 2


async def test_inv3_an_unavailable_answer_is_never_kept() -> None:
    async with faked(answering(dns.rcode.SERVFAIL, address=None)) as fake:
        resolver = stub(fake.port)
        assert isinstance(await resolver.fetch("x.example", A), Unavailable)
        fake.reply = answering()
        assert isinstance(await resolver.fetch("x.example", A), Present)


async def test_the_cache_is_bounded(monkeypatch) -> None:
    monkeypatch.setattr("gateway.net.dns._MAX_ENTRIES", 2)
    async with faked(answering()) as fake:
        resolver = stub(fake.port)
        for name in ("a.example", "b.example", "c.example", "c.example", "b.example"):
            await resolver.fetch(name, A)
        assert fake.asked == 3
        await resolver.fetch("a.example", A)
        assert fake.asked == 4


# --- B-10: the self-test -----------------------------------------------------------------


@pytest.mark.peers
async def test_b10_a_validating_resolver_passes_the_self_test(bed) -> None:
    await stub(bed[0]).self_test()


@pytest.mark.peers
async def test_b10_a_resolver_that_does_not_validate_fails_it(bed) -> None:
    with pytest.raises(ConfigError, match="without the AD bit"):
        await stub(bed[1]).self_test()


async def test_b10_a_resolver_that_sets_ad_on_everything_fails_it() -> None:
    async with faked(answering(flags=dns.flags.AD)) as fake:
        with pytest.raises(ConfigError, match="signatures are wrong"):
            await stub(fake.port).self_test()


@pytest.mark.parametrize("answers", [0, 1])
async def test_b10_a_resolver_that_is_silent_cannot_be_tested(answers) -> None:
    secure = answering(flags=dns.flags.AD)

    async with faked(lambda q: secure(q) if fake.asked <= answers else None) as fake:
        with pytest.raises(TemporaryFailure, match="time-out"):
            await stub(fake.port, timeout_s=1).self_test()


async def test_b10_without_a_self_test_no_answer_counts_as_secure() -> None:
    async with faked(answering(flags=dns.flags.AD)) as fake:
        resolver = stub(fake.port, self_test=False)
        await resolver.self_test()
        answer = await resolver.fetch("x.example", A)
    assert answer.dnssec is INSECURE
    assert fake.asked == 1


@pytest.mark.peers
async def test_b10_nothing_of_an_untested_resolver_counts_as_secure(bed) -> None:
    answer = await stub(bed[0], self_test=False).fetch("signed.example", MX)
    assert answer.dnssec is INSECURE
    tested = await stub(bed[0]).fetch("signed.example", MX)
    assert tested.dnssec is SECURE


# --- destinations -------------------------------------------------------------------------


@pytest.mark.peers
async def test_b03_hosts_stand_in_order_with_everything_asked_about_them(
    resolver,
) -> None:
    destination = await look_up(resolver, "signed.example")
    assert isinstance(destination, MxDestination)
    assert isinstance(destination.mx, Present)
    assert destination.mx.dnssec is SECURE
    assert not destination.null_mx
    mx1, mx2, mx3 = destination.hosts
    names = [h.name.name.partition(".")[0] for h in destination.hosts]
    assert names == ["mx1", "mx2", "mx3"]
    assert [h.preference for h in destination.hosts] == [10, 10, 20]
    assert mx1.addresses.value == ("::2", "127.0.0.2")
    assert mx1.addresses.dnssec is SECURE
    assert (mx1.tlsa.value, mx1.tlsa.dnssec) == (RECORD, SECURE)
    assert mx1.tlsa_base == Domain("mx1.signed.example")
    assert isinstance(mx2.tlsa, Absent)
    assert mx2.tlsa.dnssec is SECURE
    assert mx3.tlsa.value == RECORD


@pytest.mark.peers
async def test_b03_equals_are_shuffled_and_only_they(resolver) -> None:
    seen = {
        tuple(
            h.name.name[:3]
            for h in (
                await look_up(
                    resolver, "signed.example", shuffle=random.Random(seed).shuffle
                )
            ).hosts
        )
        for seed in range(20)
    }
    assert seen == {("mx1", "mx2", "mx3"), ("mx2", "mx1", "mx3")}


@pytest.mark.peers
async def test_b03_the_number_of_hosts_is_bounded_best_first(resolver) -> None:
    destination = await look_up(resolver, "many.signed.example")
    assert [h.preference for h in destination.hosts] == list(range(1, MAX_HOSTS + 1))


@pytest.mark.peers
async def test_b01_nodata_gives_an_implicit_mx(resolver) -> None:
    destination = await look_up(resolver, "nodata.signed.example")
    assert isinstance(destination.mx, Absent)
    assert (destination.mx.dnssec, destination.mx.nxdomain) == (SECURE, False)
    (host,) = destination.hosts
    assert (host.name, host.preference) == (Domain("nodata.signed.example"), 0)
    assert host.addresses.value == ("127.0.0.5",)
    assert host.tlsa.value == RECORD


@pytest.mark.peers
async def test_b01_nxdomain_gives_no_host(resolver) -> None:
    destination = await look_up(resolver, "missing.signed.example")
    assert isinstance(destination.mx, Absent)
    assert destination.mx.nxdomain
    assert destination.hosts == ()
    assert not destination.null_mx


@pytest.mark.peers
async def test_b01_an_error_gives_no_host(resolver) -> None:
    destination = await look_up(resolver, "bogus.example")
    assert isinstance(destination.mx, Unavailable)
    assert destination.mx.bogus
    assert destination.hosts == ()


@pytest.mark.peers
async def test_b02_a_null_mx_gives_no_host(resolver) -> None:
    destination = await look_up(resolver, "nullmx.signed.example")
    assert destination.null_mx
    assert destination.hosts == ()


@pytest.mark.peers
async def test_b02_a_null_mx_beside_others_is_ignored(resolver) -> None:
    destination = await look_up(resolver, "mixed.signed.example")
    assert not destination.null_mx
    assert [h.name.name for h in destination.hosts] == ["mx1.signed.example"]


@pytest.mark.peers
async def test_an_impossible_host_name_is_passed_over(resolver) -> None:
    destination = await look_up(resolver, "halfodd.signed.example")
    assert [h.name.name for h in destination.hosts] == ["mx1.signed.example"]
    destination = await look_up(resolver, "odd.signed.example")
    assert isinstance(destination.mx, Unavailable)
    assert destination.hosts == ()


@pytest.mark.peers
async def test_b05_a_domain_that_is_an_alias_is_followed(resolver) -> None:
    destination = await look_up(resolver, "www.signed.example")
    assert len(destination.hosts) == 3
    assert destination.domain == Domain("www.signed.example")


@pytest.mark.peers
async def test_b13_no_tlsa_is_asked_of_a_host_with_insecure_addresses(
    resolver,
) -> None:
    host = await only_host(resolver, "to-unsigned.signed.example")
    assert host.addresses.dnssec is INSECURE
    assert host.tlsa is None
    assert not host.secure_alias
    host = await only_host(resolver, "to-alias.unsigned.example")
    assert (host.tlsa, host.secure_alias) == (None, False)


@pytest.mark.peers
@pytest.mark.parametrize("name", ["to-bogus", "to-nowhere"])
async def test_b13_no_tlsa_is_asked_of_a_host_without_addresses(resolver, name) -> None:
    host = await only_host(resolver, f"{name}.signed.example")
    assert host.tlsa is None
    if name == "to-bogus":
        assert isinstance(host.addresses, Unavailable)
        assert host.addresses.bogus
    else:
        assert isinstance(host.addresses, Absent)
        assert host.addresses.nxdomain


@pytest.mark.peers
async def test_b14_tlsa_at_the_end_of_an_alias_comes_first(resolver) -> None:
    host = await only_host(resolver, "to-alias.signed.example")
    assert host.name == Domain("alias.signed.example")
    assert (host.tlsa.value, host.tlsa_base.name) == (RECORD, "mx1.signed.example")


@pytest.mark.peers
async def test_b14_tlsa_at_the_alias_itself_comes_second(resolver) -> None:
    host = await only_host(resolver, "to-alias2.signed.example")
    assert (host.tlsa.value, host.tlsa_base.name) == (OTHER, "alias2.signed.example")


@pytest.mark.peers
async def test_b14_a_secure_alias_into_an_unsigned_zone_has_its_own_tlsa(
    resolver,
) -> None:
    host = await only_host(resolver, "to-out.signed.example")
    assert host.addresses.dnssec is INSECURE
    assert host.secure_alias
    assert (host.tlsa.value, host.tlsa_base.name) == (OTHER, "out.signed.example")


@pytest.mark.peers
@pytest.mark.parametrize("name", ["to-broken", "to-brokenalias"])
async def test_b14_a_tlsa_error_ends_the_search(resolver, name) -> None:
    """Also where the second name has records: an error is never "none"."""
    host = await only_host(resolver, f"{name}.signed.example")
    assert host.addresses.dnssec is SECURE
    assert isinstance(host.tlsa, Unavailable)
    assert host.tlsa.bogus


@pytest.mark.peers
async def test_b15_a_secure_host_behind_an_unsigned_mx_is_told_apart(resolver) -> None:
    destination = await look_up(resolver, "unsigned.example")
    assert destination.mx.dnssec is INSECURE
    (host,) = destination.hosts
    assert host.tlsa.dnssec is SECURE


def fixed(host: str | None, port: int = 2525) -> Route:
    return Route(RouteMethod.FIXED, Assurance.NONE, host, port)


@pytest.mark.peers
@pytest.mark.parametrize(
    ("host", "addresses", "dnssec"),
    [
        ("127.0.0.1", ("127.0.0.1",), INSECURE),
        ("::1", ("::1",), INSECURE),
        ("mx1.signed.example", ("::2", "127.0.0.2"), SECURE),
    ],
)
async def test_b07_a_fixed_route_asks_for_addresses_only(
    resolver, host, addresses, dnssec
) -> None:
    answer = await look_up(resolver, "signed.example", fixed(host))
    assert isinstance(answer, FixedDestination)
    assert (answer.host, answer.port) == (host, 2525)
    assert (answer.addresses.value, answer.addresses.dnssec) == (addresses, dnssec)


@pytest.mark.peers
async def test_b07_a_fixed_host_that_is_down_is_no_reason_to_ask_mx(resolver) -> None:
    answer = await look_up(resolver, "signed.example", fixed("nowhere.signed.example"))
    assert isinstance(answer, FixedDestination)
    assert isinstance(answer.addresses, Absent)
    answer = await look_up(resolver, "signed.example", fixed("host.bogus.example"))
    assert isinstance(answer.addresses, Unavailable)


async def test_a_fixed_route_without_host_is_a_fault_of_ours() -> None:
    with pytest.raises(ValueError, match="without host"):
        await look_up(stub(1), "signed.example", fixed(None))


# --- A and AAAA that disagree ---------------------------------------------------------------


def by_kind(**replies):
    def reply(query):
        return replies[dns.rdatatype.to_text(query.question[0].rdtype)](query)

    return reply


NO = answering(address=None)
BROKEN = answering(dns.rcode.SERVFAIL, address=None)
BOGUS = answering(dns.rcode.SERVFAIL, address=None, ede=6)


@pytest.mark.parametrize(
    ("a", "aaaa", "expected"),
    [
        (answering(), NO, Present),
        (answering(), BROKEN, Present),
        (answering(), BOGUS, Unavailable),
        (NO, BROKEN, Unavailable),
        (BROKEN, NO, Unavailable),
        (NO, NO, Absent),
    ],
    ids=["A", "A, AAAA lost", "A, AAAA bogus", "AAAA lost", "A lost", "none"],
)
async def test_b11_a_lost_half_hides_no_answer_and_a_bogus_one_does(
    a, aaaa, expected
) -> None:
    async with faked(by_kind(A=a, AAAA=aaaa)) as fake:
        answer = await look_up(stub(fake.port), "x.example", fixed("y.example"))
    assert type(answer.addresses) is expected


async def test_b13_an_odd_name_at_the_end_of_an_alias_is_no_tlsa_base() -> None:
    """A CNAME may lead to a name that is no host name, such as `_a.example`."""

    def reply(query):
        answer = dns.message.make_response(query)
        answer.flags |= dns.flags.AD
        name, kind = query.question[0].name, query.question[0].rdtype
        if kind == A:
            end = "_a.example."
            answer.answer.append(dns.rrset.from_text(name, 60, "IN", "CNAME", end))
            answer.answer.append(dns.rrset.from_text(end, 60, "IN", "A", "127.0.0.9"))
        return answer

    async with faked(reply) as fake:
        destination = await look_up(stub(fake.port), "x.example")
    (host,) = destination.hosts
    assert host.tlsa_base == Domain("x.example")
    assert isinstance(host.tlsa, Absent)
