import hashlib
import json
import pathlib

import pytest

from gateway.evidence import tree
from gateway.model.errors import EvidenceError

PLACE = pathlib.Path(__file__).parents[2] / "vectors/evidence/rfc6962_tree.json"
VECTORS = json.loads(PLACE.read_text())
LEAVES = [bytes.fromhex(leaf) for leaf in VECTORS["leaves"]]
HASHES = [tree.leaf_hash(leaf) for leaf in LEAVES]
ROOTS = [bytes.fromhex(root) for root in VECTORS["roots"]]
SOME = bytes.fromhex("abacaba000000000000000000000000000000000000000000060061e00123456")


def octets(proof):
    return tuple(bytes.fromhex(each) for each in proof)


def naive(entries):
    """RFC 9162 2.1.1, word for word."""
    if not entries:
        return hashlib.sha256(b"").digest()
    if len(entries) == 1:
        return hashlib.sha256(b"\0" + entries[0]).digest()
    k = 1
    while k * 2 < len(entries):
        k *= 2
    joined = b"\1" + naive(entries[:k]) + naive(entries[k:])
    return hashlib.sha256(joined).digest()


def test_leaf_hashes_are_those_of_the_reference_tree():
    assert octets(VECTORS["leaf_hashes"]) == tuple(HASHES)


@pytest.mark.parametrize("size", range(9))
def test_roots_and_frontiers_are_those_of_the_reference_tree(size):
    frontier = tree.Frontier.empty()
    for each in HASHES[:size]:
        frontier = frontier.append(each)

    assert ROOTS[size] == tree.root(HASHES[:size]) == frontier.root()
    assert frontier == tree.Frontier(size, octets(VECTORS["frontiers"][size]))


def test_roots_of_0_to_100_leaves_are_those_of_the_naive_tree():
    entries = [b"entry %d" % number for number in range(100)]
    frontier = tree.Frontier.empty()
    for size in range(101):
        expected = naive(entries[:size])
        hashes = [tree.leaf_hash(entry) for entry in entries[:size]]
        assert expected == tree.root(hashes) == frontier.root()
        if size < 100:
            frontier = frontier.append(tree.leaf_hash(entries[size]))


@pytest.mark.parametrize("vector", VECTORS["inclusion"])
def test_inclusion_proofs_are_those_of_the_reference_tree(vector):
    index, size, proof = vector["index"], vector["size"], octets(vector["proof"])

    assert proof == tree.inclusion_proof(HASHES, index, size)
    tree.verify_inclusion(HASHES[index], index, size, proof, ROOTS[size])


@pytest.mark.parametrize("vector", VECTORS["consistency"])
def test_consistency_proofs_are_those_of_the_reference_tree(vector):
    first, second, proof = vector["first"], vector["second"], octets(vector["proof"])

    assert proof == tree.consistency_proof(HASHES, first, second)
    tree.verify_consistency(first, second, proof, ROOTS[first], ROOTS[second])


def malformed_inclusions(leaf, index, size, proof, root):
    """The corruptions of transparency-dev/merkle proof/verify_test.go."""
    yield leaf, index - 1, size, proof, root
    yield leaf, index + 1, size, proof, root
    yield leaf, index ^ 2, size, proof, root
    yield leaf, index, size * 2, proof, root
    yield leaf, index, size // 2, proof, root
    yield b"WrongLeaf", index, size, proof, root
    yield leaf, index, size, proof, tree.EMPTY_ROOT
    yield leaf, index, size, proof, SOME
    for junk in (b"", root):
        yield leaf, index, size, (*proof, junk), root
        yield leaf, index, size, (junk, *proof), root
    for at in range(len(proof)):
        flipped = bytes([proof[at][0] ^ 8]) + proof[at][1:]
        yield leaf, index, size, (*proof[:at], flipped, *proof[at + 1 :]), root
    yield leaf, index, size, proof[:-1], root
    yield leaf, index, size, (proof[0], SOME, *proof[1:]), root


@pytest.mark.parametrize("vector", VECTORS["inclusion"][1:])
def test_malformed_inclusion_proofs_are_refused(vector):
    index, size, proof = vector["index"], vector["size"], octets(vector["proof"])
    for bad in malformed_inclusions(HASHES[index], index, size, proof, ROOTS[size]):
        with pytest.raises(EvidenceError):
            tree.verify_inclusion(*bad)


def malformed_consistencies(first, second, proof, old, new):
    yield first - 1, second, proof, old, new
    yield first + 1, second, proof, old, new
    yield first ^ 2, second, proof, old, new
    yield first, second * 2, proof, old, new
    yield first, second // 2, proof, old, new
    yield first, second, proof, b"WrongRoot", new
    yield first, second, proof, old, b"WrongRoot"
    yield first, second, proof, SOME, new
    yield first, second, proof, old, SOME
    yield first, second, proof, new, old
    yield first, second, (), old, new
    for junk in (b"", old, new, proof[0]):
        yield first, second, (*proof, junk), old, new
        yield first, second, (junk, *proof), old, new
    yield first, second, proof[:-1], old, new
    for at in range(len(proof)):
        flipped = bytes([proof[at][0] ^ 16]) + proof[at][1:]
        yield first, second, (*proof[:at], flipped, *proof[at + 1 :]), old, new


