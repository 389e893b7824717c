"""Convert audit records to events for watchers."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from modelward.drills import Drill
from modelward.findings import Finding
from modelward.governance import Approval
from modelward.lifecycle import (
    DriftAlarm,
    EventKind,
    Halt,
    JobChange,
    Model,
    ModelEvent,
    ModelVersion,
    PerformanceAlarm,
    PromotionPolicy,
    Transition,
)
from modelward_server.lifecycle.drills import running_drills
from modelward_server.lifecycle.halts import Resumption
from modelward_server.lifecycle.repository import production_version, to_model
from modelward_server.runtime.background import note_failure
from modelward_server.runtime.retries import log_once
from modelward_server.storage import audit
from modelward_server.storage.audit import Kind, payload_of
from modelward_server.storage.tables import AuditRow, ModelRow

SUBJECTS: dict[str, tuple[EventKind, type]] = {
    Kind.MODEL: (EventKind.STATE, Model),
    Kind.REGISTERED: (EventKind.REGISTERED, ModelVersion),
    Kind.VERSION: (EventKind.VERSION_CHANGED, ModelVersion),
    Kind.TRANSITION: (EventKind.TRANSITION, Transition),
    Kind.HALTED: (EventKind.HALTED, Halt),
    Kind.RESUMED: (EventKind.RESUMED, Resumption),
    Kind.POLICY: (EventKind.POLICY, PromotionPolicy),
    Kind.DRIFT_ALARM: (EventKind.DRIFT_ALARM, DriftAlarm),
    Kind.PERFORMANCE_ALARM: (EventKind.PERFORMANCE_ALARM, PerformanceAlarm),
    Kind.JOB: (EventKind.JOB, JobChange),
    Kind.APPROVAL: (EventKind.APPROVAL, Approval),
    Kind.FINDING: (EventKind.FINDING, Finding),
    Kind.DRILL: (EventKind.DRILL, Drill),
}
"""The event and the payload type of each kind of audit record; other kinds are not sent to watchers."""


def events_after(session: Session, sequence: int, limit: int) -> tuple[list[ModelEvent], int]:
    """Return the next events, and the number of the last record that was read."""
    rows = audit.read_after(session, sequence, limit)
    return list(_events(rows)), rows[-1].sequence if rows else sequence


def _events(rows: Iterable[AuditRow]) -> Iterator[ModelEvent]:
    """Convert records; one that cannot be read is logged and skipped, so that it does not block those after it."""
    for row in rows:
        try:
            if row.kind in SUBJECTS:
                yield _event(row)
        except Exception as error:
            note_failure(error)
            log_once("telling watchers of the record", row.sequence, error)


def _event(row: AuditRow) -> ModelEvent:
    kind, of = SUBJECTS[row.kind]
    subject: Any = payload_of(row, of)
    if isinstance(subject, Resumption):
        subject = subject.model
    if isinstance(subject, Transition):
        subject = replace(subject, sequence=row.sequence)  # Its number was not known when the record was written.
    return ModelEvent(row.sequence, row.happened_at, row.model, kind, subject, str(row.sequence))


def current_states(session: Session, models: Sequence[str], *, with_drills: bool) -> tuple[list[ModelEvent], int]:
    """Return the state of the named models, or of all, and the number of the last change that it includes.

    The drills that run are part of it: an engine may have reported before its watch begins, so that it has to answer.
    """
    rows = select(ModelRow).order_by(ModelRow.name)
    if models:
        rows = rows.where(ModelRow.name.in_(models))
    head = audit.last_sequence(session)
    current = [to_model(row, production_version(session, row.name)) for row in session.scalars(rows)]
    states = [ModelEvent(head, model.updated_at, model.name, EventKind.STATE, model) for model in current]
    drills = running_drills(session, models) if with_drills else ()
    states += [ModelEvent(head, drill.started_at, drill.model, EventKind.DRILL, drill) for drill in drills]
    # Only the last one carries a resume token: a watch that is interrupted before it starts again.
    return [*states[:-1], *(replace(state, resume_token=str(head)) for state in states[-1:])], head
