"""Kinds of column values by input type: one table for every input format.

A column is a one-dimensional array: float64 (NaN is missing) or int64 for numbers, bool for booleans, datetime64 in
microseconds or nanoseconds for times (UTC; NaT is missing), and objects for text or booleans of which some may be
None. `docs/contract.md` documents the table.
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
TAKEN = "send numbers, text, booleans or times, or leave the column out"
MAX_INT64 = np.iinfo(np.int64).max


class Kind(StrEnum):
    """The kind of values that a column contains."""

    NUMBER = "numbers"
    CATEGORY = "categories"
    TRUTH = "booleans"
    TIME = "times"


DURATIONS = "durations; send them as numbers of seconds"
TIMES_OF_DAY = "times of day; send them as text or numbers"
BYTES = "bytes; decode them to text"
NESTED = "nested values; give each part a column of its own"
COMPLEX = "complex numbers; send the real and imaginary parts as two columns"
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
"""The kind of Python values, or the reason for which they are rejected; the first match applies."""
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
"""The kind of numpy types; objects ("O") are examined one by one."""
DECLARED = {
    **dict.fromkeys(("int", "uint", "float", "double", "halffloat", "decimal"), "f8"),
    **dict.fromkeys(("date", "timestamp"), "M8[us]"),
}
"""Prefixes of type names in pandas and polars, whose columns numpy converts to objects when all values are missing."""


def kind_of(column: Column) -> Kind:
    """Return the kind of a column that `to_column` or `from_arrow` created."""
    if column.dtype.kind != "O":
        return NUMPY_KINDS[column.dtype.kind]
    first = next((value for value in column if value is not None), None)
    return Kind.TRUTH if isinstance(first, bool) else Kind.CATEGORY


NUMPY_KINDS = {code: kind for code, kind in NUMPY.items() if isinstance(kind, Kind)}


def category_labels(column: Column) -> list[str | None]:
    """Return categories as text, booleans as "true" and "false", None where they are missing.

    Rows that came in several batches may hold booleans beside text.
    """
    return [TRUTHS.get(value, value) for value in column.tolist()]


TRUTHS: dict[Any, str] = {True: "true", False: "false"}


def is_time(column: Column) -> bool:
    """Return whether a column contains times, which are not features."""
    return column.dtype.kind == "M"


def without_times(columns: dict[str, Column]) -> dict[str, Column]:
    """Return the columns that can be features."""
    return {name: values for name, values in columns.items() if not is_time(values)}


def missing_in(column: Column) -> NDArray[np.bool_]:
    """Return a mask of the rows in which a column is missing."""
    if column.dtype.kind == "f":
        return np.isnan(column)
    if column.dtype.kind == "M":
        return np.isnat(column)
    if column.dtype.kind != "O":
        return np.zeros(len(column), np.bool_)
    return np.fromiter((value is None for value in column), np.bool_, len(column))


def to_column(values: Any, field: str) -> Column:
    """Convert values to a column: a sequence, an array of numpy, pandas or Arrow, a series.

    Raises:
        InvalidField: it is nested, mixes kinds, or contains values other than numbers, text, booleans or times.
    """
    if hasattr(values, "to_pylist"):
        return from_arrow(values, field)
    array = _array(values, field)
    if array.ndim != 1:
        _refuse(field, f"has shape {array.shape}; a column has one dimension")
    if isinstance(array, np.ma.MaskedArray):
        mask = np.ma.getmaskarray(array)
        return with_missing(to_column(np.ma.getdata(array)[~mask], field), mask)
    if array is values and array.dtype.kind not in "OUT":
        return _from_typed(array, field)
    declared = str(getattr(values, "dtype", "")).lower()
    if array.dtype.kind in "OUT" or declared == "null":  # polars returns floats for a column without a type.
        return _from_objects(array, field, _empty_of(declared))
    return _from_typed(array, field)


def _empty_of(declared: str) -> Column:
    """Return an empty column of the kind that a type declares, for columns in which all values are missing.

    Columns without a type are text.
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
        _refuse(field, f"contains {NESTED}; a column has one dimension")
    return np.array([*listed, None], object)[:-1]  # At None, numpy stops examining the nested values.


def _is_nested(value: object) -> bool:
    return isinstance(value, SEQUENCES) and type(value).__name__ not in ABSENT


def _from_series(values: Any) -> NDArray[Any]:
    try:
        return np.asarray(values.to_numpy())
    except Exception:  # A type that numpy lacks, such as polars' 128-bit integers.
        return np.asarray(values.to_list(), dtype=object)


def _from_typed(array: NDArray[Any], field: str) -> Column:
    """Convert an array of one of numpy's own types."""
    kind = NUMPY[array.dtype.kind]
    if not isinstance(kind, Kind):
        _refuse(field, f"contains {kind}")
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
        result = array.astype(np.float64)
    if (np.isinf(result) & ~np.isinf(array)).any():
        _refuse(field, "contains numbers outside the range of 64-bit floats; scale them")
    return result


def _times(array: NDArray[Any], field: str) -> Column:
    return _in_unit(array, "ns" if _is_fine(array.dtype) else "us", field)


