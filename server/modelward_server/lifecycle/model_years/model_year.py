"""Dataclasses of a report: what is on record about a model in a year."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from modelward.drills import Drill
from modelward.findings import Finding, FindingState
from modelward.governance import Approval
from modelward.inventory import Inventory, InventoryScope
from modelward.reviews import Review, ReviewTrigger
from modelward_server.lifecycle.due_reviews import ReviewState

ASKED_FIELDS = ("owners", "accountable_manager", "purpose", "tier", "scope", "limits", "weaknesses")
"""The fields of an inventory that the rules ask for of every model; the others may be empty since there is nothing."""


class EventKind(StrEnum):
    """What kind of event it is."""

    PROMOTION = "promotion"
    ROLLBACK = "rollback"
    LEFT_PRODUCTION = "left_production"
    PROMOTION_POLICY = "promotion_policy"
    DRIFT_POLICY = "drift_policy"
    RETRAINING_POLICY = "retraining_policy"
    INVENTORY = "inventory"
    APPROVAL = "approval"
    HALT = "halt"
    RESUME = "resume"
    FINDING = "finding"
    REVIEW = "review"
    DRILL = "drill"


CHANGES = (
    EventKind.PROMOTION,
    EventKind.ROLLBACK,
    EventKind.LEFT_PRODUCTION,
    EventKind.PROMOTION_POLICY,
    EventKind.DRIFT_POLICY,
    EventKind.RETRAINING_POLICY,
    EventKind.INVENTORY,
)
"""The kinds of events that change the model."""


@dataclass(frozen=True)
class YearEvent:
    """Something that happened to a model, with the number of its record in the audit log."""

    record: int
    at: datetime
    kind: EventKind
    version: int
    """0 for the model."""
    actor: str
    what: str
    reason: str = ""
    exception: str = ""
    """Why somebody has to look at it afterwards; empty if nobody has."""


@dataclass(frozen=True)
class ProductionSpan:
    """A span of time in which a version was in production."""

    version: int
    entered: int
    """The record of its entry."""
    since: datetime
    until: datetime | None
    """None if it still was at the end of the period."""
    actor: str
    reason: str
    is_rollback: bool


@dataclass(frozen=True)
class HaltSpan:
    """A span of time in which a model was halted."""

    since: datetime
    halted_by: str
    reasons: tuple[str, ...]
    """The reason, and those for which it was halted again meanwhile."""
    until: datetime | None = None
    """None if it still was at the end of the period."""
    resumed_by: str = ""
    resume_reason: str = ""

    def duration(self, end: datetime) -> timedelta:
        """Return how long it lasted, at most until an instant, in whole seconds."""
        return timedelta(seconds=round(((self.until or end) - self.since).total_seconds()))

    def again(self, reason: str) -> "HaltSpan":
        """Return it with the reason for which the model was halted again meanwhile."""
        return replace(self, reasons=(*self.reasons, reason))

    def ended(self, at: datetime, by: str, reason: str) -> "HaltSpan":
        """Return it with its end."""
        return replace(self, until=at, resumed_by=by, resume_reason=reason)


@dataclass(frozen=True)
class ModelYear:
    """What is on record about a model in a period, as it stood at its end."""

    model: str
    inventory: Inventory
    inventory_recorded: bool
    """False if the last record of the model then has no inventory, since an older release wrote it."""
    spans: Sequence[ProductionSpan]
    """Those that overlap the period."""
    events: Sequence[YearEvent]
    """Those of the period, in the order of their records."""
    approvals: Sequence[Approval]
    """The requests that were made, decided, withdrawn or used in the period."""
    halts: Sequence[HaltSpan]
    """Those that overlap the period."""
    findings: Sequence[Finding]
    """Those that were open at some time of the period."""
    reviews: Sequence[Review]
    """Those of the period."""
    review: ReviewState | None
    """Whether its review was due at the end; None if it was not in production then."""
    drills: Sequence[Drill]
    """Those that started in the period."""
    drift_alarms: int
    performance_alarms: int
    retraining_jobs: int
    """The jobs that were requested in the period."""

    @property
    def production(self) -> ProductionSpan | None:
        """What was in production at the end."""
        return next((span for span in self.spans if span.until is None), None)

    @property
    def changes(self) -> list[YearEvent]:
        return [event for event in self.events if event.kind in CHANGES]

    @property
    def exceptions(self) -> list[YearEvent]:
        """What somebody has to look at afterwards."""
        return [event for event in self.events if event.exception]

    @property
    def open_findings(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.state is FindingState.OPEN]

    @property
    def drills_of_engines(self) -> list[Drill]:
        """The drills in which an engine was running; the others prove nothing."""
        return [drill for drill in self.drills if drill.engines]

    @property
    def missing_fields(self) -> list[str]:
        """The fields of the inventory that the rules ask for, and that were empty."""
        empty = ((), "", None, InventoryScope())
        return [name.replace("_", " ") for name in ASKED_FIELDS if getattr(self.inventory, name) in empty]

    @property
    def review_is_due(self) -> bool:
        return self.review is not None and bool(self.review.due.reasons)

    @property
    def review_is_overdue(self) -> bool:
        """Whether the day of its review had passed; a review may be due for other reasons, too."""
        reasons = self.review.due.reasons if self.review else ()
        return any(reason.trigger is ReviewTrigger.DATE for reason in reasons)
