"""Leases: which job a worker gets."""

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
from modelward_server.retraining.firings import scheduled
from modelward_server.retraining.job_queries import LOOKED_AT, JobQuery, free_models, free_rows
from modelward_server.retraining.jobs import fire_model, recorded
from modelward_server.retraining.repository import to_job, write_job
from modelward_server.retraining.schedule_inputs import Look, look
from modelward_server.storage import audit
from modelward_server.storage.audit import Kind
from modelward_server.storage.prepared import Outdated
from modelward_server.storage.tables import ModelRow

NOTHING_FREE = "no model is due whose job is free; ListDueModels shows those that are held or wait"


@dataclass(frozen=True)
class Prospects:
    """Where a job may be free, as it was found before others had to wait.

    Attributes:
        models: the models to try, in turn; None when nobody has looked yet.
        looks: what the schedules of those that have some say.
    """

    models: Sequence[str] | None = None
    looks: Mapping[str, Look] = field(default_factory=dict)


UNSEEN = Prospects()
"""What is enough where jobs of models without schedules are free."""


def prospects(session: Session, query: JobQuery, most: int, now: datetime) -> Prospects:
    """Look where up to `most` jobs may be free.

    Raises:
        ModelNotFound: there is no such model.
    """
    if query.model:
        model_row(session, query.model)
        models = [query.model]
    else:
        models = list(islice(free_models(session, query, now), most + LOOKED_AT))
    with_schedules = set(scheduled(session)).intersection(models)
    return Prospects(models, {model: look(session, model, now) for model in with_schedules})


def lease_job(
    session: Session, query: JobQuery, holder: str, span: timedelta, actor: ActorContext, found: Prospects | None = None
) -> Job:
    """Give a due model's job to a holder, and make the job where there is none yet.

    Args:
        query: without a model, the oldest free job, or else that of the model that is due the longest.
        found: where to look for it; None to find that out now.

    Raises:
        Outdated: there is no job where it was found to be, but there may be one elsewhere.
        ModelNotFound: there is no such model.
        NotDue: the model is not due, or its job waits after a failure or is in another queue; or there is no job.
        JobAlreadyLeased: somebody holds the model's job.
    """
    if query.model:
        model_row(session, query.model, lock=True)  # So that of two at once, the second sees what the first did.
        return _lease(session, query.model, query, holder, span, actor, found)
    return lease_jobs(session, query, 1, holder, span, actor, found)[0]


def lease_jobs(
    session: Session,
    query: JobQuery,
    most: int,
    holder: str,
    span: timedelta,
    actor: ActorContext,
    found: Prospects | None = None,
) -> list[Job]:
    """Give up to `most` jobs to a holder, the oldest first.

    Args:
        found: where to look for them; None to find that out now.

    Raises:
        Outdated: there is no job where it was found to be, but there may be one elsewhere.
        NotDue: there is none.
    """
    found = found or prospects(session, query, most, actor.at)
    leased, outdated = _lease_at_once(session, query, most, holder, span, actor), False
    if found.models is None and len(leased) < most:
        raise Outdated
    for model in found.models or ():
        if len(leased) < most and _lock_at_once(session, model):
            try:
                leased.append(_lease(session, model, query, holder, span, actor, found))
            except Outdated:
                outdated = True
            except (JobAlreadyLeased, NotDue):  # It waits, or was taken a moment ago: the next one may be free.
                continue
    if not leased:
        raise Outdated if outdated else NotDue(NOTHING_FREE, model="")
    return leased


def _lease_at_once(
    session: Session, query: JobQuery, most: int, holder: str, span: timedelta, actor: ActorContext
) -> list[Job]:
    """Lease free jobs of models that have no schedules: nothing has to be looked up for each of them."""
    fence = audit.next_sequence(session)
    rows = free_rows(session, query, most, actor.at)
    leased = [
        life.lease(to_job(row, actor.at), holder, span, fence + number, actor.at) for number, row in enumerate(rows)
    ]
    for row, job in zip(rows, leased, strict=True):
        write_job(row, job)
        row.lease_seconds = span.total_seconds()
    audit.append_all(session, Kind.JOB, [(job.model, job.version, job) for job in leased], actor)
    return leased


def _lock_at_once(session: Session, model: str) -> bool:
    """Lock a model if nobody has it: who walks along many models must wait for none, or two would for each other."""
    return session.get(ModelRow, model, with_for_update={"skip_locked": True}, populate_existing=True) is not None


def _lease(
    session: Session,
    model: str,
    query: JobQuery,
    holder: str,
    span: timedelta,
    actor: ActorContext,
    found: Prospects | None,
) -> Job:
    """Lease the job of a model that is locked."""
    looked = found.looks.get(model) if found else None
    row = fire_model(session, model, actor, looked)
    if row is None:
        raise _not_due(model, looked or look(session, model, actor.at))
    if not query.suits(row.queue, row.labels):
        raise NotDue(f"the job of {model} is in another queue or lacks a label", model=model)
    fence = audit.next_sequence(session)  # The number of this lease's own record.
    job = life.lease(to_job(row, actor.at), holder, span, fence, actor.at)
    write_job(row, job)
    row.lease_seconds = span.total_seconds()
    return recorded(session, job, actor)


def _not_due(model: str, looked: Look) -> NotDue:
    """Say that nothing makes a model due, and which of its schedules cannot tell."""
    problems = "".join(f"; {problem.summary}" for problem in looked.verdict.problems)
    fix = "RequestRetraining does so by hand, PreviewSchedule shows when"
    return NotDue(f"no schedule makes {model} due now; {fix}{problems}", model=model)
