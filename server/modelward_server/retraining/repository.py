"""Read schedules and jobs from the ledger, and convert their rows to the public dataclasses."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from uuid import uuid4

from sqlalchemy import Select, func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from modelward.errors import JobNotFound, ScheduleNotFound
from modelward.retraining import DueReason, FollowUp, FollowUpState, Job, JobState, Schedule
from modelward.schedules import FiringOutcome, FiringRecord, ScheduleProblem
from modelward_server.actor_context import ActorContext
from modelward_server.retraining.evaluation_windows import training_end
from modelward_server.retraining.job_states import MAX_ATTEMPTS, is_open, job_at
from modelward_server.retraining.policies import get_retraining_policy
from modelward_server.retraining.schedule_evaluation import Plan, unexpected_problem
from modelward_server.storage.documents import DUE_REASON, JOB_FAILURE, SCHEDULE_POLICY, TRIGGER
from modelward_server.storage.retraining_tables import FiringRow, JobRow, ScheduleRow


def scheduled_models(session: Session) -> list[str]:
    """Return the models that have a schedule that is not paused."""
    models = select(ScheduleRow.model).where(ScheduleRow.paused.is_(False)).distinct()
    return list(session.scalars(models.order_by(ScheduleRow.model)))


def plans_of(session: Session, model: str) -> tuple[list[Plan], list[ScheduleProblem]]:
    """Return a model's schedules, each with its decided firings, and problems of those that cannot be read."""
    schedules = select(ScheduleRow).where(ScheduleRow.model == model, ScheduleRow.paused.is_(False))
    plans, problems = [], []
    for row in session.scalars(schedules.order_by(ScheduleRow.schedule_id)).all():
        try:
            plans.append(_plan(session, row))
        except SQLAlchemyError:
            raise  # The database fails, not only this row.
        except Exception as error:
            problems.append(unexpected_problem(row.schedule_id, 0, row.created_at, error))
    return plans, problems


def _plan(session: Session, row: ScheduleRow) -> Plan:
    decided, queued = last_firings().where(FiringRow.schedule_id == row.schedule_id), queued_firings()
    waiting = session.scalars(queued.where(FiringRow.schedule_id == row.schedule_id))
    return to_plan(row, {trigger: at for _, trigger, at in session.execute(decided)}, waiting)


IS_OPEN = JobRow.state.in_([JobState.PENDING, JobState.LEASED])
"""The condition that a stored job is open; see `job_states.is_open`."""


def last_firings() -> Select[str, int, datetime]:
    """Select the last decided firing of each trigger: schedule, trigger and time."""
    decided = FiringRow.decided_at >= func.coalesce(ScheduleRow.counts_from, ScheduleRow.created_at)
    last = select(FiringRow.schedule_id, FiringRow.trigger, func.max(FiringRow.fired_at)).where(decided)
    rows = last.join(ScheduleRow, ScheduleRow.schedule_id == FiringRow.schedule_id)
    return rows.group_by(FiringRow.schedule_id, FiringRow.trigger)


def queued_firings() -> Select[FiringRow]:
    """Select the firings that wait for the end of an open job."""
    return select(FiringRow).where(FiringRow.outcome == FiringOutcome.QUEUED)


def to_plan(row: ScheduleRow, decided: Mapping[int, datetime], waiting: Iterable[FiringRow]) -> Plan:
    """Return a schedule with the firings that are decided already."""
    return Plan(
        schedule=to_schedule(row),
        counts_from=row.counts_from or row.created_at,
        through=row.fired_through,
        resumed_at=row.resumed_at,
        decided=decided,
        waiting=tuple((one.trigger, one.fired_at, reason_of(one)) for one in waiting),
    )


def reason_of(row: FiringRow) -> DueReason:
    """Return the reason of a firing."""
    return DUE_REASON.load(row.reason)


def to_firing(row: FiringRow) -> FiringRecord:
    return FiringRecord(
        schedule_id=row.schedule_id,
        model=row.model,
        trigger=row.trigger,
        fired_at=row.fired_at,
        outcome=FiringOutcome(row.outcome),
        job_id=row.job_id,
        summary=row.summary,
        decided_at=row.decided_at,
    )


def schedule_row(session: Session, schedule_id: str, *, lock: bool = False) -> ScheduleRow:
    """Fetch a schedule; with `lock`, block other writers of it until this transaction ends.

    Raises:
        ScheduleNotFound: no schedule has that id.
    """
    row = session.get(ScheduleRow, schedule_id, with_for_update=lock, populate_existing=lock)
    if row is None:
        raise ScheduleNotFound(
            f"there is no schedule {schedule_id!r}; ListSchedules lists the existing ones", schedule_id=schedule_id
        )
    return row


def to_schedule(row: ScheduleRow) -> Schedule:
    return Schedule(
        schedule_id=row.schedule_id,
        model=row.model,
        description=row.description,
        triggers=TRIGGER.load_all(row.triggers),
        paused=row.paused,
        pause_reason=row.pause_reason,
        created_by=row.created_by,
        created_at=row.created_at,
        updated_at=row.updated_at,
        etag=etag(row),
        policy=SCHEDULE_POLICY.load(row.policy),
    )


