"""Jobs: ask for one, lease it, keep it, end it, list them."""

from collections.abc import Collection
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, case, select
from sqlalchemy.orm import Session

from modelward.errors import FieldViolation, InvalidField, JobAlreadyLeased, NotDue
from modelward.lifecycle import Page, VersionRef
from modelward.retraining import DueModel, DueReason, Job, JobState, RequestEvidence
from modelward_server.caller import Caller
from modelward_server.lifecycle.rows import model_row, production_version, version_row
from modelward_server.retraining import lease as life
from modelward_server.retraining.due import merged
from modelward_server.retraining.facts import due_model, due_models
from modelward_server.retraining.firings import fire
from modelward_server.retraining.records import job_row, latest_job, new_job, to_job, write_job
from modelward_server.store import audit
from modelward_server.store.audit import Kind
from modelward_server.store.paging import Key, fetch_page, slice_page
from modelward_server.store.retraining_tables import JobRow
from modelward_server.store.tables import ModelRow


def request_retraining(session: Session, model: str, reason: str, caller: Caller) -> Job:
    """Make a model due by hand: with a job of its own, or one reason more for the open one.

    Raises:
        ModelNotFound: there is no such model.
    """
    model_row(session, model, lock=True)
    summary = f"{caller.actor} asked for it" + (f": {reason}" if reason else "")
    asked = DueReason("", summary, caller.at, RequestEvidence(caller.actor, reason))
    row = _settled_row(session, model, caller.at)
    if row is None:
        made = new_job(session, model, production_version(session, model), [asked], caller)
        return _recorded(session, to_job(made, caller.at), caller)
    job = to_job(row, caller.at)
    write_job(row, job := replace(job, reasons=merged(job.reasons, [asked]), updated_at=caller.at))
    return _recorded(session, job, caller)


def lease_job(session: Session, model: str, holder: str, span: timedelta, caller: Caller) -> Job:
    """Give a due model's job to a holder, and make the job where there is none yet.

    Args:
        model: empty for the one that is due the longest and whose job is free.

    Raises:
        ModelNotFound: there is no such model.
        NotDue: the model is not due, or its job waits after a failure; or no model at all is due and free.
        JobAlreadyLeased: somebody holds the model's job.
    """
    if model:
        model_row(session, model, lock=True)  # So that of two who come at once, the second sees what the first did.
        return _lease(session, model, holder, span, caller)
    for due in due_models(session, "", caller.at):
        if due.reasons and due.job_state is not JobState.LEASED and _lock_at_once(session, due.model):
            with suppress(JobAlreadyLeased, NotDue):  # It waits, or was taken a moment ago: the next one may be free.
                return _lease(session, due.model, holder, span, caller)
    raise NotDue("no model is due whose job is free; ListDueModels shows those that are held or wait", model="")


def _lock_at_once(session: Session, model: str) -> bool:
    """Lock a model if nobody has it: who walks along many models must wait for none, or two would for each other."""
    return session.get(ModelRow, model, with_for_update={"skip_locked": True}, populate_existing=True) is not None


def _lease(session: Session, model: str, holder: str, span: timedelta, caller: Caller) -> Job:
    """Lease the job of a model that is locked."""
    row = fire_model(session, model, caller)
    due = due_model(session, model, caller.at)
    if due is None or row is None:
        problems = "".join(f"; {problem.summary}" for problem in due.problems) if due else ""
        fix = "RequestRetraining does so by hand, PreviewSchedule shows when"
        raise NotDue(f"no schedule makes {model} due now; {fix}{problems}", model=model)
    job = life.lease(to_job(row, caller.at), holder, span, caller.at)
    write_job(row, job := replace(job, reasons=due.reasons))
    row.lease_seconds = span.total_seconds()
    return _recorded(session, job, caller)


def fire_model(session: Session, model: str, caller: Caller) -> JobRow | None:
    """Do what a model's schedules say up to now, and return its open job."""
    model_row(session, model, lock=True)
    fire(session, model, _settled_row(session, model, caller.at), caller)
    return _settled_row(session, model, caller.at)


