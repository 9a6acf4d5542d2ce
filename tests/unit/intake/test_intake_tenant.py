"""Shared services: one certificate, many customers, and the header that tells (A-34)."""

import contextlib
import dataclasses
import itertools
import pathlib
import re

import pytest

from gateway.intake import answer
from gateway.intake.clients import ClientTable, Known, names_of
from gateway.intake.tenant import check_tenant, choose_by_tenant, settle
from gateway.model.address import Domain, Mailbox, ReversePath
from gateway.model.errors import ConfigError
from gateway.model.peer import Identification
from gateway.parties import Client, Tenant
from tests import certs
from tests.unit.intake.intake_desk import (
    CA,
    IMPLICIT,
    STARTTLS,
    Talker,
    client_context,
    settings,
)

SERVICE = "mail.protection.example"
FIELD = "x-originatororg"
ZWOLLE, HATTEM = Domain("gem.nl"), Domain("hattem.example")
NULL = ReversePath(None)


def client(name, domain, value=None, *, names=(SERVICE,), header=FIELD, **more):
    return Client(
        id=name,
        municipality=name,
        sender_domains=frozenset({domain}),
        networks=(),
        user=None,
        password_file=None,
        certificate_sha256=more.get("digests", frozenset()),
        certificate_names=frozenset(map(Domain, names)),
        tenant=None if value is None else Tenant(header, value),
    )


ONE = client("zwolle", ZWOLLE, "zwolle.example")
TWO = client("hattem", HATTEM, "hattem.example")
LEAF = certs.issue(CA, [SERVICE, f"*.{SERVICE}"])
DER = LEAF.chain_der[0]


def path(text):
    return ReversePath(Mailbox.parse(text))


# --- the field --------------------------------------------------------------------
@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (b"X-OriginatorOrg: zwolle.example\r\n", True),
        (b"From: a\r\nx-originatororg:zwolle.example \t\r\nTo: b\r\n", True),
        (b"X-OriginatorOrg:\r\n zwolle.example\r\n\r\nbody", True),
        (b"X-OriginatorOrg: zwolle.example", True),
        (b"", False),
        (b"From: zwolle.example\r\n", False),
        (b"X-OriginatorOrg: Zwolle.example\r\n", False),
        (b"X-OriginatorOrg: zwolle.example.evil.nl\r\n", False),
        (b"X-OriginatorOrg: zwolle.example hattem.example\r\n", False),
        (b"X-OriginatorOrg: zwolle.\r\n example\r\n", False),
        (b"X-OriginatorOrg: zwolle.example\r\n" * 2, False),
        (b"X-OriginatorOrg: e\r\nX-ORIGINATORORG: zwolle.example\r\n", False),
        (b"X-OriginatorOrg: zwolle.example\r\nX-OriginatorOrg : e\r\n", False),
        (b"Subject: x\r\n X-OriginatorOrg: zwolle.example\r\n", False),
        (b"From: a\r\n\r\nX-OriginatorOrg: zwolle.example\r\n", False),
        (b"\r\nX-OriginatorOrg: zwolle.example\r\n", True),
        (b"X-OriginatorOrg: zwolle.example\xe9\r\n", False),
        (b"X-OriginatorOrgs: zwolle.example\r\n", False),
    ],
)
def test_a34_tenant_is_one_field_with_exactly_its_value(header, expected):
    assert check_tenant(header, ONE.tenant) is expected


def test_a34_tenant_chooses_among_candidates_one_or_none():
    def field(value):
        return f"{FIELD}: {value}\r\n".encode()

    assert choose_by_tenant(field("zwolle.example"), [ONE, TWO]) is ONE
    assert choose_by_tenant(field("hattem.example"), [ONE, TWO]) is TWO
    assert choose_by_tenant(field("evil.example"), [ONE, TWO]) is None
    both = field("zwolle.example") + field("hattem.example")
    assert choose_by_tenant(both, [ONE, TWO]) is None
    other = dataclasses.replace(TWO, tenant=Tenant("x-other", "o"))
    both = field("zwolle.example") + b"X-Other: o\r\n"
    assert choose_by_tenant(both, [ONE, other]) is None
    assert choose_by_tenant(field("x"), [dataclasses.replace(ONE, tenant=None)]) is None


