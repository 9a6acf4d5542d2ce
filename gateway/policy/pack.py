"""A rule pack: what makes a message one of a regime, and what the regime asks.

One TOML file in `policies/regimes/`. Rules are of four kinds: `concept` (what the
regime is about), `person` (signs that one person is meant), `contra` (signs that it is
policy, training or news: taken from the score, and half from the signs of a person) and
`rival` (signs of another law: taken from the score only). A `combination` adds weight
when several stand together. A term matches whole words; `*` at an end leaves that end
open. `exact` terms match in their letter case only. A rule with `near` counts only
beside one of those rules. Without one of the `anchors` (rules or combinations) a text
is not of the regime, however much of a person is in it.
"""

import dataclasses
import datetime
import enum
from collections.abc import Mapping

from gateway.config import Clock
from gateway.model.assurance import Assurance
from gateway.model.errors import RulebookError
from gateway.model.ids import RegimeId, Role, RuleId
from gateway.policy.identifier import SIGNS
from gateway.table import Table

_FORMAT = 1
_SHORTEST_TERM = 2
_NEAR_BY_CHARACTERS = 250


class RuleKind(enum.Enum):
    """What a rule's weight is added to."""

    CONCEPT = "concept"
    PERSON = "person"
    CONTRA = "contra"
    RIVAL = "rival"


@dataclasses.dataclass(frozen=True, slots=True)
class TwoTexts:
    """One text in both languages."""

    nl: str
    en: str


@dataclasses.dataclass(frozen=True, slots=True)
class Term:
    """A word or words to look for, without the marks of its open ends."""

    text: str
    exact: bool
    open_start: bool
    open_end: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Rule:
    """One rule; any of its terms, patterns or signs makes it match."""

    id: RuleId
    kind: RuleKind
    weight: int
    terms: tuple[Term, ...]
    patterns: tuple[str, ...]
    signs: tuple[str, ...]
    near: tuple[RuleId, ...]
    within: int


@dataclasses.dataclass(frozen=True, slots=True)
class Combination:
    """Extra weight when one rule of each choice is present."""

    id: RuleId
    all_of: tuple[frozenset[RuleId], ...]
    weight: int


@dataclasses.dataclass(frozen=True, slots=True)
class RulePack:
    """One regime."""

    id: RegimeId
    title: TwoTexts
    legal_basis: TwoTexts
    permitted_roles: frozenset[Role]
    least: Assurance
    clock: Clock
    suspect: int
    certain: int
    person_suspect: int
    person_certain: int
    person_cap: int
    window: int
    anchors: frozenset[RuleId]
    rules: Mapping[RuleId, Rule]
    combinations: tuple[Combination, ...]


def parse_pack(text: str, place: str) -> RulePack:
    """Parse and check one rule pack.

    Args:
        text: The TOML text.
        place: The file, for errors.

    Raises:
        RulebookError: With file, key and remedy.
    """
    root = Table.parse(text, place, RulebookError)
    if root.take("format", int) != _FORMAT:
        raise root.wrong("format", "is not 1", "use a pack made for this version")
    thresholds = root.table("thresholds")
    rules = _rules(root)
    pack = RulePack(
        id=RegimeId(root.take("id", str)),
        title=_two_texts(root, "title"),
        legal_basis=_two_texts(root, "legal_basis"),
        permitted_roles=frozenset(
            map(Role, root.texts("permitted_roles", required=True))
        ),
        least=_least(root),
        clock=_clock(root.table("clock")),
        suspect=thresholds.positive("suspect"),
        certain=thresholds.positive("certain"),
        person_suspect=thresholds.positive("person_suspect", 1),
        person_certain=thresholds.positive("person_certain", 1),
        person_cap=thresholds.positive("person_cap"),
        window=thresholds.positive("window"),
        anchors=frozenset(map(RuleId, thresholds.texts("anchors", required=True))),
        rules=rules,
        combinations=_combinations(root, rules),
    )
    unknown = pack.anchors - rules.keys() - {c.id for c in pack.combinations}
    if unknown:
        raise thresholds.wrong("anchors", f"names {sorted(unknown)}", "name rules")
    if pack.suspect > pack.certain:
        raise thresholds.wrong("certain", "is under suspect", "raise it")
    thresholds.finish()
    root.finish()
    return pack