@pytest.mark.parametrize("vector", VECTORS["consistency"][1:])
def test_malformed_consistency_proofs_are_refused(vector):
    first, second, proof = vector["first"], vector["second"], octets(vector["proof"])
    roots = ROOTS[first], ROOTS[second]
    for bad in malformed_consistencies(first, second, proof, *roots):
        with pytest.raises(EvidenceError):
            tree.verify_consistency(*bad)


def test_empty_and_equal_trees_take_an_empty_proof_and_their_own_root():
    tree.verify_consistency(0, 0, (), ROOTS[0], ROOTS[0])
    tree.verify_consistency(0, 5, (), ROOTS[0], ROOTS[5])
    tree.verify_consistency(5, 5, (), ROOTS[5], ROOTS[5])


@pytest.mark.parametrize(
    ("first", "second", "proof", "old", "new"),
    [
        (0, 0, (), ROOTS[0], ROOTS[1]),  # an empty tree has one root only
        (0, 0, (ROOTS[0],), ROOTS[0], ROOTS[0]),
        (0, 5, (), ROOTS[1], ROOTS[5]),
        (0, 5, (ROOTS[0],), ROOTS[0], ROOTS[5]),
        (5, 5, (), ROOTS[5], ROOTS[4]),
        (5, 5, (ROOTS[5],), ROOTS[5], ROOTS[5]),
        (5, 4, (), ROOTS[5], ROOTS[4]),
        (-1, 4, (), ROOTS[1], ROOTS[4]),
        (1, 2, (), ROOTS[1], ROOTS[2]),
        (3, 4, (), ROOTS[3], ROOTS[4]),
    ],
)
def test_an_empty_proof_is_no_proof_of_growth(first, second, proof, old, new):
    with pytest.raises(EvidenceError):
        tree.verify_consistency(first, second, proof, old, new)


@pytest.mark.parametrize(("index", "size"), [(-1, 8), (8, 8), (0, 0), (0, 9), (9, 9)])
def test_no_inclusion_proof_is_made_outside_the_log(index, size):
    with pytest.raises(EvidenceError):
        tree.inclusion_proof(HASHES, index, size)


@pytest.mark.parametrize(("first", "second"), [(-1, 2), (3, 2), (1, 9)])
def test_no_consistency_proof_is_made_outside_the_log(first, second):
    with pytest.raises(EvidenceError):
        tree.consistency_proof(HASHES, first, second)


@pytest.mark.parametrize(
    ("first", "past", "size"), [(-1, 1, 2), (2, 1, 8), (0, 3, 2), (0, 1, 9)]
)
def test_no_range_proof_is_made_outside_the_log(first, past, size):
    with pytest.raises(EvidenceError):
        tree.range_proof(HASHES, first, past, size)


def test_the_proof_of_one_leaf_has_the_hashes_of_its_inclusion_proof():
    for index in range(8):
        ranged = tree.range_proof(HASHES, index, index + 1, 8)
        assert set(tree.inclusion_proof(HASHES, index, 8)) == set(ranged)


def test_a_whole_log_needs_no_range_proof_and_an_empty_range_only_the_root():
    assert tree.range_proof(HASHES, 0, 8, 8) == ()
    assert tree.range_proof(HASHES, 3, 3, 8) == (ROOTS[8],)
    assert tree.range_proof([], 0, 0, 0) == (ROOTS[0],)
    tree.verify_range([], 3, 8, (ROOTS[8],), ROOTS[8])
    tree.verify_range([], 0, 0, (ROOTS[0],), ROOTS[0])


def test_a_range_with_a_record_altered_removed_added_or_moved_is_refused():
    proof = tree.range_proof(HASHES, 2, 6, 8)
    part = HASHES[2:6]
    tree.verify_range(part, 2, 8, proof, ROOTS[8])
    wrong = [
        ([SOME, *part[1:]], 2, proof),
        (part[:-1], 2, proof),
        (part[1:], 2, proof),
        ([*part, HASHES[6]], 2, proof),
        ([part[1], part[0], *part[2:]], 2, proof),
        ([part[0], part[0], *part[1:]], 2, proof),
        (part, 1, proof),
        (part, 3, proof),
        (part, -1, proof),
        (part, 6, proof),
        (part, 2, proof[:-1]),
        (part, 2, (*proof, SOME)),
        (part, 2, (SOME, *proof[1:])),
        (part, 2, (proof[1], proof[0], *proof[2:])),
        (part, 2, (b"", *proof[1:])),
    ]
    for hashes, first, steps in wrong:
        with pytest.raises(EvidenceError):
            tree.verify_range(hashes, first, 8, steps, ROOTS[8])
