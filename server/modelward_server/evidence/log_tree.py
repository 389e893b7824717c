"""The Merkle tree over the audit log: its root, and proofs for its records.

A leaf is the hash of a record, in the order of their sequence numbers, which begin at 1. The log is only appended to,
so roots over complete parts of it are kept in memory: after the first time, a proof reads a few thousand hashes.
"""

from collections.abc import Callable, Sequence

from cachetools import LRUCache
from sqlalchemy import select
from sqlalchemy.orm import Session

from modelward.errors import FieldViolation, InvalidField
from modelward.evidence.merkle import (
    Subtree,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    node_hash,
    root_of,
    split,
)
from modelward_server.storage.tables import AuditRow

PART = 1024
"""The number of leaves of the parts whose roots are kept; a power of two, as RFC 6962 divides trees at those."""
PARTS_IN_MEMORY = 64
"""The number of parts whose leaves a transaction keeps, for the next proof."""


class LogTree:
    """The tree of one ledger."""

    def __init__(self) -> None:
        self._parts: dict[int, bytes] = {}
        """Roots over complete parts, by their first leaf."""

    def root(self, session: Session, size: int) -> bytes:
        """Return the root over the first records.

        Args:
            session: the transaction.
            size: the number of records.
        """
        return self._subtree(session)(0, size) if size else root_of([])

    def inclusion(self, session: Session, size: int) -> Callable[[int], list[bytes]]:
        """Return what proves that a record, by its number, is among the first ones.

        Args:
            session: the transaction.
            size: the number of records.
        """
        subtree = self._subtree(session)
        return lambda sequence: inclusion_proof(subtree, sequence - 1, size)

    def consistency(self, session: Session, first: int, size: int) -> list[bytes]:
        """Return the proof that the first records begin with those of an earlier head.

        Args:
            session: the transaction.
            first: the number of records of the earlier head.
            size: the number of records.

        Raises:
            InvalidField: the earlier head has more records.
        """
        if first > size:
            fix = f"is {first}, but the log has {size} records; it was cut off, or it is another log"
            raise InvalidField(FieldViolation("consistent_with", fix))
        return consistency_proof(self._subtree(session), first, size)

    def _subtree(self, session: Session) -> Subtree:
        return _Subtrees(session, self._parts).root


class _Subtrees:
    """The roots of subtrees, as one transaction sees them.

    A class, because functions that call each other recursively are a cycle of references: it would keep the leaves of
    every proof until the collector of cycles comes by.
    """

    def __init__(self, session: Session, parts: dict[int, bytes]) -> None:
        self._session, self._parts = session, parts
        self._leaves = LRUCache[int, Sequence[bytes]](PARTS_IN_MEMORY)

    def root(self, begin: int, end: int) -> bytes:
        """Return the root over the leaves from `begin` to before `end`."""
        if end - begin > PART:
            middle = begin + split(end - begin)
            return node_hash(self.root(begin, middle), self.root(middle, end))
        part = begin - begin % PART  # Trees are divided at powers of two, so less than a part is within one.
        if end - begin < PART:
            return root_of(self._leaves_of(part)[begin - part : end - part])
        if begin not in self._parts:
            self._parts[begin] = root_of(self._leaves_of(part))
        return self._parts[begin]

    def _leaves_of(self, part: int) -> Sequence[bytes]:
        if part not in self._leaves:
            self._leaves[part] = _leaves(self._session, part, part + PART)
        return self._leaves[part]


def _leaves(session: Session, begin: int, end: int) -> Sequence[bytes]:
    hashes = select(AuditRow.hash).where(AuditRow.sequence > begin, AuditRow.sequence <= end)
    return [leaf_hash(bytes.fromhex(value)) for value in session.scalars(hashes.order_by(AuditRow.sequence))]
