"""The Merkle tree of RFC 9162 section 2.1 over SHA-256 (F-01, F-06).

It promises one root for one list of leaves, proofs of logarithmic size, and checks that
are strict: exact proof length, exact hash length, no proof where none is due. A check
answers nothing or raises, so that its result cannot be ignored.

Lists of leaf hashes come in whole; where they are kept is the store's.
"""

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence

from gateway.model.errors import EvidenceError

HASH_OCTETS = 32
EMPTY_ROOT = hashlib.sha256(b"").digest()

Proof = tuple[bytes, ...]


def leaf_hash(leaf: bytes) -> bytes:
    """The hash of one entry, set apart from nodes by its prefix."""
    return hashlib.sha256(b"\0" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of two subtrees."""
    return hashlib.sha256(b"\1" + left + right).digest()


@dataclasses.dataclass(frozen=True, slots=True)
class Frontier:
    """All that must be known of a tree to let it grow: its perfect subtrees.

    `hashes` are their roots, largest first; there is one for each bit of `size`.
    """

    size: int = 0
    hashes: tuple[bytes, ...] = ()

    @classmethod
    def empty(cls) -> "Frontier":
        """The tree without leaves."""
        return cls()

    def append(self, leaf: bytes) -> "Frontier":
        """The tree with one leaf hash more."""
        hashes, node, size = list(self.hashes), leaf, self.size
        while size & 1:
            node = node_hash(hashes.pop(), node)
            size >>= 1
        return Frontier(self.size + 1, (*hashes, node))

    def root(self) -> bytes:
        """The root of the tree as it is."""
        if not self.hashes:
            return EMPTY_ROOT
        node = self.hashes[-1]
        for left in reversed(self.hashes[:-1]):
            node = node_hash(left, node)
        return node


def root(leaf_hashes: Sequence[bytes]) -> bytes:
    """The root over leaf hashes; a node without a sibling moves up unchanged."""
    level = list(leaf_hashes)
    if not level:
        return EMPTY_ROOT
    while len(level) > 1:
        pairs = zip(level[::2], level[1::2], strict=False)
        odd = level[-1:] if len(level) & 1 else []
        level = [node_hash(left, right) for left, right in pairs] + odd
    return level[0]


def _split(size: int) -> int:
    """The largest power of two smaller than size (RFC 9162 2.1.1)."""
    return 1 << (size - 1).bit_length() - 1


def inclusion_proof(leaf_hashes: Sequence[bytes], index: int, size: int) -> Proof:
    """Prove that a leaf stands at an index of the tree of that size.

    Args:
        leaf_hashes: At least `size` leaf hashes, in order.
        index: From 0, below `size`.
        size: The size of the tree, that of a checkpoint.

    Source: RFC 9162 2.1.3.1; the order is from the leaf up.
    """
    if not 0 <= index < size <= len(leaf_hashes):
        raise EvidenceError("no inclusion proof: index or size is outside the log")
    low, high, proof = 0, size, []
    while high - low > 1:
        middle = low + _split(high - low)
        if index < middle:
            proof.append(root(leaf_hashes[middle:high]))
            high = middle
        else:
            proof.append(root(leaf_hashes[low:middle]))
            low = middle
    return tuple(reversed(proof))


def verify_inclusion(
    leaf: bytes, index: int, size: int, proof: Sequence[bytes], expected: bytes
) -> None:
    """Check that the leaf hash stands at the index of the tree with that root.

    Raises:
        EvidenceError: When it does not, or the proof has another length.

    Source: RFC 9162 2.1.3.2.
    """
    _check_lengths(leaf, expected, *proof)
    if not 0 <= index < size:
        raise EvidenceError("inclusion: the index is outside the tree")
    node, first, last = leaf, index, size - 1
    for sibling in proof:
        if last == 0:
            raise EvidenceError("inclusion: the proof is too long")
        if first & 1 or first == last:
            node = node_hash(sibling, node)
            first, last = _climb(first, last)
        else:
            node = node_hash(node, sibling)
        first, last = first >> 1, last >> 1
    if last != 0 or node != expected:
        raise EvidenceError("inclusion: the leaf does not lead to the root")


def _climb(first: int, last: int) -> tuple[int, int]:
    """Skip the levels at which the path has no sibling, up to a right child."""
    while first and not first & 1:
        first, last = first >> 1, last >> 1
    return first, last


def consistency_proof(leaf_hashes: Sequence[bytes], first: int, second: int) -> Proof:
    """Prove that the tree of size `second` continues that of size `first`.

    Source: RFC 9162 2.1.4.1. Empty for equal sizes and for the empty tree.
    """
    if not 0 <= first <= second <= len(leaf_hashes):
        raise EvidenceError("no consistency proof: a size is outside the log")
    if first in {0, second}:
        return ()
    low, high, proof = 0, second, []
    while first != high:
        middle = low + _split(high - low)
        if first <= middle:
            proof.append(root(leaf_hashes[middle:high]))
            high = middle
        else:
            proof.append(root(leaf_hashes[low:middle]))
            low = middle
    if low:
        # The old tree ends in a subtree that is not the whole of it: name its root.
        proof.append(root(leaf_hashes[low:high]))
    return tuple(reversed(proof))


def verify_consistency(
    first: int,
    second: int,
    proof: Sequence[bytes],
    first_root: bytes,
    second_root: bytes,
) -> None:
    """Check that the second tree continues the first.

    Raises:
        EvidenceError: When it does not, or the proof is not exactly the one due.

    Source: RFC 9162 2.1.4.2, and F-06: sizes 0 and equal sizes take an empty proof, the
    empty tree has its one root.
    """
    _check_lengths(first_root, second_root, *proof)
    if not 0 <= first <= second:
        raise EvidenceError("consistency: the first tree is larger than the second")
    if first in {0, second}:
        same = second_root if first else EMPTY_ROOT
        if proof or first_root != same or (not second and second_root != EMPTY_ROOT):
            raise EvidenceError("consistency: equal or empty trees do not agree")
        return
    if _fold(first, second, proof, first_root) != (first_root, second_root):
        raise EvidenceError("consistency: the second tree does not continue the first")


def _fold(
    first: int, second: int, proof: Sequence[bytes], first_root: bytes
) -> tuple[bytes, bytes]:
    # A perfect first tree is a node of the second: the proof leaves it out.
    path = list(proof) if first & (first - 1) else [first_root, *proof]
    if not path:
        raise EvidenceError("consistency: the proof is too short")
    at, last = first - 1, second - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    old = new = path[0]
    for node in path[1:]:
        if last == 0:
            raise EvidenceError("consistency: the proof is too long")
        if at & 1 or at == last:
            old, new = node_hash(node, old), node_hash(node, new)
            at, last = _climb(at, last)
        else:
            new = node_hash(new, node)
        at, last = at >> 1, last >> 1
    if last != 0:
        raise EvidenceError("consistency: the proof is too short")
    return old, new


def range_proof(
    leaf_hashes: Sequence[bytes], first: int, past: int, size: int
) -> Proof:
    """Prove that leaves first ... past-1 are all there is between those places.

    The proof has the roots of the largest subtrees outside the range, left to right.

    Args:
        leaf_hashes: At least `size` leaf hashes, in order.
        first: The first index of the range.
        past: One past the last; equal to `first` for an empty range, whose proof is
            the root itself.
        size: The size of the tree, that of a checkpoint.
    """
    if not 0 <= first <= past <= size <= len(leaf_hashes):
        raise EvidenceError("no range proof: the range is outside the log")
    return tuple(
        root(leaf_hashes[low:high]) for low, high in _outside(0, size, first, past)
    )


def _outside(low: int, high: int, first: int, past: int) -> Iterator[tuple[int, int]]:
    """Bounds of the largest subtrees of [low, high) without a leaf of the range."""
    if first == past or high <= first or past <= low:
        yield low, high
    elif not first <= low < high <= past:
        middle = low + _split(high - low)
        yield from _outside(low, middle, first, past)
        yield from _outside(middle, high, first, past)


def verify_range(
    leaf_hashes: Sequence[bytes],
    first: int,
    size: int,
    proof: Sequence[bytes],
    expected: bytes,
) -> None:
    """Check that these leaf hashes, from index `first` on, are the range of the tree.

    Raises:
        EvidenceError: When one is altered, left out, added or moved, or the proof is
            not exactly the one due.
    """
    _check_lengths(expected, *leaf_hashes, *proof)
    past = first + len(leaf_hashes)
    if not 0 <= first <= past <= size:
        raise EvidenceError("range: it is outside the tree")
    outside = list(_outside(0, size, first, past))
    if len(outside) != len(proof):
        raise EvidenceError("range: the proof has another length")
    known = dict(zip(outside, proof, strict=True))
    if _assemble(0, size, first, leaf_hashes, known) != expected:
        raise EvidenceError("range: the leaves do not lead to the root")


def _assemble(
    low: int,
    high: int,
    first: int,
    leaf_hashes: Sequence[bytes],
    known: dict[tuple[int, int], bytes],
) -> bytes:
    if (low, high) in known:
        return known[low, high]
    if first <= low and high <= first + len(leaf_hashes):
        return root(leaf_hashes[low - first : high - first])
    middle = low + _split(high - low)
    return node_hash(
        _assemble(low, middle, first, leaf_hashes, known),
        _assemble(middle, high, first, leaf_hashes, known),
    )


def _check_lengths(*hashes: bytes) -> None:
    if any(len(each) != HASH_OCTETS for each in hashes):
        raise EvidenceError("a hash does not have 32 octets")
