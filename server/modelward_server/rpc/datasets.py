"""Tables on their way in: typed columns, Arrow bytes and Parquet become named columns of known types."""

from collections.abc import Collection, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from modelward.data import Columns
from modelward.errors import FieldViolation, InvalidField
from modelward.v1 import common_pb2 as pb
from modelward_server.runtime.executors import BoundedExecutor, Executors
from modelward_server.store.arrow_tables import read_arrow, readable
from modelward_server.store.locations import MLFLOW_SCHEMES
from modelward_server.store.parquet import Piece, pieces, read_parquet
from modelward_server.store.sources import Sources
from modelward_server.store.table_memory import Share, bytes_of

PARQUET_MAGIC = b"PAR1"


def read_columns(dataset: pb.Dataset, field: str, sources: Sources, only: Collection[str] | None = None) -> Columns:
    """Read a whole table.

    Args:
        field: where the dataset stands in its request, for errors.
        only: of Parquet files just these columns.

    Returns:
        one-dimensional arrays of one length, at least 1: float64 (NaN where a number is missing), int64, bool, or
        object (text; None where it is missing; truth values of which some are missing as "true" and "false").

    Raises:
        InvalidField: the data cannot be read, or is not a table of numbers, text and truth values.
        SourceNotAllowed: the URI does not lie in a place that the operator allows.
    """
    return join_batches(read_batches(dataset, field, sources, only), field)


def join_batches(batches: Iterator[Columns], field: str) -> Columns:
    """Put the parts of a table together, and count its memory until nobody has it any more.

    Raises:
        InvalidField: there is no row, and whatever reading the batches raises.
        LimitReached: the table takes more memory than one may, or others hold too much.
    """
    with Share(field) as share:
        parts = []
        for batch in batches:
            share.add(bytes_of(batch))
            parts.append(batch)
        columns = {name: np.concatenate([part.pop(name) for part in parts]) for name in list(parts[0] if parts else {})}
        if not columns or not len(next(iter(columns.values()))):
            raise InvalidField(FieldViolation(field, "has no rows; send at least one"))
        share.leave_to(columns)
        return columns


def read_batches(
    dataset: pb.Dataset, field: str, sources: Sources, only: Collection[str] | None = None
) -> Iterator[Columns]:
    """Read a table in parts of the same columns, so that one larger than memory can be worked through.

    Raises:
        as `read_columns`.
    """
    source = dataset.WhichOneof("source")
    if source == "columns":
        yield typed_columns(dataset.columns, f"{field}.columns")
    elif source == "arrow_ipc":
        yield from _arrow(pa.BufferReader(dataset.arrow_ipc), f"{field}.arrow_ipc")
    elif source == "blob":
        yield from _blob_columns(sources.blob(dataset.blob, f"{field}.blob"), f"{field}.blob")
    else:
        with sources.reachable(dataset.uri, f"{field}.uri") as place:
            yield from _parquet_columns(place, f"{field}.uri", only)


def typed_columns(table: pb.ColumnTable, field: str) -> Columns:
    """Convert the columns that a person types.

    Raises:
        InvalidField: a name comes twice, lengths differ, or there is no row.
    """
    columns: Columns = {}
    for i, column in enumerate(table.columns):
        kind = column.WhichOneof("values") or "doubles"
        values = getattr(column, kind).values
        _check(column.name not in columns, f"{field}.columns[{i}].name", f"{column.name!r} comes twice; name it once")
        _check(bool(values), f"{field}.columns[{i}].{kind}", "has no rows; send at least one")
        rows = len(next(iter(columns.values()))) if columns else len(values)
        fix = f"{column.name!r} has {len(values)} rows and the columns before it {rows}; send as many for each"
        _check(len(values) == rows, f"{field}.columns[{i}].{kind}", fix)
        columns[column.name] = np.array(values, dtype=_DTYPES[kind])
    return columns


_DTYPES: dict[str, type] = {"doubles": np.float64, "int64s": np.int64, "strings": object, "bools": np.bool_}


def arrow_batches(source: pa.NativeFile, field: str) -> Iterator[pa.RecordBatch]:
    """Read the batches of an Arrow IPC stream.

    Raises:
        InvalidField: it is no such stream, it breaks off, or a column holds something else than numbers, text or truth
            values.
        LimitReached: a batch takes more memory than one may, or others hold too much.
    """
    return read_arrow(source, field)


def _arrow(source: pa.NativeFile, field: str) -> Iterator[Columns]:
    # No name of its own for a batch, which would keep it while the next one is read.
    return map(partial(arrow_columns, field=field), arrow_batches(source, field))


def arrow_columns(batch: pa.RecordBatch, field: str) -> Columns:
    """Convert the columns of an Arrow batch.

    Raises:
        InvalidField: a column holds something else than numbers, text or truth values.
        LimitReached: there is no memory for it.
    """
    with readable(field, "cannot be converted"):
        names = batch.schema.names
        return {name: _arrow_values(batch.column(i), f"{field}[{name!r}]") for i, name in enumerate(names)}


def _arrow_values(values: pa.Array, field: str) -> Any:
    kind = values.type
    if pa.types.is_dictionary(kind):
        return _arrow_values(values.dictionary_decode(), field)
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind) or (pa.types.is_integer(kind) and values.null_count):
        return values.cast(pa.float64()).to_numpy(zero_copy_only=False)
    if pa.types.is_integer(kind):
        return _whole_numbers(values, field)
    if pa.types.is_boolean(kind) and not values.null_count:
        return values.to_numpy(zero_copy_only=False)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_boolean(kind):
        return values.cast(pa.string()).to_numpy(zero_copy_only=False)
    raise InvalidField(FieldViolation(field, f"is of type {kind}; send numbers, text or truth values"))


def _whole_numbers(values: pa.Array, field: str) -> Any:
    try:
        return values.cast(pa.int64()).to_numpy()
    except pa.ArrowInvalid as error:
        raise InvalidField(FieldViolation(field, "has whole numbers beyond 64 bits; send doubles")) from error


def is_parquet(dataset: pb.Dataset) -> bool:
    """Tell whether a table lies in Parquet files that others than this server can reach."""
    return dataset.WhichOneof("source") == "uri" and not dataset.uri.startswith(MLFLOW_SCHEMES)


def reading_executor(executors: Executors, dataset: pb.Dataset) -> BoundedExecutor:
    """Return the threads in which a table is read: one that lies elsewhere may keep its reader waiting."""
    return executors.remote if dataset.WhichOneof("source") == "uri" else executors.compute


def parquet_pieces(uri: str, field: str, sources: Sources) -> list[Piece]:
    """Take a Parquet file or folder apart.

    Raises:
        as `read_columns`.
    """
    with sources.reachable(uri, field) as place:
        return pieces(place, field)


def _blob_columns(path: Path, field: str) -> Iterator[Columns]:
    with path.open("rb") as file:
        parquet = file.read(len(PARQUET_MAGIC)) == PARQUET_MAGIC
    if parquet:
        yield from _parquet_columns(str(path), field)
        return
    with pa.memory_map(str(path)) as content:
        yield from _arrow(content, field)


def _parquet_columns(place: str, field: str, only: Collection[str] | None = None) -> Iterator[Columns]:
    return map(partial(arrow_columns, field=field), read_parquet(place, field, only))


def _check(holds: bool, field: str, fix: str) -> None:
    if not holds:
        raise InvalidField(FieldViolation(field, fix))
