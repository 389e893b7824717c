"""Convert tables for the server: any table with named columns becomes typed columns or Arrow batches."""

import importlib.util
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelward.errors import FieldViolation, InvalidField
from modelward.kinds import to_column
from modelward.shared.suggestions import unknown_columns
from modelward.shared.typed_columns import to_typed
from modelward.v1 import common_pb2 as pb

BATCH_BYTES = 1 << 20
"""Approximate size of one Arrow batch of a stream."""
INLINE_BYTES = 2 << 20
"""Tables up to this size are sent in one message; gRPC's limit is 4 MiB."""

Columns = dict[str, NDArray[Any]]


def to_columns(
    data: Any, names: Sequence[str] | None = None, field: str = "data", ignore: Collection[str] = ()
) -> Columns:
    """Convert a table to named columns.

    Args:
        data: a mapping of names to sequences, a two-dimensional array of shape (rows, columns), or a pandas, polars
            or Arrow table.
        names: the columns of an array; `x0`, `x1`, ... by default.
        field: the name of the argument in error messages.
        ignore: columns to leave out, whatever their values.

    Returns:
        one-dimensional arrays of the same length, each of a kind that `modelward.kinds` describes.

    Raises:
        InvalidField: there is no row or no column, lengths differ, a name occurs twice, or a column contains values
            other than numbers, text, booleans or times.
    """
    named = named_columns(data, names, field)
    columns = {name: to_column(values, f"{field}[{name!r}]") for name, values in named.items() if name not in ignore}
    lengths = {name: len(values) for name, values in columns.items()}
    if not columns or not max(lengths.values()):
        raise InvalidField(FieldViolation(field, "has no rows; send at least one"))
    if len(set(lengths.values())) > 1:
        raise InvalidField(FieldViolation(field, f"has columns of different lengths: {lengths}"))
    return columns


def to_reference_columns(
    data: Any, names: Sequence[str] | None = None, field: str = "data", ignore: Collection[str] = ()
) -> Columns:
    """Convert a table as `to_columns` does, with the ignored columns as empty ones, so that their names are kept.

    Raises:
        the errors of `to_columns`, and InvalidField: an ignored column does not exist.
    """
    table = named_columns(data, names, field)
    columns = to_columns(table, field=field, ignore=checked_ignore(ignore, table))
    nothing = np.full(len(next(iter(columns.values()))), None, object)
    return columns | dict.fromkeys(ignore, nothing)


def checked_ignore(ignore: Collection[str], names: Collection[str]) -> Collection[str]:
    """Return the columns to ignore.

    Raises:
        InvalidField: one does not exist.
    """
    if unknown := unknown_columns(ignore, list(names)):
        raise InvalidField(*(FieldViolation("ignore", fix) for fix in unknown))
    return ignore


def unsendable(table: Mapping[str, Any], names: Collection[str]) -> list[str]:
    """Return those of the named columns whose values cannot be sent."""
    return [name for name in names if name in table and not _can_be_sent(table[name])]


def _can_be_sent(values: Any) -> bool:
    try:
        to_column(values, "")
    except InvalidField:
        return False
    return True


def named_columns(data: Any, names: Sequence[str] | None = None, field: str = "data") -> dict[str, Any]:
    """Return the columns of a table without conversion.

    Raises:
        InvalidField: it is not a table, or a name occurs twice or is not text.
    """
    named = list(_named(data, names, field))
    _check_names([name for name, _ in named], field)
    return dict(named)


def _named(data: Any, names: Sequence[str] | None, field: str) -> Iterator[tuple[str, Any]]:
    _check_is_here(data, field)
    if isinstance(data, np.ndarray):
        yield from _array_columns(data, names, field)
    elif isinstance(data, Mapping):
        yield from ((str(name), values) for name, values in data.items())
    elif hasattr(data, "column_names"):  # An Arrow table.
        yield from ((name, data.column(i)) for i, name in enumerate(data.column_names))
    elif hasattr(data, "columns"):  # A pandas or polars frame.
        names = [str(name) for name in data.columns]
        _check_names(names, field)
        yield from zip(names, _frame_columns(data), strict=True)
    else:
        as_it_is = hasattr(data, "__array__")
        yield from _array_columns(np.asarray(data) if as_it_is else _rows(data, field), names, field)


