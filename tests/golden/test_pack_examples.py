"""The worked examples beside each rule pack say what it must and must not find."""

import tomllib

import pytest

from gateway.model.classification import Level
from gateway.policy.classify import classify
from tests.unit.policy import policy_desk as desk

FILES = sorted((desk.POLICIES / "regimes").glob("*.examples.toml"))
EXAMPLES = [
    (path.name.partition(".")[0], example)
    for path in FILES
    for example in tomllib.loads(path.read_text("utf-8"))["example"]
]


def test_every_pack_has_examples_that_hit_and_that_do_not():
    for name, _ in desk.pack_texts():
        regime = name.removesuffix(".toml")
        expected = {e["expect"] for r, e in EXAMPLES if r == regime}
        assert {"certain", "none"} <= expected, regime


@pytest.mark.parametrize(
    ("regime", "example"), EXAMPLES, ids=[f"{r}: {e['name']}" for r, e in EXAMPLES]
)
def test_example_has_the_level_it_says(regime, example):
    document = desk.document(example["text"], example["subject"])

    found = classify(document, desk.policy())

    got = {r.id: r.level for r in found.regimes}.get(regime, Level.NONE)
    word = example["expect"]
    if word.startswith("at-least "):
        assert got >= Level[word.removeprefix("at-least ").upper()]
    else:
        assert got is Level[word.upper()]
