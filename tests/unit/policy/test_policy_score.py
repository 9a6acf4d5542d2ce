"""Scoring: windows, neighbours, contra-signals and thresholds, one change at a time."""

import pytest

from gateway.model.classification import Level
from gateway.policy.pack import parse_pack
from gateway.policy.score import Hit, judge_pack
from tests.unit.policy.test_policy_pack import PACK

RIVAL = '\n[[rival]]\nid = "anders"\nweight = 4\nterms = ["andere wet"]\n'
PROEF = parse_pack(PACK + RIVAL, "proef.toml")


def level(*hits: Hit) -> Level:
    found = judge_pack(PROEF, hits)
    return Level.NONE if found is None else found.level


WORD, NAME = Hit("woord", "body/1", 0), Hit("naam", "body/1", 40)
SHORT = Hit("kort", "body/1", 80)


def test_a_term_with_a_person_near_it_is_certain():
    found = judge_pack(PROEF, [WORD, NAME])

    assert (found.level, found.score) == (Level.CERTAIN, 5 + 2 + 2)
    assert [(f.rule, f.place, f.count, f.weight) for f in found.findings] == [
        ("woord", "body/1", 1, 5),
        ("naam", "body/1", 1, 2),
        ("samen", "", 1, 2),
    ]


@pytest.mark.parametrize(
    ("hits", "expected"),
    [
        ([], Level.NONE),
        ([WORD], Level.NONE),  # no person
        ([NAME], Level.NONE),  # no anchor
        ([WORD, SHORT], Level.NONE),  # a law term alone is policy or news
        ([WORD, Hit("naam", "body/1", 5000)], Level.NONE),  # elsewhere in the text
        ([WORD, Hit("naam", "subject", 0, True)], Level.CERTAIN),  # the subject counts
        ([Hit("woord", "subject", 0, True), NAME], Level.CERTAIN),
        (
            [Hit("woord", "subject", 0, True), Hit("naam", "subject", 9, True)],
            Level.CERTAIN,
        ),
        ([SHORT, NAME], Level.NONE),  # a short form without its neighbour
        ([WORD, NAME, Hit("cursus", "body/1", 90)], Level.NONE),  # contra outweighs
        (
            [WORD, NAME, Hit("cursus", "body/1", 9000)],
            Level.CERTAIN,
        ),  # contra elsewhere
        ([WORD, NAME, Hit("anders", "body/1", 90)], Level.SUSPECT),  # rival lowers only
    ],
)
def test_one_change_of_the_hits_changes_the_level(hits, expected):
    assert level(*hits) is expected


def test_a_rule_counts_once_however_often_it_stands_there():
    often = [Hit("woord", "body/1", at) for at in range(0, 200, 10)]

    found = judge_pack(PROEF, [*often, NAME])

    assert found.score == 9
    assert found.findings[0].count == 20


def test_signs_of_a_person_add_up_to_the_cap_only():
    pack = parse_pack(PACK.replace("person_cap = 4", "person_cap = 1"), "proef.toml")

    assert judge_pack(pack, [WORD, NAME]).score == 5 + 1 + 2


def test_a_neighbour_in_the_subject_is_near_everything():
    near = [Hit("woord", "subject", 0, True), Hit("kort", "body/1", 4000)]

    found = judge_pack(PROEF, [*near, Hit("naam", "body/1", 4010)])

    assert "kort" in {finding.rule for finding in found.findings}


def test_a_short_form_in_the_subject_has_its_neighbour_in_the_text():
    hits = [Hit("kort", "subject", 0, True), Hit("woord", "body/1", 4000)]

    found = judge_pack(PROEF, [*hits, Hit("naam", "body/1", 4010)])

    assert "kort" in {finding.rule for finding in found.findings}


def test_findings_of_what_lowered_the_score_are_negative():
    found = judge_pack(PROEF, [WORD, NAME, Hit("anders", "body/1", 90)])

    assert {f.rule: f.weight for f in found.findings}["anders"] == -4
