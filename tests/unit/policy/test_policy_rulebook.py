import re

import pytest

from gateway import config
from gateway.model.errors import RulebookError
from gateway.policy import decide, rulebook
from tests.unit.policy import policy_desk as desk

DECISION = (desk.POLICIES / "decision.toml").read_text("utf-8")
CONSUMER = (desk.POLICIES / "consumer-domains.toml").read_text("utf-8")
CONFIG = config.parse(desk.CONFIG % "")


def build(packs=None, decision=DECISION, consumer=CONSUMER, settings=CONFIG):
    packs = dict(desk.pack_texts()) if packs is None else packs
    return rulebook.build(packs, decision, consumer, settings)


def test_the_shipped_policy_is_complete():
    policy = build()

    assert {"wvggz", "pbw18b"} <= set(policy.packs)
    assert policy.rows[-1].when == "always"
    assert re.fullmatch(r"[0-9a-f]{64}", policy.digest)
    assert any(domain.name == "gmail.com" for domain in policy.consumer_domains)


def test_every_condition_has_its_test_and_the_other_way_round():
    assert set(decide._TESTS) == rulebook.CONDITIONS


def test_the_digest_follows_each_thing_a_verdict_depends_on():
    packs = dict(desk.pack_texts())
    name = next(iter(packs))
    digests = {
        build().digest,
        build(packs=packs | {name: packs[name] + "\n# anders"}).digest,
        build(decision=DECISION + "\n# anders").digest,
        build(consumer=CONSUMER + "\n# anders").digest,
        build(settings=config.parse(desk.CONFIG % 'unreadable = "refuse"')).digest,
    }

    assert len(digests) == 5
    assert build().digest == build().digest


def test_no_packs_is_refused():
    with pytest.raises(RulebookError, match="no rule pack"):
        build(packs={})


def test_one_regime_in_two_files_is_refused():
    text = dict(desk.pack_texts())["wvggz.toml"]

    with pytest.raises(RulebookError, match=r"b\.toml.*twice"):
        build(packs={"a.toml": text, "b.toml": text})


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("format = 1", "format = 9", "format"),
        ('when = "always"', 'when = "not-sensitive"', "does not match all"),
        ('when = "not-sensitive"', 'when = "always"', "never reached"),
        ('when = "own-recipient"', 'when = "maandag"', "maandag"),
        ('action = "hold"', 'action = "drop"', "drop"),
        ('least = "none"', 'least = "beetje"', "beetje"),
        ('id = "2p"', 'id = "2"', "twice"),
        ('code = "K201"', "", "hold and refuse only"),
        ('action = "relay-own"', 'action = "relay-own"\ncode = "K201"', "only"),
        ('action = "relay-own"', 'action = "relay-own"\nextra = 1', "extra"),
    ],
)
def test_faulty_decision_rows_are_refused(old, new, says):
    assert old in DECISION
    with pytest.raises(RulebookError, match=r"decision\.toml") as caught:
        rulebook.parse_decision(DECISION.replace(old, new, 1), "decision.toml")

    assert says in str(caught.value)


def test_no_rows_are_refused():
    with pytest.raises(RulebookError, match="does not match all"):
        rulebook.parse_decision("format = 1", "decision.toml")


@pytest.mark.parametrize("text", ["domains = []", 'domains = ["geen domein"]', "x = 1"])
def test_faulty_consumer_domains_are_refused(text):
    with pytest.raises(RulebookError, match="consumer-domains"):
        build(consumer=text)
