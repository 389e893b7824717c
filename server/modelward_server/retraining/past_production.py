"""The versions that were in production at past times, and when their reports and metrics met a condition."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from sqlalchemy import ColumnElement, and_, func, or_, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from modelward.lifecycle import Stage
from modelward.retraining import OnDrift, OnPerformance
from modelward_server.retraining.clock_firings import BEGINNING
from modelward_server.retraining.schedule_inputs import metrics_at_registration
from modelward_server.retraining.schedule_policy import END_OF_TIME
from modelward_server.retraining.triggers import threshold_of
from modelward_server.storage.audit import Kind
from modelward_server.storage.drift_tables import DriftReportRow
from modelward_server.storage.outcome_tables import JudgedPeriodRow
from modelward_server.storage.tables import AuditRow, MetricRow, TransitionRow, VersionRow


@dataclass(frozen=True)
class Tenure:
    """A period in which one version was in production."""

    row: VersionRow
    since: datetime
    until: datetime


def tenures(session: Session, model: str) -> list[Tenure]:
    """Return the periods in which versions of a model were in production, in order.

    The first begins before the version entered production: its earlier reports are the only ones that there are.
    """
    move, production = TransitionRow, Stage.PRODUCTION.value
    entered_or_left = or_(move.to_stage == production, and_(move.from_stage == production, move.displaced_by == 0))
    moves = list(session.scalars(select(move).where(move.model == model, entered_or_left).order_by(move.sequence)))
    ends = [*(one.moved_at for one in moves), END_OF_TIME][1:]
    found = [
        Tenure(session.get_one(VersionRow, (model, one.version)), one.moved_at, end)
        for one, end in zip(moves, ends, strict=False)
        if one.to_stage == production
    ]
    return [Tenure(found[0].row, BEGINNING, found[0].until), *found[1:]] if found else []


def next_met(session: Session, trigger: OnDrift | OnPerformance, tenure: Tenure, after: datetime) -> datetime | None:
    """Return the first time after `after` at which a report, an alarm or a metric of a tenure met a condition."""
    met = _drifts(trigger, tenure.row) if isinstance(trigger, OnDrift) else _declines(session, trigger, tenure.row)
    within = ((at, [at > after, at >= tenure.since, at < tenure.until, *conditions]) for at, conditions in met)
    times = (session.scalar(select(func.min(at)).where(*conditions)) for at, conditions in within)
    return min((at for at in times if at), default=None)


_Times: TypeAlias = tuple[InstrumentedAttribute[datetime], list[ColumnElement[bool]]]
"""A column of times, and which of its rows meet a condition."""


def _drifts(trigger: OnDrift, row: VersionRow) -> Iterator[_Times]:
    table, alarm = DriftReportRow, AuditRow
    drifted = table.drift_detected.is_(True) if trigger.min_score is None else table.score >= trigger.min_score
    of_version = [table.model == row.model, table.version == row.version]
    yield table.created_at, [*of_version, table.observed.is_(False), drifted]
    of_version = [alarm.model == row.model, alarm.version == row.version]
    yield alarm.happened_at, [*of_version, alarm.kind == Kind.DRIFT_ALARM]


def _declines(session: Session, trigger: OnPerformance, row: VersionRow) -> Iterator[_Times]:
    metric, period = MetricRow, JudgedPeriodRow
    threshold = threshold_of(trigger, metrics_at_registration(session, row).get(trigger.metric))
    if threshold is not None:
        is_low = trigger.bound[0] in {"below", "fallen_by"}
        beyond = metric.value <= threshold if is_low else metric.value >= threshold
        of_version = [metric.model == row.model, metric.version == row.version, metric.key == trigger.metric]
        yield metric.measured_at, [*of_version, beyond]
    of_version = [period.model == row.model, period.version == row.version, period.metric == trigger.metric]
    yield period.judged_at, [*of_version, period.declined.is_(True)]
