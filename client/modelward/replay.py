"""Replays: comparisons on rows that live monitoring saw, with the labels that were recorded since."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from modelward._record import Record


@dataclass(frozen=True, repr=False)
class Replay(Record):
    """The rows of live monitoring on which versions are compared."""

    since: timedelta
    """Rows that were seen in this duration up to now."""
    model: str = ""
    """The model whose versions saw them, one of those compared; by default that of the baseline, or the only one."""
    version: int = 0
    """The version that saw them; 0 for any version of the model."""


@dataclass(frozen=True, repr=False)
class ReplayedRows(Record):
    """The rows of live monitoring on which versions were compared, and which were left out."""

    model: str
    """The model whose versions saw them."""
    version: int
    """The version that saw them; 0 for any version of the model."""
    since: datetime
    """Begin of the time in which they were seen, in UTC."""
    until: datetime
    """Its end, when they were read, in UTC."""
    first_seen_at: datetime
    """When the first of those in the test set were seen, in UTC."""
    last_seen_at: datetime
    """When the last of those in the test set were seen, in UTC."""
    seen: int
    """Number of all rows that were seen in this time."""
    without_id: int = 0
    """Number of these that were left out because they have no id."""
    without_label: int = 0
    """Number of these that were left out because no label was recorded for their id."""
    repeated: int = 0
    """Number of these that were left out because a row with their id, or with their time and group, was seen before."""

    @property
    def rows(self) -> int:
        """Number of rows in the test set."""
        return self.seen - self.without_id - self.without_label - self.repeated

    @property
    def summary(self) -> str:
        """The rows in one sentence."""
        who = f"{self.model}/{self.version}" if self.version else self.model
        seen = f"replayed {self.rows:,} of {self.seen:,} rows that {who} saw since {self.since:%Y-%m-%d %H:%M}"
        reach = f"seen from {self.first_seen_at:%Y-%m-%d %H:%M} to {self.last_seen_at:%Y-%m-%d %H:%M} UTC"
        counts = ((self.without_id, "without an id"), (self.without_label, "without a label"), (self.repeated, "again"))
        out = ", ".join(f"{count:,} {why}" for count, why in counts if count)
        return f"{seen}, {reach}" + (f"; left out: {out}" if out else "")
