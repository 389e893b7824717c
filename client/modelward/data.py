"""Tables on their way to the server: whatever holds named columns becomes typed columns or Arrow batches."""

import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelward.errors import FieldViolation, InvalidField
from modelward.v1 import common_pb2 as pb

BATCH_BYTES = 1 << 20
"""About how large one Arrow batch of a stream is."""
INLINE_BYTES = 2 << 20
"""Up to this size a table travels in one message; gRPC takes 4 MiB."""

Columns = dict[str, NDArray[Any]]


def to_columns(data: Any, names: Sequence[str] | None = None, field: str = "data") -> Columns:
    """Take a table apart into named columns.

    Args:
        data: a mapping of names to sequences, a two-dimensional array of shape (rows, columns), or a pandas, polars
            or Arrow table.
        names: the columns of an array; `x0`, `x1`, ... when they are left out.
        field: how errors name the argument.

    Returns:
        one-dimensional arrays of the same length, each of float64, int64, bool or object (text). A missing number is
        NaN, a missing text is None.

    Raises:
        InvalidField: there is no row or no column, lengths differ, a name comes twice, or a column holds something
            else than numbers, text or truth values.
    """
    columns = {name: _typed(values, f"{field}[{name!r}]") for name, values in _named(data, names, field)}
    lengths = {name: len(values) for name, values in columns.items()}
    if not columns or not max(lengths.values()):
        raise InvalidField(FieldViolation(field, "has no rows; send at least one"))
    if len(set(lengths.values())) > 1:
        raise InvalidField(FieldViolation(field, f"has columns of different lengths: {lengths}"))
    return columns


def _named(data: Any, names: Sequence[str] | None, field: str) -> Iterator[tuple[str, Any]]:
    if isinstance(data, np.ndarray):
        yield from _array_columns(data, names, field)
    elif isinstance(data, Mapping):
        yield from ((str(name), values) for name, values in data.items())
    elif hasattr(data, "column_names"):  # An Arrow table.
        _check_unique([str(name) for name in data.column_names], field)
        yield from ((name, data[name].to_numpy()) for name in data.column_names)
    elif hasattr(data, "columns"):  # A pandas or polars frame.
        _check_unique([str(name) for name in data.columns], field)
        yield from ((str(name), data[name].to_numpy()) for name in data.columns)
    else:
        yield from _array_columns(np.asarray(data), names, field)


def _array_columns(data: NDArray[Any], names: Sequence[str] | None, field: str) -> Iterator[tuple[str, Any]]:
    if data.ndim != 2:
        fix = f"has shape {data.shape}; give a table: a frame, a mapping of columns, or an array of rows and columns"
        raise InvalidField(FieldViolation(field, fix))
    names = [f"x{i}" for i in range(data.shape[1])] if names is None else list(names)
    if len(names) != data.shape[1]:
        raise InvalidField(FieldViolation(field, f"has {data.shape[1]} columns, but {len(names)} names were given"))
    _check_unique(names, field)
    yield from zip(names, data.T, strict=True)


def _check_unique(names: Sequence[str], field: str) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InvalidField(FieldViolation(field, f"has columns of the same name: {', '.join(twice)}"))


def _typed(values: Any, field: str) -> NDArray[Any]:
    array = np.asarray(values)
    if array.ndim != 1:
        raise InvalidField(FieldViolation(field, f"has shape {array.shape}; a column has one dimension"))
    if array.dtype.kind == "f":
        return array.astype(np.float64, copy=False)
    if array.dtype.kind in "iu":
        return array.astype(np.int64, copy=False)
    if array.dtype.kind == "b":
        return array
    return _typed_objects(array, field)


def _typed_objects(array: NDArray[Any], field: str) -> NDArray[Any]:
    """Type a column of Python objects: text, or numbers among which some are missing."""
    present = [value for value in array.tolist() if not _missing(value)]
    if all(isinstance(value, str) for value in present) and array.dtype.kind in "OUT":
        return np.array([None if _missing(value) else value for value in array.tolist()], dtype=object)
    if all(isinstance(value, int | float) for value in present):
        return np.array([np.nan if _missing(value) else value for value in array.tolist()], dtype=np.float64)
    fix = f"has dtype {array.dtype}; make it numbers, text or truth values"
    raise InvalidField(FieldViolation(field, fix))


def _missing(value: object) -> bool:
    return value is None or value != value or type(value).__name__ == "NAType"  # noqa: PLR0124 - NaN is not itself


def to_dataset(columns: Columns) -> pb.Dataset:
    """Put columns into one message: as Arrow where pyarrow is installed, else typed.

    Raises:
        InvalidField: text is missing somewhere, which typed columns cannot say.
    """
    if importlib.util.find_spec("pyarrow"):
        return pb.Dataset(arrow_ipc=b"".join(to_arrow(columns)))
    return pb.Dataset(columns=pb.ColumnTable(columns=[_column(name, values) for name, values in columns.items()]))


def _column(name: str, values: NDArray[Any]) -> pb.Column:
    if values.dtype.kind == "f":
        return pb.Column(name=name, doubles=pb.DoubleValues(values=values.tolist()))
    if values.dtype.kind == "i":
        return pb.Column(name=name, int64s=pb.Int64Values(values=values.tolist()))
    if values.dtype.kind == "b":
        return pb.Column(name=name, bools=pb.BoolValues(values=values.tolist()))
    if any(value is None for value in values):
        fix = "has missing text, which needs Arrow: pip install 'modelward[arrow]'"
        raise InvalidField(FieldViolation(f"data[{name!r}]", fix))
    return pb.Column(name=name, strings=pb.StringValues(values=values.tolist()))


def to_arrow(columns: Columns) -> Iterator[bytes]:
    """Give columns as one Arrow IPC stream, in parts of about a mebibyte.

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
    """Return about how many bytes the columns take on the wire."""
    return sum(values.nbytes if values.dtype != object else _text_bytes(values) for values in columns.values())


def _text_bytes(values: NDArray[Any]) -> int:
    return sum(len(value.encode()) + 8 for value in values if value is not None)
