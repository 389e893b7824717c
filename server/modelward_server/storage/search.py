"""Pages of a list with conditions, fast whether a condition holds for ten rows or for nearly all.

A database that knows nothing of how many rows meet a condition has to guess: it walks the list in order and looks at
each row, which takes long when few match, or it collects all that match and sorts them, which takes long when many do.
So it is not left to guess. Each condition counts its rows, up to `FEW`, in an index of its own. When one has few, these
are collected, sorted and held against the other conditions. When all have many, the list is walked in order, and the
page is soon full.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from sqlalchemy import ColumnElement, Select, and_, exists, func, select, true
from sqlalchemy.orm import Session

from modelward.lifecycle import Page
from modelward_server.storage.paging import Key, PageRequest

Among: TypeAlias = Callable[[ColumnElement[Any]], ColumnElement[bool]]
"""Limits a list to a range of its first key, which every index that is in the list's order serves too."""
FEW = 2000
"""A condition that holds for fewer rows has few: that many are collected and sorted for each page."""
MANY = 10_000
"""How far rows are counted to find the shorter walk."""


@dataclass(frozen=True, eq=False)
class Condition:
    """A condition on the rows of a list, and the index that finds them."""

    columns: tuple[Any, ...]
    """What names a row of the list, in the order of the list's keys, in the table that has the index."""
    holds: ColumnElement[bool]
    along: tuple[Any, ...]
    """The columns by which the index goes on behind those that the condition fixes."""
    in_order: bool = False
    """Whether the index gives the rows in the list's order, each of them once."""

    def found(self, among: Among) -> Select[Any]:
        """Select the names of the rows for which it holds, in the list's range where the index knows that."""
        rows = select(*self.columns).where(self.holds)
        return rows.where(among(self.columns[0])) if self.in_order else rows

    def holds_for(self, names: Sequence[ColumnElement[Any]]) -> ColumnElement[bool]:
        same = (column == name for column, name in zip(self.columns, names, strict=True))
        # With an offset PostgreSQL asks it of one row after the other, as the walk needs, and makes no join of it.
        return exists(select(*self.columns).where(*same, self.holds).offset(0))


def search_page(
    session: Session,
    keys: Sequence[Key],
    among: Among,
    conditions: Sequence[Condition],
    page_size: int,
    page_token: str,
    asked: object,
) -> Page[Any]:
    """Fetch one page of the rows that meet every condition.

    Args:
        keys: the order of the list; they name a row, and their table is what is listed.
        page_size, page_token, asked: as `fetch_page` has them.

    Raises:
        InvalidField: the token is not one of this list's.
    """
    wanted = PageRequest(session, keys, page_size, page_token, asked)
    names = wanted.limit(*_names(session, keys, among, conditions)).subquery()
    columns = [key.column for key in keys]
    same = (column == name for column, name in zip(columns, names.c, strict=True))
    rows = select(columns[0].class_).join(names, and_(*same))
    return wanted.page(session.scalars(rows.order_by(*(key.ordering() for key in keys))).all())


def _names(
    session: Session, keys: Sequence[Key], among: Among, conditions: Sequence[Condition]
) -> tuple[Select[Any], list[Key]]:
    """Select the names of the rows that meet every condition, and say which columns order them."""
    start, found = _start(session, keys, among, conditions)
    columns = list(found.subquery().c)
    others = (condition.holds_for(columns) for condition in conditions if condition is not start)
    rows = select(*columns).where(among(columns[0]), *others)
    ordering = [Key(column, key.descending) for column, key in zip(columns, keys, strict=True)]
    return (rows if start.in_order else rows.distinct()), ordering


def _start(
    session: Session, keys: Sequence[Key], among: Among, conditions: Sequence[Condition]
) -> tuple[Condition, Select[Any]]:
    """Choose the condition whose rows are held against the others, and select these."""
    counts = [(_count(session, condition, among, FEW), condition) for condition in conditions]
    rows, rarest = min(counts, key=lambda counted: counted[0], default=(FEW, None))
    if rarest is not None and rows < FEW:
        return rarest, rarest.found(among).limit(FEW)
    columns = tuple(key.column for key in keys)
    everything = Condition(columns, true(), columns, in_order=True)
    walked = _rarest(session, [condition for condition in conditions if condition.in_order], among) or everything
    return walked, walked.found(among)


def _rarest(session: Session, conditions: Sequence[Condition], among: Among) -> Condition | None:
    """Return the condition that holds for the fewest rows, as far as counting up to `MANY` tells."""
    if len(conditions) < 2:
        return next(iter(conditions), None)
    return min(conditions, key=lambda condition: _count(session, condition, among, MANY))


def _count(session: Session, condition: Condition, among: Among, most: int) -> int:
    # In the order of the index: else PostgreSQL may gather all the rows before it counts the first.
    found = condition.found(among).order_by(*condition.along).limit(most)
    return session.scalar(select(func.count()).select_from(found.subquery())) or 0
