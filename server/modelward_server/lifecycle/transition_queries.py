"""Lists of stage transitions."""

from collections.abc import Iterator
from datetime import datetime

from sqlalchemy import ColumnElement, and_, func, select, true
from sqlalchemy.orm import Session

from modelward.lifecycle import Page, Transition, VersionRef
from modelward_server.lifecycle.repository import model_row, to_transition, version_row
from modelward_server.storage.audit import last_sequence
from modelward_server.storage.paging import Key, is_visible, visible_prefixes
from modelward_server.storage.search import Condition, search_page
from modelward_server.storage.tables import TransitionRow

NUMBERED = (TransitionRow.sequence,)


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
    _check_exists(session, ref)
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
    # A subquery, so that the index of times is used instead of reading every row from the newest on.
    earlier = select(TransitionRow.sequence).where(TransitionRow.moved_at < moved_before)
    numbers = earlier.order_by(TransitionRow.moved_at).offset(0).subquery()
    return session.scalar(select(func.max(numbers.c.sequence))) or 0


def _check_exists(session: Session, ref: VersionRef) -> None:
    if ref.model and ref.version:
        version_row(session, ref)
    elif ref.model:
        model_row(session, ref.model)


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
