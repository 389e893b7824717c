"""The report as CSV: a row for each model, or a row for each event."""

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime

from modelward.findings import FindingSeverity
from modelward.shared.csv_cells import harmless
from modelward_server.lifecycle.model_years.model_year import EventKind, ModelYear, ProductionSpan, YearEvent
from modelward_server.lifecycle.model_years.report_period import ReportPeriod
from modelward_server.reports.inventory.summary import POLICIES

BETWEEN = "; "
"""What stands between the texts of a list in one cell."""

Column = Callable[[ModelYear, ReportPeriod], object]


def _count(*kinds: EventKind) -> Column:
    return lambda year, _: sum(event.kind in kinds for event in year.events)


def _stated(name: str) -> Column:
    return lambda year, _: getattr(year.inventory, name)


def _scope(name: str) -> Column:
    return lambda year, _: getattr(year.inventory.scope, name)


MODEL_COLUMNS: Mapping[str, Column] = {
    "model": lambda year, _: year.model,
    "since": lambda _, period: period.since,
    "as_of": lambda _, period: period.as_of,
    "tier": _stated("tier"),
    "owners": _stated("owners"),
    "accountable_manager": _stated("accountable_manager"),
    "purpose": _stated("purpose"),
    "regions": _scope("regions"),
    "asset_classes": _scope("asset_classes"),
    "instruments": _scope("instruments"),
    "venues": _scope("venues"),
    "desks": _scope("desks"),
    "portfolios": _scope("portfolios"),
    "restrictions": _stated("restrictions"),
    "limits": _stated("limits"),
    "assumptions": _stated("assumptions"),
    "weaknesses": _stated("weaknesses"),
    "depends_on": _stated("depends_on"),
    "inventory_recorded": lambda year, _: year.inventory_recorded,
    "missing_fields": lambda year, _: year.missing_fields,
    "version_in_production": lambda year, _: year.production.version if year.production else None,
    "versions": lambda year, _: [_span_text(span) for span in year.spans],
    "promotions": _count(EventKind.PROMOTION),
    "promotions_without_approval": lambda year, _: sum(
        event.kind is EventKind.PROMOTION and bool(event.exception) for event in year.events
    ),
    "rollbacks": _count(EventKind.ROLLBACK),
    "policy_changes": _count(*POLICIES),
    "inventory_changes": _count(EventKind.INVENTORY),
    "halts": lambda year, _: len(year.halts),
    "halted_seconds": lambda year, period: sum(int(one.duration(period.end).total_seconds()) for one in year.halts),
    "halted_at_end": lambda year, _: any(one.until is None for one in year.halts),
    "findings_opened": lambda year, period: sum(one.opened_at >= period.start for one in year.findings),
    "findings_closed": lambda year, _: sum(one.closed_at is not None for one in year.findings),
    "findings_open": lambda year, _: len(year.open_findings),
    "findings_overdue": lambda year, period: sum(one.is_overdue(period.at) for one in year.findings),
    "worst_open_finding": lambda year, _: _worst(year),
    "reviews": lambda year, _: len(year.reviews),
    "last_reviewed_at": lambda year, _: year.review.due.last_reviewed_at if year.review else None,
    "next_review": lambda year, _: year.review.next.date() if year.review else None,
    "review_due": lambda year, _: year.review_is_due,
    "review_overdue": lambda year, _: year.review_is_overdue,
    "review_reasons": lambda year, _: [one.summary for one in year.review.due.reasons] if year.review else [],
    "drills": lambda year, _: len(year.drills_of_engines),
    "last_drill_at": lambda year, _: year.drills_of_engines[-1].started_at if year.drills_of_engines else None,
    "last_drill_proven": lambda year, _: year.drills_of_engines[-1].proven if year.drills_of_engines else None,
    "last_drill_not_proven": lambda year, _: year.drills_of_engines[-1].not_proven if year.drills_of_engines else None,
    "longest_drill_seconds": lambda year, _: _longest(year),
    "drift_alarms": lambda year, _: year.drift_alarms,
    "performance_alarms": lambda year, _: year.performance_alarms,
    "retraining_jobs": lambda year, _: year.retraining_jobs,
}
"""The columns of the file with a row for each model, and how each is filled."""

EVENT_COLUMNS: Mapping[str, Callable[[str, YearEvent], object]] = {
    "model": lambda model, _: model,
    "version": lambda _, event: event.version or None,
    "time": lambda _, event: event.at,
    "record": lambda _, event: event.record,
    "kind": lambda _, event: event.kind,
    "actor": lambda _, event: event.actor,
    "what": lambda _, event: event.what,
    "reason": lambda _, event: event.reason,
    "exception": lambda _, event: event.exception,
}
"""The columns of the file with a row for each event, and how each is filled."""


def write_models(period: ReportPeriod, pages: Iterable[Sequence[ModelYear]]) -> Iterator[str | None]:
    """Yield a row for each model, below the names of the columns, and None after each page of models."""
    yield _lines([list(MODEL_COLUMNS)])
    for years in pages:
        yield _lines([column(year, period) for column in MODEL_COLUMNS.values()] for year in years)
        yield None


def write_events(pages: Iterable[Sequence[ModelYear]]) -> Iterator[str | None]:
    """Yield a row for each event, by model and record, below the names of the columns, and None after each page."""
    yield _lines([list(EVENT_COLUMNS)])
    for years in pages:
        events = ((year.model, event) for year in years for event in year.events)
        yield _lines([column(*one) for column in EVENT_COLUMNS.values()] for one in events)
        yield None


def _lines(rows: Iterable[Sequence[object]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows(map(_cell, row) for row in rows)
    return text.getvalue()


def _cell(value: object) -> object:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return value
    if isinstance(value, list | tuple):
        return harmless(BETWEEN.join(value))
    return harmless(_text(value))


def _text(value: object) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, date):
        return value.isoformat()
    return "" if value is None else str(value)


def _span_text(span: ProductionSpan) -> str:
    until = span.until.astimezone(UTC).isoformat() if span.until else "end"
    return f"{span.version} from {span.since.astimezone(UTC).isoformat()} until {until} by {span.actor}"


def _longest(year: ModelYear) -> float | None:
    """Return the longest time in seconds after which an engine answered a drill; None without an answer."""
    return max((one.longest.total_seconds() for one in year.drills if one.longest is not None), default=None)


def _worst(year: ModelYear) -> str:
    found = {finding.severity for finding in year.open_findings}
    return next((severity for severity in reversed(FindingSeverity) if severity in found), "")
