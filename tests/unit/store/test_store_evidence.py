import pytest
from sqlalchemy import delete, func, select, update

from gateway.evidence import checkpoint, tree
from gateway.evidence.encode import read_openings
from gateway.model.classification import Level
from gateway.model.errors import EvidenceError, TemporaryFailure
from gateway.model.ids import MessageId, MunicipalityId, RecordId
from gateway.store import tables
from gateway.store.evidence import LEASE, SqlEvidence
from tests.contract.store_bed import (
    CANARY_DOMAIN,
    NOW,
    OWNER,
    SECOND,
    accept,
    make_accepted,
    make_intent,
    make_job,
    origin_of,
)

ORIGIN = origin_of(OWNER)
OWN_LOG = MunicipalityId("_gateway")


async def append(store, *names, **changes):
    async with store.work() as work:
        await work.evidence.append(
            *(make_accepted(name, "m", **changes) for name in names)
        )


async def integrate(evidence, now=NOW, origin=ORIGIN):
    return await evidence.integrate(origin, now, 1000)


@pytest.fixture
def signer(bed):
    return bed.keys.signer(ORIGIN)


async def test_records_get_consecutive_places_in_commit_order(store, evidence):
    await append(store, "c", "a")
    await append(store, "b")

    assert await integrate(evidence) == 3

    found = await evidence.records_of_message(MessageId("m"))
    assert [(r.id, r.index) for r in found] == [("c", 0), ("a", 1), ("b", 2)]
    assert [r.leaf for r in found] == list(await evidence.leaves(ORIGIN, 0, 9))
    assert [found[1].leaf] == list(await evidence.leaves(ORIGIN, 1, 2))


async def test_each_log_has_places_of_its_own(store, evidence):
    await append(store, "a", "b")
    await append(store, "x", municipality=OWN_LOG)

    await integrate(evidence)
    await integrate(evidence, origin=origin_of(OWN_LOG))

    assert [origin_of(OWN_LOG), ORIGIN] == list(await evidence.origins())
    assert (
        await evidence.size(ORIGIN),
        await evidence.size(origin_of(OWN_LOG)),
    ) == (2, 1)


async def test_integrating_again_adds_only_what_is_new(store, evidence):
    await append(store, "a")

    counts = [await integrate(evidence), await integrate(evidence)]
    await append(store, "b")

    assert [*counts, await integrate(evidence)] == [1, 0, 1]


async def test_the_limit_leaves_the_rest_for_the_next_time(store, evidence):
    await append(store, *"abcde")

    counts = [await evidence.integrate(ORIGIN, NOW, 2) for _ in range(4)]

    assert counts == [2, 2, 1, 0]
    hashes = [tree.leaf_hash(leaf) for leaf in await evidence.leaves(ORIGIN, 0, 9)]
    assert hashes == list(await evidence.leaf_hashes(ORIGIN, 5))


async def test_asking_for_more_leaf_hashes_than_there_are_is_an_error(evidence):
    with pytest.raises(EvidenceError):
        await evidence.leaf_hashes(ORIGIN, 1)


async def test_a_signed_checkpoint_is_over_exactly_the_leaves(store, evidence, signer):
    await append(store, *"abc")
    await integrate(evidence)

    note = await evidence.sign(ORIGIN, signer, NOW)

    found = checkpoint.verify_note(note, ORIGIN, signer.public_key)
    hashes = await evidence.leaf_hashes(ORIGIN, 3)
    assert (3, tree.root(hashes)) == (found.size, found.root)
    latest = await evidence.latest_checkpoint(ORIGIN)
    assert (note, 3, NOW) == (latest.note, latest.size, latest.at)


async def test_nothing_is_signed_when_the_tree_did_not_grow(store, evidence, signer):
    assert await evidence.sign(ORIGIN, signer, NOW) is None
    await integrate(evidence)
    assert await evidence.sign(ORIGIN, signer, NOW) is None
    await append(store, "a")
    await integrate(evidence)
    await evidence.sign(ORIGIN, signer, NOW)

    assert await evidence.sign(ORIGIN, signer, NOW) is None
    assert len(await evidence.checkpoints(ORIGIN)) == 1


