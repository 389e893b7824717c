"""Read the inputs of the schedules from the ledger, and determine which models are due."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy import Select, func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from modelward.lifecycle import Stage, VersionRef
from modelward.retraining import DueModel, DueReason, OnDrift, OnPerformance, Schedule
from modelward.shared.figures import duration
from modelward_server.drift.live_monitoring import active_drift_alarm, past_drift_alarm
from modelward_server.drift.performance_alarms import active_performance_alarm
from modelward_server.drift.reports import latest_report
from modelward_server.lifecycle.repository import model_row
from modelward_server.retraining.evaluation_windows import prepare_window
from modelward_server.retraining.repository import IS_OPEN, last_end, latest_job, open_job, plans_of, scheduled_models
from modelward_server.retraining.schedule_evaluation import FiringDecisions, decide_firings, unexpected_problem
from modelward_server.retraining.triggers import DeclineInput, DriftInput, MetricInput, ScheduleInputs, merged
from modelward_server.storage import audit
from modelward_server.storage.drift_tables import DriftReportRow, ReferenceRow
from modelward_server.storage.monitoring_tables import ObservedRowsRow
from modelward_server.storage.prepared import Outdated
from modelward_server.storage.retraining_tables import JobRow, ScheduleRow
from modelward_server.storage.tables import AuditRow, MetricRow, VersionRow


def due_models(session: Session, model: str, now: datetime) -> list[DueModel]:
    """Return the models that are due at `now`, the longest due first.

    Args:
        session: the transaction.
        model: only this model; empty for all.
        now: the time of the evaluation.

    Raises:
        ModelNotFound: the model does not exist.
    """
    if model:
        model_row(session, model)
    return _due_among(session, [model] if model else list(_candidates(session)), now)


def due_by_schedule(session: Session, model: str, now: datetime) -> list[DueModel]:
    """Return those of the models with schedules that are due, as `due_models` does."""
    return _due_among(session, [model] if model else scheduled_models(session), now)


def _due_among(session: Session, models: Sequence[str], now: datetime) -> list[DueModel]:
    found = (_due_or_problem(session, model, now) for model in models)
    return sorted((due for due in found if due is not None), key=lambda due: (due.due_since, due.model))


def due_model(session: Session, model: str, now: datetime) -> DueModel | None:
    """Return why a model is due at `now`: its undecided firings, and the reasons of its open job.

    The result therefore does not depend on whether a server has created the job already. A model whose schedules cannot
    be evaluated has problems and no reasons.
    """
    found = evaluate_schedules(session, model, now)
    inputs, decided = found.inputs, found.decided
    reasons = merged(inputs.job.reasons, decided.reasons) if inputs.job else decided.reasons
    return _due(session, model, inputs, reasons, decided, now) if reasons or decided.problems else None


def _due_or_problem(session: Session, model: str, now: datetime) -> DueModel | None:
    """Return why a model is due; a model that cannot be evaluated is returned with a problem and affects no other."""
    try:
        return due_model(session, model, now)
    except SQLAlchemyError:
        raise  # The database fails, not only this model.
    except Exception as error:
        problem = unexpected_problem("", 0, now, error, f"the schedules of {model}")
        return DueModel(model, 0, now, None, (), "", None, None, None, problem.summary, (problem,))


@dataclass(frozen=True)
class ScheduleEvaluation:
    """The inputs of a model's schedules, and the decisions about its undecided firings up to a time."""

    at: datetime
    inputs: ScheduleInputs
    decided: FiringDecisions
    newest: tuple[int, str]
    """The model's last audit record, and its newest drift report, which has no audit record."""

    def check(self, session: Session, model: str, job_id: str) -> None:
        """Check that nothing about the model has changed since.

        Args:
            session: the transaction.
            model: the name of the model.
            job_id: the job that is open now; empty for none.

        Raises:
            Outdated: the schedules must be evaluated again.
        """
        if (self.inputs.job.job_id if self.inputs.job else "", self.newest) != (job_id, _newest(session, model)):
            raise Outdated


def evaluate_schedules(session: Session, model: str, now: datetime) -> ScheduleEvaluation:
    """Decide the firings of a model up to `now` that are not decided yet."""
    plans, unreadable = plans_of(session, model)
    inputs = gather_inputs(session, model, [plan.schedule for plan in plans], now)
    decided = decide_firings(plans, inputs, now)
    decided = replace(decided, problems=(*unreadable, *decided.problems))
    if decided.reasons:
        prepare_window(session, model, now)
    return ScheduleEvaluation(now, inputs, decided, _newest(session, model))


def _newest(session: Session, model: str) -> tuple[int, str]:
    audit.write_pending(session)
    record = select(func.max(AuditRow.sequence)).where(AuditRow.model == model)
    report = select(DriftReportRow.report_id).where(DriftReportRow.model == model)
    newest = report.order_by(DriftReportRow.created_at.desc(), DriftReportRow.report_id.desc()).limit(1)
    return session.scalar(record) or 0, session.scalar(newest) or ""


def gather_inputs(session: Session, model: str, schedules: Sequence[Schedule], now: datetime) -> ScheduleInputs:
    """Read the inputs of the schedules; inputs that none of them needs are not read."""
    row, in_production = _trained_version(session, model)
    ended = last_end(session, model, now)
    known = ScheduleInputs(
        trained_at=max((at for at in (row.created_at if row else None, ended) if at), default=None),
        job=open_job(latest_job(session, model), now),
        ended_at=ended,
        jobs_made=_jobs_made(session, model, now) if any(one.policy.jobs_per_day for one in schedules) else (),
    )
    return with_trigger_inputs(session, row, known, schedules) if row is not None and in_production else known


