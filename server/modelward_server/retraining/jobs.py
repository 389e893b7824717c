"""Jobs: request, extend, complete, fail, retry and list them."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from modelward.errors import FieldViolation, InvalidField
from modelward.lifecycle import Page, VersionRef
from modelward.retraining import (
    DueModel,
    DueReason,
    FollowUp,
    FollowUpAction,
    FollowUpState,
    Job,
    JobState,
    RequestEvidence,
)
from modelward_server.actor_context import ActorContext
from modelward_server.lifecycle.repository import model_row, production_version, version_row
from modelward_server.retraining import job_states as life
from modelward_server.retraining.firings import fire
from modelward_server.retraining.job_queries import POLICY_DEFAULTS, JobSpec, state_at
from modelward_server.retraining.job_states import LeaseClaim
from modelward_server.retraining.policies import get_retraining_policy
from modelward_server.retraining.repository import job_row, latest_job, new_job, to_job, write_job
from modelward_server.retraining.schedule_inputs import ScheduleEvaluation, due_models
from modelward_server.retraining.triggers import merged
from modelward_server.storage import audit
from modelward_server.storage.audit import Kind
from modelward_server.storage.paging import Key, fetch_page, slice_page, visible_prefixes
from modelward_server.storage.retraining_tables import JobRow, ScheduleRow


@dataclass(frozen=True)
class Result:
    """The result with which a worker completes a job."""

    successor: int
    evaluation: bytes | None = None
    """The test set as the contract's message; None: the policy's."""
    label: str = ""
    log_sha256: str = ""
    """The blob with the output of the training; empty: none."""


def request_retraining(
    session: Session, model: str, reason: str, actor: ActorContext, spec: JobSpec = POLICY_DEFAULTS
) -> Job:
    """Request a retraining of a model: create a job, or add a reason to the open one.

    Args:
        session: the transaction.
        model: the name of the model.
        reason: the reason, for the record.
        actor: the author and time of the request.
        spec: the properties of the job; a leased job is not changed.

    Raises:
        ModelNotFound: the model does not exist.
        InvalidField: the data end before they begin.
    """
    spec.check()
    model_row(session, model, lock=True)
    summary = f"requested by {actor.name}" + (f": {reason}" if reason else "")
    request_reason = DueReason("", summary, actor.at, RequestEvidence(actor.name, reason))
    row = open_row(session, model, actor.at)
    row = row or new_job(session, model, production_version(session, model), [], actor)
    if row.state == JobState.PENDING:
        spec.apply_to(row)
    job = to_job(row, actor.at)
    write_job(row, job := replace(job, reasons=merged(job.reasons, [request_reason]), updated_at=actor.at))
    return record_job(session, job, actor)


def fire_model(
    session: Session, model: str, actor: ActorContext, evaluation: ScheduleEvaluation | None = None
) -> JobRow | None:
    """Process the firings of a locked model up to now, and return its open job.

    Args:
        session: the transaction.
        model: the name of the model.
        actor: the author and time of the change.
        evaluation: the evaluated schedules, computed before the model was locked; None to evaluate them now.

    Raises:
        Outdated: the model has changed since the evaluation.
    """
    row = open_row(session, model, actor.at)
    if session.scalar(select(ScheduleRow.schedule_id).where(ScheduleRow.model == model).limit(1)) is None:
        return row
    fire(session, model, row, actor, evaluation)
    return open_row(session, model, actor.at)


def heartbeat_job(
    session: Session,
    job_id: str,
    by: LeaseClaim,
    duration: timedelta | None,
    actor: ActorContext,
    progress: float | None = None,
    message: str = "",
) -> Job:
    """Extend a lease from now, by the duration of the lease if none is given, and record the progress.

    Raises:
        JobNotFound: no job has that id.
        JobNotHeld: this holder does not have it, or not in this lease.
    """
    row = job_row(session, job_id, lock=True)
    extension = duration or timedelta(seconds=row.lease_seconds)
    job = life.heartbeat(to_job(row, actor.at), by, extension, actor.at)
    fraction = job.progress if progress is None else progress
    write_job(row, job := replace(job, progress=fraction, progress_message=message or job.progress_message))
    return job


def note_registered(session: Session, job_id: str, fence: int, version: VersionRef, actor: ActorContext) -> None:
    """Record that a version is the result of a job, in the transaction that registers it.

    Raises:
        InvalidField: the fence is missing, or the job is of another model.
        JobNotFound: no job has that id.
        JobNotHeld: the lease of that fence has ended.
        JobHasVersion: the job has a version already.
    """
    if not fence:
        raise InvalidField(FieldViolation("fence", "is missing; send the fence that LeaseJob returned"))
    row = job_row(session, job_id, lock=True)
    if row.model != version.model:
        raise InvalidField(FieldViolation("job_id", f"{job_id} is a job of {row.model}"))
    job = life.registered(to_job(row, actor.at), fence, version.version, actor.at)
    write_job(row, job)
    record_job(session, job, actor)


def complete_job(session: Session, job_id: str, by: LeaseClaim, result: Result, actor: ActorContext) -> Job:
    """Complete a job with the version that it produced; the model's policy determines the follow-up.

    Raises:
        JobNotFound: no job has that id.
        JobNotHeld: this holder does not have it, or not in this lease.
        JobHasVersion: another version was registered for it.
        VersionNotFound: the model has no version of that number.
        InvalidField: the version is older than the job.
    """
    row = job_row(session, job_id, lock=True)
    job = life.complete(to_job(row, actor.at), by, result.successor, actor.at)
    version = version_row(session, VersionRef(job.model, result.successor))
    if version.created_at < job.created_at:
        fix = f"{job.model}/{result.successor} is older than the job; register the version that the job trained"
        raise InvalidField(FieldViolation("successor", fix))
    if get_retraining_policy(session, job.model).follow_up is not FollowUpAction.NONE:
        job = replace(job, follow_up=FollowUp(FollowUpState.PENDING, "the job succeeded", "", actor.at))
    write_job(row, job := replace(job, progress=1.0))
    row.evaluation, row.evaluation_label, row.log_sha256 = result.evaluation, result.label, result.log_sha256
    if result.log_sha256:
        version.mirror_wanted += 1
    return record_job(session, job, actor)


def fail_job(
    session: Session,
    job_id: str,
    by: LeaseClaim,
    reason: str,
    give_up: bool,
    actor: ActorContext,
    release: bool = False,
) -> Job:
    """End an attempt without success.

    Args:
        session: the transaction.
        job_id: the job.
        by: the lease by which it is held.
        reason: the reason of the failure.
        give_up: whether the job fails permanently.
        actor: the author and time of the change.
        release: whether the job is only released, so that another worker can lease it immediately.

    Raises:
        JobNotFound: no job has that id.
        JobNotHeld: this holder does not have it, or not in this lease.
    """
    row = job_row(session, job_id, lock=True)
    job = to_job(row, actor.at)
    failed = life.release(job, by, reason, actor.at) if release else life.fail(job, by, reason, give_up, actor.at)
    write_job(row, failed)
    return record_job(session, failed, actor)


def retry_job(session: Session, job_id: str, actor: ActorContext) -> Job:
    """Retry a permanently failed job.

    Raises:
        JobNotFound: no job has that id.
        JobNotRetryable: it has not failed permanently, or the model has a newer job.
    """
    row = job_row(session, job_id)
    model_row(session, row.model, lock=True)
    row = job_row(session, job_id, lock=True)
    job = life.retry(to_job(row, actor.at), actor.at)
    newest = latest_job(session, row.model)
    if newest is not None and newest.job_id != job_id:
        raise life.not_retryable(job, f"is not the newest of {row.model}; {newest.job_id} is")
    write_job(row, job)
    return record_job(session, job, actor)


def record_job(session: Session, job: Job, actor: ActorContext) -> Job:
    """Record the state of a changed job in the audit log; heartbeats are not recorded."""
    audit.append(session, Kind.JOB, job.model, job, actor, job.version)
    return job


def get_job(session: Session, job_id: str, now: datetime) -> Job:
    """Return the state of a job at `now`.

    Raises:
        JobNotFound: no job has that id.
    """
    return to_job(job_row(session, job_id), now)


def list_jobs(
    session: Session,
    model: str,
    states: Collection[JobState],
    page_size: int,
    page_token: str,
    now: datetime,
    queue: str = "",
) -> Page[Job]:
    """Return a page of jobs, the newest first.

    Raises:
        ModelNotFound: the model does not exist.
    """
    rows = select(JobRow)
    if model:
        model_row(session, model)
        rows = rows.where(JobRow.model == model)
    if states:
        rows = rows.where(state_at(now).in_(states))
    if queue:
        rows = rows.where(JobRow.queue == queue)
    request_reason = ("jobs", model, sorted(states), queue)
    page = fetch_page(session, rows, [Key(JobRow.sequence, descending=True)], page_size, page_token, request_reason)
    return Page(tuple(to_job(row, now) for row in page.items), page.next_page_token)


def list_due(session: Session, model: str, page_size: int, page_token: str, now: datetime) -> Page[DueModel]:
    """Return a page of the models that are due, the longest due first.

    Raises:
        ModelNotFound: the model does not exist.
    """
    prefixes = visible_prefixes()
    return slice_page(
        session,
        [due for due in due_models(session, model, now) if not prefixes or due.model.startswith(prefixes)],
        lambda due: [due.due_since.isoformat(), due.model],
        page_size,
        page_token,
        ("due", model),
    )


def open_row(session: Session, model: str, now: datetime) -> JobRow | None:
    """Return the model's open job; the state of one whose lease has expired is stored, so that it blocks no other."""
    row = latest_job(session, model, lock=True)
    if row is None:
        return None
    job = to_job(row, now)
    if job.state != row.state:
        write_job(row, job)
        session.flush()
    return row if life.is_open(job) else None
