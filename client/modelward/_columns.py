"""Single columns of values, as arrays, Series and lists hold them."""

import numbers
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from modelward.errors import FieldViolation, InvalidField
from modelward.shared.row_ids import is_missing


def as_column(values: Any, field: str) -> Any:
    """Return values that have one dimension; an array of shape (n, 1) is such a column, too.

    Raises:
        InvalidField: they are no column.
    """
    shape = getattr(values, "shape", None)
    if hasattr(values, "columns") or hasattr(values, "column_names") or isinstance(values, Mapping):
        raise InvalidField(FieldViolation(field, "is a table; give one of its columns"))
    if shape is not None and len(shape) == 2 and shape[1] == 1:
        return values.reshape(-1)
    if shape is not None and len(shape) != 1:
        raise InvalidField(FieldViolation(field, f"has shape {tuple(shape)}; give one value for each row"))
    if isinstance(values, str | bytes | type) or not isinstance(values, Iterable):
        kind = "None" if values is None else f"a {type(values).__name__}"
        raise InvalidField(FieldViolation(field, f"is {kind}; give one value for each row"))
    return values if hasattr(values, "__len__") else list(values)


def as_numbers(values: Any, field: str) -> list[float | None]:
    """Return a column of numbers, None where one is missing, as NaN, None, `pd.NA` or masked.

    Raises:
        InvalidField: it is no column, or a value is no number.
    """
    return [_number(value, f"{field}[{row}]") for row, value in enumerate(as_column(values, field))]


def _number(value: Any, field: str) -> float | None:
    if type(value) is float:
        return value if value == value else None  # noqa: PLR0124 - NaN is what arrays hold where nothing is known
    if is_missing(value):
        return None
    kind, value = type(value).__name__, value.item() if getattr(value, "shape", None) == () else value
    if isinstance(value, str):
        fix = "give classes as whole numbers, each class the same one always, as {'down': 0, 'up': 1}[value]"
        raise InvalidField(FieldViolation(field, f"is {value!r}, but outcomes are numbers; {fix}"))
    if not isinstance(value, numbers.Real | Decimal):
        raise InvalidField(FieldViolation(field, f"is a {kind}; give a number"))
    number = float(value)
    return None if number != number else number  # noqa: PLR0124
