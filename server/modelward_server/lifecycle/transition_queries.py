"""Lists of stage transitions."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, and_, func, or_, select, true
from sqlalchemy.orm import Session, aliased

from modelward.errors import FieldViolation, InvalidField
from modelward.lifecycle import Page, ProductionVersion, Stage, Transition, VersionRef
from modelward_server.lifecycle.inventory import inventory_of
from modelward_server.lifecycle.repository import check_exists, to_transition
from modelward_server.storage.audit import last_sequence
from modelward_server.storage.paging import Key, fetch_page, is_listed, is_visible, visible_prefixes
from modelward_server.storage.search import Condition, search_page
from modelward_server.storage.tables import ModelRow, TransitionRow

NUMBERED = (TransitionRow.sequence,)
CLOCK_DIFFERENCE = timedelta(minutes=1)
"""By how much the clock of a client may be ahead."""


def list_transitions(
    session: Session,
    ref: VersionRef,
    moved_after: datetime | None,
    moved_before: datetime | None,
    page_size: int,
    page_token: str,
) -> Page[Transition]:
    """Return a page of stage transitions, the newest first.

    Args:
        session: the transaction.
        ref: the model and version; an empty model means all models, version 0 all versions.
        moved_after: the earliest time, inclusive.
        moved_before: the latest time, exclusive.
        page_size: the number of transitions per page.
        page_token: the token of the page.

    Raises:
        ModelNotFound, VersionNotFound: the model or version of `ref` does not exist.
    """
    check_exists(session, ref)
    conditions = list(_conditions(ref, moved_after, moved_before))
    newest_first = [Key(TransitionRow.sequence, descending=True)]
    list_key = ("transitions", ref, moved_after, moved_before)
    newest = _newest_before(session, moved_before)
    page = search_page(
        session, newest_first, lambda number: number <= newest, conditions, page_size, page_token, list_key
    )
    return Page(tuple(map(to_transition, page.items)), page.next_page_token)


def _newest_before(session: Session, moved_before: datetime | None) -> int:
    """Return the number of the last transition before an instant, where the scan starts: many may be newer."""
    if moved_before is None:
        return last_sequence(session)
    # Times are in the order of the numbers (`audit.begin_change`), so the last one by the index of times is enough.
    earlier = select(TransitionRow.sequence).where(TransitionRow.moved_at < moved_before)
    last = earlier.order_by(TransitionRow.moved_at.desc(), TransitionRow.sequence.desc()).limit(1)
    return session.scalar(last) or 0


def list_production_versions(
    session: Session, as_of: datetime | None, name_prefix: str, page_size: int, page_token: str, now: datetime
) -> Page[ProductionVersion]:
    """Return a page of what was in production at a time, by model; models that did not exist then are left out.

    Args:
        session: the transaction.
        as_of: the time; None means now.
        name_prefix: only models whose names have this prefix.
        page_size: the number of models per page.
        page_token: the token of the page.
        now: the current time.

    Raises:
        InvalidField: the time is in the future, also by a clock that differs by `CLOCK_DIFFERENCE`.
    """
    at = as_of or now
    if at > now + CLOCK_DIFFERENCE:
        raise InvalidField(FieldViolation("as_of", "is in the future; what will be in production then is not known"))
    existing = select(ModelRow).where(ModelRow.created_at <= at, is_listed(ModelRow.name, name_prefix))
    list_key = ("production versions", as_of, name_prefix)
    page = fetch_page(session, existing, [Key(ModelRow.name)], page_size, page_token, list_key)
    found = _last_moves(session, [row.name for row in page.items], at)
    return Page(tuple(_in_production(row, found.get(row.name)) for row in page.items), page.next_page_token)


def _last_moves(session: Session, models: Sequence[str], as_of: datetime) -> dict[str, TransitionRow]:
    """Return the last transition into or out of production of each model; one by which another enters comes with it."""
    move, production = aliased(TransitionRow), Stage.PRODUCTION.value
    left = and_(move.from_stage == production, move.displaced_by == 0)
    last = select(func.max(move.sequence)).where(
        move.model == ModelRow.name, move.moved_at <= as_of, or_(move.to_stage == production, left)
    )
    rows = select(TransitionRow).select_from(ModelRow)
    rows = rows.join(TransitionRow, TransitionRow.sequence == last.scalar_subquery())
    return {row.model: row for row in session.scalars(rows.where(ModelRow.name.in_(models)))}


def _in_production(model: ModelRow, move: TransitionRow | None) -> ProductionVersion:
    entered = move is not None and move.to_stage == Stage.PRODUCTION.value
    return ProductionVersion(model.name, to_transition(move) if move and entered else None, inventory_of(model))


def _conditions(ref: VersionRef, moved_after: datetime | None, moved_before: datetime | None) -> Iterator[Condition]:
    if ref.model:
        of = (TransitionRow.model == ref.model) & (TransitionRow.version == ref.version if ref.version else true())
        yield Condition(NUMBERED, of, NUMBERED, in_order=True)
    elif visible_prefixes():
        yield Condition(NUMBERED, is_visible(TransitionRow.model), (TransitionRow.model, *NUMBERED))
    if moved_after is not None or moved_before is not None:
        yield Condition(NUMBERED, and_(*_moved_within(moved_after, moved_before)), (TransitionRow.moved_at, *NUMBERED))


def _moved_within(moved_after: datetime | None, moved_before: datetime | None) -> Iterator[ColumnElement[bool]]:
    if moved_after is not None:
        yield TransitionRow.moved_at >= moved_after
    if moved_before is not None:
        yield TransitionRow.moved_at < moved_before
