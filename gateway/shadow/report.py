"""What was counted, as a report: how many a day, and what causes most (R3)."""

import collections
import datetime
from collections.abc import Iterable, Sequence
from typing import Any

from gateway.model.tally import Counted, CountKind, Seen

Row = tuple[datetime.date, Counted, int]
_MOST = 10


def describe_counts(rows: Sequence[Row]) -> dict[str, Any]:
    """Counts as JSON-able values.

    Returns:
        `messages`: of all days; `per_day`: the same for each day that has any; `rules`
        and `domains`: at most ten each, with most refusals and holds, `other` being the
        sum of those that are too rare to be kept; `rows`: of the decision.
    """
    days: dict[datetime.date, list[Row]] = collections.defaultdict(list)
    for row in rows:
        days[row[0]].append(row)
    per_day = [{"day": day.isoformat(), **_messages(days[day])} for day in sorted(days)]
    return {
        "messages": _messages(rows),
        "per_day": per_day,
        "rules": _worst(rows, CountKind.CAUSE, "rule"),
        "domains": _worst(rows, CountKind.DOMAIN, "domain"),
        "rows": _by_row(rows),
    }


def _messages(rows: Iterable[Row]) -> dict[str, int]:
    counts = {seen.value: 0 for seen in Seen}
    for _, counted, total in rows:
        if counted.kind is CountKind.MESSAGE:
            counts[counted.seen.value] += total
    return {"all": sum(counts.values()), **counts}


def _worst(rows: Iterable[Row], kind: CountKind, name: str) -> list[dict[str, Any]]:
    """The names with most refusals and holds together, highest first."""
    refused: collections.Counter[str] = collections.Counter()
    held: collections.Counter[str] = collections.Counter()
    for _, counted, total in rows:
        if counted.kind is kind and counted.seen is Seen.REFUSE:
            refused[counted.name] += total
        elif counted.kind is kind and counted.seen is Seen.HOLD:
            held[counted.name] += total
    both = refused + held
    worst = sorted(both, key=lambda each: (-both[each], each))[:_MOST]
    return [{name: each, "refuse": refused[each], "hold": held[each]} for each in worst]


def _by_row(rows: Iterable[Row]) -> list[dict[str, Any]]:
    recipients: collections.Counter[tuple[str, str]] = collections.Counter()
    for _, counted, total in rows:
        if counted.kind is CountKind.ROW:
            recipients[counted.name, counted.seen.value] += total
    return [
        {"row": row, "verdict": verdict, "recipients": recipients[row, verdict]}
        for row, verdict in sorted(recipients)
    ]
