"""Drift and performance of all versions in production, each read by one query."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import and_, func, or_, select
from sqlalchemy.orm import Session, aliased

from modelward.lifecycle import DriftAlarm, PerformanceAlarm, VersionRef
from modelward.overview import DriftPoint
from modelward_server.drift.performance_alarms import to_alarm
from modelward_server.drift.reports import ReportSummary
from modelward_server.lifecycle.repository import IN_PRODUCTION
from modelward_server.storage.drift_tables import DriftReportRow
from modelward_server.storage.monitoring_tables import ObserverRow
from modelward_server.storage.outcome_tables import EPOCH, JudgedPeriodRow
from modelward_server.storage.paging import is_listed
from modelward_server.storage.retraining_tables import ScheduleRow
from modelward_server.storage.tables import VersionRow


def latest_reports(session: Session, prefix: str) -> dict[str, ReportSummary]:
    """Return the result of `reports.latest_report` for versions in production, by model.

    Only of those whose newest report detected drift, and of models with a schedule, for which the score may count: of
    others it has no effect.
    """
    newest = aliased(DriftReportRow)
    report_id = (
        select(newest.report_id)
        .where(newest.model == VersionRow.model, newest.version == VersionRow.version, newest.observed.is_(False))
        .order_by(newest.created_at.desc(), newest.report_id.desc())
        .limit(1)
        .scalar_subquery()
    )
    table = DriftReportRow
    scheduled = VersionRow.model.in_(select(ScheduleRow.model).where(ScheduleRow.paused.is_(False)))
    rows = (
        select(table.model, table.report_id, table.created_at, table.drift_detected, table.score)
        .select_from(VersionRow)
        .join(table, table.report_id == report_id)
        .where(IN_PRODUCTION, is_listed(VersionRow.model, prefix), or_(table.drift_detected, scheduled))
    )
    return {
        model: ReportSummary(report_id, created_at, detected, score)
        for model, report_id, created_at, detected, score in session.execute(rows)
    }


def active_drift_alarms(session: Session, prefix: str) -> dict[str, tuple[DriftAlarm, datetime]]:
    """Return the result of `live_monitoring.active_drift_alarm` for each version in production that has one."""
    own = and_(ObserverRow.model == VersionRow.model, ObserverRow.version == VersionRow.version)
    rows = (
        select(ObserverRow.model, ObserverRow.version, ObserverRow.alarm_report, ObserverRow.alarm_score)
        .add_columns(ObserverRow.alarm_since)
        .select_from(VersionRow)
        .join(ObserverRow, own)
        .where(IN_PRODUCTION, is_listed(VersionRow.model, prefix), ObserverRow.alarm_report != "")
        .order_by(ObserverRow.alarm_since)
    )
    return {
        model: (DriftAlarm(VersionRef(model, version), report, score), since)
        for model, version, report, score, since in session.execute(rows)
        if since is not None
    }


def performance_alarms(session: Session, prefix: str) -> dict[str, tuple[PerformanceAlarm, datetime]]:
    """Return the alarm of the period tested last, and when it was raised, of each version in production; by model."""
    newest = aliased(JudgedPeriodRow)
    of_version = and_(newest.model == VersionRow.model, newest.version == VersionRow.version)
    judged_at = select(func.max(newest.judged_at)).where(of_version).scalar_subquery()
    table = JudgedPeriodRow
    rows = (
        select(table)
        .select_from(VersionRow)
        .join(table, and_(table.model == VersionRow.model, table.version == VersionRow.version))
        .where(IN_PRODUCTION, is_listed(VersionRow.model, prefix), table.judged_at == judged_at)
        .order_by(table.starts_at)
    )
    last = {row.model: row for row in session.scalars(rows)}
    return {model: (to_alarm(row), row.judged_at) for model, row in last.items() if row.declined}


def recent_scores(session: Session, models: Sequence[str], number: int) -> dict[str, tuple[DriftPoint, ...]]:
    """Return the last drift reports of the versions in production of these models, the oldest first; by model."""
    newer = aliased(DriftReportRow)
    # A lower bound, and not a window function, which would read all reports of a version.
    oldest = (
        select(newer.created_at)
        .where(newer.model == VersionRow.model, newer.version == VersionRow.version)
        .order_by(newer.created_at.desc())
        .offset(number - 1)
        .limit(1)
        .scalar_subquery()
    )
    table = DriftReportRow
    rows = (
        select(table.model, table.report_id, table.score, table.drift_detected, table.created_at)
        .select_from(VersionRow)
        .join(table, and_(table.model == VersionRow.model, table.version == VersionRow.version))
        .where(IN_PRODUCTION, VersionRow.model.in_(models), table.created_at >= func.coalesce(oldest, EPOCH))
        .order_by(table.model, table.created_at, table.report_id)
    )
    found: dict[str, list[DriftPoint]] = defaultdict(list)
    for model, report_id, score, detected, created_at in session.execute(rows):
        found[model].append(DriftPoint(report_id, score, detected, created_at))
    return {model: tuple(points[-number:]) for model, points in found.items()}
