"""Gathers from the ledger what the schedules look at, and says which models are due."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy import Select, func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from modelward.lifecycle import Stage, VersionRef
from modelward.retraining import DueModel, DueReason, OnDrift, OnPerformance, Schedule
from modelward_server.drift.live_monitoring import active_drift_alarm
from modelward_server.drift.performance_alarms import active_performance_alarm
from modelward_server.drift.reports import latest_report
from modelward_server.lifecycle.repository import model_row
from modelward_server.retraining.clock import spell
from modelward_server.retraining.repository import last_end, latest_job, open_job, plans_of
from modelward_server.retraining.schedule_evaluation import Verdict, decide, unforeseen
from modelward_server.retraining.triggers import Declined, Facts, Measured, Reported, merged
from modelward_server.storage.drift_tables import DriftReportRow, ReferenceRow
from modelward_server.storage.monitoring_tables import ObservedRowsRow
from modelward_server.storage.prepared import Outdated
from modelward_server.storage.retraining_tables import JobRow, ScheduleRow
from modelward_server.storage.tables import AuditRow, MetricRow, VersionRow


def due_models(session: Session, model: str, now: datetime) -> list[DueModel]:
    """Return the models that are due at `now`, the longest due first.

    Args:
        model: only this one; empty for all.

    Raises:
        ModelNotFound: there is no such model.
    """
    if model:
        model_row(session, model)
    found = (_due_or_problem(session, name, now) for name in ([model] if model else list(_candidates(session))))
    return sorted((due for due in found if due is not None), key=lambda due: (due.due_since, due.model))


def due_model(session: Session, model: str, now: datetime) -> DueModel | None:
    """Return why a model is due at `now`: the firings that nobody decided yet, and what its open job was made for.

    So it does not matter whether a server has made the job already. A model whose schedules cannot tell has problems
    and no reasons.
    """
    found = look(session, model, now)
    facts, verdict = found.facts, found.verdict
    reasons = merged(facts.job.reasons, verdict.reasons) if facts.job else verdict.reasons
    return _due(session, model, facts, reasons, verdict, now) if reasons or verdict.problems else None


def _due_or_problem(session: Session, model: str, now: datetime) -> DueModel | None:
    """Return why a model is due; a model that cannot be looked at is shown with that, and hides no other."""
    try:
        return due_model(session, model, now)
    except SQLAlchemyError:
        raise  # Of the database as a whole, and not of this model.
    except Exception as error:
        problem = unforeseen("", 0, now, error, f"the schedules of {model}")
        return DueModel(model, 0, now, None, (), "", None, None, None, problem.summary, (problem,))


@dataclass(frozen=True)
class Look:
    """What is known of a model, and what its firings up to a time do that nobody decided yet."""

    at: datetime
    facts: Facts
    verdict: Verdict
    newest: tuple[int, str]
    """The last record about the model, and its newest drift report, which has none."""

    def check(self, session: Session, model: str, job_id: str) -> None:
        """Refuse it once anything about the model has changed.

        Args:
            job_id: of the job that is open now; empty for none.

        Raises:
            Outdated: it must be looked at again.
        """
        if (self.facts.job.job_id if self.facts.job else "", self.newest) != (job_id, _newest(session, model)):
            raise Outdated


def look(session: Session, model: str, now: datetime) -> Look:
    """Decide what the firings of a model up to `now` do that nobody decided yet."""
    plans, unreadable = plans_of(session, model)
    facts = gather(session, model, [plan.schedule for plan in plans], now)
    verdict = decide(plans, facts, now)
    verdict = replace(verdict, problems=(*unreadable, *verdict.problems))
    return Look(now, facts, verdict, _newest(session, model))


def _newest(session: Session, model: str) -> tuple[int, str]:
    record = select(func.max(AuditRow.sequence)).where(AuditRow.model == model)
    report = select(DriftReportRow.report_id).where(DriftReportRow.model == model)
    newest = report.order_by(DriftReportRow.created_at.desc(), DriftReportRow.report_id.desc()).limit(1)
    return session.scalar(record) or 0, session.scalar(newest) or ""


def gather(session: Session, model: str, schedules: Sequence[Schedule], now: datetime) -> Facts:
    """Gather what the schedules look at; what none of them needs is not read."""
    row, in_production = _trained_version(session, model)
    ended = last_end(session, model, now)
    known = Facts(
        trained_at=max((at for at in (row.created_at if row else None, ended) if at), default=None),
        job=open_job(latest_job(session, model), now),
        ended_at=ended,
        jobs_made=_jobs_made(session, model, now) if any(one.policy.jobs_per_day for one in schedules) else (),
    )
    return _looked_at(session, row, known, schedules) if row is not None and in_production else known


def _looked_at(session: Session, row: VersionRow, known: Facts, schedules: Sequence[Schedule]) -> Facts:
    """Add what triggers look at of the version in production."""
    since = max(row.created_at, known.ended_at) if known.ended_at else row.created_at
    triggers = [trigger for schedule in schedules for trigger in schedule.triggers]
    keys = {trigger.metric for trigger in triggers if isinstance(trigger, OnPerformance)}
    return replace(
        known,
        version=row.version,
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


def _due(
    session: Session, model: str, facts: Facts, reasons: tuple[DueReason, ...], verdict: Verdict, now: datetime
) -> DueModel:
    job, newest = facts.job, _newest_data(session, model)
    said = [*(reason.summary for reason in reasons), *(problem.summary for problem in verdict.problems)]
    ages = (("last trained", facts.trained_at), ("newest data", newest))
    return DueModel(
        model=model,
        version=facts.version,
        due_since=reasons[0].since if reasons else min(one.since for one in verdict.problems),
        last_trained_at=facts.trained_at,
        reasons=reasons,
        job_id=job.job_id if job else "",
        job_state=job.state if job else None,
        newest_data_at=newest,
        data_age=None if newest is None else max(now - newest, timedelta(0)),
        summary="; ".join([*said, *(f"{what} {_ago(now - at)}" for what, at in ages if at)]),
        problems=verdict.problems,
    )


def _ago(span: timedelta) -> str:
    """Put an age into words, without what is too small to matter beside it."""
    unit = timedelta(days=1) if span >= timedelta(days=1) else timedelta(seconds=1)
    return f"{spell(max(span, timedelta(0)) // unit * unit)} ago"


def _newest_data(session: Session, model: str) -> datetime | None:
    """Return the newest of a version's registration, its references and its live rows."""
    row, _ = _trained_version(session, model)
    if row is None:
        return None
    times = [row.created_at]
    observed = DriftReportRow.observed.is_(True)
    for table, at, also in (
        (ReferenceRow, ReferenceRow.created_at, []),
        (ObservedRowsRow, ObservedRowsRow.seen_at, []),
        (DriftReportRow, DriftReportRow.created_at, [observed]),
    ):
        of_version = (table.model == row.model, table.version == row.version)
        times += filter(None, [session.scalar(select(func.max(at)).where(*of_version, *also))])
    return max(times)


