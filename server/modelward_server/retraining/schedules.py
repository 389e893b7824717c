"""Schedules: create, read, list, change, pause, preview."""

from collections.abc import Collection, Sequence
from datetime import datetime
from uuid import uuid4

from sqlalchemy import select
from sqlalchemy.orm import Session

from modelward.errors import FieldViolation, InvalidField, ScheduleExists
from modelward.lifecycle import Page
from modelward.retraining import Cron, Schedule, SchedulePreview, Trigger
from modelward_server.caller import Caller
from modelward_server.lifecycle.rows import check_etag, model_row
from modelward_server.retraining.clock import check_cron, preview
from modelward_server.retraining.due import describe_trigger
from modelward_server.retraining.facts import gather
from modelward_server.retraining.records import etag, schedule_row, to_schedule, triggers_json
from modelward_server.store import audit
from modelward_server.store.audit import Kind
from modelward_server.store.paging import Key, fetch_page
from modelward_server.store.retraining_tables import ScheduleRow

DEFAULT_FIRINGS = 10


def create_schedule(
    session: Session, model: str, schedule_id: str, description: str, triggers: Sequence[Trigger], caller: Caller
) -> Schedule:
    """Create a schedule; an empty id lets the server make one.

    Raises:
        ModelNotFound: there is no such model.
        ScheduleExists: the id is taken.
        InvalidField: a cron expression or its zone means nothing.
    """
    model_row(session, model)
    check_triggers(triggers, "triggers")
    if schedule_id and session.get(ScheduleRow, schedule_id) is not None:
        raise ScheduleExists(
            f"the schedule {schedule_id!r} exists; change it with UpdateSchedule", schedule_id=schedule_id
        )
    row = ScheduleRow(
        schedule_id=schedule_id or f"schedule-{uuid4().hex[:16]}",
        model=model,
        description=description,
        triggers=triggers_json(triggers),
        paused=False,
        pause_reason="",
        created_by=caller.actor,
        created_at=caller.at,
        updated_at=caller.at,
        revision=1,
    )
    session.add(row)
    session.flush()
    return _recorded(session, row, caller)


def check_triggers(triggers: Sequence[Trigger], field: str) -> None:
    """Refuse what the contract's constraints cannot see.

    Raises:
        InvalidField: a cron expression or its zone means nothing.
    """
    for number, trigger in enumerate(triggers):
        if isinstance(trigger, Cron):
            check_cron(trigger, f"{field}[{number}].periodic.cron")


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
    caller: Caller,
) -> Schedule:
    """Replace a schedule's description, triggers or both.

    Raises:
        ScheduleNotFound: there is none of that id.
        EtagMismatch: it changed since `expected_etag` was read.
        InvalidField: nothing is to be changed, no trigger would be left, or one means nothing.
    """
    if not mask:
        raise InvalidField(FieldViolation("update_mask", 'is empty; name "triggers", "description" or both'))
    row = _changed(session, schedule_id, expected_etag, caller)
    if "description" in mask:
        row.description = description
    if "triggers" in mask:
        if not triggers:
            raise InvalidField(FieldViolation("triggers", "is empty; give at least one, or pause the schedule"))
        check_triggers(triggers, "triggers")
        row.triggers = triggers_json(triggers)
    return _recorded(session, row, caller)


def delete_schedule(session: Session, schedule_id: str, expected_etag: str, caller: Caller) -> Schedule:
    """Delete a schedule and return it as it was.

    Raises:
        ScheduleNotFound: there is none of that id.
        EtagMismatch: it changed since `expected_etag` was read.
    """
    row = schedule_row(session, schedule_id, lock=True)
    check_etag(expected_etag, etag(row))
    session.delete(row)
    return _recorded(session, row, caller, Kind.SCHEDULE_DELETED)


def pause_schedule(session: Session, schedule_id: str, reason: str, expected_etag: str, caller: Caller) -> Schedule:
    """Stop a schedule from making its model due.

    Raises:
        ScheduleNotFound: there is none of that id.
        EtagMismatch: it changed since `expected_etag` was read.
    """
    row = _changed(session, schedule_id, expected_etag, caller)
    row.paused, row.pause_reason = True, reason
    return _recorded(session, row, caller)


def resume_schedule(session: Session, schedule_id: str, expected_etag: str, caller: Caller) -> Schedule:
    """End a pause.

    Raises:
        ScheduleNotFound: there is none of that id.
        EtagMismatch: it changed since `expected_etag` was read.
    """
    row = _changed(session, schedule_id, expected_etag, caller)
    row.paused, row.pause_reason = False, ""
    return _recorded(session, row, caller)


def preview_schedule(
    session: Session, schedule_id: str, after: datetime | None, count: int, now: datetime
) -> SchedulePreview:
    """Show when a schedule would fire by the clock, behind `after` or else now.

    Raises:
        ScheduleNotFound: there is none of that id.
    """
    schedule = get_schedule(session, schedule_id)
    trained = gather(session, schedule.model, (), now).trained_at or schedule.created_at
    return _preview(schedule.triggers, trained, after or now, count)


def preview_draft(triggers: Sequence[Trigger], after: datetime | None, count: int, now: datetime) -> SchedulePreview:
    """Show when triggers that no schedule has would fire, counted from a training at `after` or else now.

    Raises:
        InvalidField: a cron expression or its zone means nothing.
    """
    check_triggers(triggers, "draft.triggers")
    return _preview(tuple(triggers), after or now, after or now, count)


def _preview(triggers: tuple[Trigger, ...], trained: datetime, after: datetime, count: int) -> SchedulePreview:
    conditions = tuple(map(describe_trigger, triggers))
    return SchedulePreview(preview(triggers, trained, after, count or DEFAULT_FIRINGS), conditions)


def _changed(session: Session, schedule_id: str, expected_etag: str, caller: Caller) -> ScheduleRow:
    """Fetch a schedule that is about to change, and count the change."""
    row = schedule_row(session, schedule_id, lock=True)
    check_etag(expected_etag, etag(row))
    row.revision, row.updated_at = row.revision + 1, caller.at
    return row


def _recorded(session: Session, row: ScheduleRow, caller: Caller, kind: Kind = Kind.SCHEDULE) -> Schedule:
    """Note in the audit log how a schedule stands after its change, or stood before it was deleted."""
    schedule = to_schedule(row)
    audit.append(session, kind, schedule.model, schedule, caller)
    return schedule
