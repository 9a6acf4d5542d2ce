"""R3: counts are kept by municipality and day, and never grow without end."""

import collections
import datetime

from gateway.model.ids import MunicipalityId
from gateway.model.tally import OTHER, Counted, CountKind, Seen
from gateway.store import shadow
from gateway.store.shadow import SqlShadow
from tests.contract.store_bed import OWNER

DAY = datetime.date(2026, 11, 25)
MESSAGE = Counted(CountKind.MESSAGE, Seen.REFUSE)


def domain(name, seen=Seen.RELAY):
    return Counted(CountKind.DOMAIN, seen, name)


async def counts(store, since=DAY, owner=OWNER):
    rows = await SqlShadow(store).since(owner, since)
    found = collections.Counter()
    for _, counted, total in rows:
        found[counted] += total
    return found


async def test_what_was_counted_is_added_up_and_seen_by_other_processes(bed, store):
    tallies = SqlShadow(store)
    await tallies.add(OWNER, DAY, {MESSAGE: 1, domain("a.example"): 2})
    await tallies.add(OWNER, DAY, {MESSAGE: 1})
    other = bed.open()
    assert await counts(other) == {MESSAGE: 2, domain("a.example"): 2}


async def test_days_and_municipalities_are_apart(store):
    tallies = SqlShadow(store)
    before = DAY - datetime.timedelta(days=1)
    elsewhere = MunicipalityId("elders")
    await tallies.add(OWNER, before, {MESSAGE: 5})
    await tallies.add(OWNER, DAY, {MESSAGE: 1})
    await tallies.add(elsewhere, DAY, {MESSAGE: 9})
    assert await counts(store) == {MESSAGE: 1}
    assert await counts(store, since=before) == {MESSAGE: 6}
    assert await counts(store, owner=elsewhere) == {MESSAGE: 9}


async def test_many_domains_of_a_day_are_summed_up_and_the_common_ones_stay(store):
    tallies = SqlShadow(store)
    common = {domain(f"veel-{n}.example"): 50 for n in range(20)}
    await tallies.add(OWNER, DAY, common)
    for part in range(20):
        rare = {domain(f"zelden-{part}-{n}.example"): 1 for n in range(100)}
        await tallies.add(OWNER, DAY, rare)
    found = await counts(store)
    assert len(found) <= shadow.MOST_NAMES
    assert all(found[each] == 50 for each in common)
    assert sum(found.values()) == 20 * 50 + 2000
    assert found[domain(OTHER)] > 1000


async def test_one_verdict_does_not_push_out_the_names_of_another(store):
    tallies = SqlShadow(store)
    await tallies.add(OWNER, DAY, {domain("kliniek.example", Seen.REFUSE): 1})
    many = {domain(f"d-{n}.example"): 2 for n in range(shadow.MOST_NAMES + 50)}
    await tallies.add(OWNER, DAY, many)
    found = await counts(store)
    assert found[domain("kliniek.example", Seen.REFUSE)] == 1


async def test_days_of_long_ago_are_forgotten(store):
    tallies = SqlShadow(store)
    old = DAY - datetime.timedelta(days=shadow.KEEP_DAYS + 1)
    await tallies.add(OWNER, old, {MESSAGE: 1})
    await tallies.add(OWNER, DAY, {MESSAGE: 1})
    assert await counts(store, since=old) == {MESSAGE: 1}
