"""Merkle trees as RFC 6962 defines them (section 2.1): roots, and proofs of inclusion and of consistency.

A leaf is the SHA-256 of an audit record as 32 bytes, in the order of the records. All hashes are 32 bytes.
"""

from collections.abc import Callable, Sequence
from hashlib import sha256

EMPTY_ROOT = sha256().digest()

Subtree = Callable[[int, int], bytes]
"""Returns the root over the leaves from one position (counted from 0) up to another, which is excluded."""


def leaf_hash(leaf: bytes) -> bytes:
    """Return the hash of a leaf.

    Args:
        leaf: its content.

    Returns:
        The hash, in another domain than those of inner nodes.
    """
    return sha256(b"\0" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node.

    Args:
        left: the root over its first leaves.
        right: the root over the others.

    Returns:
        The hash.
    """
    return sha256(b"\1" + left + right).digest()


def split(leaves: int) -> int:
    """Return the largest power of two below a number of leaves, at which RFC 6962 divides a tree.

    Args:
        leaves: at least 2.

    Returns:
        The number of leaves in the left part.
    """
    return 1 << ((leaves - 1).bit_length() - 1)


def root_of(hashes: Sequence[bytes]) -> bytes:
    """Return the root of a tree.

    Args:
        hashes: the hashes of its leaves.

    Returns:
        The root; of an empty tree the SHA-256 of nothing.
    """
    if len(hashes) < 2:
        return hashes[0] if hashes else EMPTY_ROOT
    middle = split(len(hashes))
    return node_hash(root_of(hashes[:middle]), root_of(hashes[middle:]))


def inclusion_proof(subtree: Subtree, position: int, size: int) -> list[bytes]:
    """Return the audit path of a leaf (RFC 6962, 2.1.1).

    Args:
        subtree: the roots of parts of the tree.
        position: the leaf, counted from 0.
        size: the number of leaves of the tree.

    Returns:
        The hashes, those next to the leaf first.
    """
    path: list[bytes] = []
    begin, end = 0, size
    while end - begin > 1:
        middle = begin + split(end - begin)
        if position < middle:
            path.append(subtree(middle, end))
            end = middle
        else:
            path.append(subtree(begin, middle))
            begin = middle
    return path[::-1]


def consistency_proof(subtree: Subtree, first: int, size: int) -> list[bytes]:
    """Return the proof that a tree begins with all leaves of an earlier one (RFC 6962, 2.1.2).

    Args:
        subtree: the roots of parts of the tree.
        first: the number of leaves of the earlier tree, at least 1.
        size: the number of leaves now.

    Returns:
        The hashes; none for equal sizes.
    """
    path: list[bytes] = []
    begin, end, whole = 0, size, True
    while first != end:
        middle = begin + split(end - begin)
        if first <= middle:
            path.append(subtree(middle, end))
            end = middle
        else:
            path.append(subtree(begin, middle))
            begin, whole = middle, False
    return ([] if whole else [subtree(begin, end)]) + path[::-1]


def includes(leaf: bytes, position: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Return whether a proof shows that a tree has a leaf (RFC 9162, 2.1.3.2).

    Args:
        leaf: the hash of the leaf.
        position: its position, counted from 0.
        size: the number of leaves of the tree.
        proof: the hashes of the audit path.
        root: the root of the tree.

    Returns:
        Whether the leaf and the proof lead to the root.
    """
    if not 0 <= position < size:
        return False
    found, node, last = leaf, position, size - 1
    for sibling in proof:
        if last == 0:
            return False
        if node & 1 or node == last:
            found = node_hash(sibling, found)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            found = node_hash(found, sibling)
        node, last = node >> 1, last >> 1
    return last == 0 and found == root


def is_consistent(first: int, first_root: bytes, size: int, root: bytes, proof: Sequence[bytes]) -> bool:
    """Return whether a proof shows that a tree begins with an earlier one (RFC 9162, 2.1.4.2).

    Args:
        first: the number of leaves of the earlier tree, at least 1.
        first_root: its root.
        size: the number of leaves of the later tree.
        root: its root.
        proof: the hashes.

    Returns:
        Whether the proof leads from the leaves that both have to both roots.
    """
    if first == size:
        return not proof and first_root == root
    if not 0 < first < size or not proof:
        return False
    hashes = list(proof) if first & (first - 1) else [first_root, *proof]
    node, last = first - 1, size - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    earlier = later = hashes[0]
    for sibling in hashes[1:]:
        if last == 0:
            return False
        if node & 1 or node == last:
            earlier, later = node_hash(sibling, earlier), node_hash(sibling, later)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            later = node_hash(later, sibling)
        node, last = node >> 1, last >> 1
    return last == 0 and earlier == first_root and later == root
