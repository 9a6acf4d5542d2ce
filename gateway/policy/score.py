"""Hits to level: a pure sum over windows of the text (design section 4).

A window is three neighbouring stretches of the text, so that a term and the person it
is about must stand near each other; the subject belongs to every window. Each rule
counts once in a window. A text without any sign of one person, or in which half of
the contra-signals outweighs those signs, stays below `suspect`: a law may be named in
policy, training and newsletters. So does one without any anchor of the regime: another
matter of a person is none of its business. The best window gives the level.
"""

import dataclasses
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import NamedTuple

from gateway.model.classification import Finding, Level, RegimeFinding
from gateway.model.ids import RuleId
from gateway.policy.pack import RuleKind, RulePack

_STRETCHES = 3
_LOWERING = frozenset({RuleKind.CONTRA, RuleKind.RIVAL})


class Hit(NamedTuple):
    """One rule that matched; `at` counts over the whole document.

    A tuple, because a long message has hundreds and a dataclass takes four times as
    long to make.
    """

    rule: RuleId
    place: str
    at: int
    everywhere: bool = False  # in the subject


@dataclasses.dataclass(frozen=True, slots=True)
class _Window:
    score: int
    person: int
    present: frozenset[RuleId]
    combinations: tuple[RuleId, ...]
    anchored: bool


def judge_pack(pack: RulePack, hits: Sequence[Hit]) -> RegimeFinding | None:
    """Score one pack.

    Args:
        pack: The rules and thresholds.
        hits: All hits of this pack in the document, in any order.

    Returns:
        What was found, or None when it stays below `suspect`.
    """
    if not _has_anchor(pack, {hit.rule for hit in hits}):
        return None
    kept = _with_neighbours(pack, hits)
    best = max(
        (_weigh(pack, present) for present in set(_windows(pack, kept))),
        key=lambda window: (_level(pack, window), window.score, sorted(window.present)),
        default=None,
    )
    if best is None or _level(pack, best) is Level.NONE:
        return None
    findings = tuple(_findings(pack, kept, best))
    return RegimeFinding(pack.id, _level(pack, best), best.score, findings)


def _has_anchor(pack: RulePack, present: AbstractSet[RuleId]) -> bool:
    return not pack.anchors.isdisjoint({*present, *_combined(pack, present)})


def _combined(pack: RulePack, present: AbstractSet[RuleId]) -> Iterator[RuleId]:
    for combination in pack.combinations:
        if all(not choice.isdisjoint(present) for choice in combination.all_of):
            yield combination.id


def _with_neighbours(pack: RulePack, hits: Sequence[Hit]) -> list[Hit]:
    """Drop hits of rules that need a neighbour and have none (abbreviations)."""
    places: Mapping[RuleId, list[int]] = defaultdict(list)
    in_subject = {hit.rule for hit in hits if hit.everywhere}
    for hit in sorted(hits, key=lambda hit: hit.at):
        places[hit.rule].append(hit.at)
    return [
        hit
        for hit in hits
        if not (rule := pack.rules[hit.rule]).near
        or any(
            neighbour in in_subject
            or (hit.everywhere and neighbour in places)
            or _has_within(places.get(neighbour, []), hit.at, rule.within)
            for neighbour in rule.near
        )
    ]


def _has_within(places: list[int], at: int, distance: int) -> bool:
    return bisect_left(places, at - distance) < bisect_right(places, at + distance)


def _windows(pack: RulePack, hits: Iterable[Hit]) -> Iterable[frozenset[RuleId]]:
    stretch = max(1, pack.window // _STRETCHES)
    stretches: dict[int, set[RuleId]] = defaultdict(set)
    everywhere: set[RuleId] = set()
    for hit in hits:
        (everywhere if hit.everywhere else stretches[hit.at // stretch]).add(hit.rule)
    if everywhere and not stretches:
        stretches[0] = set()
    for first in stretches:
        following = (stretches.get(first + step, set()) for step in range(_STRETCHES))
        yield frozenset(everywhere.union(*following))


def _weigh(pack: RulePack, present: frozenset[RuleId]) -> _Window:
    sums = dict.fromkeys(RuleKind, 0)
    for rule_id in present:
        rule = pack.rules[rule_id]
        sums[rule.kind] += rule.weight
    combinations = tuple(_combined(pack, present))
    extra = sum(c.weight for c in pack.combinations if c.id in combinations)
    person = min(sums[RuleKind.PERSON], pack.person_cap)
    contra = sums[RuleKind.CONTRA]
    score = sums[RuleKind.CONCEPT] + extra + person - contra - sums[RuleKind.RIVAL]
    anchored = not pack.anchors.isdisjoint({*present, *combinations})
    return _Window(score, person - contra // 2, present, combinations, anchored)


def _level(pack: RulePack, window: _Window) -> Level:
    if not window.anchored or window.person < pack.person_suspect:
        return Level.NONE
    if window.score < pack.suspect:
        return Level.NONE
    if window.score < pack.certain or window.person < pack.person_certain:
        return Level.SUSPECT
    return Level.CERTAIN


def _findings(
    pack: RulePack, hits: Sequence[Hit], window: _Window
) -> Iterable[Finding]:
    """One for each rule and place of the window, heaviest rules first."""
    counts: dict[tuple[RuleId, str], int] = defaultdict(int)
    for hit in hits:
        if hit.rule in window.present:
            counts[hit.rule, hit.place] += 1
    heaviest = sorted(counts.items(), key=lambda c: (-pack.rules[c[0][0]].weight, c[0]))
    for (rule_id, place), count in heaviest:
        rule = pack.rules[rule_id]
        sign = -1 if rule.kind in _LOWERING else 1
        yield Finding(rule_id, place, count, sign * rule.weight)
    for combination in pack.combinations:
        if combination.id in window.combinations:
            yield Finding(combination.id, "", 1, combination.weight)
