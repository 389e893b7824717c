"""What kind of values a column holds, by the type that it comes in: one table for every way of arrival.

A column is a one-dimensional array: float64 (NaN is missing) or int64 for numbers, bool for truth values, datetime64 in
microseconds or nanoseconds for times (UTC; NaT is missing), and objects for text or truth values of which some may be
None. `docs/contract.md` has the table for readers.
"""

import datetime as dt
from collections.abc import Iterable
from decimal import Decimal
from enum import StrEnum
from typing import Any, Never

import numpy as np
from numpy.typing import NDArray

from modelward.errors import FieldViolation, InvalidField
from modelward.shared.row_ids import ABSENT

Column = NDArray[Any]
TAKEN = "send numbers, text, truth values or times, or leave the column out"
MAX_INT64 = np.iinfo(np.int64).max


class Kind(StrEnum):
    """What kind of values a column holds."""

    NUMBER = "numbers"
    CATEGORY = "categories"
    TRUTH = "truth values"
    TIME = "times"


DURATIONS = "durations; send them as numbers of seconds"
TIMES_OF_DAY = "times of day; send them as text or numbers"
BYTES = "bytes; decode them to text"
NESTED = "nested values; give each part a column of its own"
COMPLEX = "complex numbers; give real and imaginary part a column each"
SEQUENCES = (list, tuple, dict, set, np.ndarray)

PYTHON: tuple[tuple[tuple[type, ...], Kind | str], ...] = (
    ((bool, np.bool_), Kind.TRUTH),
    ((dt.timedelta, np.timedelta64), DURATIONS),
    ((int, float, np.integer, np.floating, Decimal), Kind.NUMBER),
    ((str,), Kind.CATEGORY),
    ((dt.date, np.datetime64), Kind.TIME),
    ((dt.time,), TIMES_OF_DAY),
    ((bytes, bytearray, memoryview), BYTES),
    (SEQUENCES, NESTED),
    ((complex, np.complexfloating), COMPLEX),
)
"""The kind of Python's values, or why they are refused; the first line that fits holds."""
NUMPY: dict[str, Kind | str] = {
    "b": Kind.TRUTH,
    "i": Kind.NUMBER,
    "u": Kind.NUMBER,
    "f": Kind.NUMBER,
    "M": Kind.TIME,
    "U": Kind.CATEGORY,
    "T": Kind.CATEGORY,
    "m": DURATIONS,
    "S": BYTES,
    "V": NESTED,
    "c": COMPLEX,
}
"""The same of the kinds of numpy's types; objects ("O") are looked at one by one."""
DECLARED = {
    **dict.fromkeys(("int", "uint", "float", "double", "halffloat", "decimal"), "f8"),
    **dict.fromkeys(("date", "timestamp"), "M8[us]"),
}
"""How the names of types begin, in pandas and polars, whose columns numpy takes for objects when all is missing."""


def kind_of(column: Column) -> Kind:
    """Return the kind of a column that `to_column` or `from_arrow` made."""
    if column.dtype.kind != "O":
        return NUMPY_KINDS[column.dtype.kind]
    first = next((value for value in column if value is not None), None)
    return Kind.TRUTH if isinstance(first, bool) else Kind.CATEGORY


NUMPY_KINDS = {code: kind for code, kind in NUMPY.items() if isinstance(kind, Kind)}


def category_labels(column: Column) -> list[str | None]:
    """Return categories as text, truth values as "true" and "false", None where they are missing."""
    labels: list[Any] = column.tolist()
    return [TRUTHS[value] for value in labels] if kind_of(column) is Kind.TRUTH else labels


TRUTHS = {True: "true", False: "false", None: None}


def is_time(column: Column) -> bool:
    """Tell whether a column holds times, which are no feature."""
    return column.dtype.kind == "M"


def without_times(columns: dict[str, Column]) -> dict[str, Column]:
    """Return the columns that can be features."""
    return {name: values for name, values in columns.items() if not is_time(values)}


def missing_in(column: Column) -> NDArray[np.bool_]:
    """Return in which rows a column is missing."""
    if column.dtype.kind == "f":
        return np.isnan(column)
    if column.dtype.kind == "M":
        return np.isnat(column)
    if column.dtype.kind != "O":
        return np.zeros(len(column), np.bool_)
    return np.fromiter((value is None for value in column), np.bool_, len(column))


def to_column(values: Any, field: str) -> Column:
    """Make a column of whatever holds values: a sequence, an array of numpy, pandas or Arrow, a series.

    Raises:
        InvalidField: it is nested, mixes kinds, or holds something else than numbers, text, truth values or times.
    """
    if hasattr(values, "to_pylist"):
        return from_arrow(values, field)
    array = _array(values, field)
    if array.ndim != 1:
        _refuse(field, f"has shape {array.shape}; a column has one dimension")
    if isinstance(array, np.ma.MaskedArray):
        mask = np.ma.getmaskarray(array)
        return with_missing(to_column(np.ma.getdata(array)[~mask], field), mask)
    declared = str(getattr(values, "dtype", "")).lower()
    if array.dtype.kind in "OUT" or declared == "null":  # polars gives floats for what has no type.
        return _from_objects(array, field, _empty_of(declared))
    return _from_typed(array, field)


