"""The policy: rule packs, decision rows and settings as one value with one digest.

Texts in, values out; no file is read here. What is wrong refuses the start or the
reload, with file, key and remedy. The digest covers all that a verdict depends on, so
that each verdict in evidence can be traced to the policy it was made under. The
decision rows are shipped and cannot be overlaid (R29).
"""

import dataclasses
import enum
import hashlib
from collections.abc import Mapping

import rfc8785

from gateway.config import Clock, Config, Municipality
from gateway.model.address import AddressError, Domain
from gateway.model.assurance import Assurance
from gateway.model.errors import RulebookError
from gateway.model.ids import Code, Digest, MunicipalityId, RegimeId, RuleId
from gateway.policy.matcher import Matcher
from gateway.policy.pack import Combination, Rule, RuleKind, RulePack, parse_pack
from gateway.table import Table

__all__ = [
    "Action",
    "Combination",
    "Policy",
    "Row",
    "Rule",
    "RuleKind",
    "RulePack",
    "build",
    "parse_consumer_domains",
    "parse_decision",
    "parse_pack",
]

_FORMAT = 1
ALWAYS = "always"
# The conditions that a row may name; `decide.py` has a test for each.
CONDITIONS = frozenset(
    {
        "sender-not-permitted",
        "author-not-permitted",
        "not-sensitive-to-partner",
        "not-sensitive",
        "own-recipient",
        "automatic-and-no-partner",
        "certain-and-no-partner",
        "suspect-and-no-partner",
        "unreadable-and-authenticated-route",
        "unreadable-and-refuse",
        "unreadable-and-no-partner",
        "partner-not-usable",
        "role-not-permitted",
        ALWAYS,
    }
)


class Action(enum.Enum):
    """What a row does: relay over one of four routes, hold, or refuse."""

    RELAY_BEST = "relay-best"  # MX, best assurance the domain offers
    RELAY_OWN = "relay-own"  # the municipality's own route
    RELAY_PARTNER = "relay-partner"  # as registered
    HOLD = "hold"
    REFUSE = "refuse"


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """One row of the decision."""

    id: RuleId
    when: str
    action: Action
    code: Code | None
    least: Assurance


@dataclasses.dataclass(frozen=True, slots=True)
class Policy:
    """All that classify and decide go by."""

    packs: Mapping[RegimeId, RulePack]
    rows: tuple[Row, ...]
    municipalities: Mapping[MunicipalityId, Municipality]
    consumer_domains: frozenset[Domain]
    clock: Clock
    digest: Digest
    matcher: Matcher = dataclasses.field(repr=False, compare=False)


def parse_decision(text: str, place: str) -> tuple[Row, ...]:
    """Parse and check the decision rows.

    Raises:
        RulebookError: With the row; also when the last row does not match everything,
            for then a recipient could be left without a verdict.
    """
    root = Table.parse(text, place, RulebookError)
    if root.take("format", int) != _FORMAT:
        raise root.wrong("format", "is not 1", "use rows made for this version")
    rows = tuple(map(_row, root.tables("row")))
    root.finish()
    if not rows or rows[-1].when != ALWAYS:
        raise root.wrong("row", "last does not match all", "end with when = always")
    if [row.when for row in rows].count(ALWAYS) > 1:
        raise root.wrong("row", "after `always` is never reached", "remove it")
    if len({row.id for row in rows}) != len(rows):
        raise root.wrong("row", "has an id twice", "give each its own")
    return rows


def _row(table: Table) -> Row:
    when, action = table.take("when", str), table.take("action", str)
    if when not in CONDITIONS:
        raise table.wrong("when", f"is {when!r}", f"use one of {sorted(CONDITIONS)}")
    if action not in {a.value for a in Action}:
        raise table.wrong("action", f"is {action!r}", "use relay-..., hold or refuse")
    code, least = table.take("code", str, ""), table.take("least", str, "none")
    if least.upper() not in Assurance.__members__:
        raise table.wrong("least", f"is {least!r}", "none, encrypted, authenticated")
    row = Row(
        id=RuleId(table.take("id", str)),
        when=when,
        action=Action(action),
        code=Code(code) if code else None,
        least=Assurance[least.upper()],
    )
    if (row.code is None) is not row.action.value.startswith("relay"):
        raise table.wrong("code", "goes with hold and refuse only", "add or remove it")
    table.finish()
    return row


def parse_consumer_domains(text: str, place: str) -> frozenset[Domain]:
    """Parse the list of domains where anybody can have a mailbox."""
    root = Table.parse(text, place, RulebookError)
    names = root.texts("domains", required=True)
    root.finish()
    try:
        return frozenset(map(Domain.parse, names))
    except AddressError as error:
        raise root.wrong("domains", str(error), "list full domain names") from error


def build(
    packs: Mapping[str, str], decision: str, consumer_domains: str, config: Config
) -> Policy:
    """Put the policy together.

    Args:
        packs: File name to TOML text of each rule pack; at least one.
        decision: The text of `decision.toml`.
        consumer_domains: The text of `consumer-domains.toml`.
        config: Settings; municipalities and the default clock are taken from it.

    Raises:
        RulebookError: When any of it cannot be used.
    """
    if not packs:
        raise RulebookError("policies/regimes", "has no rule pack", "install one")
    parsed: dict[RegimeId, RulePack] = {}
    for place, text in sorted(packs.items()):
        pack = parse_pack(text, place)
        if pack.id in parsed:
            raise RulebookError(place, f"id {pack.id!r} is there twice", "rename one")
        parsed[pack.id] = pack
    rows = parse_decision(decision, "decision.toml")
    domains = parse_consumer_domains(consumer_domains, "consumer-domains.toml")
    canonical = rfc8785.dumps(
        {
            "config": config.digest,
            "consumer_domains": consumer_domains,
            "decision": decision,
            "packs": dict(packs),
        }
    )
    return Policy(
        packs=parsed,
        rows=rows,
        municipalities=config.municipalities,
        consumer_domains=domains,
        clock=config.clock,
        digest=Digest(hashlib.sha256(canonical).hexdigest()),
        matcher=Matcher(parsed.values()),
    )
