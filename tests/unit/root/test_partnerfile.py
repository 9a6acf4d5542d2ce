"""Partner files: every fault names place and remedy; nothing half-done stays."""

import dataclasses

import pytest

from gateway.model.errors import RegistryError
from gateway.model.ids import MunicipalityId, Role
from gateway.model.partner import PartnerState
from gateway.partnerfile import ChangeKind, differ, parse_partner_file

ROLES = frozenset({Role("zorgaanbieder"), Role("om")})
GOOD = """
municipality = "gem"
[[partner]]
id = "ggz"
name = "GGZ"
roles = ["zorgaanbieder"]
domains = ["ggz.example"]
state = "verified"
verified_on = 2026-11-01
valid_until = 2027-11-01
[partner.route]
method = "mx"
requires = "dane"
[[partner.mailbox]]
address = "crisis@ggz.example"
regimes = ["wvggz"]
[[partner]]
id = "om"
name = "OM"
roles = ["om"]
domains = ["om.example"]
state = "draft"
"""


def parse(text):
    return parse_partner_file(text, [MunicipalityId("gem")], ROLES)


def test_a_good_file_is_read_whole():
    file = parse(GOOD)
    assert [p.id for p in file.partners] == ["ggz", "om"]
    assert file.partners[0].state is PartnerState.VERIFIED
    assert str(file.partners[0].mailboxes[0].mailbox) == "crisis@ggz.example"


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ('municipality = "gem"', 'municipality = "other"', "municipality"),
        ('municipality = "gem"', "municipality = ", "file"),
        ('municipality = "gem"', 'municipality = "gem"\nx = 1', "x"),
        ('id = "om"', 'id = "ggz"', "ggz"),
        ('id = "om"', 'idd = "om"', "partner[2].idd"),
        ('id = "om"', "id = 3", "partner[2].id"),
        ('name = "OM"', 'name = ""', "partner[2].name"),
        ('roles = ["om"]', 'roles = ["omm"]', "partner[2] om.roles"),
        ('["om.example"]', '["om"]', "partner[2] om.domains"),
        ('["om.example"]', '["ggz.example"]', "om.domains"),
        ('state = "draft"', 'state = "dratf"', "partner[2] om.state"),
        ('state = "draft"', 'state = "verified"', "partner[2] om.verified_on"),
        ('requires = "dane"', 'requires = "dnae"', "partner[1] ggz.route.requires"),
        ('method = "mx"', 'method = "fixed"', "partner[1] ggz.route.host"),
        ('method = "mx"', 'least = "none"', "partner[1] ggz.route.least"),
        ("crisis@ggz.example", "crisis", "partner[1] ggz.mailbox.address"),
        ("regimes =", "regime =", "partner[1] ggz.mailbox"),
        ('["wvggz"]', '"wvggz"', "partner[1] ggz.mailbox.regimes"),
        ("verified_on = 2026-11-01", 'verified_on = "x"', "partner[1].verified_on"),
        (
            "verified_on = 2026-11-01",
            "verified_on = 2026-11-01T10:00:00Z",
            "partner[1].verified_on",
        ),
    ],
)
def test_each_fault_names_its_place_and_a_remedy(old, new, place):
    assert old in GOOD
    with pytest.raises(RegistryError) as caught:
        parse(GOOD.replace(old, new, 1))
    assert caught.value.place == place
    assert caught.value.remedy


def test_no_partner_at_all_is_a_fault():
    with pytest.raises(RegistryError, match="partner"):
        parse('municipality = "gem"')


def test_a_partner_that_is_no_table_is_a_fault():
    with pytest.raises(RegistryError, match="table"):
        parse('municipality = "gem"\npartner = [1]')


def test_applying_twice_changes_nothing_the_second_time():
    file = parse(GOOD)
    assert [c.kind for c in differ(file, {})] == [ChangeKind.ADDED] * 2
    registered = {
        p.id: dataclasses.replace(p, digest="of the store") for p in file.partners
    }
    assert differ(file, registered) == ()


def test_a_changed_field_is_named_and_a_missing_partner_is_ended():
    file = parse(GOOD)
    registered = {p.id: p for p in file.partners}
    registered["ggz"] = dataclasses.replace(registered["ggz"], name="Old")
    registered["gone"] = dataclasses.replace(registered["om"], id="gone")
    changes = differ(file, registered)
    assert [(c.kind, c.fields) for c in changes] == [
        (ChangeKind.CHANGED, ("name",)),
        (ChangeKind.ENDED, ("state",)),
    ]
    assert changes[1].after.state is PartnerState.ENDED
    assert changes[1].after.domains == frozenset()
