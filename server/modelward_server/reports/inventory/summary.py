"""What a report says at its top: totals over its models, and a line for each of them."""

from collections import Counter
from dataclasses import dataclass, field

from modelward_server.lifecycle.model_years.model_year import EventKind, ModelYear
from modelward_server.lifecycle.model_years.report_period import ReportPeriod

POLICIES = (EventKind.PROMOTION_POLICY, EventKind.DRIFT_POLICY, EventKind.RETRAINING_POLICY)


@dataclass(frozen=True)
class ModelLine:
    """The line of a model in the table of contents: it is kept for every model until the page is drawn."""

    model: str
    tier: int | None
    version: int
    """The version in production at the end; 0 if none."""
    changes: int
    exceptions: int
    halts: int
    open_findings: int
    overdue_findings: int
    review_is_due: bool
    review_is_overdue: bool
    missing_fields: tuple[str, ...]
    drills: int


def model_line(year: ModelYear, period: ReportPeriod) -> ModelLine:
    """Return the line of a model."""
    return ModelLine(
        model=year.model,
        tier=year.inventory.tier,
        version=year.production.version if year.production else 0,
        changes=len(year.changes),
        exceptions=len(year.exceptions),
        halts=len(year.halts),
        open_findings=len(year.open_findings),
        overdue_findings=sum(finding.is_overdue(period.at) for finding in year.findings),
        review_is_due=year.review_is_due,
        review_is_overdue=year.review_is_overdue,
        missing_fields=tuple(year.missing_fields),
        drills=len(year.drills_of_engines),
    )


@dataclass
class Summary:
    """Totals over the models of a report."""

    lines: list[ModelLine] = field(default_factory=list)
    events: Counter[str] = field(default_factory=Counter)
    """The number of events of each kind."""

    def add(self, year: ModelYear, period: ReportPeriod) -> None:
        """Add a model."""
        self.lines.append(model_line(year, period))
        self.events.update(event.kind for event in year.events)

    @property
    def tiers(self) -> list[tuple[str, int]]:
        """The number of models of each tier that has some, the most material first."""
        counts = Counter(line.tier for line in self.lines)
        assessed = [(f"tier {tier}", counts[tier]) for tier in sorted(filter(None, counts))]
        return assessed + ([("not assessed", counts[None])] if counts[None] else [])

    def total(self, name: str) -> int:
        """Return the sum of a number, or the number of models of which a statement holds."""
        return sum(getattr(line, name) for line in self.lines)

    @property
    def in_production(self) -> int:
        """The number of models that were in production at the end."""
        return sum(line.version > 0 for line in self.lines)

    @property
    def without_fields(self) -> int:
        """The number of models whose inventory lacks a field that the rules ask for."""
        return sum(bool(line.missing_fields) for line in self.lines)

    @property
    def without_drill(self) -> int:
        """The number of models without a drill in which an engine was running."""
        return sum(not line.drills for line in self.lines)

    @property
    def policy_changes(self) -> int:
        return sum(self.events[kind] for kind in POLICIES)
