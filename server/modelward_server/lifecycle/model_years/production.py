"""When which version was in production, from the transitions of a model."""

from collections.abc import Iterable, Iterator

from modelward.lifecycle import Stage
from modelward_server.lifecycle.model_years.model_year import EventKind, ProductionSpan, YearEvent
from modelward_server.lifecycle.model_years.report_period import ReportPeriod
from modelward_server.storage.tables import TransitionRow

NOT_APPROVED = "entered production without an approval"
ROLLED_BACK = "rollback, which needs no approval beforehand"


def spans(rows: Iterable[TransitionRow], period: ReportPeriod) -> Iterator[ProductionSpan]:
    """Yield the spans that overlap a period.

    Args:
        rows: all transitions of a model into and out of production up to the end of the period, in order.
        period: the period.
    """
    entered: dict[int, TransitionRow] = {}
    for row in rows:
        if row.to_stage == Stage.PRODUCTION:
            entered[row.version] = row
        elif row.version in entered:
            entry = entered.pop(row.version)
            if period.holds(row.sequence):
                yield _span(entry, row)
    yield from (_span(entry, None) for entry in entered.values())


def _span(entry: TransitionRow, exit_: TransitionRow | None) -> ProductionSpan:
    return ProductionSpan(
        version=entry.version,
        entered=entry.sequence,
        since=entry.moved_at,
        until=exit_.moved_at if exit_ else None,
        actor=entry.actor,
        reason=entry.reason,
        is_rollback=_is_rollback(entry),
    )


def move_event(row: TransitionRow, approval_id: str) -> YearEvent | None:
    """Return the event of a transition into or out of production; None for the exit of a version that was displaced.

    Args:
        row: the transition.
        approval_id: the approval that it has used; empty if none.
    """
    if row.to_stage != Stage.PRODUCTION:
        what = f"version {row.version} left production for {row.to_stage}"
        return None if row.displaced_by else _event(row, EventKind.LEFT_PRODUCTION, what)
    if _is_rollback(row):
        return _event(row, EventKind.ROLLBACK, f"rolled back to version {row.version}", ROLLED_BACK)
    approved = f", approved by {approval_id}" if approval_id else ""
    what = f"version {row.version} entered production{approved}"
    return _event(row, EventKind.PROMOTION, what, "" if approval_id else NOT_APPROVED)


def _is_rollback(entry: TransitionRow) -> bool:
    """Whether a version entered production from the archive, which only a rollback does."""
    return entry.from_stage == Stage.ARCHIVED


def _event(row: TransitionRow, kind: EventKind, what: str, exception: str = "") -> YearEvent:
    return YearEvent(row.sequence, row.moved_at, kind, row.version, row.actor, what, row.reason, exception)
