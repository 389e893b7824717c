"""Reports of engines that differ from the one before, as events for watchers."""

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from modelward.lifecycle import EngineStatus, EventKind, LoadFailure, ModelEvent, RolloutState
from modelward_server.storage.tables import EngineChangeRow, EngineRow

MAX_KEPT = 10_000
"""Number of changes that are kept for watchers that lag behind."""
PRUNE_EVERY = 100


def differs(last: EngineRow | None, row: EngineRow) -> bool:
    """Return whether a report says something that the one before did not.

    Args:
        last: what the engine reported last; None if this is its first report.
        row: what it reports now.
    """
    if last is None or last.gone_at <= row.reported_at:
        return True
    return (last.version, last.failed_version, last.failure) != (row.version, row.failed_version, row.failure)


def record_change(session: Session, row: EngineRow, state: RolloutState) -> None:
    """Record a report that differs from the one before; the oldest records are deleted."""
    change = EngineChangeRow(
        model=row.model,
        engine=row.engine,
        version=row.version,
        state=state,
        failed_version=row.failed_version,
        failure=row.failure,
        reported_at=row.reported_at,
    )
    session.add(change)
    session.flush()
    if change.sequence % PRUNE_EVERY == 0:
        session.execute(delete(EngineChangeRow).where(EngineChangeRow.sequence <= change.sequence - MAX_KEPT))


def last_change(session: Session) -> int:
    """Return the number of the newest change; 0 before the first."""
    return session.scalar(select(func.max(EngineChangeRow.sequence))) or 0


def changes_after(session: Session, sequence: int, limit: int) -> tuple[list[ModelEvent], int]:
    """Return the next changes as events, and the number of the last one.

    Changes are recorded under the lock of the audit log: their numbers are in commit order.
    """
    rows = select(EngineChangeRow).where(EngineChangeRow.sequence > sequence).order_by(EngineChangeRow.sequence)
    events = [_event(row) for row in session.scalars(rows.limit(limit))]
    return events, events[-1].sequence if events else sequence


def _event(row: EngineChangeRow) -> ModelEvent:
    failure = LoadFailure(row.failed_version, row.failure) if row.failed_version else None
    status = EngineStatus(row.engine, row.version, RolloutState(row.state), row.reported_at, failure)
    return ModelEvent(row.sequence, row.reported_at, row.model, EventKind.ENGINE, status)
