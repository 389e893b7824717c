"""The head of the audit log: how many records it has, and the root of the Merkle tree over them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from modelward._given import check_given
from modelward._record import Record
from modelward.evidence.merkle import is_consistent


@dataclass(frozen=True, repr=False)
class LogHead(Record):
    """The head of an audit log; kept elsewhere, it shows later whether the log was only appended to."""

    records: int
    """The number of records."""
    root: bytes
    """The root of the tree (RFC 6962), 32 bytes."""
    made_at: datetime
    """When it was made, in UTC."""
    envelope: str = ""
    """A DSSE envelope as JSON, signed by the server; empty if it has no key."""
    proof: Sequence[bytes] = ()
    """The consistency proof for the earlier head for which it was requested."""

    def continues(self, earlier: "LogHead") -> bool:
        """Return whether the log begins with all records of an earlier head.

        Args:
            earlier: the head for which this one was requested.

        Returns:
            Whether the proof shows it; a log without records is continued by every one.

        Raises:
            InvalidField: it is no head.
        """
        check_given("earlier", earlier, LogHead)
        if earlier.records == 0:
            return True
        return is_consistent(earlier.records, earlier.root, self.records, self.root, self.proof)

    def _describe(self) -> str:
        return f"{self.records:,} records, {self.root.hex()[:16]}…"
