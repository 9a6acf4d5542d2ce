import dataclasses
import datetime

import pytest

from gateway.model.address import Domain, Mailbox
from gateway.model.errors import RegistryError
from gateway.model.ids import MunicipalityId, PartnerId, RecordId, RegimeId, Role
from gateway.model.partner import Partner, PartnerMailbox, PartnerState
from gateway.model.record import PartnerApplied
from gateway.store import codec
from gateway.store.partners import SqlPartners, with_digest
from tests.contract.store_bed import NOW, OWNER, POLICY, ROUTE, origin_of


@dataclasses.dataclass(frozen=True)
class Change:
    before: Partner | None
    after: Partner


def make_partner(of="kliniek", *domains, **changes):
    partner = Partner(
        id=PartnerId(of),
        municipality=OWNER,
        name="Kliniek Zuid – ’t Gooi",
        roles=frozenset({Role("zorgaanbieder"), Role("geneesheer_directeur")}),
        domains=frozenset(map(Domain, domains or ("kliniek.example",))),
        mailboxes=(
            PartnerMailbox(
                Mailbox("zorg.machtiging", Domain("kliniek.example")),
                frozenset({RegimeId("wvggz"), RegimeId("wzd")}),
            ),
        ),
        state=PartnerState.VERIFIED,
        verified_on=datetime.date(2026, 1, 2),
        valid_until=None,
        route=ROUTE,
        digest="",
    )
    return with_digest(dataclasses.replace(partner, **changes))


def make_record(name="r1", partner="kliniek"):
    return PartnerApplied(
        id=RecordId(name),
        at=NOW,
        municipality=OWNER,
        message=None,
        policy=POLICY,
        partner=partner,
        change="added",
        before=None,
        after="00",
        actor="beheerder",
    )


@pytest.fixture
def partners(store):
    return SqlPartners(store)


async def test_a_partner_is_found_by_each_of_its_domains(partners):
    partner = make_partner("kliniek", "kliniek.example", "zorg.example")

    await partners.apply([Change(None, partner)], [make_record()])

    for domain in partner.domains:
        assert partner == await partners.load(OWNER, domain)
    assert await partners.load(OWNER, Domain("ander.example")) is None


async def test_a_partner_is_not_seen_by_another_municipality(partners):
    await partners.apply([Change(None, make_partner())], [])

    other = MunicipalityId("ander")
    assert await partners.load(other, Domain("kliniek.example")) is None
    assert list(await partners.list_all(other)) == []


async def test_two_municipalities_may_register_one_domain_each(partners):
    mine = make_partner()
    theirs = with_digest(
        dataclasses.replace(mine, municipality=MunicipalityId("ander"))
    )

    await partners.apply([Change(None, mine), Change(None, theirs)], [])

    assert [theirs, mine] == list(await partners.list_all())
    assert [mine] == list(await partners.list_all(OWNER))


async def test_a_change_replaces_the_registration_and_its_domains(partners):
    before = make_partner("kliniek", "oud.example", "blijft.example")
    await partners.apply([Change(None, before)], [])
    after = make_partner("kliniek", "nieuw.example", "blijft.example", name="Nieuw")

    await partners.apply([Change(before, after)], [])

    assert after == await partners.load(OWNER, Domain("nieuw.example"))
    assert await partners.load(OWNER, Domain("oud.example")) is None
    assert [after] == list(await partners.list_all())


async def test_a_domain_may_move_between_partners_in_one_go(partners):
    a, b = make_partner("a", "een.example"), make_partner("b", "twee.example")
    await partners.apply([Change(None, a), Change(None, b)], [])
    a2, b2 = make_partner("a", "twee.example"), make_partner("b", "een.example")

    await partners.apply([Change(a, a2), Change(b, b2)], [])

    assert b2 == await partners.load(OWNER, Domain("een.example"))


async def test_a_domain_of_another_partner_is_refused_and_nothing_is_written(
    partners, evidence
):
    await partners.apply([Change(None, make_partner("a"))], [])

    with pytest.raises(RegistryError, match="another partner"):
        await partners.apply([Change(None, make_partner("b"))], [make_record()])

    assert [p.id for p in await partners.list_all()] == ["a"]
    assert list(await evidence.origins()) == []


@pytest.mark.parametrize("seen", [None, make_partner(name="Anders")])
async def test_a_change_to_something_else_than_was_read_is_refused(partners, seen):
    await partners.apply([Change(None, make_partner())], [])

    with pytest.raises(RegistryError, match="meanwhile"):
        await partners.apply([Change(seen, make_partner(name="Nieuw"))], [])


async def test_changes_and_their_evidence_are_one_unit(partners, evidence):
    await partners.apply([Change(None, make_partner())], [make_record()])

    found = await evidence.openings([RecordId("r1")])
    assert [origin_of(OWNER)] == list(await evidence.origins())
    assert b"beheerder" in found[RecordId("r1")]


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "X"},
        {"roles": frozenset()},
        {"domains": frozenset()},
        {"mailboxes": ()},
        {"state": PartnerState.ENDED},
        {"verified_on": None},
        {"valid_until": datetime.date(2027, 1, 1)},
        {"route": dataclasses.replace(ROUTE, port=26)},
        {"municipality": MunicipalityId("x")},
    ],
)
def test_the_digest_covers_each_field(changes):
    partner = make_partner()

    assert partner.digest != codec.partner_digest(
        dataclasses.replace(partner, **changes)
    )


def test_a_registration_survives_the_round_trip_with_its_digest():
    partner = make_partner(valid_until=datetime.date(2027, 1, 1), verified_on=None)

    assert partner == codec.parse_partner(codec.partner_json(partner).decode())
