"""The models that were in production in a period, page by page."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from sqlalchemy import and_, func, or_, select
from sqlalchemy.orm import Session

from modelward.inventory import Inventory
from modelward.lifecycle import Stage
from modelward_server.lifecycle.due_reviews import ProductionState, ReviewState, review_state
from modelward_server.lifecycle.model_years.model_year import ModelYear, ProductionSpan, YearEvent
from modelward_server.lifecycle.model_years.production import move_event, spans
from modelward_server.lifecycle.model_years.replay import KINDS, Replay
from modelward_server.lifecycle.model_years.report_period import ReportPeriod
from modelward_server.storage.audit import Kind
from modelward_server.storage.ledger import Ledger
from modelward_server.storage.paging import is_visible
from modelward_server.storage.retraining_tables import JobRow
from modelward_server.storage.tables import AuditRow, ModelRow, TransitionRow

PAGE = 50
"""The number of models that are looked at in one transaction, and held in memory at most."""
ALARMS = (Kind.DRIFT_ALARM, Kind.PERFORMANCE_ALARM)


@dataclass(frozen=True)
class InventoryFilter:
    """Conditions on the inventory as it stood at the end of the period; all that are set must be met."""

    owner: str = ""
    tier: int = 0
    desk: str = ""

    def admits(self, inventory: Inventory) -> bool:
        """Return whether an inventory meets the conditions."""
        return (
            (not self.owner or self.owner in inventory.owners)
            and (not self.tier or self.tier == inventory.tier)
            and (not self.desk or self.desk in inventory.scope.desks)
        )


def pages(ledger: Ledger, period: ReportPeriod, wanted: InventoryFilter) -> Iterator[Sequence[ModelYear]]:
    """Yield the models that were in production in a period, in pages by name; a page may be empty.

    Only models that the client may see are among them.
    """
    after: str | None = ""
    while after is not None:
        with ledger.reading() as session:
            names = _names(session, after)
            found = list(_years(session, names, period, wanted))
        after = names[-1] if len(names) == PAGE else None
        yield found


def _names(session: Session, after: str) -> list[str]:
    rows = select(ModelRow.name).where(ModelRow.name > after, is_visible(ModelRow.name))
    return list(session.scalars(rows.order_by(ModelRow.name).limit(PAGE)))


def _years(
    session: Session, names: Sequence[str], period: ReportPeriod, wanted: InventoryFilter
) -> Iterator[ModelYear]:
    counts = _Counts(session, names, period)
    for model, rows in groupby(_moves(session, names, period), lambda row: row.model):
        moves = list(rows)
        if found := list(spans(moves, period)):
            replay = _replayed(session, model, period)
            if wanted.admits(replay.inventory):
                yield _year(session, model, found, moves, replay, period, counts)


def _moves(session: Session, names: Sequence[str], period: ReportPeriod) -> Iterator[TransitionRow]:
    """Yield the transitions into and out of production up to the end of the period, model by model."""
    production = or_(TransitionRow.to_stage == Stage.PRODUCTION, TransitionRow.from_stage == Stage.PRODUCTION)
    rows = select(TransitionRow).where(TransitionRow.model.in_(names), production)
    rows = rows.where(TransitionRow.sequence <= period.last)
    yield from session.scalars(rows.order_by(TransitionRow.model, TransitionRow.sequence))


def _replayed(session: Session, model: str, period: ReportPeriod) -> Replay:
    replay = Replay(model, period)
    records = select(AuditRow).where(
        AuditRow.model == model, AuditRow.sequence <= period.last, AuditRow.kind.in_(KINDS)
    )
    for row in session.scalars(records.order_by(AuditRow.sequence)):
        replay.add(row)
    return replay


class _Counts:
    """The numbers of alarms, and of retraining jobs that were requested, of some models in a period."""

    def __init__(self, session: Session, names: Sequence[str], period: ReportPeriod) -> None:
        made = and_(AuditRow.sequence.between(period.before + 1, period.last), AuditRow.kind.in_(ALARMS))
        alarms = select(AuditRow.model, AuditRow.kind, func.count()).where(AuditRow.model.in_(names), made)
        grouped = session.execute(alarms.group_by(AuditRow.model, AuditRow.kind))
        self._alarms = {(model, kind): count for model, kind, count in grouped}
        asked = and_(JobRow.created_at >= period.start, JobRow.created_at < period.end)
        jobs = select(JobRow.model, func.count()).where(JobRow.model.in_(names), asked)
        self._jobs = {row[0]: row[1] for row in session.execute(jobs.group_by(JobRow.model))}

    def alarms(self, model: str, kind: Kind) -> int:
        return self._alarms.get((model, kind), 0)

    def jobs(self, model: str) -> int:
        return self._jobs.get(model, 0)


def _year(
    session: Session,
    model: str,
    found: Sequence[ProductionSpan],
    moves: Sequence[TransitionRow],
    replay: Replay,
    period: ReportPeriod,
    counts: _Counts,
) -> ModelYear:
    return ModelYear(
        model=model,
        inventory=replay.inventory,
        inventory_recorded=replay.inventory_recorded,
        spans=found,
        events=_events(moves, replay, period),
        approvals=replay.approvals,
        halts=replay.halts,
        findings=replay.findings,
        reviews=replay.reviews,
        review=_review(session, model, found, replay, period),
        drills=replay.drills,
        drift_alarms=counts.alarms(model, Kind.DRIFT_ALARM),
        performance_alarms=counts.alarms(model, Kind.PERFORMANCE_ALARM),
        retraining_jobs=counts.jobs(model),
    )


def _events(moves: Sequence[TransitionRow], replay: Replay, period: ReportPeriod) -> list[YearEvent]:
    made = (row for row in moves if period.holds(row.sequence))
    moved = (move_event(row, replay.approved.get(row.sequence, "")) for row in made)
    return sorted([*replay.events, *filter(None, moved)], key=lambda event: event.record)


def _review(
    session: Session, model: str, found: Sequence[ProductionSpan], replay: Replay, period: ReportPeriod
) -> ReviewState | None:
    """Return whether the review was due at the end, if a version was in production then."""
    current = next((span for span in found if span.until is None), None)
    if current is None:
        return None
    stated = replay.inventory.next_review
    return review_state(session, ProductionState(model, current.version, replay.policy, stated, period.last, period.at))