def _jobs_made(session: Session, model: str, now: datetime) -> tuple[datetime, ...]:
    """Return when the jobs of the last two days were made: enough to know those of one day in any zone."""
    made = select(JobRow.created_at).where(JobRow.model == model, JobRow.created_at > now - timedelta(days=2))
    return tuple(session.scalars(made))


def _trained_version(session: Session, model: str) -> tuple[VersionRow | None, bool]:
    """Return the version in production, or else the newest one, and whether it is in production."""
    versions = select(VersionRow).where(VersionRow.model == model)
    production = session.scalar(versions.where(VersionRow.stage == Stage.PRODUCTION))
    if production is not None:
        return production, True
    return session.scalar(versions.order_by(VersionRow.version.desc()).limit(1)), False


def _report(session: Session, row: VersionRow, since: datetime) -> Reported | None:
    if standing := active_drift_alarm(session, VersionRef(row.model, row.version)):
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
    found = active_performance_alarm(session, VersionRef(row.model, row.version), since)
    if found is None:
        return {}
    alarm, raised_at = found
    return {alarm.metric: Declined(alarm.value, alarm.baseline, raised_at)}


def _metrics(row: VersionRow) -> Select[MetricRow]:
    return select(MetricRow).where(MetricRow.model == row.model, MetricRow.version == row.version)
