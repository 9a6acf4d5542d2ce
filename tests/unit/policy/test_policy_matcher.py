import pytest

from gateway.model.document import Document, Segment
from gateway.model.errors import RulebookError
from gateway.policy.matcher import Matcher
from gateway.policy.pack import parse_pack
from gateway.policy.pattern import PatternSet, compile_pattern
from tests.unit.policy.test_policy_pack import PACK


def found(text: str, pack: str = PACK, place: str = "body/1"):
    matcher = Matcher([parse_pack(pack, "proef.toml")])
    hits = matcher.find(Document((Segment(place, text),)))
    return {(hit.rule, hit.at) for hit in hits.get("proef", [])}


@pytest.mark.parametrize(
    ("text", "hits"),
    [
        ("een proef-maatregel hier", {("woord", 4)}),
        ("proefmaatregelen", set()),
        ("geproefmaatregel", set()),
        ("zorgmachtigingen", {("woord", 4)}),
        ("PM", {("kort", 0)}),
        ("pm", set()),
        ("X 3", {("kort", 0)}),
        ("mevrouw De Vries", {("naam", 0)}),
        ("", set()),
    ],
)
def test_terms_patterns_and_signs_are_found_where_they_stand(text, hits):
    assert found(text) == hits


def test_only_the_subject_of_the_message_itself_counts_everywhere():
    matcher = Matcher([parse_pack(PACK, "proef.toml")])
    segments = tuple(
        Segment(place, "proefmaatregel") for place in ("subject", "subject/2", "body/1")
    )

    hits = matcher.find(Document(segments))["proef"]

    assert [(h.place, h.everywhere) for h in hits] == [
        ("subject", True),
        ("subject/2", False),
        ("body/1", False),
    ]
    assert [h.at for h in hits] == [0, 15, 30]


def test_a_pack_of_patterns_alone_needs_no_terms():
    pack = PACK.replace(
        'terms = ["proefmaatregel", "*machtiging*"]', "patterns = ['y']"
    )
    pack = pack.replace('exact = ["PM"]', "").replace(
        'terms = ["cursus"]', "patterns = ['q']"
    )

    assert found("y", pack) == {("woord", 0)}


@pytest.mark.parametrize("pattern", ["(", r"(?<=x)y", r"(a)\1"])
def test_a_pattern_that_is_no_re2_is_refused(pattern):
    with pytest.raises(RulebookError, match=r"proef.*RE2"):
        compile_pattern(pattern, "proef")


def test_a_pattern_that_matches_nothing_at_all_is_refused():
    with pytest.raises(RulebookError, match="empty text"):
        compile_pattern("x*", "proef")


def test_a_set_that_gives_up_tries_every_pattern(monkeypatch):
    patterns = PatternSet([("aap", "1"), ("noot", "2")])
    assert patterns.matching(b"een noot") == [1]

    class GivesUp:
        def Match(self, octets):
            return []

    monkeypatch.setattr(patterns, "_set", GivesUp())

    assert patterns.matching(b"een noot") == [0, 1]
    assert patterns.matching(b"") == []


def test_a_pattern_counts_once_in_a_short_stretch():
    patterns = PatternSet([("aap", "1")])

    near = list(patterns.positions(0, b"aap aap aap"))
    far = list(patterns.positions(0, b"aap" + b"." * 100 + b"aap"))

    assert near == [0]
    assert far == [0, 103]


def test_a_megabyte_of_digits_costs_no_exponential_time():
    assert found("1 " * 250_000) == set()


def test_a_word_without_end_costs_a_hit_for_each_stretch_and_no_word_behind_is_lost():
    text = "proefmaatregel " * 5_000

    hits = found(f"{text}zorgmachtigingen")

    assert 200 < len(hits) < 2_500
    assert max(at for _, at in hits) > len(text) - 100
