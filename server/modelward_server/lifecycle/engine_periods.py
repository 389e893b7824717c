"""Periods: which engine ran which version from when until when."""

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import ColumnElement, and_, func, or_, select
from sqlalchemy.orm import Session

from modelward.lifecycle import EnginePeriod, Page, VersionRef
from modelward_server.actor_context import ActorContext
from modelward_server.lifecycle.repository import model_row, version_row
from modelward_server.storage.paging import Key, fetch_page
from modelward_server.storage.tables import EnginePeriodRow, EngineRow


def begins_period(ref: VersionRef, last: EngineRow | None, actor: ActorContext) -> bool:
    """Return whether an engine reports another version than before, or reports again after it was gone."""
    return last is None or last.version != ref.version or last.gone_at <= actor.at


def periods_since(session: Session, model: str, engine: str, at: datetime) -> int:
    """Return how many periods an engine began after a timestamp."""
    row = EnginePeriodRow
    own = row.model == model, row.engine == engine, row.started_at > at
    return session.scalar(select(func.count()).select_from(row).where(*own)) or 0


def begin_period(session: Session, ref: VersionRef, engine: str, last: EngineRow | None, actor: ActorContext) -> None:
    """Begin a period, and end the one before.

    Args:
        session: the transaction.
        ref: the version that the engine runs.
        engine: the engine's name.
        last: what it reported last; None if this is its first report.
        actor: the time of the report.
    """
    if last is not None:
        _end(session, ref.model, engine, last.reported_at if last.gone_at <= actor.at else actor.at)
    session.add(EnginePeriodRow(model=ref.model, engine=engine, version=ref.version, started_at=actor.at))


def _end(session: Session, model: str, engine: str, at: datetime) -> None:
    row = session.scalar(select(EnginePeriodRow).where(*_open_of(model, engine)))
    if row:
        row.ended_at = max(at, row.started_at)
        session.flush()  # Only one period of an engine may be open.


def _open_of(model: str, engine: str) -> tuple[ColumnElement[bool], ...]:
    row = EnginePeriodRow
    return row.model == model, row.engine == engine, row.ended_at.is_(None)


def list_periods(
    session: Session,
    ref: VersionRef,
    engine: str,
    ended_after: datetime | None,
    started_before: datetime | None,
    page_size: int,
    page_token: str,
    now: datetime,
) -> Page[EnginePeriod]:
    """Return a page of periods, the newest first.

    Args:
        session: the transaction.
        ref: the model and version; version 0 means all versions.
        engine: the engine's name; empty means all engines.
        ended_after: the earliest end, inclusive; periods that have not ended match.
        started_before: the latest start, exclusive.
        page_size: the number of periods per page.
        page_token: the token of the page.
        now: the current time, at which engines may be gone.

    Raises:
        ModelNotFound, VersionNotFound: the model or version of `ref` does not exist.
    """
    if ref.version:
        version_row(session, ref)
    model_row(session, ref.model)
    rows = select(EnginePeriodRow).where(EnginePeriodRow.model == ref.model)
    if ref.version:
        rows = rows.where(EnginePeriodRow.version == ref.version)
    if engine:
        rows = rows.where(EnginePeriodRow.engine == engine)
    if ended_after is not None:
        rows = rows.where(_ended_after(ended_after, now))
    if started_before is not None:
        rows = rows.where(EnginePeriodRow.started_at < started_before)
    newest_first = [Key(EnginePeriodRow.sequence, descending=True)]
    list_key = ("engine periods", ref, engine, ended_after, started_before)
    page = fetch_page(session, rows, newest_first, page_size, page_token, list_key)
    ends = _ends_of_gone(session, ref.model, page.items, now)
    return Page(tuple(_to_period(row, ends) for row in page.items), page.next_page_token)


def _ended_after(at: datetime, now: datetime) -> ColumnElement[bool]:
    """Return the condition that a period ended at a timestamp or later, or has not ended."""
    own = and_(EngineRow.model == EnginePeriodRow.model, EngineRow.engine == EnginePeriodRow.engine)
    running = select(EngineRow).where(own, or_(EngineRow.gone_at > now, EngineRow.reported_at >= at)).exists()
    return or_(EnginePeriodRow.ended_at >= at, and_(EnginePeriodRow.ended_at.is_(None), running))


def _ends_of_gone(session: Session, model: str, rows: Iterable[EnginePeriodRow], now: datetime) -> dict[str, datetime]:
    """Return the last reports of the engines that are gone, whose newest periods have ended with them."""
    engines = [row.engine for row in rows if row.ended_at is None]
    gone = select(EngineRow.engine, EngineRow.reported_at).where(
        EngineRow.model == model, EngineRow.engine.in_(engines), EngineRow.gone_at <= now
    )
    return {row.engine: row.reported_at for row in session.execute(gone)}


def _to_period(row: EnginePeriodRow, ends: dict[str, datetime]) -> EnginePeriod:
    ended_at = row.ended_at or ends.get(row.engine)
    return EnginePeriod(row.engine, VersionRef(row.model, row.version), row.started_at, ended_at)