def _frame_columns(frame: Any) -> Iterable[Any]:
    """Return the columns of a frame; all floats as parts of one matrix, since pandas takes long to make a series."""
    if type(frame).__module__.startswith("pandas") and all(dtype == np.float64 for dtype in frame.dtypes):
        columns: NDArray[np.float64] = frame.to_numpy().T
        return columns
    return (frame[name] for name in frame.columns)


def _check_is_here(data: Any, field: str) -> None:
    """Reject a lazy table, which is only a plan to compute or read one."""
    for word in ("collect", "compute", "read_all", "to_table"):
        if hasattr(data, word) and not hasattr(data, "to_numpy") and not hasattr(data, "to_pydict"):
            fix = f"is a {type(data).__name__}, whose rows are not computed yet; send its .{word}()"
            raise InvalidField(FieldViolation(field, fix))


def _rows(data: Any, field: str) -> NDArray[Any]:
    """Return a sequence of rows as an array of objects, so that numbers next to text do not become text."""
    try:
        return np.array(data, dtype=object)
    except ValueError:
        raise InvalidField(FieldViolation(field, "has rows of different lengths")) from None


def _array_columns(data: NDArray[Any], names: Sequence[str] | None, field: str) -> Iterator[tuple[str, Any]]:
    if data.ndim != 2:
        fix = f"has shape {data.shape}; give a table: a frame, a mapping of columns, or an array of rows and columns"
        raise InvalidField(FieldViolation(field, fix))
    names = [f"x{i}" for i in range(data.shape[1])] if names is None else list(names)
    if len(names) != data.shape[1]:
        raise InvalidField(FieldViolation(field, f"has {data.shape[1]} columns, but {len(names)} names were given"))
    yield from zip(names, data.T, strict=True)


def _check_names(names: Sequence[str], field: str) -> None:
    twice = sorted(name for name, times in Counter(names).items() if times > 1)
    if twice:
        raise InvalidField(FieldViolation(field, f"has columns of the same name: {', '.join(twice)}"))
    for name in names:
        try:
            name.encode()
        except UnicodeEncodeError:
            fix = f"has a column {name!a}, whose name contains a lone surrogate; rename it"
            raise InvalidField(FieldViolation(field, fix)) from None


def to_dataset(columns: Columns) -> pb.Dataset:
    """Convert columns to one message: as Arrow where pyarrow is installed, otherwise typed."""
    if importlib.util.find_spec("pyarrow"):
        return pb.Dataset(arrow_ipc=b"".join(to_arrow(columns)))
    return pb.Dataset(columns=to_typed(columns))


def to_arrow(columns: Columns) -> Iterator[bytes]:
    """Yield columns as one Arrow IPC stream, in chunks of about a mebibyte.

    Raises:
        ImportError: pyarrow is not installed.
    """
    try:
        import pyarrow as pa
    except ImportError as error:
        raise ImportError("sending a large table needs the extra: pip install 'modelward[arrow]'") from error
    table = pa.table({name: pa.array(values, from_pandas=False) for name, values in columns.items()})
    rows = max(1, BATCH_BYTES * table.num_rows // max(1, table.nbytes))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=rows)
    stream = memoryview(sink.getvalue())
    yield from (bytes(stream[start : start + BATCH_BYTES]) for start in range(0, len(stream), BATCH_BYTES))


def size_of(columns: Columns) -> int:
    """Return the approximate size of the columns on the wire, in bytes."""
    return sum(values.nbytes if values.dtype != object else _text_bytes(values) for values in columns.values())


def _text_bytes(values: NDArray[Any]) -> int:
    return sum(len(value.encode()) + 8 if isinstance(value, str) else 9 for value in values)
