import dataclasses
import datetime
import hashlib
import hmac
import json
import re

import evidence_log
import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from gateway.evidence import encode, verify
from gateway.model import record
from gateway.model.errors import EvidenceError

NOW = datetime.datetime(2026, 3, 1, 12, 0, 0, 5, tzinfo=datetime.UTC)


def encoded(event, **changes):
    given = {"origin": "gw.example.test/a", "software": "ketenmail/0.1.0"}
    given["secret"] = evidence_log.secrets("x")
    return encode.encode(event, **(given | changes))


def notice(**changes):
    given = {"id": "r1", "at": NOW, "municipality": "a", "message": "m1"}
    given |= {"policy": "ab", "job": "j1", "kind": "failed", "why": "no address"}
    return record.NoticeDropped(**(given | changes))


def test_the_leaf_holds_in_clear_only_what_r7_allows():
    leaf = json.loads(encoded(evidence_log.intent(1)).leaf)

    assert set(leaf) == {
        *("at", "event", "fields", "id", "message", "origin", "policy", "software", "v")
    }
    assert leaf["at"] == "2026-03-01T12:00:01.000000Z"
    assert (leaf["v"], leaf["event"], leaf["origin"]) == (
        1,
        "intent",
        "gw.example.test/a",
    )
    assert set(leaf["fields"]) == {"job", "attempt", "hop", "recipients"}
    assert all(re.fullmatch("[0-9a-f]{64}", each) for each in leaf["fields"].values())


def test_every_commitment_is_the_hmac_of_its_own_path_and_value_under_its_own_key():
    result = encoded(evidence_log.intent(1))
    openings = json.loads(result.openings)
    known = dict(json.loads(result.leaf)["fields"])
    known["hop/host"] = openings["hop"]["value"]["host"]
    known["hop/port"] = openings["hop"]["value"]["port"]
    known["recipients/1/address"] = openings["recipients"]["value"][0]["address"]

    for path, opening in openings.items():
        value = json.dumps(opening["value"], separators=(",", ":"), sort_keys=True)
        text = path.encode() + b"\0" + value.encode()
        digest = hmac.new(bytes.fromhex(opening["key"]), text, hashlib.sha256)
        assert known[path] == digest.hexdigest(), path
    assert set(openings) == set(known)
    keys = [opening["key"] for opening in openings.values()]
    assert len(set(keys)) == len(keys) == 7
    assert all(re.fullmatch("[0-9a-f]{64}", key) for key in keys)


def test_no_value_of_the_record_stands_in_the_leaf():
    leaf = encoded(evidence_log.intent(3)).leaf
    for value in (b"piet3", b"partner.test", b'"j3"', b"mx."):
        assert value not in leaf


def test_the_leaf_does_not_tell_how_many_items_a_list_has():
    one = evidence_log.intent(1)
    many = dataclasses.replace(one, recipients=one.recipients * 9)
    none = dataclasses.replace(one, recipients=())
    lengths = {len(encoded(each).leaf) for each in (one, many, none)}
    assert len(lengths) == 1


def test_the_same_secrets_give_the_same_octets_and_others_give_other_commitments():
    first, again = encoded(evidence_log.intent(1)), encoded(evidence_log.intent(1))
    other = encoded(evidence_log.intent(1), secret=evidence_log.secrets("y"))

    assert first == again
    assert first.leaf != other.leaf


def test_openings_are_not_shown_in_a_repr():
    assert "piet" not in repr(encoded(evidence_log.intent(1)))


def test_an_instant_of_another_zone_is_written_in_utc():
    zone = datetime.timezone(datetime.timedelta(hours=2))
    at = datetime.datetime(2026, 7, 1, 1, 30, tzinfo=zone)
    leaf = json.loads(encoded(notice(at=at)).leaf)
    assert leaf["at"] == "2026-06-30T23:30:00.000000Z"


def test_an_instant_without_zone_is_refused():
    with pytest.raises(EvidenceError, match="at:"):
        encoded(notice(at=NOW.replace(tzinfo=None)))


@pytest.mark.parametrize("value", [None, True, False, 0, -(2**53) + 1, "é\x7f", ""])
def test_scalars_come_back_as_they_were(value):
    result = encoded(notice(why=value))
    assert encode.read_openings(result.openings)["why"] == value


@pytest.mark.parametrize("value", [1.0, 2**53, -(2**53), b"octets", ("a",), {}])
def test_what_is_no_scalar_of_the_format_is_refused_and_only_the_field_named(value):
    with pytest.raises(EvidenceError, match=r"^why: a \w+ cannot be evidence$"):
        encoded(notice(why=value))


def test_a_lone_surrogate_of_a_hostile_header_does_not_stop_the_evidence():
    result = encoded(notice(why="a\udcffb\ud800"))
    assert encode.read_openings(result.openings)["why"] == "a\ufffdb\ufffd"


@pytest.mark.parametrize("name", ["a/b", "", "a\0", "é", "a" * 65])
def test_an_impossible_fact_name_is_refused(name):
    event = dataclasses.replace(evidence_log.intent(1), hop=((name, 1),))
    with pytest.raises(EvidenceError, match=r"^hop: a fact name"):
        encoded(event)


def test_a_repeated_fact_name_is_refused():
    items = ((("address", "a"),), (("address", "b"), ("address", "c")))
    event = dataclasses.replace(evidence_log.intent(1), recipients=items)
    with pytest.raises(EvidenceError, match=r"^recipients/2: a fact name"):
        encoded(event)


def test_a_key_of_another_length_is_refused():
    for key in (b"", b"k" * 31, b"k" * 33):
        with pytest.raises(EvidenceError):
            encode.commit(key, "job", "j1")
    with pytest.raises(EvidenceError):
        encoded(notice(), secret=lambda: b"short")


def test_read_openings_shows_facts_by_path_and_leaves_structures_out():
    values = encode.read_openings(encoded(evidence_log.intent(2)).openings)
    assert values == {
        "job": "j2",
        "attempt": 2,
        "hop/host": "mx.partner.test",
        "hop/port": 25,
        "recipients/1/address": "piet2@partner.test",
    }


def test_narrow_keeps_what_is_asked_and_the_structure_above_it():
    openings = encoded(evidence_log.intent(2)).openings
    kept = json.loads(encode.narrow(openings, lambda path: path == "hop/port"))
    everything = json.loads(openings)

    assert set(kept) == {"hop", "hop/port"}
    assert all(kept[path] == everything[path] for path in kept)
    assert encode.narrow(openings, lambda path: path == "hop") == b"{}"
    assert encode.narrow(openings, lambda _: True) == openings


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**53) + 1, 2**53 - 1),
    st.text(st.characters(exclude_categories=["Cs"])),
)
names = st.text("abcXYZ019_.:/-", min_size=1, max_size=64)


@given(
    st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(names, inner))
)
def test_canonical_writes_what_the_rfc_8785_library_writes(value):
    assert encode.canonical(value) == verify.canonical(value) == rfc8785.dumps(value)


def test_canonical_escapes_each_character_as_rfc_8785_does():
    for code in {*range(0x3000), *range(0xD000, 0xD800), *range(0xE000, 0x10FFFF, 997)}:
        assert encode.canonical(chr(code)) == rfc8785.dumps(chr(code))
