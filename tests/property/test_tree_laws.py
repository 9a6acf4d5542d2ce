"""Laws of the Merkle tree: one tree, two implementations, and no way round a proof."""

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.evidence import tree, verify
from gateway.model.errors import EvidenceError

sizes = st.integers(min_value=0, max_value=150)
ENTRIES = [hashlib.sha256(b"%d" % number).digest() for number in range(150)]


def naive(hashes):
    if len(hashes) <= 1:
        return hashes[0] if hashes else hashlib.sha256(b"").digest()
    k = 1
    while k * 2 < len(hashes):
        k *= 2
    return hashlib.sha256(b"\1" + naive(hashes[:k]) + naive(hashes[k:])).digest()


def flipped(hashes, at, bit):
    octets = bytearray(hashes[at])
    octets[bit // 8] ^= 1 << bit % 8
    return [*hashes[:at], bytes(octets), *hashes[at + 1 :]]


@given(sizes)
def test_frontier_root_and_naive_root_are_one(size):
    frontier = tree.Frontier.empty()
    for each in ENTRIES[:size]:
        frontier = frontier.append(each)
    assert naive(ENTRIES[:size]) == tree.root(ENTRIES[:size]) == frontier.root()
    assert len(frontier.hashes) == size.bit_count()


@given(st.data(), sizes.filter(bool))
def test_an_inclusion_proof_holds_for_its_leaf_and_place_only(data, size):
    index = data.draw(st.integers(0, size - 1))
    other = data.draw(st.integers(0, size - 1))
    proof = tree.inclusion_proof(ENTRIES, index, size)
    root = naive(ENTRIES[:size])
    tree.verify_inclusion(ENTRIES[index], index, size, proof, root)
    assert len(proof) <= (size - 1).bit_length()
    if other != index:
        with pytest.raises(EvidenceError):
            tree.verify_inclusion(ENTRIES[other], index, size, proof, root)
        with pytest.raises(EvidenceError):
            tree.verify_inclusion(ENTRIES[index], other, size, proof, root)


@given(st.data(), sizes)
def test_a_consistency_proof_holds_for_its_two_trees_only(data, second):
    first = data.draw(st.integers(0, second))
    proof = list(tree.consistency_proof(ENTRIES, first, second))
    old, new = naive(ENTRIES[:first]), naive(ENTRIES[:second])
    tree.verify_consistency(first, second, proof, old, new)
    assert verify.continues((first, old), (second, new), proof)
    forged = flipped([old, new, *proof], *data.draw(spots(2 + len(proof))))
    if first == 0 < second and forged[0] == old:
        return  # anything continues the empty tree: nothing was claimed of it
    with pytest.raises(EvidenceError):
        tree.verify_consistency(first, second, forged[2:], forged[0], forged[1])
    assert not verify.continues((first, forged[0]), (second, forged[1]), forged[2:])


def spots(count):
    return st.tuples(st.integers(0, count - 1), st.integers(0, 255))


@given(st.data(), sizes)
def test_a_range_proof_holds_for_all_of_its_leaves_only(data, size):
    first = data.draw(st.integers(0, size))
    past = data.draw(st.integers(first, size))
    proof = list(tree.range_proof(ENTRIES, first, past, size))
    part, root = ENTRIES[first:past], naive(ENTRIES[:size])
    tree.verify_range(part, first, size, proof, root)
    assert verify.leads(root, verify.ranged, (0, size, first, part), proof)
    forged = flipped(
        [root, *part, *proof], *data.draw(spots(1 + past - first + len(proof)))
    )
    leaves, steps = forged[1 : 1 + past - first], forged[1 + past - first :]
    with pytest.raises(EvidenceError):
        tree.verify_range(leaves, first, size, steps, forged[0])
    assert not verify.leads(forged[0], verify.ranged, (0, size, first, leaves), steps)


proofs = st.lists(st.binary(min_size=32, max_size=32), max_size=9)
numbers = st.integers(min_value=-2, max_value=2**63)


@settings(max_examples=300)
@given(numbers, numbers, proofs, st.sampled_from(ENTRIES), st.sampled_from(ENTRIES))
def test_random_proofs_are_refused_and_both_verifiers_agree(first, second, proof, a, b):
    try:
        tree.verify_consistency(first, second, proof, a, b)
    except EvidenceError:
        agreed = False
    else:
        agreed = True
    if first >= 0 and second >= 0:
        assert agreed == verify.continues((first, a), (second, b), proof)
    for size in (second, first):
        with pytest.raises(EvidenceError):
            tree.verify_inclusion(a, first, size, [*proof, b], ENTRIES[7])
