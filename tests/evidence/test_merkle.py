"""Merkle trees: the vectors of Certificate Transparency's test suite for RFC 6962, and RFC 6962's own definitions."""

from collections.abc import Sequence
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelward.evidence.merkle import (
    EMPTY_ROOT,
    consistency_proof,
    includes,
    inclusion_proof,
    is_consistent,
    leaf_hash,
    root_of,
)

LEAVES = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
"""Of github.com/google/certificate-transparency, `merkletree/merkle_tree_test.cc`, for the first 1 to 8 leaves."""
HASHES = [leaf_hash(bytes.fromhex(leaf)) for leaf in LEAVES]


class Tree:
    """A second implementation, word for word as RFC 6962, 2.1 defines it, by recursion over the leaves themselves."""

    def __init__(self, leaves: Sequence[bytes]) -> None:
        self.leaves = leaves

    def head(self, leaves: Sequence[bytes]) -> bytes:
        if not leaves:
            return sha256(b"").digest()
        if len(leaves) == 1:
            return sha256(b"\x00" + leaves[0]).digest()
        k = self.k(len(leaves))
        return sha256(b"\x01" + self.head(leaves[:k]) + self.head(leaves[k:])).digest()

    def k(self, n: int) -> int:
        k = 1
        while k * 2 < n:
            k *= 2
        return k

    def path(self, m: int, leaves: Sequence[bytes]) -> list[bytes]:
        if len(leaves) == 1:
            return []
        k = self.k(len(leaves))
        if m < k:
            return [*self.path(m, leaves[:k]), self.head(leaves[k:])]
        return [*self.path(m - k, leaves[k:]), self.head(leaves[:k])]

    def subproof(self, m: int, leaves: Sequence[bytes], complete: bool) -> list[bytes]:
        if m == len(leaves):
            return [] if complete else [self.head(leaves)]
        k = self.k(len(leaves))
        if m <= k:
            return [*self.subproof(m, leaves[:k], complete), self.head(leaves[k:])]
        return [*self.subproof(m - k, leaves[k:], False), self.head(leaves[:k])]

    def subtree(self, begin: int, end: int) -> bytes:
        return self.head(self.leaves[begin:end])


def tree_of(size: int) -> Tree:
    return Tree([str(number).encode() for number in range(size)])


@pytest.mark.parametrize("size", range(1, 9))
def test_roots_are_those_of_certificate_transparency(size: int) -> None:
    assert root_of(HASHES[:size]).hex() == ROOTS[size - 1]


def test_an_empty_tree_has_the_hash_of_nothing() -> None:
    assert root_of([]) == EMPTY_ROOT == sha256(b"").digest()


@given(size=st.integers(1, 70), data=st.data())
def test_proofs_are_those_of_the_definition(size: int, data: st.DataObject) -> None:
    tree = tree_of(size)
    root = root_of([leaf_hash(leaf) for leaf in tree.leaves])
    assert root == tree.head(tree.leaves)
    position, first = data.draw(st.integers(0, size - 1)), data.draw(st.integers(1, size))
    proof = inclusion_proof(tree.subtree, position, size)
    assert proof == tree.path(position, tree.leaves)
    assert includes(leaf_hash(tree.leaves[position]), position, size, proof, root)
    path = consistency_proof(tree.subtree, first, size)
    assert path == tree.subproof(first, tree.leaves, True)
    assert is_consistent(first, tree.head(tree.leaves[:first]), size, root, path)


@pytest.mark.system
@given(size=st.integers(2, 40), data=st.data())
def test_nothing_else_is_proved(size: int, data: st.DataObject) -> None:
    tree = tree_of(size)
    root = tree.head(tree.leaves)
    position = data.draw(st.integers(0, size - 1))
    leaf, proof = leaf_hash(tree.leaves[position]), inclusion_proof(tree.subtree, position, size)
    other = data.draw(st.integers(0, size - 1).filter(lambda other: other != position))
    assert not includes(leaf, other, size, proof, root)
    assert not includes(leaf_hash(b"another"), position, size, proof, root)
    assert not includes(leaf, position, size, proof[1:], root)
    assert not includes(leaf, position, size, [*proof, leaf], root)
    first = data.draw(st.integers(1, size - 1))
    path, first_root = consistency_proof(tree.subtree, first, size), tree.head(tree.leaves[:first])
    assert not is_consistent(first, leaf_hash(b"another"), size, root, path)
    assert not is_consistent(first, first_root, size, leaf_hash(b"another"), path)
    assert not is_consistent(first, first_root, size, root, [])
    changed = [*path]
    changed[data.draw(st.integers(0, len(path) - 1))] = leaf_hash(b"another")
    assert not is_consistent(first, first_root, size, root, changed)


def test_sizes_that_cannot_be_prove_nothing() -> None:
    assert not includes(HASHES[0], 1, 1, [], HASHES[0])
    assert not is_consistent(0, EMPTY_ROOT, 3, root_of(HASHES[:3]), [])
    assert not is_consistent(3, root_of(HASHES[:3]), 2, root_of(HASHES[:2]), HASHES[:1])
