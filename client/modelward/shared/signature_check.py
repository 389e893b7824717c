"""Whether a table has the columns of a signature, with values of their kinds."""

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from modelward._record import counted
from modelward.errors import FieldViolation, InvalidField
from modelward.kinds import Column, Kind, kind_of, missing_in
from modelward.shared.suggestions import nearest
from modelward.signature import ColumnKind, Signature

MAX_LISTED = 5
"""Maximum number of missing columns that an error names."""
OTHER_KINDS: Mapping[ColumnKind, Collection[Kind]] = {
    ColumnKind.NUMBER: (Kind.CATEGORY, Kind.TIME),
    ColumnKind.CATEGORY: (Kind.NUMBER, Kind.TRUTH, Kind.TIME),
    ColumnKind.BOOLEAN: (Kind.TIME,),
}
"""The kinds of values that a model does not take in a column: booleans count as the numbers 1 and 0."""
TAKEN = {ColumnKind.NUMBER: "numbers", ColumnKind.CATEGORY: "text", ColumnKind.BOOLEAN: "booleans"}
GIVEN = {Kind.CATEGORY: "text"}
"""Words for kinds of columns and of values, where these have others."""


def check_columns(signature: Signature, columns: Collection[str], field: str) -> None:
    """Check that a table has the columns of the inputs; it may have others as well.

    Args:
        signature: the model's.
        columns: the names of the table's columns.
        field: the name of the table in the error.

    Raises:
        InvalidField: one is missing; or the inputs have no names, and the table has more or fewer columns.
    """
    if missing := [name for name in signature.names if name not in columns]:
        listed = ", ".join(f"{name!r}{nearest(name, columns)}" for name in missing[:MAX_LISTED])
        more = f" and {len(missing) - MAX_LISTED} more" if len(missing) > MAX_LISTED else ""
        fix = f"has no column {listed}{more}, which the model takes"
        raise InvalidField(FieldViolation(field, fix))
    if signature.inputs and not signature.names and len(columns) != len(signature.inputs):
        takes = f"has {counted(len(columns), 'column')}, but the model takes {len(signature.inputs)}"
        raise InvalidField(FieldViolation(field, takes))


def fit_kinds(columns: Mapping[str, Column], kinds: Sequence[ColumnKind], field: str) -> dict[str, Column]:
    """Return columns whose values are of the kinds that a model takes; a column without any value is of every kind.

    Args:
        columns: as `modelward.data.to_columns` returns them.
        kinds: of each column, in their order; none if they are not known.
        field: the name of the table in the error.

    Raises:
        InvalidField: a column has values of another kind.
    """
    known = kinds or [ColumnKind.UNKNOWN] * len(columns)
    return {name: _fit(name, column, kind, field) for (name, column), kind in zip(columns.items(), known, strict=True)}


def _fit(name: str, column: Column, kind: ColumnKind, field: str) -> Column:
    actual = kind_of(column)
    if actual not in OTHER_KINDS.get(kind, ()):
        return column
    if missing_in(column).all():
        return np.full(len(column), np.nan) if kind is ColumnKind.NUMBER else column
    taken = TAKEN[kind]
    problem = f"has {GIVEN.get(actual, actual)} in the column {name!r}, where the model takes {taken}; send {taken}"
    raise InvalidField(FieldViolation(field, problem))
