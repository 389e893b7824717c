"""Schedules: create, read, list, update, pause, resume and delete them."""

from collections.abc import Collection, Sequence
from uuid import uuid4

from sqlalchemy import select
from sqlalchemy.orm import Session

from modelward.errors import FieldViolation, InvalidField, ScheduleExists
from modelward.lifecycle import Page
from modelward.retraining import AtSession, Cron, Schedule, Trigger
from modelward.schedules import SchedulePolicy
from modelward_server.actor_context import ActorContext
from modelward_server.exchange_sessions import check_calendar
from modelward_server.lifecycle.repository import check_etag, model_row
from modelward_server.retraining.clock import check_cron
from modelward_server.retraining.firings import skip_queued_firings
from modelward_server.retraining.repository import etag, schedule_row, to_schedule
from modelward_server.retraining.schedule_policy import check_policy
from modelward_server.storage import audit
from modelward_server.storage.audit import Kind
from modelward_server.storage.documents import SCHEDULE_POLICY, TRIGGER
from modelward_server.storage.paging import Key, fetch_page
from modelward_server.storage.retraining_tables import ScheduleRow

NO_POLICY = SchedulePolicy()


def create_schedule(
    session: Session,
    model: str,
    schedule_id: str,
    description: str,
    triggers: Sequence[Trigger],
    actor: ActorContext,
    policy: SchedulePolicy = NO_POLICY,
) -> Schedule:
    """Create a schedule; with an empty id, the server generates one.

    Raises:
        ModelNotFound: the model does not exist.
        ScheduleExists: a schedule of that id exists.
    """
    model_row(session, model)
    if schedule_id and session.get(ScheduleRow, schedule_id) is not None:
        raise ScheduleExists(
            f"the schedule {schedule_id!r} exists; change it with UpdateSchedule", schedule_id=schedule_id
        )
    row = ScheduleRow(
        schedule_id=schedule_id or f"schedule-{uuid4().hex[:16]}",
        model=model,
        description=description,
        triggers=TRIGGER.dump_all(triggers),
        policy=SCHEDULE_POLICY.dump(policy),
        paused=False,
        pause_reason="",
        created_by=actor.name,
        created_at=actor.at,
        updated_at=actor.at,
        revision=1,
    )
    session.add(row)
    session.flush()
    return _recorded(session, row, actor)


def check_schedule(triggers: Sequence[Trigger], policy: SchedulePolicy, field: str = "") -> None:
    """Validate triggers and policy beyond the constraints of the contract.

    It is called outside of transactions that block others, because calendars are slow to load.

    Args:
        triggers: the triggers.
        policy: the policy.
        field: the path of both in the request, such as "draft.".

    Raises:
        InvalidField: a cron expression, a time zone or a calendar is invalid, or a period ends before it begins.
    """
    check_triggers(triggers, f"{field}triggers")
    check_policy(policy, f"{field}policy")


def check_triggers(triggers: Sequence[Trigger], field: str) -> None:
    """Validate triggers beyond the constraints of the contract.

    Raises:
        InvalidField: a cron expression, its time zone or an exchange's calendar is invalid.
    """
    for number, trigger in enumerate(triggers):
        if isinstance(trigger, Cron):
            check_cron(trigger, f"{field}[{number}].periodic.cron")
        elif isinstance(trigger, AtSession):
            check_calendar(trigger.calendar, f"{field}[{number}].periodic.session.calendar")


def get_schedule(session: Session, schedule_id: str) -> Schedule:
    """Return a schedule.

    Raises:
        ScheduleNotFound: no schedule has that id.
    """
    return to_schedule(schedule_row(session, schedule_id))


def list_schedules(session: Session, model: str, page_size: int, page_token: str) -> Page[Schedule]:
    """Return a page of the schedules of one model or of all, ordered by id.

    Raises:
        ModelNotFound: the model does not exist.
    """
    rows = select(ScheduleRow)
    if model:
        model_row(session, model)
        rows = rows.where(ScheduleRow.model == model)
    page = fetch_page(session, rows, [Key(ScheduleRow.schedule_id)], page_size, page_token, ("schedules", model))
    return Page(tuple(map(to_schedule, page.items)), page.next_page_token)


def update_schedule(
    session: Session,
    schedule_id: str,
    mask: Collection[str],
    description: str,
    triggers: Sequence[Trigger],
    expected_etag: str,
    actor: ActorContext,
    policy: SchedulePolicy = NO_POLICY,
) -> Schedule:
    """Replace a schedule's description, its triggers, which then count from now, or its policy.

    Raises:
        ScheduleNotFound: no schedule has that id.
        EtagMismatch: the schedule has changed since `expected_etag` was read.
        InvalidField: the mask is empty, or no trigger would remain.
    """
    if not mask:
        raise InvalidField(FieldViolation("update_mask", 'is empty; name "triggers", "description" or "policy"'))
    row = _changed(session, schedule_id, expected_etag, actor)
    if "description" in mask:
        row.description = description
    if "triggers" in mask:
        if not triggers:
            raise InvalidField(FieldViolation("triggers", "is empty; give at least one, or pause the schedule"))
        row.triggers = TRIGGER.dump_all(triggers)
        row.counts_from, row.fired_through = actor.at, None
    if "policy" in mask:
        row.policy = SCHEDULE_POLICY.dump(policy)
    return _recorded(session, row, actor)


def delete_schedule(session: Session, schedule_id: str, expected_etag: str, actor: ActorContext) -> Schedule:
    """Delete a schedule and return its last state.

    Raises:
        ScheduleNotFound: no schedule has that id.
        EtagMismatch: the schedule has changed since `expected_etag` was read.
    """
    row = schedule_row(session, schedule_id, lock=True)
    check_etag(expected_etag, etag(row))
    skip_queued_firings(session, schedule_id, actor)
    session.delete(row)
    return _recorded(session, row, actor, Kind.SCHEDULE_DELETED)


def pause_schedule(
    session: Session, schedule_id: str, reason: str, expected_etag: str, actor: ActorContext
) -> Schedule:
    """Pause a schedule, so that it does not make its model due.

    Raises:
        ScheduleNotFound: no schedule has that id.
        EtagMismatch: the schedule has changed since `expected_etag` was read.
    """
    row = _changed(session, schedule_id, expected_etag, actor)
    row.paused, row.pause_reason = True, reason
    return _recorded(session, row, actor)


def resume_schedule(session: Session, schedule_id: str, expected_etag: str, actor: ActorContext) -> Schedule:
    """Resume a paused schedule.

    Raises:
        ScheduleNotFound: no schedule has that id.
        EtagMismatch: the schedule has changed since `expected_etag` was read.
    """
    row = _changed(session, schedule_id, expected_etag, actor)
    if row.paused:
        row.paused, row.pause_reason, row.resumed_at = False, "", actor.at
    return _recorded(session, row, actor)


def _changed(session: Session, schedule_id: str, expected_etag: str, actor: ActorContext) -> ScheduleRow:
    """Fetch a schedule to change it, and increment its revision."""
    row = schedule_row(session, schedule_id, lock=True)
    check_etag(expected_etag, etag(row))
    row.revision, row.updated_at = row.revision + 1, actor.at
    return row


def _recorded(session: Session, row: ScheduleRow, actor: ActorContext, kind: Kind = Kind.SCHEDULE) -> Schedule:
    """Record the state of a schedule after its change, or before its deletion, in the audit log."""
    schedule = to_schedule(row)
    audit.append(session, kind, schedule.model, schedule, actor)
    return schedule
