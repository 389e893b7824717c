"""The arguments `time`, `group`, `by` and `id`: names of columns, or values that are added to the table as columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from modelward._columns import as_column
from modelward.errors import FieldViolation, InvalidField
from modelward.shared.row_ids import id_texts
from modelward.shared.suggestions import unknown_columns


@dataclass(frozen=True)
class KeyedTable:
    """A table, and the names of its columns with the time, group, segment and id of each row; empty without them."""

    columns: dict[str, Any]
    time: str
    group: str
    by: str = ""
    id: str = ""

    def not_ignored(self, ignored: Iterable[str]) -> list[str]:
        """Return ignored columns without those of time, group, segment and id, which are sent."""
        return [name for name in ignored if name not in {self.time, self.group, self.by, self.id}]


def with_keys(table: Mapping[str, Any], time: Any, group: Any, rows: int | None = None, by: Any = None) -> KeyedTable:
    """Add the times, groups and segments of rows to a table; those that are names of columns are there already.

    Args:
        rows: the number of rows of a table without columns.

    Raises:
        InvalidField: a named column does not exist, or values are not one for each row.
    """
    columns = dict(table)
    names = [_add(columns, argument, given, rows) for argument, given in (("time", time), ("group", group), ("by", by))]
    return KeyedTable(columns, *names)


def with_ids(table: KeyedTable, given: Any) -> KeyedTable:
    """Add the ids of rows to a table, as text.

    Raises:
        InvalidField: there is no such column, values are not one for each row, or one is missing or no id.
    """
    columns = dict(table.columns)
    named = given if given is None or isinstance(given, str) else id_texts(as_column(given, "id"), "id")
    name = _add(columns, "id", named, None)
    if isinstance(given, str) and name:
        columns[name] = id_texts(as_column(columns[name], "id"), "id")
    return replace(table, columns=columns, id=name)


def key_name(given: Any, argument: str) -> str:
    """Return the name of a column of files that the server reads, which cannot be given as values.

    Raises:
        InvalidField: it is not text.
    """
    if given is not None and not isinstance(given, str):
        raise InvalidField(FieldViolation(argument, "must be the name of a column, because the server reads the data"))
    return given or ""


def _add(columns: dict[str, Any], argument: str, given: Any, rows: int | None) -> str:
    if given is None or isinstance(given, str):
        if given and (unknown := unknown_columns([given], list(columns))):
            raise InvalidField(FieldViolation(argument, unknown[0]))
        return given or ""
    from modelward.kinds import to_column  # Imported here, because importing numpy takes time.

    values = to_column(as_column(given, argument), argument)
    expected = len(next(iter(columns.values()))) if columns else rows
    if expected is not None and len(values) != expected:
        raise InvalidField(FieldViolation(argument, f"has {len(values):,} values for {expected:,} rows; give one each"))
    name = argument
    while name in columns:
        name = f"_{name}"
    columns[name] = values
    return name
