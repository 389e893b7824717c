"""Dataclasses of findings: what is wrong with a model, who remedies it, and how it was closed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import StrEnum

from modelward._given import check_given
from modelward._record import Record, quoted, sentence


class FindingSeverity(StrEnum):
    """How serious a finding is, from the least to the most."""

    LOW = "low"
    """It does not affect the use of the model."""
    MEDIUM = "medium"
    """It limits the use of the model."""
    HIGH = "high"
    """The model should not be used for long with it."""
    CRITICAL = "critical"
    """The model should not be used with it."""

    @property
    def and_above(self) -> tuple[FindingSeverity, ...]:
        """This severity, and those that are more serious."""
        order = tuple(FindingSeverity)
        return order[order.index(self) :]


class FindingState(StrEnum):
    """Whether a finding is open."""

    OPEN = "open"
    """It was not closed."""
    CLOSED = "closed"
    """It was closed."""


@dataclass(frozen=True, repr=False)
class Finding(Record):
    """A finding about a model, or about one of its versions."""

    finding_id: str
    """Its id, given by the server."""
    model: str
    """The model."""
    version: int
    """The number of the version; 0 for the model."""
    title: str
    """What is wrong, in a line."""
    severity: FindingSeverity
    """How serious it is."""
    owner: str
    """Who remedies it."""
    opened_by: str
    """Who opened it."""
    opened_at: datetime
    """When, in UTC."""
    description: str = ""
    """What is wrong, in detail."""
    due: date | None = None
    """The day by which it is to be remedied; None if none is set."""
    remedy: str = ""
    """The remedy that is planned; of a closed finding, the one that was made."""
    evidence: Sequence[str] = ()
    """Ids of comparisons and drift reports, and names of A/B tests, that show it."""
    closed_by: str = ""
    """Who closed it; empty while it is open."""
    closed_at: datetime | None = None
    """When, in UTC; None while it is open."""
    closing_comment: str = ""
    """What was said when it was closed."""
    former_owners: Sequence[str] = ()
    """Who owned it before; they may not close it either."""
    etag: str = ""
    """Changes with every change of the finding."""

    @property
    def state(self) -> FindingState:
        """Whether it is open."""
        return FindingState.OPEN if self.closed_at is None else FindingState.CLOSED

    @property
    def about(self) -> str:
        """The model, or the version, such as "spx-trend/3"."""
        return f"{self.model}/{self.version}" if self.version else self.model

    def is_overdue(self, now: datetime | None = None) -> bool:
        """Return whether it is open although its day has passed.

        Args:
            now: the time; now by default.

        Returns:
            Whether its day had passed then, in UTC.

        Raises:
            InvalidField: it is no datetime.
        """
        now = datetime.now(UTC) if now is None else now
        check_given("now", now, datetime)
        today = now.astimezone(UTC).date()
        return self.state is FindingState.OPEN and self.due is not None and self.due < today

    def _describe(self) -> str:
        due = f"due {self.due} from {self.owner}" if self.due else f"of {self.owner}"
        what = f"{quoted(self.finding_id)}: {self.about}, {self.severity}, {self.state}"
        return sentence(f"{what}, {due}", self.title)