def _empty_of(declared: str) -> Column:
    """Return a column without rows of the kind that a type declares, for columns in which all is missing.

    Those of no type are text.
    """
    code = next((code for beginning, code in DECLARED.items() if declared.startswith(beginning)), "O")
    return np.empty(0, code)


def _array(values: Any, field: str) -> NDArray[Any]:
    if isinstance(values, np.ndarray):
        return values
    if hasattr(values, "to_numpy"):
        return _from_series(values)
    if hasattr(values, "__array__"):
        return np.asarray(values)
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        _refuse(field, f"is {values!r:.40}; a column is a sequence of values")
    listed = list(values)
    if any(map(_is_nested, listed)):
        _refuse(field, f"holds {NESTED}; a column has one dimension")
    return np.array([*listed, None], object)[:-1]  # With None, numpy looks no further into what it is given.


def _is_nested(value: object) -> bool:
    return isinstance(value, SEQUENCES) and type(value).__name__ not in ABSENT


def _from_series(values: Any) -> NDArray[Any]:
    try:
        return np.asarray(values.to_numpy())
    except Exception:  # Of types that numpy lacks, as polars' whole numbers of 128 bits.
        return np.asarray(values.to_list(), dtype=object)


def _from_typed(array: NDArray[Any], field: str) -> Column:
    """Convert an array of one of numpy's own types."""
    kind = NUMPY[array.dtype.kind]
    if not isinstance(kind, Kind):
        _refuse(field, f"holds {kind}")
    if kind is Kind.TIME:
        return _times(array, field)
    if array.dtype.kind == "f":
        return _floats(array, field)
    if array.dtype.kind == "u" and len(array) and array.max() > MAX_INT64:
        return array.astype(np.float64)
    return array.astype(np.int64, copy=False) if kind is Kind.NUMBER else array


def _floats(array: NDArray[Any], field: str) -> Column:
    if array.dtype.itemsize <= 8:
        return array.astype(np.float64, copy=False)
    with np.errstate(over="ignore"):
        found = array.astype(np.float64)
    if (np.isinf(found) & ~np.isinf(array)).any():
        _refuse(field, "holds numbers beyond the range of 64-bit floats; scale them")
    return found


def _times(array: NDArray[Any], field: str) -> Column:
    return _in_unit(array, "ns" if _is_fine(array.dtype) else "us", field)


def _is_fine(dtype: np.dtype[Any]) -> bool:
    return np.datetime_data(dtype)[0] in {"ns", "ps", "fs", "as"}


def _in_unit(array: NDArray[Any], unit: str, field: str) -> Column:
    found = array.astype(f"M8[{unit}]")
    if ((found.astype(array.dtype) != array) & ~np.isnat(array)).any():
        _refuse(field, "holds times that are finer than a nanosecond or too far away; round them or leave them out")
    return found


def _from_objects(array: NDArray[Any], field: str, empty: Column) -> Column:
    """Convert Python's values, of which some may be missing; where all are, the column is like `empty`."""
    values = array.tolist()
    mask = np.fromiter(map(_is_missing, values), np.bool_, len(values))
    present = [value for value, gone in zip(values, mask, strict=True) if not gone] if mask.any() else values
    if not present:
        return with_missing(empty, mask)
    kind = _kind_of_types(set(map(type, present)), field)
    return with_missing(_CONVERT[kind](present, field), mask)


def _is_missing(value: Any) -> bool:
    if isinstance(value, str | int):
        return False
    if isinstance(value, Decimal):
        return value.is_nan()
    if isinstance(value, float | np.floating | np.datetime64 | np.timedelta64):
        return bool(value != value)  # noqa: PLR0124 - NaN and NaT are not themselves
    return type(value).__name__ in ABSENT


def _kind_of_types(types: Iterable[type], field: str) -> Kind:
    found = {_kind_of_type(one, field) for one in types}
    if len(found) > 1:
        _refuse(field, f"mixes {' and '.join(sorted(found))}; make it one of them")
    return found.pop()


def _kind_of_type(one: type, field: str) -> Kind:
    kind = next((kind for types, kind in PYTHON if issubclass(one, types)), None)
    if not isinstance(kind, Kind):
        _refuse(field, f"holds {kind}" if kind else f"holds values of type {one.__name__}; {TAKEN}")
    return kind


def _numbers(values: list[Any], field: str) -> Column:
    if all(isinstance(value, int | np.integer) for value in values):
        try:
            return np.array(values, np.int64)
        except OverflowError:
            pass  # Beyond 64 bits: the nearest float, as the statistics take them.
    try:
        found = np.array([float(value) for value in values])
    except OverflowError:
        found = np.array([np.inf])
    if np.isinf(found).any() and not all(map(_is_infinite, np.array(values, object)[np.isinf(found)])):
        _refuse(field, "holds numbers beyond the range of 64-bit floats; scale them")
    return found