def etag(row: ScheduleRow) -> str:
    return f"r{row.revision}"


def job_row(session: Session, job_id: str, *, lock: bool = False) -> JobRow:
    """Fetch a job; with `lock`, block other writers of it until this transaction ends.

    Raises:
        JobNotFound: no job has that id.
    """
    row = _first(session, select(JobRow).where(JobRow.job_id == job_id), lock)
    if row is None:
        raise JobNotFound(f"there is no job {job_id!r}; ListJobs lists the existing ones", job_id=job_id)
    return row


def latest_job(session: Session, model: str, *, lock: bool = False) -> JobRow | None:
    """Fetch the newest job of a model, which is the only one that can be open."""
    return _first(session, select(JobRow).where(JobRow.model == model).order_by(JobRow.sequence.desc()), lock)


def _first(session: Session, rows: Select[JobRow], lock: bool) -> JobRow | None:
    rows = rows.limit(1)
    # A locked row is read again: another writer may have changed it while this one waited.
    return session.scalar(rows.with_for_update().execution_options(populate_existing=True) if lock else rows)


def last_end(session: Session, model: str, now: datetime) -> datetime | None:
    """Return when the model's last ended job ended, or None if none has ended."""
    newest = session.scalars(select(JobRow).where(JobRow.model == model).order_by(JobRow.sequence.desc()).limit(2))
    return next((end for row in newest if (end := to_job(row, now).ended_at)), None)


def new_job(session: Session, model: str, version: int, reasons: Sequence[DueReason], actor: ActorContext) -> JobRow:
    """Add a pending job with the properties of the model's policy; the database rejects a second open job.

    Raises:
        CalendarEnds: the policy's evaluation window is of sessions that this server does not know.
    """
    policy = get_retraining_policy(session, model)
    window = policy.evaluation_window
    data_until = training_end(window, actor.at) if window else actor.at
    row = JobRow(
        job_id=f"job-{uuid4().hex[:16]}",
        model=model,
        version=version,
        state=JobState.PENDING,
        reasons=DUE_REASON.dump_all(reasons),
        max_attempts=MAX_ATTEMPTS,
        available_at=actor.at,
        failures=[],
        created_by=actor.name,
        created_at=actor.at,
        updated_at=actor.at,
        holder="",
        lease_seconds=0.0,
        attempt=0,
        successor=0,
        queue=policy.queue,
        labels=dict(policy.labels),
        parameters=dict(policy.parameters),
        data_from=data_until - policy.data_window if policy.data_window else None,
        data_until=data_until,
        fence=0,
        progress=0.0,
        progress_message="",
        follow_up="",
        follow_up_reason="",
        comparison_id="",
    )
    session.add(row)
    session.flush()
    return row


def to_job(row: JobRow, now: datetime) -> Job:
    """Return the state of the job at `now`."""
    return job_at(
        Job(
            job_id=row.job_id,
            model=row.model,
            version=row.version,
            state=JobState(row.state),
            reasons=DUE_REASON.load_all(row.reasons),
            holder=row.holder,
            lease_expires_at=row.lease_expires_at,
            attempt=row.attempt,
            max_attempts=row.max_attempts,
            available_at=row.available_at,
            failures=JOB_FAILURE.load_all(row.failures),
            successor=row.successor,
            created_by=row.created_by,
            created_at=row.created_at,
            updated_at=row.updated_at,
            ended_at=row.ended_at,
            queue=row.queue,
            labels=row.labels,
            parameters=row.parameters,
            data_from=row.data_from,
            data_until=row.data_until,
            fence=row.fence,
            progress=row.progress,
            progress_message=row.progress_message,
            follow_up=_follow_up(row),
        ),
        now,
    )


def _follow_up(row: JobRow) -> FollowUp | None:
    if not row.follow_up or row.follow_up_at is None:
        return None
    return FollowUp(FollowUpState(row.follow_up), row.follow_up_reason, row.comparison_id, row.follow_up_at)


def open_job(row: JobRow | None, now: datetime) -> Job | None:
    """Return the job if it is open at `now`."""
    job = None if row is None else to_job(row, now)
    return job if job is not None and is_open(job) else None


def write_job(row: JobRow, job: Job) -> None:
    """Write the mutable fields of a job to its row."""
    row.state, row.holder, row.attempt, row.successor = job.state, job.holder, job.attempt, job.successor
    row.lease_expires_at, row.available_at = job.lease_expires_at, job.available_at
    row.updated_at, row.ended_at, row.max_attempts = job.updated_at, job.ended_at, job.max_attempts
    row.fence, row.progress, row.progress_message = job.fence, job.progress, job.progress_message
    if job.follow_up is not None:
        row.follow_up, row.follow_up_reason = job.follow_up.state, job.follow_up.reason
        row.follow_up_at, row.comparison_id = job.follow_up.updated_at, job.follow_up.comparison_id
    row.reasons = DUE_REASON.dump_all(job.reasons)
    row.failures = JOB_FAILURE.dump_all(job.failures)
