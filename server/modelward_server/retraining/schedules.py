"""Schedules: create, read, list, change, pause."""

from collections.abc import Collection, Sequence
from uuid import uuid4

from sqlalchemy import select
from sqlalchemy.orm import Session

from modelward.errors import FieldViolation, InvalidField, ScheduleExists
from modelward.lifecycle import Page
from modelward.retraining import AtSession, Cron, Schedule, Trigger
from modelward.schedules import SchedulePolicy
from modelward_server.actor_context import ActorContext
from modelward_server.lifecycle.repository import check_etag, model_row
from modelward_server.retraining.clock import check_cron
from modelward_server.retraining.firings import drop_waiting
from modelward_server.retraining.repository import etag, schedule_row, to_schedule
from modelward_server.retraining.schedule_policy import check_policy
from modelward_server.retraining.trading_sessions import check_calendar
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
    """Create a schedule; an empty id lets the server make one.

    Raises:
        ModelNotFound: there is no such model.
        ScheduleExists: the id is taken.
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
    """Refuse what the contract's constraints cannot see; calendars take long to load, so before others wait.

    Args:
        field: where both stand in the request, as "draft.".

    Raises:
        InvalidField: a cron expression, a zone or a calendar means nothing, or something ends before it begins.
    """
    check_triggers(triggers, f"{field}triggers")
    check_policy(policy, f"{field}policy")


def check_triggers(triggers: Sequence[Trigger], field: str) -> None:
    """Refuse what the contract's constraints cannot see.

    Raises:
        InvalidField: a cron expression, its zone or an exchange's calendar means nothing.
    """
    for number, trigger in enumerate(triggers):
        if isinstance(trigger, Cron):
            check_cron(trigger, f"{field}[{number}].periodic.cron")
        elif isinstance(trigger, AtSession):
            check_calendar(trigger.calendar, f"{field}[{number}].periodic.session.calendar")


def get_schedule(session: Session, schedule_id: str) -> Schedule:
    """Return a schedule.

    Raises:
        ScheduleNotFound: there is none of that id.
    """
    return to_schedule(schedule_row(session, schedule_id))


def list_schedules(session: Session, model: str, page_size: int, page_token: str) -> Page[Schedule]:
    """Return a page of schedules by id, of one model or of all.

    Raises:
        ModelNotFound: there is no such model.
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
    """Replace a schedule's description, its triggers, which then count from now on, and its policy.

    Raises:
        ScheduleNotFound: there is none of that id.
        EtagMismatch: it changed since `expected_etag` was read.
        InvalidField: nothing is to be changed, or no trigger would be left.
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
    """Delete a schedule and return it as it was.

    Raises:
        ScheduleNotFound: there is none of that id.
        EtagMismatch: it changed since `expected_etag` was read.
    """
    row = schedule_row(session, schedule_id, lock=True)
    check_etag(expected_etag, etag(row))
    drop_waiting(session, schedule_id, actor)
    session.delete(row)
    return _recorded(session, row, actor, Kind.SCHEDULE_DELETED)


def pause_schedule(
    session: Session, schedule_id: str, reason: str, expected_etag: str, actor: ActorContext
) -> Schedule:
    """Stop a schedule from making its model due.

    Raises:
        ScheduleNotFound: there is none of that id.
        EtagMismatch: it changed since `expected_etag` was read.
    """
    row = _changed(session, schedule_id, expected_etag, actor)
    row.paused, row.pause_reason = True, reason
    return _recorded(session, row, actor)


def resume_schedule(session: Session, schedule_id: str, expected_etag: str, actor: ActorContext) -> Schedule:
    """End a pause.

    Raises:
        ScheduleNotFound: there is none of that id.
        EtagMismatch: it changed since `expected_etag` was read.
    """
    row = _changed(session, schedule_id, expected_etag, actor)
    if row.paused:
        row.paused, row.pause_reason, row.resumed_at = False, "", actor.at
    return _recorded(session, row, actor)


def _changed(session: Session, schedule_id: str, expected_etag: str, actor: ActorContext) -> ScheduleRow:
    """Fetch a schedule that is about to change, and count the change."""
    row = schedule_row(session, schedule_id, lock=True)
    check_etag(expected_etag, etag(row))
    row.revision, row.updated_at = row.revision + 1, actor.at
    return row


def _recorded(session: Session, row: ScheduleRow, actor: ActorContext, kind: Kind = Kind.SCHEDULE) -> Schedule:
    """Note in the audit log how a schedule stands after its change, or stood before it was deleted."""
    schedule = to_schedule(row)
    audit.append(session, kind, schedule.model, schedule, actor)
    return schedule
