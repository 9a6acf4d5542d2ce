"""All terms of all packs in one pass, and the patterns in linear time.

Terms are found by one Aho-Corasick automaton over the squeezed text, then checked for
word edges; patterns run in RE2 over the clean text in lower case, so that no pattern,
ours or a municipality's, can take exponential time (A-48).
"""

import dataclasses
import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

import ahocorasick

from gateway.model.document import Document
from gateway.model.ids import RegimeId, RuleId
from gateway.policy.identifier import find_signs
from gateway.policy.normal import Normal, normalise, squeeze
from gateway.policy.pack import Rule, RulePack, Term
from gateway.policy.pattern import STRIDE, PatternSet
from gateway.policy.score import Hit

# A text of one word repeated must not cost a hit for each; no letter has it so often.
_MANY = 200


@dataclasses.dataclass(frozen=True, slots=True)
class _Target:
    """A term, its length in the squeezed text, and the rules that it belongs to."""

    number: int
    term: Term
    length: int
    owners: list[tuple[RegimeId, RuleId]]


class Matcher:
    """Compiled once for a policy; finding is free of side effects."""

    def __init__(self, packs: Iterable[RulePack]) -> None:
        self._automaton = ahocorasick.Automaton()
        self._numbers = itertools.count()
        # Packs share patterns, e.g. those of a person: each runs once.
        self._owners: dict[str, list[tuple[RegimeId, RuleId]]] = defaultdict(list)
        self._signs: dict[str, list[tuple[RegimeId, RuleId]]] = defaultdict(list)
        targets: dict[str, dict[Term, _Target]] = defaultdict(dict)
        for pack in packs:
            for rule in pack.rules.values():
                self._add(pack, rule, targets)
        for squeezed, of_term in targets.items():
            self._automaton.add_word(squeezed, tuple(of_term.values()))
        self._automaton.make_automaton()
        self._has_terms = bool(targets)
        self._patterns = PatternSet(
            [(text, ".".join(owners[0])) for text, owners in self._owners.items()]
        )
        self._owned = list(self._owners.values())

    def _add(
        self, pack: RulePack, rule: Rule, targets: dict[str, dict[Term, _Target]]
    ) -> None:
        for term in rule.terms:
            squeezed = squeeze(term.text)
            alike = targets[squeezed]
            if term not in alike:
                alike[term] = _Target(next(self._numbers), term, len(squeezed), [])
            owners = alike[term].owners
            owners.append((pack.id, rule.id))
        for pattern in rule.patterns:
            self._owners[pattern].append((pack.id, rule.id))
        for sign in rule.signs:
            self._signs[sign].append((pack.id, rule.id))

    def find(self, document: Document) -> Mapping[RegimeId, list[Hit]]:
        """All hits in a document, by pack.

        Positions go on from one segment to the next, so that the short parts of one
        message are near each other.
        """
        hits: dict[RegimeId, list[Hit]] = defaultdict(list)
        base = 0
        for segment in document.segments:
            text = normalise(segment.text)
            everywhere = segment.place == "subject"
            for pack, rule, at in self._find_in(text):
                hits[pack].append(Hit(rule, segment.place, base + at, everywhere))
            base += len(text.clean) + 1
        return hits

    def _find_in(self, text: Normal) -> Iterator[tuple[RegimeId, RuleId, int]]:
        if self._has_terms:
            yield from self._terms_in(text)
        for number in self._patterns.matching(text.lower_ascii):
            for at in self._patterns.positions(number, text.lower_ascii):
                for pack, rule in self._owned[number]:
                    yield pack, rule, at
        for sign in find_signs(text):
            for pack, rule in self._signs.get(sign.name, ()):
                yield pack, rule, sign.at

    def _terms_in(self, text: Normal) -> Iterator[tuple[RegimeId, RuleId, int]]:
        """Terms where they stand; of one without end, one in each stretch."""
        seen: dict[int, int] = defaultdict(int)
        resume: dict[int, int] = {}
        for last, targets in self._automaton.iter(text.squeezed):
            for target in targets:
                number, start = target.number, last + 1 - target.length
                if start < resume.get(number, 0):
                    continue
                if _stands(target.term, text, start, last + 1):
                    seen[number] += 1
                    if seen[number] > _MANY:
                        resume[number] = last + STRIDE
                    at = text.position(start)
                    for pack, rule in target.owners:
                        yield pack, rule, at


def _stands(term: Term, text: Normal, start: int, past: int) -> bool:
    if not (term.open_start or text.begins_word(start)):
        return False
    if not (term.open_end or text.ends_word(past)):
        return False
    if not term.exact:
        return True
    at = text.position(start)
    return text.clean[at : at + len(term.text)] == term.text
