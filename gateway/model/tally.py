"""What is counted of mail that is only looked at (shadow mode, R3)."""

import dataclasses
import enum
from collections.abc import Mapping

OTHER = "other"  # stands for the names that are too rare to be kept


class CountKind(enum.Enum):
    """What a count is of, and what its `name` names."""

    MESSAGE = "message"  # messages; no name
    ROW = "row"  # recipients: row of the decision and its code, e.g. "4 K301"
    CAUSE = "cause"  # messages: rule that led to it, e.g. "wvggz/crisismaatregel"
    DOMAIN = "domain"  # recipients: their domain


class Seen(enum.Enum):
    """What would have happened."""

    RELAY = "relay"
    HOLD = "hold"
    REFUSE = "refuse"
    INCOMING = "incoming"  # from outside to the municipality: never comes by in earnest
    NOBODY = "nobody"  # no recipient could be found in the copy


@dataclasses.dataclass(frozen=True, slots=True)
class Counted:
    """One thing that is counted; it holds no address and no content."""

    kind: CountKind
    seen: Seen
    name: str = ""


Tally = Mapping[Counted, int]