def _is_fine(dtype: np.dtype[Any]) -> bool:
    return np.datetime_data(dtype)[0] in {"ns", "ps", "fs", "as"}


def _in_unit(array: NDArray[Any], unit: str, field: str) -> Column:
    result = array.astype(f"M8[{unit}]")
    if ((result.astype(array.dtype) != array) & ~np.isnat(array)).any():
        _refuse(field, "contains times that are finer than a nanosecond or out of range; round them or leave them out")
    return result


def _from_objects(array: NDArray[Any], field: str, empty: Column) -> Column:
    """Convert Python values, of which some may be missing; if all are missing, the column is like `empty`."""
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
    kinds = {_kind_of_type(one, field) for one in types}
    if len(kinds) > 1:
        _refuse(field, f"mixes {' and '.join(sorted(kinds))}; convert them to one kind")
    return kinds.pop()


def _kind_of_type(one: type, field: str) -> Kind:
    kind = next((kind for types, kind in PYTHON if issubclass(one, types)), None)
    if not isinstance(kind, Kind):
        _refuse(field, f"contains {kind}" if kind else f"contains values of type {one.__name__}; {TAKEN}")
    return kind


def _numbers(values: list[Any], field: str) -> Column:
    if all(isinstance(value, int | np.integer) for value in values):
        try:
            return np.array(values, np.int64)
        except OverflowError:
            pass  # Beyond 64 bits: the nearest float, as the statistics use it.
    try:
        result = np.array([float(value) for value in values])
    except OverflowError:
        result = np.array([np.inf])
    if np.isinf(result).any() and not all(map(_is_infinite, np.array(values, object)[np.isinf(result)])):
        _refuse(field, "contains numbers outside the range of 64-bit floats; scale them")
    return result


def _is_infinite(value: Any) -> bool:
    return value in {float("inf"), float("-inf")}


def _text(values: list[Any], field: str) -> Column:
    try:
        "".join(values).encode()
    except UnicodeEncodeError as error:
        bad = ascii(error.object[error.start])
        _refuse(field, f"contains {bad}, a lone surrogate; decode the text with its correct encoding")
    return np.array([*values, None], object)[:-1]


def _python_times(values: list[Any], field: str) -> Column:
    zoned = {getattr(value, "tzinfo", None) is not None for value in values if isinstance(value, dt.datetime)}
    if len(zoned) > 1:
        _refuse(field, "mixes times with and without a time zone; make them uniform")
    try:
        times = [_time(value) for value in values]
    except OverflowError:
        _refuse(field, "contains times before year 1 or after 9999 in UTC; leave them out")
    if len({value.dtype for value in times}) == 1:
        return _times(np.array(times), field)
    unit = "ns" if any(_is_fine(value.dtype) for value in times) else "us"
    return np.concatenate([_in_unit(np.array([value]), unit, field) for value in times])


def _time(value: Any) -> np.datetime64:
    if hasattr(value, "to_datetime64"):  # A pandas Timestamp, which may have nanoseconds.
        result: np.datetime64 = value.to_datetime64()
        return result
    if isinstance(value, dt.datetime) and value.tzinfo is not None:
        value = value.astimezone(dt.UTC).replace(tzinfo=None)
    return np.datetime64(value)


def _truths(values: list[Any], field: str) -> Column:
    return np.array(values, np.bool_)


_CONVERT = {Kind.NUMBER: _numbers, Kind.CATEGORY: _text, Kind.TIME: _python_times, Kind.TRUTH: _truths}


def with_missing(present: Column, mask: NDArray[np.bool_]) -> Column:
    """Distribute the values of a column over the rows that the mask does not mark as missing."""
    if not mask.any():
        return present
    code = present.dtype.kind
    dtype = present.dtype if code in "fM" else np.dtype(np.float64 if code == "i" else object)
    result = np.full(len(mask), {"f": np.nan, "M": np.datetime64("NaT")}.get(dtype.kind), dtype)
    result[~mask] = present
    return result


def from_arrow(values: Any, field: str) -> Column:
    """Convert an Arrow array, contiguous or chunked.

    Raises:
        InvalidField: it contains values other than numbers, text, booleans or times.
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
        _refuse(field, "contains text that is not UTF-8; decode it with its correct encoding")
    # Arrow text is Unicode, booleans are Python's, and missing values are None: no conversion is needed.
    return array if array.dtype.kind == "O" else _from_typed(array, field)


def _decoded(values: Any) -> Any:
    """Decode a dictionary array; view types, which Arrow cannot index, are decoded as plain text."""
    import pyarrow as pa

    known = values.dictionary
    return (known.cast(pa.large_string()) if pa.types.is_string_view(known.type) else known).take(values.indices)


def why_not_arrow(kind: Any) -> str:
    """Return the reason for which an Arrow type is rejected; empty for an accepted type."""
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
    """Return whether an Arrow type is text."""
    import pyarrow as pa

    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _refuse(field: str, fix: str) -> Never:
    raise InvalidField(FieldViolation(field, fix))
