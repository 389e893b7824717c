"""Drills: how long until every engine of a model would have stopped, measured without stopping it."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import uuid4

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from modelward.drills import Drill, DrilledEngine, EngineProof
from modelward.errors import DrillEnded, DrillNotFound, EngineNotDrilled
from modelward.lifecycle import Page, Stage
from modelward_server.actor_context import ActorContext
from modelward_server.lifecycle.repository import model_row, row_of
from modelward_server.storage import audit
from modelward_server.storage.audit import Kind
from modelward_server.storage.drill_tables import DrilledEngineRow, DrillRow
from modelward_server.storage.paging import Key, all_items, fetch_page, is_visible
from modelward_server.storage.tables import EngineRow, VersionRow

DEFAULT_TIMEOUT = timedelta(seconds=30)
MAX_IDS = 1000
"""Ids in one query: databases limit the number of its parameters."""
PAGE = 200


@dataclass(frozen=True)
class DrillFilter:
    """Which drills are listed; a default leaves none out."""

    model: str = ""
    started_after: datetime | None = None
    """The earliest start, inclusive."""
    started_before: datetime | None = None
    """The latest start, exclusive."""


@dataclass(frozen=True)
class DrillAnswer:
    """The answer of an engine."""

    engine: str
    received_at: datetime
    """When the server received it."""
    stopped_after: timedelta | None
    used_none: bool


def start_drills(
    session: Session, models: Sequence[str], reason: str, timeout: timedelta | None, actor: ActorContext
) -> tuple[Drill, ...]:
    """Start a drill of each model; one without a running engine ends at once.

    Args:
        session: the transaction.
        models: the names of the models; empty for all visible ones with a version in production.
        reason: why.
        timeout: how long the engines have to answer.
        actor: who starts them.

    Raises:
        ModelNotFound: a model does not exist.
    """
    names = sorted({model_row(session, name).name for name in models}) if models else _in_production(session)
    rows = [_start(session, name, reason, actor.at + (timeout or DEFAULT_TIMEOUT), actor) for name in names]
    session.flush()
    return _record(session, rows, actor)


def _in_production(session: Session) -> list[str]:
    in_production = select(VersionRow.model).where(VersionRow.stage == Stage.PRODUCTION, is_visible(VersionRow.model))
    return list(session.scalars(in_production.distinct().order_by(VersionRow.model)))


def _start(session: Session, model: str, reason: str, ends_at: datetime, actor: ActorContext) -> DrillRow:
    """Add a drill of a model and its running engines."""
    row = DrillRow(
        drill_id=f"drill-{uuid4().hex[:16]}",
        model=model,
        reason=reason,
        started_by=actor.name,
        started_at=actor.at,
        ends_at=ends_at,
    )
    session.add(row)
    session.flush()  # The engines refer to it.
    running = session.scalars(select(EngineRow).where(EngineRow.model == model, EngineRow.gone_at > actor.at)).all()
    session.add_all(DrilledEngineRow(drill_id=row.drill_id, engine=one.engine, version=one.version) for one in running)
    row.ended_at = None if running else actor.at
    return row


def answer_drill(session: Session, drill_id: str, answer: DrillAnswer, actor: ActorContext) -> Drill:
    """Record the answer of an engine; its first one counts. With the last engine's, the drill ends.

    Raises:
        DrillNotFound: there is no such drill.
        EngineNotDrilled: the engine was not running when it started.
        DrillEnded: it ended before the answer was received.
    """
    row = _row(session, drill_id, lock=True)
    engine = session.get(DrilledEngineRow, (drill_id, answer.engine), populate_existing=True)
    if engine is None:
        message = f"{answer.engine!r} had not reported to run {row.model} when {drill_id} started"
        raise EngineNotDrilled(message, drill_id=drill_id, engine=answer.engine)
    if engine.answered_at is None:
        _check_runs(row, answer.received_at)
        _store(session, row, engine, answer, actor)
    return to_drills(session, [row])[0]


def _check_runs(row: DrillRow, at: datetime) -> None:
    if row.ended_at is not None or at >= row.ends_at:
        message = f"{row.drill_id} ended at {row.ends_at.isoformat()}; answers that come later do not count"
        raise DrillEnded(message, drill_id=row.drill_id)


def _store(session: Session, row: DrillRow, engine: DrilledEngineRow, answer: DrillAnswer, actor: ActorContext) -> None:
    # Another server's clock may be behind that of the one that started the drill.
    engine.answered_at = max(answer.received_at, row.started_at)
    engine.stopped_after = None if answer.stopped_after is None else answer.stopped_after.total_seconds()
    engine.used_none = answer.used_none
    session.flush()
    answers = session.scalars(select(DrilledEngineRow.answered_at).where(DrilledEngineRow.drill_id == row.drill_id))
    times = [at for at in answers if at is not None]
    if len(times) == len(_engines_of(session, [row.drill_id])[row.drill_id]):
        row.ended_at = max(times)
        _record(session, [row], actor)


def end_overdue(session: Session, actor: ActorContext) -> tuple[Drill, ...]:
    """End the drills whose time is over, and return them."""
    overdue = select(DrillRow).where(DrillRow.ended_at.is_(None), DrillRow.ends_at <= actor.at)
    rows = session.scalars(overdue.order_by(DrillRow.sequence).with_for_update()).all()
    for row in rows:
        row.ended_at = row.ends_at
    return _record(session, rows, actor)


def has_overdue(session: Session, now: datetime) -> bool:
    """Return whether the time of a drill is over that has not ended."""
    overdue = select(DrillRow.sequence).where(DrillRow.ended_at.is_(None), DrillRow.ends_at <= now).limit(1)
    return session.scalar(overdue) is not None


def running_drills(session: Session, models: Sequence[str]) -> tuple[Drill, ...]:
    """Return the drills of the named models, or of all, that have not ended, in the order of their starts."""
    rows = select(DrillRow).where(DrillRow.ended_at.is_(None))
    if models:
        rows = rows.where(DrillRow.model.in_(models))
    return to_drills(session, session.scalars(rows.order_by(DrillRow.sequence)).all())


def get_drill(session: Session, drill_id: str) -> Drill:
    """Return a drill.

    Raises:
        DrillNotFound: there is no such drill.
    """
    return to_drills(session, [_row(session, drill_id)])[0]


def list_drills(session: Session, wanted: DrillFilter, page_size: int, page_token: str) -> Page[Drill]:
    """Return a page of drills, the newest first.

    Raises:
        ModelNotFound: the model does not exist.
    """
    if wanted.model:
        model_row(session, wanted.model)
    keys = [Key(DrillRow.sequence, descending=True)]
    filters = ("drills", *vars(wanted).values())
    page = fetch_page(session, _selected(wanted), keys, page_size, page_token, filters)
    return Page(to_drills(session, page.items), page.next_page_token)


def drills_between(session: Session, since: datetime, until: datetime, model: str = "") -> Iterator[Drill]:
    """Yield the drills that started from one time, inclusive, until another, exclusive; the newest first.

    Raises:
        ModelNotFound: the model does not exist.
    """
    return all_items(lambda token: list_drills(session, DrillFilter(model, since, until), PAGE, token))


def to_drills(session: Session, rows: Sequence[DrillRow]) -> tuple[Drill, ...]:
    """Return the drills of rows."""
    engines = _engines_of(session, [row.drill_id for row in rows])
    return tuple(_to_drill(row, engines[row.drill_id]) for row in rows)


def _engines_of(session: Session, ids: Sequence[str]) -> dict[str, list[DrilledEngineRow]]:
    """Return the engines of drills, by name."""
    found: dict[str, list[DrilledEngineRow]] = defaultdict(list)
    for start in range(0, len(ids), MAX_IDS):
        rows = select(DrilledEngineRow).where(DrilledEngineRow.drill_id.in_(ids[start : start + MAX_IDS]))
        for row in session.scalars(rows.order_by(DrilledEngineRow.engine)):
            found[row.drill_id].append(row)
    return found


def _to_drill(row: DrillRow, engines: Sequence[DrilledEngineRow]) -> Drill:
    return Drill(
        drill_id=row.drill_id,
        model=row.model,
        reason=row.reason,
        started_by=row.started_by,
        started_at=row.started_at,
        ends_at=row.ends_at,
        engines=tuple(_to_engine(row, engine) for engine in engines),
        ended_at=row.ended_at,
    )


def _to_engine(drill: DrillRow, row: DrilledEngineRow) -> DrilledEngine:
    if row.answered_at is None:
        proof = EngineProof.WAITING if drill.ended_at is None else EngineProof.NOT_PROVEN
        return DrilledEngine(row.engine, row.version, proof)
    return DrilledEngine(
        engine=row.engine,
        version=row.version,
        proof=EngineProof.PROVEN,
        answered_after=row.answered_at - drill.started_at,
        stopped_after=None if row.stopped_after is None else timedelta(seconds=row.stopped_after),
        used_none=row.used_none,
    )


def _record(session: Session, rows: Sequence[DrillRow], actor: ActorContext) -> tuple[Drill, ...]:
    """Append a record of each drill to the audit log, which is how watchers and webhooks learn of it."""
    drills = to_drills(session, rows)
    audit.append_all(session, Kind.DRILL, [(drill.model, 0, drill) for drill in drills], actor)
    return drills


def _selected(wanted: DrillFilter) -> Select[DrillRow]:
    rows = select(DrillRow)
    if wanted.model:
        rows = rows.where(DrillRow.model == wanted.model)
    if wanted.started_after is not None:
        rows = rows.where(DrillRow.started_at >= wanted.started_after)
    if wanted.started_before is not None:
        rows = rows.where(DrillRow.started_at < wanted.started_before)
    return rows


def _row(session: Session, drill_id: str, *, lock: bool = False) -> DrillRow:
    row = row_of(session, select(DrillRow).where(DrillRow.drill_id == drill_id), lock=lock)
    if row is None:
        raise DrillNotFound(f"there is no drill {drill_id!r}; ListDrills lists them", drill_id=drill_id)
    return row