async def test_a_restarted_sequencer_goes_on_with_the_same_tree(
    store, evidence, signer
):
    await append(store, *"abc")
    await integrate(evidence)
    await evidence.sign(ORIGIN, signer, NOW)
    await append(store, "d", "e")
    await evidence.release()

    following = SqlEvidence(store, "next")
    assert await integrate(following) == 2
    note = await following.sign(ORIGIN, signer, NOW)

    found = checkpoint.verify_note(note, ORIGIN, signer.public_key)
    assert tree.root(await following.leaf_hashes(ORIGIN, 5)) == found.root
    first, second = await following.checkpoints(ORIGIN)
    hashes = await following.leaf_hashes(ORIGIN, 5)
    tree.verify_consistency(
        3, 5, tree.consistency_proof(hashes, 3, 5), first.root, second.root
    )


async def test_a_second_sequencer_waits_until_the_lease_ran_out(store, evidence):
    await append(store, "a")
    await integrate(evidence)
    await append(store, "b")
    second = SqlEvidence(store, "second")

    assert await integrate(second, NOW + LEASE - SECOND) == 0
    assert await integrate(second, NOW + LEASE) == 1


async def test_a_frozen_sequencer_that_wakes_up_cannot_sign(store, evidence, signer):
    await append(store, "a")
    await integrate(evidence)
    later = NOW + LEASE + SECOND
    second = SqlEvidence(store, "second")
    await append(store, "b")
    await integrate(second, later)

    assert await evidence.sign(ORIGIN, signer, later) is None
    assert list(await evidence.checkpoints(ORIGIN)) == []
    # Also when the second one's lease ran out: the tree that the first knows is old.
    assert await evidence.sign(ORIGIN, signer, later + LEASE + SECOND) is None


async def test_a_frozen_sequencer_whose_lease_was_taken_and_ran_out_cannot_sign(
    store, evidence, signer
):
    await append(store, "a")
    await integrate(evidence)
    second = SqlEvidence(store, "second")
    await append(store, "b")
    await integrate(second, NOW + LEASE)

    assert await evidence.sign(ORIGIN, signer, NOW + 3 * LEASE) is None
    assert await integrate(evidence, NOW + 3 * LEASE) == 0
    assert await evidence.sign(ORIGIN, signer, NOW + 3 * LEASE) is not None


async def test_two_roots_of_equal_size_cannot_be_stored(store, evidence, signer):
    await append(store, "a")
    await integrate(evidence)
    await evidence.sign(ORIGIN, signer, NOW)
    latest = await evidence.latest_checkpoint(ORIGIN)
    row = {"origin": ORIGIN, "size": 1, "root": b"x" * 32, "note": "n", "at": 0}

    with pytest.raises(TemporaryFailure):
        await store.write(lambda c: c.execute(tables.evidence_checkpoint.insert(), row))

    assert latest == await evidence.latest_checkpoint(ORIGIN)


async def test_a_log_shorter_than_its_checkpoint_stops_the_gateway(
    store, evidence, signer
):
    await append(store, "a", "b")
    await integrate(evidence)
    await evidence.sign(ORIGIN, signer, NOW)
    await store.write(
        lambda c: c.execute(
            delete(tables.evidence_leaf).where(tables.evidence_leaf.c.leaf_index == 1)
        )
    )

    for sequencer in (evidence, SqlEvidence(store, "sequencer")):
        await append(store, f"x{id(sequencer)}")
        with pytest.raises(EvidenceError, match="shorter"):
            await integrate(sequencer)


async def test_leaves_other_than_those_signed_stop_the_gateway(store, evidence, signer):
    await append(store, "a", "b")
    await integrate(evidence)
    await evidence.sign(ORIGIN, signer, NOW)
    await store.write(
        lambda c: c.execute(update(tables.evidence_leaf).values(leaf_hash=b"x" * 32))
    )

    with pytest.raises(EvidenceError, match="signed"):
        await integrate(SqlEvidence(store, "sequencer"))


