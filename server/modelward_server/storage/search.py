"""Pages of a filtered list, fast whether a condition matches ten rows or nearly all.

A database without selectivity statistics for a condition has to guess: it scans the list in order and checks each row,
which is slow when few match, or it collects all matching rows and sorts them, which is slow when many do. So the plan
is chosen here. Each condition counts its rows, up to `FEW`, in its own index. When one has few, these are collected,
sorted and checked against the other conditions. When all have many, the list is scanned in order, and the page fills
quickly.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from sqlalchemy import ColumnElement, Select, and_, exists, func, select, true
from sqlalchemy.orm import InstrumentedAttribute, Session

from modelward.lifecycle import Page
from modelward_server.storage.paging import Key, PageRequest

KeyRange: TypeAlias = Callable[[ColumnElement[Any]], ColumnElement[bool]]
"""Limits a list to a range of its first key, which every index in the list's order can serve."""
FEW = 2000
"""A condition that matches fewer rows counts as rare: that many are collected and sorted for each page."""
MANY = 10_000
"""Maximum count of rows when choosing the shorter scan."""


@dataclass(frozen=True, eq=False)
class Condition:
    """A condition on the rows of a list, and the index that finds them."""

    columns: tuple[Any, ...]
    """The columns that identify a row of the list, in the order of the list's keys, in the table with the index."""
    holds: ColumnElement[bool]
    index_order: tuple[Any, ...]
    """The columns of the index after those that the condition fixes."""
    in_order: bool = False
    """Whether the index yields the rows in the list's order, each of them once."""

    def matching(self, key_range: KeyRange) -> Select[Any]:
        """Select the keys of the matching rows, within the list's range where the index supports that."""
        rows = select(*self.columns).where(self.holds)
        return rows.where(key_range(self.columns[0])) if self.in_order else rows

    def holds_for(self, names: Sequence[ColumnElement[Any] | InstrumentedAttribute[Any]]) -> ColumnElement[bool]:
        same = (column == name for column, name in zip(self.columns, names, strict=True))
        # With an offset PostgreSQL evaluates it row by row, as the scan needs, instead of turning it into a join.
        return exists(select(*self.columns).where(*same, self.holds).offset(0))


def search_page(
    session: Session,
    keys: Sequence[Key],
    key_range: KeyRange,
    conditions: Sequence[Condition],
    page_size: int,
    page_token: str,
    filters: object,
) -> Page[Any]:
    """Fetch one page of the rows that meet every condition.

    Args:
        keys: the order of the list; they identify a row, and their table is the one that is listed.
        filters: as `conditions` of `fetch_page`, as are `page_size` and `page_token`.

    Raises:
        InvalidField: the token does not belong to this list.
    """
    request = PageRequest(session, keys, page_size, page_token, filters)
    names = request.limit(*_names(session, keys, key_range, conditions)).subquery()
    columns = [key.column for key in keys]
    same = (column == name for column, name in zip(columns, names.c, strict=True))
    rows = select(columns[0].class_).join(names, and_(*same))
    return request.page(session.scalars(rows.order_by(*(key.ordering() for key in keys))).all())


def _names(
    session: Session, keys: Sequence[Key], key_range: KeyRange, conditions: Sequence[Condition]
) -> tuple[Select[Any], list[Key]]:
    """Select the keys of the rows that meet every condition, and return the columns that order them."""
    start, matching = _start(session, keys, key_range, conditions)
    columns = list(matching.subquery().c)
    others = (condition.holds_for(columns) for condition in conditions if condition is not start)
    rows = select(*columns).where(key_range(columns[0]), *others)
    ordering = [Key(column, key.descending) for column, key in zip(columns, keys, strict=True)]
    return (rows if start.in_order else rows.distinct()), ordering


def _start(
    session: Session, keys: Sequence[Key], key_range: KeyRange, conditions: Sequence[Condition]
) -> tuple[Condition, Select[Any]]:
    """Choose the condition whose rows are checked against the others, and select these rows."""
    counts = [(_count(session, condition, key_range, FEW), condition) for condition in conditions]
    rows, rarest = min(counts, key=lambda counted: counted[0], default=(FEW, None))
    if rarest is not None and rows < FEW:
        return rarest, rarest.matching(key_range).limit(FEW)
    columns = tuple(key.column for key in keys)
    everything = Condition(columns, true(), columns, in_order=True)
    in_order = [condition for condition in conditions if condition.in_order]
    scanned = _rarest(session, in_order, key_range) or everything
    return scanned, scanned.matching(key_range)


def _rarest(session: Session, conditions: Sequence[Condition], key_range: KeyRange) -> Condition | None:
    """Return the condition that matches the fewest rows, counting up to `MANY`."""
    if len(conditions) < 2:
        return next(iter(conditions), None)
    return min(conditions, key=lambda condition: _count(session, condition, key_range, MANY))


def _count(session: Session, condition: Condition, key_range: KeyRange, max_count: int) -> int:
    # In the order of the index: otherwise PostgreSQL may collect all rows before it counts the first.
    rows = condition.matching(key_range).order_by(*condition.index_order).limit(max_count)
    return session.scalar(select(func.count()).select_from(rows.subquery())) or 0
