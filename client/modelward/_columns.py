"""Single columns of values, as arrays, Series and lists hold them."""

import numbers
import reprlib
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from modelward.errors import FieldViolation, InvalidField
from modelward.shared.row_ids import is_missing, plain


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
        InvalidField: it is no column, or a value is no number that a float holds.
    """
    return [_number(value, f"{field}[{row}]") for row, value in enumerate(as_column(values, field))]


def as_metrics(values: Mapping[str, Any], field: str) -> dict[str, float]:
    """Return numbers by their names.

    Raises:
        InvalidField: one is missing, or is no number.
    """
    return {
        key: value if type(value) is float and value == value else _metric(value, f"{field}[{key!r}]")  # noqa: PLR0124
        for key, value in values.items()
    }


def _metric(value: Any, field: str) -> float:
    value = plain(value)
    if is_missing(value):
        raise InvalidField(FieldViolation(field, "is missing; leave it out of the outcome"))
    return _float(value, field)


def _number(value: Any, field: str) -> float | None:
    if type(value) is float:
        return value if value == value else None  # noqa: PLR0124 - NaN is what arrays hold where nothing is known
    value = plain(value)
    if is_missing(value):
        return None
    if isinstance(value, str):
        fix = "give classes as whole numbers, each class the same one always, as {'down': 0, 'up': 1}[value]"
        raise InvalidField(FieldViolation(field, f"is {value!r}, but outcomes are numbers; {fix}"))
    number = _float(value, field)
    if isinstance(value, numbers.Integral) and int(number) != int(value):
        fix = f"is {value}, which the nearest float, {number:.0f}, would replace; give a smaller number for each class"
        raise InvalidField(FieldViolation(field, fix))
    return None if number != number else number  # noqa: PLR0124


def _float(value: Any, field: str) -> float:
    kind, value = type(value).__name__, value.item() if getattr(value, "shape", None) == () else value
    if not isinstance(value, numbers.Real | Decimal):
        raise InvalidField(FieldViolation(field, f"is a {kind}; give a number"))
    try:
        return float(value)
    except OverflowError:
        raise InvalidField(FieldViolation(field, f"is {reprlib.repr(value)}, beyond a float; scale it")) from None
