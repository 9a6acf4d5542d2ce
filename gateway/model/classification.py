"""What was seen in a message, rule by rule, and how sure we are; never the text."""

import dataclasses
import enum

from gateway.model.document import UnreadablePart
from gateway.model.ids import RegimeId, RuleId


class Level(enum.IntEnum):
    """How sure (R2); a higher value is more sensitive."""

    NONE = 0
    UNREADABLE = 1
    SUSPECT = 2
    CERTAIN = 3

    @property
    def word(self) -> str:
        """The word used in JSON, texts and evidence."""
        return self.name.lower()


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """One rule that fired at one place."""

    rule: RuleId
    place: str
    count: int
    weight: int


@dataclasses.dataclass(frozen=True, slots=True)
class RegimeFinding:
    """One regime that reached `suspect` or `certain`, with what led to it."""

    id: RegimeId
    level: Level
    score: int
    findings: tuple[Finding, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Classification:
    """The whole: `level` is the highest of the regimes, or UNREADABLE, or NONE."""

    level: Level
    regimes: tuple[RegimeFinding, ...]
    unreadable: tuple[UnreadablePart, ...] = ()

    def at_least(self, level: Level) -> frozenset[RegimeId]:
        """Regimes at this level or above."""
        return frozenset(r.id for r in self.regimes if r.level >= level)