def _is_infinite(value: Any) -> bool:
    return value in {float("inf"), float("-inf")}


def _text(values: list[Any], field: str) -> Column:
    try:
        "".join(values).encode()
    except UnicodeEncodeError as error:
        bad = ascii(error.object[error.start])
        _refuse(field, f"holds {bad}, half a character (a lone surrogate); decode the text with its right encoding")
    return np.array([*values, None], object)[:-1]


def _python_times(values: list[Any], field: str) -> Column:
    zoned = {getattr(value, "tzinfo", None) is not None for value in values if isinstance(value, dt.datetime)}
    if len(zoned) > 1:
        _refuse(field, "mixes times with and without a time zone; give all of them one")
    try:
        found = [_time(value) for value in values]
    except OverflowError:
        _refuse(field, "holds times before year 1 or after 9999 in UTC; leave them out")
    if len({value.dtype for value in found}) == 1:
        return _times(np.array(found), field)
    unit = "ns" if any(_is_fine(value.dtype) for value in found) else "us"
    return np.concatenate([_in_unit(np.array([value]), unit, field) for value in found])


def _time(value: Any) -> np.datetime64:
    if hasattr(value, "to_datetime64"):  # pandas' Timestamp, which may have nanoseconds.
        found: np.datetime64 = value.to_datetime64()
        return found
    if isinstance(value, dt.datetime) and value.tzinfo is not None:
        value = value.astimezone(dt.UTC).replace(tzinfo=None)
    return np.datetime64(value)


def _truths(values: list[Any], field: str) -> Column:
    return np.array(values, np.bool_)


_CONVERT = {Kind.NUMBER: _numbers, Kind.CATEGORY: _text, Kind.TIME: _python_times, Kind.TRUTH: _truths}


def with_missing(present: Column, mask: NDArray[np.bool_]) -> Column:
    """Spread the values of a column over the rows that a mask leaves; the others are missing."""
    if not mask.any():
        return present
    code = present.dtype.kind
    dtype = present.dtype if code in "fM" else np.dtype(np.float64 if code == "i" else object)
    found = np.full(len(mask), {"f": np.nan, "M": np.datetime64("NaT")}.get(dtype.kind), dtype)
    found[~mask] = present
    return found


def from_arrow(values: Any, field: str) -> Column:
    """Convert an array of Arrow's, in one piece or several.

    Raises:
        InvalidField: it holds something else than numbers, text, truth values or times.
    """
    import pyarrow as pa

    chunks = values.chunks if isinstance(values, pa.ChunkedArray) else [values]
    if why := why_not_arrow(values.type):
        _refuse(field, why)
    columns = [_from_chunk(chunk, field) for chunk in chunks]
    return columns[0] if len(columns) == 1 else _joined(columns)


def _joined(columns: list[Column]) -> Column:
    return np.concatenate(columns) if columns else np.empty(0)


def _from_chunk(values: Any, field: str) -> Column:
    import pyarrow as pa

    if pa.types.is_dictionary(values.type):
        return _from_chunk(_decoded(values), field)
    if pa.types.is_null(values.type):
        return np.full(len(values), None, object)
    if pa.types.is_decimal(values.type):
        values = values.cast(pa.float64())
    try:
        array = values.to_numpy(zero_copy_only=False)
    except (UnicodeDecodeError, pa.ArrowException):
        _refuse(field, "holds text that is not UTF-8; decode it with its right encoding")
    # Arrow's text is Unicode, its truth values are Python's, and what is missing is None: as it should be.
    return array if array.dtype.kind == "O" else _from_typed(array, field)


def _decoded(values: Any) -> Any:
    """Decode a dictionary; of views, which Arrow cannot take from, as of plain text."""
    import pyarrow as pa

    known = values.dictionary
    return (known.cast(pa.large_string()) if pa.types.is_string_view(known.type) else known).take(values.indices)


def why_not_arrow(kind: Any) -> str:
    """Return why a column of one of Arrow's types is refused; empty for those that are taken."""
    import pyarrow as pa

    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    types = pa.types
    taken = (types.is_floating, types.is_integer, types.is_decimal, types.is_boolean, types.is_null, is_arrow_text)
    if any(is_one(kind) for is_one in (*taken, types.is_timestamp, types.is_date)):
        return ""
    words = (
        (types.is_duration, DURATIONS),
        (types.is_time, TIMES_OF_DAY),
        (types.is_nested, NESTED),
        (types.is_binary, BYTES),
        (types.is_large_binary, BYTES),
        (types.is_fixed_size_binary, BYTES),
    )
    why = next((why for is_one, why in words if is_one(kind)), "")
    return f"is of type {kind}: {why}" if why else f"is of type {kind}; {TAKEN}"


def is_arrow_text(kind: Any) -> bool:
    """Tell whether a type of Arrow's is text."""
    import pyarrow as pa

    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _refuse(field: str, fix: str) -> Never:
    raise InvalidField(FieldViolation(field, fix))