def with_trigger_inputs(
    session: Session,
    row: VersionRow,
    known: ScheduleInputs,
    schedules: Sequence[Schedule],
    until: datetime | None = None,
) -> ScheduleInputs:
    """Add the inputs of condition triggers about the version in production, as they were at `until` or are now."""
    since = max(row.created_at, known.ended_at) if known.ended_at else row.created_at
    triggers = [trigger for schedule in schedules for trigger in schedule.triggers]
    keys = {trigger.metric for trigger in triggers if isinstance(trigger, OnPerformance)}
    return replace(
        known,
        version=row.version,
        report=_report(session, row, since, until) if any(isinstance(one, OnDrift) for one in triggers) else None,
        measured={key: found for key in keys if (found := _measured(session, row, key, since, until))},
        registered=metrics_at_registration(session, row) if keys else {},
        declined=_declined(session, row, since, until) if keys else {},
    )


def _candidates(session: Session) -> Iterator[str]:
    """Yield the models that may be due: those with a schedule, and those with an open job."""
    scheduled = select(ScheduleRow.model).where(ScheduleRow.paused.is_(False))
    open_jobs = select(JobRow.model).where(IS_OPEN)
    yield from session.scalars(scheduled.union(open_jobs))


def _due(
    session: Session,
    model: str,
    inputs: ScheduleInputs,
    reasons: tuple[DueReason, ...],
    decided: FiringDecisions,
    now: datetime,
) -> DueModel:
    job, newest = inputs.job, _newest_data(session, model)
    summaries = [*(reason.summary for reason in reasons), *(problem.summary for problem in decided.problems)]
    ages = (("last trained", inputs.trained_at), ("newest data", newest))
    return DueModel(
        model=model,
        version=inputs.version,
        due_since=reasons[0].since if reasons else min(one.since for one in decided.problems),
        last_trained_at=inputs.trained_at,
        reasons=reasons,
        job_id=job.job_id if job else "",
        job_state=job.state if job else None,
        newest_data_at=newest,
        data_age=None if newest is None else max(now - newest, timedelta(0)),
        summary="; ".join([*summaries, *(f"{what} {_ago(now - at)}" for what, at in ages if at)]),
        problems=decided.problems,
    )


def _ago(span: timedelta) -> str:
    """Format an age, rounded to days, or to seconds below a day."""
    unit = timedelta(days=1) if span >= timedelta(days=1) else timedelta(seconds=1)
    return f"{duration(max(span, timedelta(0)) // unit * unit)} ago"


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
    """Return when the jobs of the last two days were created, which covers one day in any time zone."""
    made = select(JobRow.created_at).where(JobRow.model == model, JobRow.created_at > now - timedelta(days=2))
    return tuple(session.scalars(made))


def _trained_version(session: Session, model: str) -> tuple[VersionRow | None, bool]:
    """Return the version in production, or otherwise the newest one, and whether it is in production."""
    versions = select(VersionRow).where(VersionRow.model == model)
    production = session.scalar(versions.where(VersionRow.stage == Stage.PRODUCTION))
    if production is not None:
        return production, True
    return session.scalar(versions.order_by(VersionRow.version.desc()).limit(1)), False


def _report(session: Session, row: VersionRow, since: datetime, until: datetime | None) -> DriftInput | None:
    ref = VersionRef(row.model, row.version)
    if active := past_drift_alarm(session, ref, until) if until else active_drift_alarm(session, ref):
        alarm, raised_at = active
        if raised_at > since:
            return DriftInput(alarm.report_id, raised_at, alarm.score, detected=True)
    report = latest_report(session, row.model, row.version, until)
    if report is None or report.created_at <= since:
        return None
    return DriftInput(report.report_id, report.created_at, report.score, report.drift_detected)


def _measured(
    session: Session, row: VersionRow, key: str, since: datetime, until: datetime | None
) -> MetricInput | None:
    """Return the latest value of a metric, if it was measured after `since`."""
    query = _metrics(row).where(MetricRow.key == key).order_by(MetricRow.measured_at.desc(), MetricRow.id.desc())
    query = query if until is None else query.where(MetricRow.measured_at <= until)
    latest = session.scalar(query.limit(1))
    if latest is None or latest.measured_at <= since:
        return None
    return MetricInput(latest.value, latest.measured_at)


def metrics_at_registration(session: Session, row: VersionRow) -> Mapping[str, float]:
    """Return the metrics with which a version was registered."""
    found = session.scalars(_metrics(row).where(MetricRow.measured_at == row.created_at).order_by(MetricRow.id.desc()))
    return {metric.key: metric.value for metric in found}


def _declined(session: Session, row: VersionRow, since: datetime, until: datetime | None) -> Mapping[str, DeclineInput]:
    found = active_performance_alarm(session, VersionRef(row.model, row.version), since, until)
    if found is None:
        return {}
    alarm, raised_at = found
    return {alarm.metric: DeclineInput(alarm.value, alarm.baseline, raised_at)}


def _metrics(row: VersionRow) -> Select[MetricRow]:
    return select(MetricRow).where(MetricRow.model == row.model, MetricRow.version == row.version)
