"""Job specifications and queries: the properties of a new job, and the free jobs that match a worker."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Select, and_, case, or_, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from modelward.errors import FieldViolation, InvalidField
from modelward.retraining import JobState
from modelward_server.retraining.policies import get_retraining_policy
from modelward_server.retraining.schedule_inputs import due_by_schedule
from modelward_server.runtime.retries import log_once
from modelward_server.storage.retraining_tables import JobRow, ScheduleRow
from modelward_server.storage.tables import ModelRow

Row = TypeVar("Row", bound=Any)

MAX_CANDIDATES = 32
"""Maximum number of free jobs that one call tries."""


@dataclass(frozen=True)
class JobSpec:
    """The requested properties of a job; the model's policy supplies the others."""

    queue: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)
    data_from: datetime | None = None
    data_until: datetime | None = None

    def check(self) -> None:
        """Validate that the data do not end before they begin.

        Raises:
            InvalidField: they do; the error names the field.
        """
        if self.data_from and self.data_until and self.data_until <= self.data_from:
            raise InvalidField(FieldViolation("data_until", "must be later than data_from"))

    def apply_to(self, row: JobRow) -> None:
        """Apply the properties to a job that is not leased."""
        row.queue = self.queue or row.queue
        row.labels = {**row.labels, **self.labels}
        row.parameters = {**row.parameters, **self.parameters}
        row.data_from, row.data_until = self.data_from or row.data_from, self.data_until or row.data_until


POLICY_DEFAULTS = JobSpec()
"""A job with the properties of the model's policy only."""


@dataclass(frozen=True)
class JobQuery:
    """The jobs that a worker takes."""

    model: str = ""
    """Empty: of any model."""
    queue: str = ""
    """Empty: of any queue."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Labels that a job must have."""
    prefixes: tuple[str, ...] = ()
    """Prefixes of the names of the models; empty: all models."""

    def matches_model(self, model: str) -> bool:
        return self.model in {"", model} and (not self.prefixes or model.startswith(self.prefixes))

    def matches(self, queue: str, labels: Mapping[str, str]) -> bool:
        return self.queue in {"", queue} and self.labels.items() <= labels.items()


def free_models(session: Session, query: JobQuery, now: datetime) -> Iterator[str]:
    """Yield the models whose job a worker may try to lease: the oldest jobs first, then due models without a job."""
    yield from free_jobs(session, query, now)
    yield from due_without_job(session, query, now)


def free_jobs(session: Session, query: JobQuery, now: datetime) -> list[str]:
    """Return the models whose jobs match a worker and are free, the oldest jobs first."""
    rows = _free(select(JobRow.model, JobRow.queue, JobRow.labels), query, now)
    if not query.labels:
        rows = rows.limit(MAX_CANDIDATES)
    return [model for model, queue, labels in session.execute(rows) if query.matches(queue, labels)][:MAX_CANDIDATES]


def free_rows(session: Session, query: JobQuery, most: int, now: datetime) -> list[JobRow]:
    """Lock and return free jobs of models without schedules, the oldest first; locked jobs are skipped.

    Queries with labels are not supported here: the result is then empty.
    """
    if query.labels:
        return []
    scheduled = select(ScheduleRow.schedule_id).where(ScheduleRow.model == JobRow.model)
    rows = _free(select(JobRow), query, now).where(~scheduled.exists()).limit(most)
    locked = rows.join(ModelRow, ModelRow.name == JobRow.model).with_for_update(skip_locked=True)
    return list(session.scalars(locked.execution_options(populate_existing=True)))


def _free(rows: Select[Row], query: JobQuery, now: datetime) -> Select[Row]:
    rows = rows.where(is_free(now)).order_by(JobRow.sequence)
    if query.model:
        rows = rows.where(JobRow.model == query.model)
    if query.queue:
        rows = rows.where(JobRow.queue == query.queue)
    if query.prefixes:
        rows = rows.where(or_(*(JobRow.model.startswith(prefix, autoescape=True) for prefix in query.prefixes)))
    return rows


def due_without_job(session: Session, query: JobQuery, now: datetime) -> list[str]:
    """Return the models that schedules make due and that have no open job yet, the longest due first."""
    models = [due.model for due in due_by_schedule(session, query.model, now) if due.reasons and not due.job_id]
    return [model for model in models if policy_matches(session, model, query)]


def policy_matches(session: Session, model: str, query: JobQuery) -> bool:
    """Return whether the jobs of a model match a worker."""
    if not query.matches_model(model):
        return False
    try:
        policy = get_retraining_policy(session, model)
    except SQLAlchemyError:
        raise  # The database fails, not only this model.
    except Exception as error:
        log_once("reading the retraining policy of", model, error)
        return False
    return query.matches(policy.queue, policy.labels)


def is_free(now: datetime) -> ColumnElement[bool]:
    """Return the SQL condition that a job may be leased at `now`."""
    available = and_(JobRow.state == JobState.PENDING, JobRow.available_at <= now)
    expired = and_(JobRow.state == JobState.LEASED, JobRow.lease_expires_at <= now)
    retryable = and_(expired, JobRow.attempt < JobRow.max_attempts)
    return and_(JobRow.state.in_([JobState.PENDING, JobState.LEASED]), or_(available, retryable))


def state_at(now: datetime) -> ColumnElement[str]:
    """Return the SQL expression of `job_states.job_at`: the state of a job at `now`, after an expired lease."""
    expired = (JobRow.state == JobState.LEASED) & (JobRow.lease_expires_at <= now)
    return case(
        (expired & (JobRow.attempt >= JobRow.max_attempts), JobState.FAILED.value),
        (expired, JobState.PENDING.value),
        else_=JobRow.state,
    )
