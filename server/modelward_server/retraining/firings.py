"""Process firings into jobs and history in one transaction, and list that history."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from modelward.lifecycle import Page
from modelward.retraining import DueReason, Job
from modelward.schedules import FiringOutcome, FiringRecord
from modelward_server.actor_context import ActorContext
from modelward_server.lifecycle.repository import model_row
from modelward_server.retraining.repository import new_job, schedule_row, to_firing, to_job, write_job
from modelward_server.retraining.schedule_evaluation import FiringDecision
from modelward_server.retraining.schedule_inputs import ScheduleEvaluation, evaluate_schedules
from modelward_server.retraining.triggers import merged
from modelward_server.runtime.retries import log_once
from modelward_server.storage import audit
from modelward_server.storage.audit import Kind
from modelward_server.storage.documents import DUE_REASON
from modelward_server.storage.paging import Key, fetch_page
from modelward_server.storage.retraining_tables import FiringRow, JobRow


def has_undecided_firings(session: Session, model: str, now: datetime) -> bool:
    """Return whether a model has firings up to `now` that are not decided yet, or problems that are not recorded."""
    decided = evaluate_schedules(session, model, now).decided
    new_problems = (
        _stored_firing(session, one.schedule_id, one.trigger, one.since) is None for one in decided.problems
    )
    return bool(decided.decisions) or any(new_problems)


def fire(
    session: Session, model: str, open_row: JobRow | None, actor: ActorContext, evaluation: ScheduleEvaluation | None
) -> None:
    """Carry out the decisions about every firing of a model that is not decided yet.

    The model must be locked, so that a second server sees the decisions of the first.

    Args:
        session: the transaction.
        model: the name of the model.
        open_row: the model's open job.
        actor: the author and time of the change.
        evaluation: the decisions that were made before the model was locked; None to decide now.

    Raises:
        Outdated: the model has changed since the evaluation.
    """
    if evaluation is None:
        try:
            evaluation = evaluate_schedules(session, model, actor.at)
        except SQLAlchemyError:
            raise  # The database fails, not only this model.
        except Exception as error:  # Its open job can still be leased.
            log_once("evaluating the schedules of", model, error)
            return
    else:
        evaluation.check(session, model, open_row.job_id if open_row else "")
    decided = evaluation.decided
    job = _job(session, model, evaluation.inputs.version, open_row, decided.reasons, actor)
    for schedule_id in {one.schedule.schedule_id for one in decided.decisions if not one.waited}:
        schedule_row(session, schedule_id).fired_through = evaluation.at
    for decision in decided.decisions:
        _record_firing(session, decision, job.job_id if job else "", actor)
    for problem in decided.problems:
        if _stored_firing(session, problem.schedule_id, problem.trigger, problem.since) is None:
            _add(session, model, problem.schedule_id, problem.trigger, problem.since, problem.summary, actor)


def list_firings(session: Session, model: str, schedule_id: str, page_size: int, page_token: str) -> Page[FiringRecord]:
    """Return a page of firings and their outcomes, the newest first.

    Raises:
        ModelNotFound: the model does not exist.
    """
    rows = select(FiringRow)
    if model:
        model_row(session, model)
        rows = rows.where(FiringRow.model == model)
    if schedule_id:
        rows = rows.where(FiringRow.schedule_id == schedule_id)
    list_key = ("firings", model, schedule_id)
    page = fetch_page(session, rows, [Key(FiringRow.sequence, descending=True)], page_size, page_token, list_key)
    return Page(tuple(map(to_firing, page.items)), page.next_page_token)


def skip_queued_firings(session: Session, schedule_id: str, actor: ActorContext) -> None:
    """Skip the queued firings of a schedule, because it is deleted."""
    waiting = select(FiringRow).where(FiringRow.schedule_id == schedule_id, FiringRow.outcome == FiringOutcome.QUEUED)
    for row in session.scalars(waiting).all():
        _change(session, row, FiringOutcome.SKIPPED, "", f"{row.summary}; skipped: the schedule was deleted", actor)


def _job(
    session: Session, model: str, version: int, row: JobRow | None, reasons: Sequence[DueReason], actor: ActorContext
) -> Job | None:
    """Add reasons to the open job, or create a job for them; None without reasons and job."""
    if not reasons:
        return to_job(row, actor.at) if row else None
    row = row or new_job(session, model, version, (), actor)
    job = to_job(row, actor.at)
    write_job(row, job := replace(job, reasons=merged(job.reasons, reasons), updated_at=actor.at))
    audit.append(session, Kind.JOB, model, job, actor, job.version)
    return job


def _record_firing(session: Session, one: FiringDecision, job_id: str, actor: ActorContext) -> None:
    """Record the outcome of a firing; a queued firing has a row already."""
    job_id = "" if one.outcome in {FiringOutcome.SKIPPED, FiringOutcome.QUEUED} else job_id
    summary = one.reason.summary + (f"; skipped: {one.skipped}" if one.skipped else "")
    schedule_id = one.schedule.schedule_id
    if (row := _stored_firing(session, schedule_id, one.trigger, one.at)) is None:
        reason = DUE_REASON.dump(one.reason)
        _add(session, one.schedule.model, schedule_id, one.trigger, one.at, summary, actor, one.outcome, job_id, reason)
    elif one.waited:
        _change(session, row, one.outcome, job_id, summary, actor)


def _stored_firing(session: Session, schedule_id: str, trigger: int, at: datetime) -> FiringRow | None:
    """Return the row of a firing, or None."""
    rows = select(FiringRow).where(FiringRow.schedule_id == schedule_id)
    return session.scalar(rows.where(FiringRow.trigger == trigger, FiringRow.fired_at == at))


def _add(
    session: Session,
    model: str,
    schedule_id: str,
    trigger: int,
    at: datetime,
    summary: str,
    actor: ActorContext,
    outcome: FiringOutcome = FiringOutcome.SKIPPED,
    job_id: str = "",
    reason: dict[str, Any] | None = None,
) -> None:
    """Add the row of a firing; the database rejects a second one of the same trigger and time."""
    row = FiringRow(
        schedule_id=schedule_id,
        model=model,
        trigger=trigger,
        fired_at=at,
        outcome=outcome,
        job_id=job_id,
        summary=summary,
        reason=reason or {},
        decided_at=actor.at,
    )
    session.add(row)
    audit.append(session, Kind.FIRING, model, to_firing(row), actor)


def _change(
    session: Session, row: FiringRow, outcome: FiringOutcome, job_id: str, summary: str, actor: ActorContext
) -> None:
    """Record the outcome of a queued firing."""
    row.outcome, row.job_id, row.summary, row.decided_at = outcome, job_id, summary, actor.at
    audit.append(session, Kind.FIRING, row.model, to_firing(row), actor)
