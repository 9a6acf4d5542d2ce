"""The worked examples of the decision: every row at least twice, run as written."""

import collections
import dataclasses
import datetime
import tomllib

import pytest

from gateway.model.address import Mailbox
from gateway.model.assurance import Assurance
from gateway.model.classification import Level
from gateway.model.document import Document
from gateway.model.ids import Role
from gateway.model.partner import PartnerState, RouteMethod
from gateway.model.verdict import Hold, Refuse, Relay
from gateway.policy.decide import decide
from gateway.ports import RecipientFacts
from tests.unit.policy import policy_desk as desk

TEXT = (desk.POLICIES / "decision.examples.toml").read_text("utf-8")
EXAMPLES = tomllib.loads(TEXT)["example"]
SENDER = str(desk.SENDER)
KNOWN_KEYS = {
    *("row", "name", "level", "regimes", "sender", "author", "authors_faulty"),
    "forwards",
    *("auto_submitted", "recipient", "resembles", "authenticated_route"),
    *("municipality", "partner_roles", "partner_state", "partner_valid_until"),
    *("verdict", "code", "route", "least"),
}


def partner_of(example):
    if "partner_roles" not in example:
        return None
    return desk.partner(
        roles=frozenset(map(Role, example["partner_roles"])),
        state=PartnerState(example.get("partner_state", "verified")),
        valid_until=datetime.date.fromisoformat(
            example.get("partner_valid_until", "2026-12-31")
        ),
    )


def verdict_of(example):
    recipient = Mailbox.parse(example["recipient"])
    sender = example.get("sender", SENDER)
    author = example.get("author", sender or SENDER)
    regimes = {k: Level[v.upper()] for k, v in example.get("regimes", {}).items()}
    facts = RecipientFacts(
        recipient,
        partner_of(example),
        example.get("resembles"),
        example.get("authenticated_route", False),
    )
    (verdict,) = decide(
        desk.classification(Level[example["level"].upper()], **regimes),
        desk.envelope(str(recipient), sender=Mailbox.parse(sender) if sender else None),
        dataclasses.replace(desk.peer(), forwards=example.get("forwards", False)),
        Document(
            (),
            authors=(Mailbox.parse(author),),
            authors_faulty=example.get("authors_faulty", False),
            auto_submitted=example.get("auto_submitted", False),
        ),
        {recipient: facts},
        desk.policy(example.get("municipality", "")),
        desk.TODAY,
    )
    return verdict


@pytest.mark.parametrize(
    "example", EXAMPLES, ids=[f"{e['row']}: {e['name']}" for e in EXAMPLES]
)
def test_example_is_decided_as_it_says(example):
    verdict = verdict_of(example)

    assert example["row"] == verdict.row
    match verdict:
        case Relay():
            assert example["verdict"] == "relay"
            assert Assurance[example["least"].upper()] is verdict.route.least
            own = verdict.route.method is RouteMethod.FIXED
            over = "own" if own else "partner" if verdict.partner else "mx"
            assert example["route"] == over
        case Refuse() | Hold():
            word = "refuse" if isinstance(verdict, Refuse) else "hold"
            assert (example["verdict"], example["code"]) == (word, verdict.reason.code)


def test_every_row_has_at_least_two_examples():
    counts = collections.Counter(example["row"] for example in EXAMPLES)
    assert {str(row.id) for row in desk.policy().rows} == set(counts)
    assert min(counts.values()) >= 2


def test_examples_use_known_keys_only():
    assert {key for example in EXAMPLES for key in example} <= KNOWN_KEYS


def test_sensitive_mail_never_leaves_the_house_below_authenticated():
    for example in EXAMPLES:
        verdict = verdict_of(example)
        if example["level"] != "none" and isinstance(verdict, Relay):
            own = verdict.recipient.domain == desk.OWN
            assert own or verdict.route.least is Assurance.AUTHENTICATED
