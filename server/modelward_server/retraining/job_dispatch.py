"""Job dispatch: lease free jobs to retraining workers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice

from sqlalchemy.orm import Session

from modelward.errors import JobAlreadyLeased, NotDue
from modelward.retraining import Job
from modelward_server.actor_context import ActorContext
from modelward_server.lifecycle.repository import model_row
from modelward_server.retraining import job_states as life
from modelward_server.retraining.job_queries import MAX_CANDIDATES, JobQuery, free_models, free_rows
from modelward_server.retraining.jobs import fire_model, record_job
from modelward_server.retraining.repository import scheduled_models, to_job, write_job
from modelward_server.retraining.schedule_inputs import ScheduleEvaluation, evaluate_schedules
from modelward_server.storage import audit
from modelward_server.storage.audit import Kind
from modelward_server.storage.prepared import Outdated
from modelward_server.storage.tables import ModelRow

NO_FREE_JOB = "no model is due whose job is free; ListDueModels shows those that are held or wait"


@dataclass(frozen=True)
class JobCandidates:
    """Models whose job may be free, found before the transaction that leases it.

    Attributes:
        models: the models to try, in order; None if they have not been searched yet.
        evaluations: the evaluated schedules of those models that have any.
    """

    models: Sequence[str] | None = None
    evaluations: Mapping[str, ScheduleEvaluation] = field(default_factory=dict)


NOT_SEARCHED = JobCandidates()
"""No search: sufficient if jobs of models without schedules are free."""


def find_candidates(session: Session, query: JobQuery, most: int, now: datetime) -> JobCandidates:
    """Find models where up to `most` jobs may be free.

    Raises:
        ModelNotFound: the model of the query does not exist.
    """
    if query.model:
        model_row(session, query.model)
        models = [query.model]
    else:
        models = list(islice(free_models(session, query, now), most + MAX_CANDIDATES))
    with_schedules = set(scheduled_models(session)).intersection(models)
    return JobCandidates(models, {model: evaluate_schedules(session, model, now) for model in with_schedules})


def lease_job(
    session: Session,
    query: JobQuery,
    holder: str,
    duration: timedelta,
    actor: ActorContext,
    found: JobCandidates | None = None,
) -> Job:
    """Lease a due model's job to a holder, creating the job if there is none yet.

    Args:
        session: the transaction.
        query: the jobs that the worker takes; without a model, the oldest free job is leased, or otherwise that of the
            model that has been due the longest.
        holder: the name of the worker.
        duration: the duration of the lease.
        actor: the author and time of the change.
        found: the candidates; None to search now.

    Raises:
        Outdated: no candidate has a free job any more, but another model may have one.
        ModelNotFound: the model of the query does not exist.
        NotDue: the model is not due, or its job waits after a failure or is in another queue; or there is no job.
        JobAlreadyLeased: another worker holds the model's job.
    """
    if query.model:
        model_row(
            session, query.model, lock=True
        )  # So that the second of two concurrent calls sees the first one's changes.
        return _lease(session, query.model, query, holder, duration, actor, found)
    return lease_jobs(session, query, 1, holder, duration, actor, found)[0]


def lease_jobs(
    session: Session,
    query: JobQuery,
    most: int,
    holder: str,
    duration: timedelta,
    actor: ActorContext,
    found: JobCandidates | None = None,
) -> list[Job]:
    """Lease up to `most` jobs to a holder, the oldest first; the other arguments as in `lease_job`.

    Raises:
        Outdated: no candidate has a free job any more, but another model may have one.
        NotDue: there is no free job.
    """
    found = found or find_candidates(session, query, most, actor.at)
    leased, outdated = _lease_unscheduled(session, query, most, holder, duration, actor), False
    if found.models is None and len(leased) < most:
        raise Outdated
    for model in found.models or ():
        if len(leased) < most and _try_lock(session, model):
            try:
                leased.append(_lease(session, model, query, holder, duration, actor, found))
            except Outdated:
                outdated = True
            except (JobAlreadyLeased, NotDue):  # It waits or was just taken; the next one may be free.
                continue
    if not leased:
        raise Outdated if outdated else NotDue(NO_FREE_JOB, model="")
    return leased


def _lease_unscheduled(
    session: Session, query: JobQuery, most: int, holder: str, duration: timedelta, actor: ActorContext
) -> list[Job]:
    """Lease free jobs of models without schedules, which need no evaluation for each model."""
    fence = audit.next_sequence(session)
    rows = free_rows(session, query, most, actor.at)
    leased = [
        life.lease(to_job(row, actor.at), holder, duration, fence + number, actor.at) for number, row in enumerate(rows)
    ]
    for row, job in zip(rows, leased, strict=True):
        write_job(row, job)
        row.lease_seconds = duration.total_seconds()
    audit.append_all(session, Kind.JOB, [(job.model, job.version, job) for job in leased], actor)
    return leased


def _try_lock(session: Session, model: str) -> bool:
    """Lock a model unless it is locked: a call that locks many models must not wait, or two could deadlock."""
    return session.get(ModelRow, model, with_for_update={"skip_locked": True}, populate_existing=True) is not None


def _lease(
    session: Session,
    model: str,
    query: JobQuery,
    holder: str,
    duration: timedelta,
    actor: ActorContext,
    found: JobCandidates | None,
) -> Job:
    """Lease the job of a locked model."""
    evaluation = found.evaluations.get(model) if found else None
    row = fire_model(session, model, actor, evaluation)
    if row is None:
        raise _not_due(model, evaluation or evaluate_schedules(session, model, actor.at))
    if not query.matches(row.queue, row.labels):
        raise NotDue(f"the job of {model} is in another queue or lacks a label", model=model)
    fence = audit.next_sequence(session)  # The number of this lease's audit record.
    job = life.lease(to_job(row, actor.at), holder, duration, fence, actor.at)
    write_job(row, job)
    row.lease_seconds = duration.total_seconds()
    return record_job(session, job, actor)


def _not_due(model: str, evaluation: ScheduleEvaluation) -> NotDue:
    """Return the error that nothing makes a model due, with the problems of its schedules."""
    problems = "".join(f"; {problem.summary}" for problem in evaluation.decided.problems)
    fix = "request it with RequestRetraining, or see its next firings with PreviewSchedule"
    return NotDue(f"no schedule makes {model} due now; {fix}{problems}", model=model)