def _two_texts(table: Table, key: str) -> TwoTexts:
    inner = table.table(key)
    texts = TwoTexts(inner.take("nl", str), inner.take("en", str))
    inner.finish()
    return texts


def _least(root: Table) -> Assurance:
    """A regime can ask nothing less than an authenticated route (INV-2)."""
    route = root.table("route")
    word = route.take("least", str)
    if word != "authenticated":
        raise route.wrong("least", f"is {word!r}", "write authenticated")
    route.finish()
    return Assurance.AUTHENTICATED


def _clock(table: Table) -> Clock:
    retry = table.take("retry_s", list)
    if not retry or not all(type(s) is int and s > 0 for s in retry):
        raise table.wrong("retry_s", "is no list of seconds", "list seconds > 0")
    seconds = [
        *retry,
        table.positive("warn_after_s"),
        table.positive("expire_after_s"),
    ]
    *steps, warn, expire = (datetime.timedelta(seconds=s) for s in seconds)
    table.finish()
    return Clock(tuple(steps), warn, expire)


def _rules(root: Table) -> Mapping[RuleId, Rule]:
    rules: dict[RuleId, Rule] = {}
    for kind in RuleKind:
        for table in root.tables(kind.value):
            rule = _rule(table, kind)
            if rule.id in rules:
                raise table.wrong("id", f"{rule.id!r} is there twice", "rename one")
            rules[rule.id] = rule
            table.finish()
    if not rules:
        raise root.wrong("concept", "is missing", "add at least one rule")
    for rule in rules.values():
        for neighbour in rule.near:
            if neighbour not in rules:
                raise root.wrong(rule.id, f"near names {neighbour!r}", "name a rule")
    return rules


def _rule(table: Table, kind: RuleKind) -> Rule:
    terms = (
        *(_term(table, text, exact=False) for text in table.texts("terms")),
        *(_term(table, text, exact=True) for text in table.texts("exact")),
    )
    rule = Rule(
        id=RuleId(table.take("id", str)),
        kind=kind,
        weight=table.positive("weight"),
        terms=terms,
        patterns=table.texts("patterns"),
        signs=table.texts("signs"),
        near=tuple(map(RuleId, table.texts("near"))),
        within=table.positive("within", _NEAR_BY_CHARACTERS),
    )
    if not (rule.terms or rule.patterns or rule.signs):
        raise table.wrong("terms", "is missing", "add terms, exact, patterns or signs")
    for sign in rule.signs:
        if sign not in SIGNS:
            raise table.wrong("signs", f"has {sign!r}", f"use {sorted(SIGNS)}")
    return rule


def _term(table: Table, text: str, *, exact: bool) -> Term:
    bare = text.removeprefix("*").removesuffix("*")
    if len(bare.strip()) < _SHORTEST_TERM or "*" in bare:
        raise table.wrong("terms", f"has {text!r}", "two or more letters, * at an end")
    return Term(bare, exact, text.startswith("*"), text.endswith("*"))


def _combinations(root: Table, rules: Mapping[RuleId, Rule]) -> tuple[Combination, ...]:
    found = []
    for table in root.tables("combination"):
        choices = table.take("all_of", list)
        if not choices or not all(isinstance(c, list) and c for c in choices):
            raise table.wrong("all_of", "is no list of lists", "list rules to choose")
        unknown = {r for choice in choices for r in choice if r not in rules}
        if unknown:
            raise table.wrong("all_of", f"names {sorted(unknown)}", "name rules")
        all_of = tuple(frozenset(map(RuleId, choice)) for choice in choices)
        rule_id = RuleId(table.take("id", str))
        found.append(Combination(rule_id, all_of, table.positive("weight")))
        table.finish()
    return tuple(found)
