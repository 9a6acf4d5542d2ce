"""All terms of all packs in one pass, and the patterns in linear time.

Terms are found by one Aho-Corasick automaton over the squeezed text, then checked for
word edges; patterns run in RE2 over the clean text in lower case, so that no pattern,
ours or a municipality's, can take exponential time (A-48).
"""

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import ahocorasick
import re2

from gateway.model.document import Document
from gateway.model.errors import RulebookError
from gateway.model.ids import RegimeId, RuleId
from gateway.policy.identifier import find_signs
from gateway.policy.normal import Normal, normalise, squeeze
from gateway.policy.pack import Rule, RulePack, Term
from gateway.policy.score import Hit


@dataclasses.dataclass(frozen=True, slots=True)
class _Target:
    """A rule that a term belongs to, and how the term must stand in the text."""

    pack: RegimeId
    rule: RuleId
    length: int
    term: Term


class Matcher:
    """Compiled once for a policy; finding is free of side effects."""

    def __init__(self, packs: Iterable[RulePack]) -> None:
        self._automaton = ahocorasick.Automaton()
        self._patterns: list[tuple[RegimeId, RuleId, Any]] = []
        self._signs: dict[str, list[tuple[RegimeId, RuleId]]] = defaultdict(list)
        targets: dict[str, list[_Target]] = defaultdict(list)
        for pack in packs:
            for rule in pack.rules.values():
                self._add(pack, rule, targets)
        for squeezed, of_term in targets.items():
            self._automaton.add_word(squeezed, of_term)
        self._automaton.make_automaton()
        self._has_terms = bool(targets)

    def _add(
        self, pack: RulePack, rule: Rule, targets: dict[str, list[_Target]]
    ) -> None:
        for term in rule.terms:
            squeezed = squeeze(term.text)
            target = _Target(pack.id, rule.id, len(squeezed), term)
            targets[squeezed].append(target)
        self._patterns += [
            (pack.id, rule.id, compile_pattern(pattern, f"{pack.id}.{rule.id}"))
            for pattern in rule.patterns
        ]
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
        for pack, rule, pattern in self._patterns:
            for match in pattern.finditer(text.lower):
                yield pack, rule, match.start()
        for sign in find_signs(text):
            for pack, rule in self._signs.get(sign.name, ()):
                yield pack, rule, sign.at

    def _terms_in(self, text: Normal) -> Iterator[tuple[RegimeId, RuleId, int]]:
        for last, targets in self._automaton.iter(text.squeezed):
            for target in targets:
                start = last + 1 - target.length
                if _stands(target.term, text, start, last + 1):
                    yield target.pack, target.rule, text.position(start)


def _stands(term: Term, text: Normal, start: int, past: int) -> bool:
    if not (term.open_start or text.begins_word(start)):
        return False
    if not (term.open_end or text.ends_word(past)):
        return False
    if not term.exact:
        return True
    at = text.position(start)
    return text.clean[at : at + len(term.text)] == term.text


def compile_pattern(pattern: str, place: str) -> Any:
    """Compile a pattern.

    Raises:
        RulebookError: When RE2 does not know the syntax, or it matches nothing at all.
    """
    options = re2.Options()
    options.log_errors = False
    try:
        compiled = re2.compile(pattern, options)
    except re2.error as error:
        raise RulebookError(
            place, f"pattern is no RE2: {error}", "see github.com/google/re2 syntax"
        ) from error
    if compiled.search(""):
        raise RulebookError(place, "pattern matches an empty text", "make it narrower")
    return compiled