async def test_a_gap_in_the_leaves_stops_the_gateway(store, evidence):
    await append(store, "a", "b")
    await integrate(evidence)
    await store.write(
        lambda c: c.execute(
            delete(tables.evidence_leaf).where(tables.evidence_leaf.c.leaf_index == 0)
        )
    )

    with pytest.raises(EvidenceError, match="gap"):
        await integrate(SqlEvidence(store, "sequencer"))


async def test_openings_come_back_as_encoded_and_unknown_ids_are_left_out(
    store, evidence
):
    await append(store, "a")

    found = await evidence.openings([RecordId("a"), RecordId("unknown")])

    assert list(found) == ["a"]
    assert read_openings(found[RecordId("a")])["client"] == "exchange"


async def test_erased_openings_are_none_and_the_leaf_stays(store, evidence):
    await append(store, "a")
    await integrate(evidence)
    await store.write(
        lambda c: c.execute(
            update(tables.evidence_record).values(
                openings=None, wrapped_key=None, epoch=None
            )
        )
    )

    assert await evidence.openings([RecordId("a")]) == {"a": None}
    (record,) = await evidence.records_of_message(MessageId("m"))
    assert record.openings is None
    assert CANARY_DOMAIN.encode() not in record.leaf


async def test_openings_moved_to_another_record_do_not_open(store, evidence):
    await append(store, "a", "b")
    row = tables.evidence_record
    taken = {
        name: select(row.c[name]).where(row.c.id == "a").scalar_subquery()
        for name in ("openings", "wrapped_key", "epoch")
    }
    await store.write(
        lambda c: c.execute(update(row).where(row.c.id == "b").values(**taken))
    )

    with pytest.raises(TemporaryFailure):
        await evidence.openings([RecordId("b")])


async def retention_of(store, name):
    question = select(tables.evidence_record.c.retention_class).where(
        tables.evidence_record.c.id == name
    )
    return await store.read(lambda c: c.execute(question).scalar())


async def test_only_what_is_known_to_be_ordinary_is_kept_as_ordinary(store):
    jobs = {level: make_job(level.word, level=level) for level in Level}
    async with store.work() as work:
        await work.evidence.append(
            make_accepted("none", "m", level="none"),
            make_accepted("unreadable", "m", level="unreadable"),
            *(make_intent(f"of-{j.id}", "m", j.id) for j in jobs.values()),
            make_intent("unknown", "m", "some other job"),
        )
        await work.queue.add(*jobs.values())

    expected = {
        "none": "ordinary",
        "unreadable": "sensitive",
        "of-none": "ordinary",
        "of-unreadable": "sensitive",
        "of-suspect": "sensitive",
        "of-certain": "sensitive",
        "unknown": "sensitive",
    }
    assert expected == {name: await retention_of(store, name) for name in expected}


async def test_a_failed_write_leaves_the_sequencer_able_to_go_on(bed, signer):
    failing = []

    def probe(step):
        if step == "commit" and failing:
            failing.pop()
            raise OSError("injected")

    store = bed.open(probe)
    evidence = SqlEvidence(store, "sequencer")
    await append(store, "a")
    await integrate(evidence)
    await append(store, "b")
    failing.append(1)
    with pytest.raises(TemporaryFailure):
        await integrate(evidence)

    assert await integrate(evidence) == 1
    note = await evidence.sign(ORIGIN, signer, NOW)
    hashes = await evidence.leaf_hashes(ORIGIN, 2)
    found = checkpoint.verify_note(note, ORIGIN, signer.public_key)
    assert tree.root(hashes) == found.root


async def test_records_of_accepted_mail_and_its_leaves_agree(store, evidence):
    for n in range(5):
        await accept(store, str(n))
    await integrate(evidence)

    counted = await store.read(
        lambda c: c.execute(
            select(func.count()).select_from(tables.evidence_leaf)
        ).scalar()
    )
    assert 10 == counted == len(await evidence.leaves(ORIGIN, 0, 99))