def test_a34_settle_asks_for_the_tenant_however_the_client_was_known():
    good, bad = b"X-OriginatorOrg: zwolle.example\r\n", b"From: a\r\n"
    by = Identification.CERTIFICATE
    assert settle(Known(ONE, by), good) == Known(ONE, by)
    assert settle(Known(ONE, by), bad) is None
    assert settle(Known(ONE, Identification.NETWORK), bad) is None
    plain = client("plain", ZWOLLE)
    assert settle(Known(plain, by), bad).client is plain
    shared = Known(TWO, by, (TWO, ONE))
    assert settle(shared, good) == Known(ONE, by)
    assert settle(shared, bad) is None


# --- the certificate ----------------------------------------------------------------
def test_a34_names_of_a_certificate_are_exact_and_a_wildcard_is_none():
    assert names_of(DER) == {Domain(SERVICE)}
    wild = certs.issue(CA, ["*.protection.example"], subject=SERVICE)
    assert names_of(wild.chain_der[0]) == frozenset()
    assert names_of(certs.issue(CA, ["127.0.0.1"]).chain_der[0]) == frozenset()
    assert names_of(certs.issue(CA, []).chain_der[0]) == frozenset()
    assert names_of(b"no certificate") == frozenset()
    upper = certs.issue(CA, ["MAIL.Protection.example"])
    assert names_of(upper.chain_der[0]) == {Domain(SERVICE)}


def identify(clients, certificate=DER):
    return ClientTable(clients, {}).identify("192.0.2.1", certificate, None)


def test_a34_client_is_known_by_a_name_of_its_certificate():
    assert identify([ONE]) == Known(ONE, Identification.CERTIFICATE)
    wild = certs.issue(CA, ["*.protection.example", "other.example"])
    assert identify([ONE], wild.chain_der[0]) is None


def test_a34_certificate_itself_counts_more_than_its_names():
    digest = frozenset({certs.hashlib.sha256(DER).hexdigest()})
    own = client("own", ZWOLLE, names=(), digests=digest)
    assert identify([ONE, TWO, own]).client is own


@pytest.mark.parametrize("order", list(itertools.permutations([ONE, TWO])))
def test_a34_shared_certificate_is_decided_by_the_senders_domain(order):
    known = identify(order)
    assert known.candidates == (TWO, ONE)
    by = Identification.CERTIFICATE
    assert known.sending_as(path("jan@gem.nl")) == Known(ONE, by)
    assert known.sending_as(path("jan@hattem.example")) == Known(TWO, by)
    assert known.sending_as(path("jan@evil.example")) is None
    assert known.sending_as(NULL) == known
    assert known.home(NULL) is None
    assert known.home(path("jan@gem.nl")) == ZWOLLE
    assert Known(ONE, by).home(NULL) == ZWOLLE


def test_a34_two_names_of_clients_that_nothing_tells_apart_are_nobody():
    one = client("a", ZWOLLE, names=("a.example",))
    other = client("b", HATTEM, names=("b.example",))
    both = certs.issue(CA, ["a.example", "b.example"]).chain_der[0]
    assert identify([one, other], both) is None
    assert identify([one], both).client is one


@pytest.mark.parametrize(
    "other",
    [
        client("other", HATTEM),
        client("other", HATTEM, "zwolle.example"),
        client("other", ZWOLLE, "other.example"),
    ],
    ids=["no-tenant", "same-tenant", "same-domain"],
)
def test_a34_start_refuses_clients_of_one_service_that_are_not_distinct(other):
    for pair in itertools.permutations([ONE, other]):
        with pytest.raises(ConfigError, match=r"certificate_names: is also that of"):
            ClientTable(pair, {})


