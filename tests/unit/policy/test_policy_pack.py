import pytest

from gateway.model.assurance import Assurance
from gateway.model.errors import RulebookError
from gateway.policy.pack import RuleKind, parse_pack

PACK = """
format = 1
id = "proef"
title = { nl = "Proef", en = "Trial" }
legal_basis = { nl = "Proefwet", en = "Trial Act" }
permitted_roles = ["om"]
route = { least = "authenticated" }
[clock]
retry_s = [60, 120]
warn_after_s = 900
expire_after_s = 3600
[thresholds]
window = 900
suspect = 5
certain = 9
person_cap = 4
anchors = ["woord"]
[[concept]]
id = "woord"
weight = 5
terms = ["proefmaatregel", "*machtiging*"]
[[concept]]
id = "kort"
weight = 3
exact = ["PM"]
patterns = ['x \\d']
near = ["woord"]
[[person]]
id = "naam"
weight = 2
signs = ["name"]
[[contra]]
id = "cursus"
weight = 4
terms = ["cursus"]
[[combination]]
id = "samen"
all_of = [["woord", "kort"], ["naam"]]
weight = 2
"""


def test_a_pack_is_read_in_full():
    pack = parse_pack(PACK, "proef.toml")

    assert pack.id == "proef"
    assert pack.least is Assurance.AUTHENTICATED
    assert pack.clock.expire_after.total_seconds() == 3600
    assert pack.rules["woord"].terms[1].open_start
    assert pack.rules["woord"].terms[1].open_end
    assert pack.rules["woord"].terms[1].text == "machtiging"
    assert pack.rules["kort"].terms[0].exact
    assert pack.rules["cursus"].kind is RuleKind.CONTRA
    assert pack.combinations[0].all_of == (
        frozenset({"woord", "kort"}),
        frozenset({"naam"}),
    )


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("format = 1", "format = 2", "format"),
        ("format = 1", "format = [", "TOML"),
        ('id = "proef"', "", "id"),
        ('id = "proef"', "id = 3", "id"),
        ('id = "proef"', 'id = "proef"\nextra = 1', "extra"),
        (', en = "Trial" }', "}", "title"),
        ('permitted_roles = ["om"]', "permitted_roles = []", "permitted_roles"),
        ('permitted_roles = ["om"]', "permitted_roles = [1]", "permitted_roles"),
        ('least = "authenticated"', 'least = "none"', "least"),
        ('least = "authenticated"', 'least = "encrypted"', "least"),
        ("retry_s = [60, 120]", "retry_s = []", "retry_s"),
        ("retry_s = [60, 120]", "retry_s = [0]", "retry_s"),
        ("warn_after_s = 900", "warn_after_s = 0", "warn_after_s"),
        ("warn_after_s = 900", "warn_after_s = true", "warn_after_s"),
        ("suspect = 5", "suspect = 10", "certain"),
        ('anchors = ["woord"]', 'anchors = ["niets"]', "anchors"),
        ('id = "kort"', 'id = "woord"', "id"),
        ('"proefmaatregel"', '"x"', "terms"),
        ('"proefmaatregel"', '"a*b"', "terms"),
        ('terms = ["cursus"]', "", "terms"),
        ('signs = ["name"]', 'signs = ["naam"]', "signs"),
        ('near = ["woord"]', 'near = ["niets"]', "kort"),
        ('all_of = [["woord", "kort"], ["naam"]]', "all_of = [[]]", "all_of"),
        ('all_of = [["woord", "kort"], ["naam"]]', 'all_of = [["niets"]]', "all_of"),
        ("[clock]", "clock = 3\n[klok]", "clock"),
        ("weight = 3", "weight = 0", "weight"),
    ],
)
def test_a_faulty_pack_is_refused_naming_file_and_key(old, new, key):
    assert old in PACK
    with pytest.raises(RulebookError) as caught:
        parse_pack(PACK.replace(old, new, 1), "proef.toml")

    assert "proef.toml" in str(caught.value)
    assert key in str(caught.value)
    assert caught.value.remedy


def test_a_pack_without_rules_is_refused():
    head = PACK.partition("[[concept]]")[0]

    with pytest.raises(RulebookError, match="at least one rule"):
        parse_pack(head, "proef.toml")
