"""Single columns of values from arrays, Series and lists."""

import numbers
import reprlib
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from modelward.errors import FieldViolation, InvalidField
from modelward.shared.row_ids import is_missing, plain


def as_column(values: Any, field: str) -> Any:
    """Return one-dimensional values; an array of shape (n, 1) is also accepted.

    Raises:
        InvalidField: they are not a single column.
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
    """Return a column of numbers, with None for values that are missing (NaN, None, `pd.NA` or masked).

    Raises:
        InvalidField: it is not a column, or a value is not a number in the range of a float.
    """
    return [_number(value, f"{field}[{row}]") for row, value in enumerate(as_column(values, field))]


def as_metrics(values: Mapping[str, Any], field: str) -> dict[str, float]:
    """Return numbers by name.

    Raises:
        InvalidField: a value is missing, or not a number.
    """
    return {
        key: value if type(value) is float and value == value else _metric(value, f"{field}[{key!r}]")  # noqa: PLR0124
        for key, value in values.items()
    }


def _metric(value: Any, field: str) -> float:
    value = plain(value)
    if is_missing(value):
        raise InvalidField(FieldViolation(field, "is missing; leave it out of the outcome, or give a finite number"))
    return _float(value, field)


def _number(value: Any, field: str) -> float | None:
    if type(value) is float:
        return value if value == value else None  # noqa: PLR0124 - NaN is what arrays hold where nothing is known
    value = plain(value)
    if is_missing(value):
        return None
    if isinstance(value, str):
        fix = "give classes as whole numbers, always the same for a class, such as {'down': 0, 'up': 1}[value]"
        raise InvalidField(FieldViolation(field, f"is {value!r}, but outcomes are numbers; {fix}"))
    number = _float(value, field)
    if isinstance(value, numbers.Integral) and int(number) != int(value):
        fix = f"is {value}, but the nearest float is {number:.0f}; give a smaller number for each class"
        raise InvalidField(FieldViolation(field, fix))
    return None if number != number else number  # noqa: PLR0124


def _float(value: Any, field: str) -> float:
    kind, value = type(value).__name__, value.item() if getattr(value, "shape", None) == () else value
    if not isinstance(value, numbers.Real | Decimal):
        raise InvalidField(FieldViolation(field, f"is a {kind}; give a number"))
    try:
        return float(value)
    except OverflowError:
        raise InvalidField(
            FieldViolation(field, f"is {reprlib.repr(value)}, out of a float's range; scale it")
        ) from None
