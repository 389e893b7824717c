"""What is asked of a new job, what a worker asks for, and which jobs suit it."""

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
from modelward_server.retraining.schedule_inputs import due_models
from modelward_server.runtime.retries import log_once
from modelward_server.storage.retraining_tables import JobRow, ScheduleRow
from modelward_server.storage.tables import ModelRow

Row = TypeVar("Row", bound=Any)

LOOKED_AT = 32
"""How many free jobs are tried; the others are for those that come next."""


@dataclass(frozen=True)
class Order:
    """What somebody who asks for a job says of it; the model's policy says the rest."""

    queue: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)
    data_from: datetime | None = None
    data_until: datetime | None = None

    def check(self) -> None:
        """Refuse data that end before they begin.

        Raises:
            InvalidField: naming the field.
        """
        if self.data_from and self.data_until and self.data_until <= self.data_from:
            raise InvalidField(FieldViolation("data_until", "must be later than data_from"))

    def give(self, row: JobRow) -> None:
        """Write what is asked for into a job that nobody has."""
        row.queue = self.queue or row.queue
        row.labels = {**row.labels, **self.labels}
        row.parameters = {**row.parameters, **self.parameters}
        row.data_from, row.data_until = self.data_from or row.data_from, self.data_until or row.data_until


BY_POLICY = Order()
"""A job of which only the model's policy says what it is like."""


@dataclass(frozen=True)
class JobQuery:
    """Which jobs a worker takes."""

    model: str = ""
    """Empty: of any model."""
    queue: str = ""
    """Empty: of any queue."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Those that a job must have."""
    prefixes: tuple[str, ...] = ()
    """What the names of the models begin with; empty: of all."""

    def takes(self, model: str) -> bool:
        return self.model in {"", model} and (not self.prefixes or model.startswith(self.prefixes))

    def suits(self, queue: str, labels: Mapping[str, str]) -> bool:
        return self.queue in {"", queue} and self.labels.items() <= labels.items()


def free_models(session: Session, query: JobQuery, now: datetime) -> Iterator[str]:
    """Yield the models whose job a worker may try to lease: the oldest jobs first, then models that lack a job."""
    yield from free_jobs(session, query, now)
    yield from due_without_job(session, query, now)


def free_jobs(session: Session, query: JobQuery, now: datetime) -> list[str]:
    """Return the models whose jobs suit a worker and are free, the oldest jobs first."""
    rows = _free(select(JobRow.model, JobRow.queue, JobRow.labels), query, now)
    if not query.labels:
        rows = rows.limit(LOOKED_AT)
    return [model for model, queue, labels in session.execute(rows) if query.suits(queue, labels)][:LOOKED_AT]


def free_rows(session: Session, query: JobQuery, most: int, now: datetime) -> list[JobRow]:
    """Lock and return free jobs of models without schedules, the oldest first; those that others have are left out.

    Labels are not looked for here: of workers that want some, nobody asks.
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
    """Return the models whose schedules make them due and that have no open job yet, the longest due first."""
    found = [due.model for due in due_models(session, query.model, now) if due.reasons and not due.job_id]
    return [model for model in found if policy_suits(session, model, query)]


def policy_suits(session: Session, model: str, query: JobQuery) -> bool:
    """Tell whether the jobs of a model suit a worker."""
    if not query.takes(model):
        return False
    try:
        policy = get_retraining_policy(session, model)
    except SQLAlchemyError:
        raise  # Of the database as a whole, and not of this model.
    except Exception as error:
        log_once("reading the retraining policy of", model, error)
        return False
    return query.suits(policy.queue, policy.labels)


def is_free(now: datetime) -> ColumnElement[bool]:
    """Express in SQL that a job may be leased at `now`."""
    waits = and_(JobRow.state == JobState.PENDING, JobRow.available_at <= now)
    ran_out = and_(JobRow.state == JobState.LEASED, JobRow.lease_expires_at <= now)
    again = and_(ran_out, JobRow.attempt < JobRow.max_attempts)
    return and_(JobRow.state.in_([JobState.PENDING, JobState.LEASED]), or_(waits, again))


def state_at(now: datetime) -> ColumnElement[str]:
    """Express `lease.settled` in SQL: the state at `now` of a job that nobody touched since its lease ran out."""
    ran_out = (JobRow.state == JobState.LEASED) & (JobRow.lease_expires_at <= now)
    return case(
        (ran_out & (JobRow.attempt >= JobRow.max_attempts), JobState.FAILED.value),
        (ran_out, JobState.PENDING.value),
        else_=JobRow.state,
    )