def heartbeat_job(
    session: Session, job_id: str, holder: str, attempt: int, span: timedelta | None, caller: Caller
) -> Job:
    """Extend a lease from now on; by as long as it was leased for when no span is given.

    Raises:
        JobNotFound: there is none of that id.
        JobNotHeld: this holder does not have it, or not in this attempt.
    """
    row = job_row(session, job_id, lock=True)
    longer = span or timedelta(seconds=row.lease_seconds)
    write_job(row, job := life.heartbeat(to_job(row, caller.at), holder, attempt, longer, caller.at))
    return job


def complete_job(session: Session, job_id: str, holder: str, attempt: int, successor: int, caller: Caller) -> Job:
    """End a job with the version that came of it.

    Raises:
        JobNotFound: there is none of that id.
        JobNotHeld: this holder does not have it, or not in this attempt.
        VersionNotFound: the model has no such version.
        InvalidField: the version is older than the job.
    """
    row = job_row(session, job_id, lock=True)
    job = life.complete(to_job(row, caller.at), holder, attempt, successor, caller.at)
    version = version_row(session, VersionRef(job.model, successor))
    if version.created_at < job.created_at:
        fix = f"{job.model}/{successor} was registered before the job was made; register what the job trained"
        raise InvalidField(FieldViolation("successor", fix))
    write_job(row, job)
    return _recorded(session, job, caller)


def fail_job(
    session: Session, job_id: str, holder: str, attempt: int, reason: str, give_up: bool, caller: Caller
) -> Job:
    """End an attempt without success.

    Raises:
        JobNotFound: there is none of that id.
        JobNotHeld: this holder does not have it, or not in this attempt.
    """
    row = job_row(session, job_id, lock=True)
    write_job(row, job := life.fail(to_job(row, caller.at), holder, attempt, reason, give_up, caller.at))
    return _recorded(session, job, caller)


def _recorded(session: Session, job: Job, caller: Caller) -> Job:
    """Note in the audit log how a job stands after its change; a heartbeat is none."""
    audit.append(session, Kind.JOB, job.model, job, caller, job.version)
    return job


def get_job(session: Session, job_id: str, now: datetime) -> Job:
    """Return a job as it stands at `now`.

    Raises:
        JobNotFound: there is none of that id.
    """
    return to_job(job_row(session, job_id), now)


def list_jobs(
    session: Session, model: str, states: Collection[JobState], page_size: int, page_token: str, now: datetime
) -> Page[Job]:
    """Return a page of jobs, the newest first.

    Raises:
        ModelNotFound: there is no such model.
    """
    rows = select(JobRow)
    if model:
        model_row(session, model)
        rows = rows.where(JobRow.model == model)
    if states:
        rows = rows.where(_state(now).in_(states))
    asked = ("jobs", model, sorted(states))
    page = fetch_page(session, rows, [Key(JobRow.sequence, descending=True)], page_size, page_token, asked)
    return Page(tuple(to_job(row, now) for row in page.items), page.next_page_token)


def list_due(session: Session, model: str, page_size: int, page_token: str, now: datetime) -> Page[DueModel]:
    """Return a page of the models that are due, the longest due first.

    Raises:
        ModelNotFound: there is no such model.
    """
    return slice_page(
        due_models(session, model, now),
        lambda due: [due.due_since.isoformat(), due.model],
        page_size,
        page_token,
        ("due", model),
    )


def _settled_row(session: Session, model: str, now: datetime) -> JobRow | None:
    """Return the model's open job; one whose lease ran out is written down as it stands, so that it blocks nobody."""
    row = latest_job(session, model, lock=True)
    if row is None:
        return None
    write_job(row, job := to_job(row, now))
    session.flush()
    return row if life.is_open(job) else None


def _state(now: datetime) -> ColumnElement[str]:
    """Express `lease.settled` in SQL: the state at `now` of a job that nobody touched since its lease ran out."""
    ran_out = (JobRow.state == JobState.LEASED) & (JobRow.lease_expires_at <= now)
    return case(
        (ran_out & (JobRow.attempt >= JobRow.max_attempts), JobState.FAILED.value),
        (ran_out, JobState.PENDING.value),
        else_=JobRow.state,
    )
