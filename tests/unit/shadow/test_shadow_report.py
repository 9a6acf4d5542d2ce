"""R3: how many would be stopped a day, and the ten rules that cause most."""

import datetime

from gateway.model.tally import Counted, CountKind, Seen
from gateway.shadow.report import describe_counts

MONDAY = datetime.date(2026, 11, 23)
TUESDAY = datetime.date(2026, 11, 24)


def message(day, seen, total):
    return day, Counted(CountKind.MESSAGE, seen), total


def cause(seen, name, total, day=MONDAY):
    return day, Counted(CountKind.CAUSE, seen, name), total


def test_each_day_has_its_numbers_and_all_days_their_sum():
    report = describe_counts(
        [
            message(TUESDAY, Seen.HOLD, 2),
            message(MONDAY, Seen.REFUSE, 3),
            message(MONDAY, Seen.RELAY, 95),
            message(MONDAY, Seen.INCOMING, 4),
        ]
    )
    zero = {"relay": 0, "hold": 0, "refuse": 0, "incoming": 0, "nobody": 0}
    monday = zero | {"all": 102, "relay": 95, "refuse": 3, "incoming": 4}
    tuesday = zero | {"all": 2, "hold": 2}
    assert report["per_day"] == [
        {"day": "2026-11-23", **monday},
        {"day": "2026-11-24", **tuesday},
    ]
    assert report["messages"] == monday | {"all": 104, "hold": 2}


def test_ten_rules_are_named_by_what_they_stop_together():
    rows = [cause(Seen.REFUSE, f"wvggz/r{n:02}", n) for n in range(1, 13)]
    rows += [cause(Seen.HOLD, "wvggz/r01", 100), cause(Seen.HOLD, "wvggz/r12", 1)]
    rules = describe_counts(rows)["rules"]
    assert [rule["rule"] for rule in rules] == [
        "wvggz/r01",
        *(f"wvggz/r{n:02}" for n in range(12, 3, -1)),
    ]
    assert rules[0] == {"rule": "wvggz/r01", "refuse": 1, "hold": 100}
    assert rules[1] == {"rule": "wvggz/r12", "refuse": 12, "hold": 1}


def test_domains_that_only_get_mail_are_not_among_the_stopped():
    rows = [
        (MONDAY, Counted(CountKind.DOMAIN, Seen.RELAY, "post.example"), 50),
        (MONDAY, Counted(CountKind.DOMAIN, Seen.HOLD, "kliniek.example"), 1),
    ]
    (domain,) = describe_counts(rows)["domains"]
    assert domain == {"domain": "kliniek.example", "refuse": 0, "hold": 1}


def test_rows_of_the_decision_are_summed_over_days():
    row = Counted(CountKind.ROW, Seen.REFUSE, "4 K301")
    (described,) = describe_counts([(MONDAY, row, 2), (TUESDAY, row, 3)])["rows"]
    assert described == {"row": "4 K301", "verdict": "refuse", "recipients": 5}