def test_a34_start_refuses_a_shared_digest_as_it_does_a_name():
    digest = frozenset({"0" * 64})
    plain = [client(name, ZWOLLE, names=(), digests=digest) for name in "ab"]
    with pytest.raises(ConfigError, match="certificate_sha256: is also that of"):
        ClientTable(plain, {})
    ClientTable(
        [
            client("a", ZWOLLE, "1", names=(), digests=digest),
            client("b", HATTEM, "2", names=(), digests=digest),
        ],
        {},
    )


def test_a11_refusal_of_a_tenant_says_rule_and_remedy_in_both_languages():
    dutch, english = answer.NOT_OF_TENANT.lines
    assert "geweigerd" in dutch
    assert "refused" in english
    assert max(map(len, answer.NOT_OF_TENANT.lines)) <= 480
    assert (answer.NOT_OF_TENANT.code, answer.NOT_OF_TENANT.enhanced) == (
        550,
        "5.7.1",
    )


# --- on the wire ----------------------------------------------------------------------
SHARED = """
[[client]]
id = "zwolle-365"
municipality = "zwolle"
certificate_names = ["mail.protection.example"]
tenant = { header = "X-OriginatorOrg", value = "zwolle.example" }
[[client]]
id = "hattem-365"
municipality = "hattem"
certificate_names = ["mail.protection.example"]
tenant = { header = "X-OriginatorOrg", value = "hattem.example" }
"""


@pytest.mark.parametrize("listener", [STARTTLS, IMPLICIT])
async def test_a34_shared_service_on_the_wire(intake, tmp_path, listener):
    desk = await intake(configuration=settings(SHARED), client_ca=CA)
    context = client_context(LEAF.write(tmp_path, "service"))
    tls = context if listener == IMPLICIT else None
    talker = await Talker.connect(desk.port(listener), tls)
    if tls is None:
        await talker.greet()
        await talker.starttls(context)
    await talker.greet()
    for sender in ("jan@gem.nl", "jan@hattem.example"):
        assert await talker.code(f"MAIL FROM:<{sender}>") == "250 2.1.0"
        assert await talker.code("RCPT TO:<postmaster>") == "250 2.1.5"
        await talker.do("RSET")
    assert await talker.code("MAIL FROM:<jan@evil.example>") == "550 5.7.1"
    assert await talker.code("MAIL FROM:<>") == "250 2.1.0"
    assert await talker.code("RCPT TO:<postmaster>") == "501 5.1.3"
    assert await talker.code("RCPT TO:<a@b.nl>") == "250 2.1.5"
    await talker.close()


async def test_a34_certificate_of_an_unknown_authority_opens_nothing(intake, tmp_path):
    desk = await intake(configuration=settings(SHARED), client_ca=CA)
    false = certs.issue(certs.make_ca("Evil"), [SERVICE]).write(tmp_path, "false")
    # With TLS 1.3 the client is done before it learns that it is refused.
    with contextlib.suppress(OSError):
        talker = await Talker.connect(desk.port(IMPLICIT), client_context(false))
        assert talker.greeting == ""
        await talker.close()
    assert desk.peers == []
    assert desk.ends()[0] == ("tls-failed", "handshake")


def test_a34_settings_in_the_manual_are_settings_of_ours():
    manual = pathlib.Path(__file__).parents[3] / "docs" / "microsoft365.md"
    (block,) = re.findall(r"```toml\n(.*?)```", manual.read_text("utf-8"), re.DOTALL)
    parsed = settings(block, domains='"gem.nl", "zwolle.example"')
    one = parsed.clients[0]
    assert one.tenant.header == "x-ms-exchange-crosstenant-id"
    assert one.certificate_names == {Domain("mail.protection.outlook.com")}
    assert parsed.listeners[-1].client_ca
    ClientTable(parsed.clients, {})
