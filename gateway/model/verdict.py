"""What shall happen with one recipient, by which row of the decision, and why."""

import dataclasses

from gateway.model.address import Mailbox
from gateway.model.ids import Code, PartnerId, RegimeId, RuleId
from gateway.model.partner import Route


@dataclasses.dataclass(frozen=True, slots=True)
class Reason:
    """Why, for a person: the code chooses the sentence in `texts/`.

    `parameters` fill the sentence; they are names of partners, roles and regimes,
    never content and never an address.
    """

    code: Code
    parameters: tuple[tuple[str, str], ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Relay:
    """Deliver over this route; `partner` when it is one."""

    recipient: Mailbox
    row: RuleId
    route: Route
    partner: PartnerId | None = None
    regimes: frozenset[RegimeId] = frozenset()


@dataclasses.dataclass(frozen=True, slots=True)
class Refuse:
    """Do not take responsibility; the sender is told the reason."""

    recipient: Mailbox
    row: RuleId
    reason: Reason


@dataclasses.dataclass(frozen=True, slots=True)
class Hold:
    """Take responsibility, keep, let a person decide; the sender is told at once."""

    recipient: Mailbox
    row: RuleId
    reason: Reason


Verdict = Relay | Refuse | Hold
