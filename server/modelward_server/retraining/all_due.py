"""Why models are due, of all models at once: the inputs of their schedules are read by one query of each kind."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, CompoundSelect, Select, and_, func, or_, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, aliased

from modelward.lifecycle import DriftAlarm, PerformanceAlarm
from modelward.retraining import DueReason, Job, JobState, OnPerformance
from modelward.schedules import ScheduleProblem
from modelward_server.drift.reports import ReportSummary
from modelward_server.lifecycle.repository import IN_PRODUCTION
from modelward_server.retraining.job_states import is_open
from modelward_server.retraining.repository import IS_OPEN, last_firings, queued_firings, to_job, to_plan
from modelward_server.retraining.schedule_evaluation import Plan, decide_firings, unexpected_problem
from modelward_server.retraining.triggers import DeclineInput, DriftInput, MetricInput, ScheduleInputs, merged
from modelward_server.storage.paging import is_listed
from modelward_server.storage.retraining_tables import FiringRow, JobRow, ScheduleRow
from modelward_server.storage.search_tables import VersionMetricRow
from modelward_server.storage.tables import MetricRow, ModelRow, VersionRow


@dataclass(frozen=True)
class Due:
    """Why a model is due, and the problems of its schedules; these are those of `schedule_inputs.due_model`."""

    reasons: tuple[DueReason, ...]
    problems: tuple[ScheduleProblem, ...]


@dataclass(frozen=True)
class Monitoring:
    """What is known about the versions in production, by model."""

    drift_alarms: Mapping[str, tuple[DriftAlarm, datetime]]
    reports: Mapping[str, ReportSummary]
    performance_alarms: Mapping[str, tuple[PerformanceAlarm, datetime]]


@dataclass(frozen=True)
class Trained:
    """The version that counts as the last training of a model."""

    version: int
    created_at: datetime
    in_production: bool


def newest_jobs(session: Session, prefix: str, now: datetime) -> tuple[tuple[Job, ...], frozenset[str]]:
    """Return the newest job of each model, which is the only one that can be open, unless it succeeded.

    Args:
        session: the transaction.
        prefix: of the names of the models.
        now: the time at which the jobs have the returned states.

    Returns:
        The jobs, and the ids of those whose lease ran out and that wait for a worker since.
    """
    later = aliased(JobRow)
    newest = select(func.max(later.sequence)).where(later.model == ModelRow.name).scalar_subquery()
    rows = select(JobRow).select_from(ModelRow).join(JobRow, JobRow.sequence == newest)
    listed = rows.where(is_listed(ModelRow.name, prefix), JobRow.state != "succeeded")
    found = [(row.state, to_job(row, now)) for row in session.scalars(listed)]
    stuck = (job.job_id for stored, job in found if stored == "leased" and job.state is JobState.PENDING)
    return tuple(job for _, job in found), frozenset(stuck)


def all_due(session: Session, prefix: str, known: Monitoring, now: datetime) -> dict[str, Due]:
    """Return why each model with the prefix is due; models that are not and have no problem are left out.

    Args:
        session: the transaction.
        prefix: of the names of the models.
        known: what is known about the versions in production.
        now: the time of the evaluation.
    """
    reader = _Reader(session, prefix, known, now)
    found = {model: _due(reader, model, now) for model in reader.models}
    return {model: due for model, due in found.items() if due.reasons or due.problems}


def _due(reader: "_Reader", model: str, now: datetime) -> Due:
    """Evaluate the schedules of one model; if that fails it has a problem, which affects no other model."""
    try:
        inputs = reader.inputs(model)
        decided = decide_firings(reader.plans[model], inputs, now)
        reasons = merged(inputs.job.reasons, decided.reasons) if inputs.job else decided.reasons
        return Due(reasons, (*reader.problems[model], *decided.problems))
    except SQLAlchemyError:
        raise  # The database fails, not only this model.
    except Exception as error:
        return Due((), (unexpected_problem("", 0, now, error, f"the schedules of {model}"),))


class _Reader:
    """Reads the inputs of all schedules that are not paused, as `schedule_inputs` reads those of one model."""

    def __init__(self, session: Session, prefix: str, known: Monitoring, now: datetime) -> None:
        self._session, self._prefix, self._known, self._now = session, prefix, known, now
        self.plans, self.problems = self._read_plans()
        self.models = {*self.plans, *self.problems, *self._with_open_job()}
        self._jobs: Mapping[str, list[JobRow]] = self._read_jobs() if self.models else {}
        self._trained = self._read_trained() if self.models else {}
        self._made = self._read_made() if any(plan.schedule.policy.jobs_per_day for plan in self._each()) else {}
        keys = {key for plan in self._each() for key in _metrics_of(plan)}
        self._measured: Mapping[tuple[str, str], MetricInput] = self._read_measured(keys) if keys else {}
        self._registered = self._read_registered(keys) if keys else {}

    def inputs(self, model: str) -> ScheduleInputs:
        """Return the inputs of one model; see `schedule_inputs.gather_inputs`."""
        trained = self._trained.get(model)
        jobs = [to_job(row, self._now) for row in self._jobs.get(model, [])]
        ended = next((job.ended_at for job in jobs if job.ended_at), None)
        times = [at for at in (trained.created_at if trained else None, ended) if at]
        known = ScheduleInputs(
            trained_at=max(times, default=None),
            job=next((job for job in jobs[:1] if is_open(job)), None),
            ended_at=ended,
            jobs_made=tuple(self._made.get(model, ())),
        )
        return self._with_production(model, trained, known) if trained and trained.in_production else known

    def _with_production(self, model: str, trained: Trained, known: ScheduleInputs) -> ScheduleInputs:
        since = max(trained.created_at, known.ended_at) if known.ended_at else trained.created_at
        keys = {key for plan in self.plans[model] for key in _metrics_of(plan)}
        measured = {key: found for key in keys if (found := self._measured.get((model, key))) and found.at > since}
        return replace(
            known,
            version=trained.version,
            report=self._drift(model, since),
            measured=measured,
            registered=self._registered.get(model, {}),
            declined=self._declined(model, since),
        )

    def _drift(self, model: str, since: datetime) -> DriftInput | None:
        alarm, raised_at = self._known.drift_alarms.get(model, (None, since))
        if alarm and raised_at > since:
            return DriftInput(alarm.report_id, raised_at, alarm.score, detected=True)
        report = self._known.reports.get(model)
        if report is None or report.created_at <= since:
            return None
        return DriftInput(report.report_id, report.created_at, report.score, report.drift_detected)

    def _declined(self, model: str, since: datetime) -> Mapping[str, DeclineInput]:
        alarm, raised_at = self._known.performance_alarms.get(model, (None, since))
        if alarm is None or raised_at <= since:
            return {}
        return {alarm.metric: DeclineInput(alarm.value, alarm.baseline, raised_at)}

    def _each(self) -> Iterator[Plan]:
        for plans in self.plans.values():
            yield from plans

    def _read_plans(self) -> tuple[dict[str, list[Plan]], dict[str, list[ScheduleProblem]]]:
        plans, problems = defaultdict[str, list[Plan]](list), defaultdict[str, list[ScheduleProblem]](list)
        rows = self._session.scalars(
            select(ScheduleRow).where(*self._scheduled()).order_by(ScheduleRow.schedule_id)
        ).all()
        decided, waiting = self._read_firings(rows)
        for row in rows:
            try:
                plans[row.model].append(to_plan(row, decided[row.schedule_id], waiting[row.schedule_id]))
            except Exception as error:
                problems[row.model].append(unexpected_problem(row.schedule_id, 0, row.created_at, error))
        return plans, problems

    def _read_firings(
        self, schedules: Sequence[ScheduleRow]
    ) -> tuple[dict[str, dict[int, datetime]], dict[str, list[FiringRow]]]:
        decided, waiting = defaultdict[str, dict[int, datetime]](dict), defaultdict[str, list[FiringRow]](list)
        if not schedules:
            return decided, waiting
        for schedule_id, trigger, at in self._session.execute(last_firings().where(*self._scheduled())):
            decided[schedule_id][trigger] = at
        queued = queued_firings().join(ScheduleRow, ScheduleRow.schedule_id == FiringRow.schedule_id)
        for row in self._session.scalars(queued.where(*self._scheduled())):
            waiting[row.schedule_id].append(row)
        return decided, waiting

    def _scheduled(self) -> tuple[ColumnElement[bool], ...]:
        return ScheduleRow.paused.is_(False), is_listed(ScheduleRow.model, self._prefix)

    def _with_open_job(self) -> Iterable[str]:
        return self._session.scalars(self._open_jobs())

    def _open_jobs(self) -> Select[str]:
        return select(JobRow.model).where(IS_OPEN, is_listed(JobRow.model, self._prefix))

    def _candidates(self) -> CompoundSelect[Any]:
        """Select the models that may be due: those with a schedule, and those with an open job."""
        scheduled = select(ScheduleRow.model).where(*self._scheduled())
        return scheduled.union(self._open_jobs())

    def _read_jobs(self) -> dict[str, list[JobRow]]:
        """Return the two newest jobs of each model, the newest first."""
        later = aliased(JobRow)
        second = select(later.sequence).where(later.model == ModelRow.name).order_by(later.sequence.desc())
        from_second = JobRow.sequence >= func.coalesce(second.offset(1).limit(1).scalar_subquery(), 0)
        rows = select(JobRow).select_from(ModelRow).join(JobRow, and_(JobRow.model == ModelRow.name, from_second))
        found: dict[str, list[JobRow]] = defaultdict(list)
        listed = rows.where(ModelRow.name.in_(self._candidates())).order_by(JobRow.sequence.desc())
        for row in self._session.scalars(listed):
            found[row.model].append(row)
        return found

    def _read_trained(self) -> dict[str, Trained]:
        """Return the version in production of each model, or otherwise the newest one."""
        columns = (VersionRow.model, VersionRow.version, VersionRow.created_at, VersionRow.stage == "production")
        newest = VersionRow.version == ModelRow.latest_version
        rows = select(*columns).join(ModelRow, ModelRow.name == VersionRow.model).where(or_(IN_PRODUCTION, newest))
        found: dict[str, Trained] = {}
        listed = rows.where(ModelRow.name.in_(self._candidates()))
        for model, version, created_at, in_production in self._session.execute(listed):
            if model not in found or in_production:
                found[model] = Trained(version, created_at, bool(in_production))
        return found

    def _read_made(self) -> dict[str, list[datetime]]:
        """Return when the jobs of the last two days were created, which covers one day in any time zone."""
        recent = (JobRow.created_at > self._now - timedelta(days=2), JobRow.model.in_(self._candidates()))
        found: dict[str, list[datetime]] = defaultdict(list)
        for model, at in self._session.execute(select(JobRow.model, JobRow.created_at).where(*recent)):
            found[model].append(at)
        return found

    def _read_measured(self, keys: Iterable[str]) -> dict[tuple[str, str], MetricInput]:
        """Return the latest value of each metric of the versions in production."""
        newer, known = aliased(MetricRow), VersionMetricRow
        of_metric = (newer.model == known.model, newer.version == known.version, newer.key == known.key)
        latest = select(newer.id).where(*of_metric).order_by(newer.measured_at.desc(), newer.id.desc()).limit(1)
        rows = (
            select(MetricRow.model, MetricRow.key, MetricRow.value, MetricRow.measured_at)
            .select_from(VersionRow)
            .join(known, and_(known.model == VersionRow.model, known.version == VersionRow.version))
            .join(MetricRow, MetricRow.id == latest.scalar_subquery())
            .where(IN_PRODUCTION, is_listed(VersionRow.model, self._prefix), known.key.in_(keys))
        )
        return {(model, key): MetricInput(value, at) for model, key, value, at in self._session.execute(rows)}

    def _read_registered(self, keys: Iterable[str]) -> dict[str, dict[str, float]]:
        """Return the metrics of the versions in production at their registration."""
        own = and_(MetricRow.model == VersionRow.model, MetricRow.version == VersionRow.version)
        rows = (
            select(MetricRow.model, MetricRow.key, MetricRow.value)
            .select_from(VersionRow)
            .join(MetricRow, and_(own, MetricRow.measured_at == VersionRow.created_at))
            .where(IN_PRODUCTION, is_listed(VersionRow.model, self._prefix), MetricRow.key.in_(keys))
            .order_by(MetricRow.id.desc())
        )
        found: dict[str, dict[str, float]] = defaultdict(dict)
        for model, key, value in self._session.execute(rows):
            found[model][key] = value
        return found


def _metrics_of(plan: Plan) -> Iterator[str]:
    return (trigger.metric for trigger in plan.schedule.triggers if isinstance(trigger, OnPerformance))
