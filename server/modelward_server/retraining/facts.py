"""Gathers from the ledger what the triggers look at, and says which models are due."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from modelward.lifecycle import Stage, VersionRef
from modelward.retraining import DueModel, DueReason, Job, OnDrift, OnPerformance, Trigger
from modelward_server.drift.observing import standing_drift_alarm
from modelward_server.drift.performance_alarms import standing_alarm
from modelward_server.drift.reports import latest_report
from modelward_server.lifecycle.rows import model_row
from modelward_server.retraining.due import Declined, Facts, Measured, Reported, by_age, due_reasons, merged
from modelward_server.retraining.records import last_end, latest_job, open_job, to_schedule
from modelward_server.store.retraining_tables import JobRow, ScheduleRow
from modelward_server.store.tables import MetricRow, VersionRow


def due_models(session: Session, model: str, now: datetime) -> list[DueModel]:
    """Return the models that are due at `now`, the longest due first.

    Args:
        model: only this one; empty for all.

    Raises:
        ModelNotFound: there is no such model.
    """
    if model:
        model_row(session, model)
    found = (due_model(session, name, now) for name in ([model] if model else _candidates(session)))
    return sorted((due for due in found if due is not None), key=lambda due: (due.due_since, due.model))


def due_model(session: Session, model: str, now: datetime) -> DueModel | None:
    """Return why a model is due at `now`: what its schedules see, and what its open job was made for."""
    schedules = [to_schedule(row) for row in session.scalars(select(ScheduleRow).where(ScheduleRow.model == model))]
    facts = gather(session, model, [trigger for schedule in schedules for trigger in schedule.triggers], now)
    seen = by_age(reason for schedule in schedules for reason in due_reasons(schedule, facts, now))
    job = open_job(latest_job(session, model), now)
    reasons = merged(job.reasons, seen) if job else seen
    return _due(model, facts, reasons, job) if reasons else None


def gather(session: Session, model: str, triggers: Sequence[Trigger], now: datetime) -> Facts:
    """Gather what the triggers look at; what none of them needs is not read."""
    row, in_production = _trained_version(session, model)
    ended = last_end(session, model, now)
    trained_at = max((at for at in (row.created_at if row else None, ended) if at), default=None)
    if row is None or not in_production:
        return Facts(version=0, trained_at=trained_at)
    since = max(row.created_at, ended) if ended else row.created_at
    keys = {trigger.metric for trigger in triggers if isinstance(trigger, OnPerformance)}
    return Facts(
        version=row.version,
        trained_at=trained_at,
        report=_report(session, row, since) if any(isinstance(one, OnDrift) for one in triggers) else None,
        measured={key: found for key in keys if (found := _measured(session, row, key, since))},
        registered=_registered(session, row) if keys else {},
        declined=_declined(session, row, since) if keys else {},
    )


def _candidates(session: Session) -> Iterator[str]:
    """Yield the models that may be due: those with a schedule, and those with an open job."""
    scheduled = select(ScheduleRow.model).where(ScheduleRow.paused.is_(False))
    open_jobs = select(JobRow.model).where(JobRow.state.in_(["pending", "leased"]))
    yield from session.scalars(scheduled.union(open_jobs))


def _due(model: str, facts: Facts, reasons: tuple[DueReason, ...], job: Job | None) -> DueModel:
    return DueModel(
        model=model,
        version=facts.version,
        due_since=reasons[0].since,
        last_trained_at=facts.trained_at,
        reasons=reasons,
        job_id=job.job_id if job else "",
        job_state=job.state if job else None,
    )


def _trained_version(session: Session, model: str) -> tuple[VersionRow | None, bool]:
    """Return the version in production, or else the newest one, and whether it is in production."""
    versions = select(VersionRow).where(VersionRow.model == model)
    production = session.scalar(versions.where(VersionRow.stage == Stage.PRODUCTION))
    if production is not None:
        return production, True
    return session.scalar(versions.order_by(VersionRow.version.desc()).limit(1)), False


def _report(session: Session, row: VersionRow, since: datetime) -> Reported | None:
    if standing := standing_drift_alarm(session, VersionRef(row.model, row.version)):
        alarm, raised_at = standing
        if raised_at > since:
            return Reported(alarm.report_id, raised_at, alarm.score, detected=True)
    report = latest_report(session, row.model, row.version)
    if report is None or report.created_at <= since:
        return None
    return Reported(report.report_id, report.created_at, report.score, report.drift_detected)


def _measured(session: Session, row: VersionRow, key: str, since: datetime) -> Measured | None:
    """Return the latest value of a metric, if it was measured after `since`."""
    query = _metrics(row).where(MetricRow.key == key).order_by(MetricRow.measured_at.desc(), MetricRow.id.desc())
    latest = session.scalar(query.limit(1))
    if latest is None or latest.measured_at <= since:
        return None
    return Measured(latest.value, latest.measured_at)


def _registered(session: Session, row: VersionRow) -> Mapping[str, float]:
    found = session.scalars(_metrics(row).where(MetricRow.measured_at == row.created_at).order_by(MetricRow.id.desc()))
    return {metric.key: metric.value for metric in found}


def _declined(session: Session, row: VersionRow, since: datetime) -> Mapping[str, Declined]:
    found = standing_alarm(session, VersionRef(row.model, row.version), since)
    if found is None:
        return {}
    alarm, raised_at = found
    return {alarm.metric: Declined(alarm.value, alarm.baseline, raised_at)}


def _metrics(row: VersionRow) -> Select[MetricRow]:
    return select(MetricRow).where(MetricRow.model == row.model, MetricRow.version == row.version)
