"""Reading of the tables in requests: typed columns, Arrow bytes and Parquet become named columns of known types."""

from collections.abc import Collection, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from modelward.data import Columns
from modelward.errors import FieldViolation, InvalidField
from modelward.shared.typed_columns import from_typed
from modelward.v1 import common_pb2 as pb
from modelward_server.runtime.executors import BoundedExecutor, Executors
from modelward_server.storage.arrow_tables import arrow_columns, check_ignored, read_arrow
from modelward_server.storage.columns import without
from modelward_server.storage.locations import MLFLOW_SCHEMES
from modelward_server.storage.parquet import Piece, pieces, read_parquet
from modelward_server.storage.sources import Sources
from modelward_server.storage.table_memory import MemoryReservation, bytes_of

PARQUET_MAGIC = b"PAR1"


def read_columns(
    dataset: pb.Dataset,
    field: str,
    sources: Sources,
    only: Collection[str] | None = None,
    ignored: Collection[str] = (),
) -> Columns:
    """Read a whole table.

    Args:
        field: the path of the dataset in its request, for errors.
        only: the columns to read from Parquet files; None for all.
        ignored: columns to leave out, whatever they hold; `PresentColumns` must be in the data.

    Returns:
        one-dimensional arrays of equal length, at least 1, each of a kind that `modelward.kinds` describes.

    Raises:
        InvalidField: the data cannot be read, or are not a table of numbers, text, booleans and times.
        SourceNotAllowed: the URI is not in a location that the operator allows.
    """
    return join_batches(read_batches(dataset, field, sources, only, ignored), field)


def join_batches(batches: Iterator[Columns], field: str) -> Columns:
    """Concatenate the parts of a table, and reserve its memory for the lifetime of the arrays.

    Raises:
        InvalidField: there is no row, or reading a batch failed.
        LimitReached: the table takes more memory than one may, or other tables hold too much.
    """
    with MemoryReservation(field) as reservation:
        parts = []
        for batch in batches:
            reservation.add(bytes_of(batch))
            parts.append(batch)
        columns = {name: np.concatenate([part.pop(name) for part in parts]) for name in list(parts[0] if parts else {})}
        if not columns or not len(next(iter(columns.values()))):
            raise InvalidField(FieldViolation(field, "has no rows; send at least one"))
        reservation.transfer_to(columns)
        return columns


def read_batches(
    dataset: pb.Dataset,
    field: str,
    sources: Sources,
    only: Collection[str] | None = None,
    ignored: Collection[str] = (),
) -> Iterator[Columns]:
    """Read a table in parts with the same columns, so that one larger than memory can be processed.

    Raises:
        See `read_columns`.
    """
    source = dataset.WhichOneof("source")
    if source == "columns":
        yield typed_columns(dataset.columns, f"{field}.columns", ignored)
    elif source == "arrow_ipc":
        yield from _arrow(pa.BufferReader(dataset.arrow_ipc), f"{field}.arrow_ipc", ignored)
    elif source == "blob":
        yield from _blob_columns(sources.blob(dataset.blob, f"{field}.blob"), f"{field}.blob", ignored)
    else:
        with sources.readable_uri(dataset.uri, f"{field}.uri") as location:
            yield from _parquet_columns(location, f"{field}.uri", only, ignored)


def typed_columns(table: pb.ColumnTable, field: str, ignored: Collection[str] = ()) -> Columns:
    """Convert the columns of a table with typed values.

    Raises:
        InvalidField: a name occurs twice, lengths differ, there is no row, or a missing row's index is out of range.
    """
    check_ignored([column.name for column in table.columns], ignored)
    columns: Columns = {}
    for i, column in enumerate(table.columns):
        kind = column.WhichOneof("values") or "doubles"
        rows, path = len(getattr(column, kind).values), f"{field}.columns[{i}]"
        _check(column.name not in columns, f"{path}.name", f"{column.name!r} occurs twice; name it once")
        _check(rows > 0, f"{path}.{kind}", "has no rows; send at least one")
        before = len(next(iter(columns.values()))) if columns else rows
        fix = f"{column.name!r} has {rows} rows and the columns before it {before}; send as many for each"
        _check(rows == before, f"{path}.{kind}", fix)
        columns[column.name] = from_typed(column, path)
    return without(columns, ignored)


def _arrow(source: pa.NativeFile, field: str, ignored: Collection[str] = ()) -> Iterator[Columns]:
    # The batch is bound to no local name, which would keep it in memory while the next one is read.
    return map(partial(arrow_columns, field=field, ignored=ignored), read_arrow(source, field, ignored))


class DatasetTable:
    """The table of a request, read on the executor that suits its source.

    Args:
        field: the position of the dataset in its request, for errors.
        ignored: columns to leave out.
    """

    def __init__(
        self, dataset: pb.Dataset, field: str, sources: Sources, executors: Executors, ignored: Collection[str] = ()
    ) -> None:
        self._dataset, self._field, self._sources = dataset, field, sources
        self._executors, self._ignored = executors, ignored
        self.is_parquet = is_parquet(dataset)

    async def read(self, only: Collection[str] | None = None) -> Columns:
        """Read the table; see `read_columns`."""
        executor = reading_executor(self._executors, self._dataset)
        return await executor.run(read_columns, self._dataset, self._field, self._sources, only, self._ignored)

    async def pieces(self) -> list[Piece]:
        """Return the pieces of its Parquet files; see `parquet_pieces`."""
        field = f"{self._field}.uri"
        uri, ignored = self._dataset.uri, self._ignored
        return await self._executors.remote.run(parquet_pieces, uri, field, self._sources, ignored)


def is_parquet(dataset: pb.Dataset) -> bool:
    """Return whether a table is in Parquet files that other machines can read."""
    return dataset.WhichOneof("source") == "uri" and not dataset.uri.startswith(MLFLOW_SCHEMES)


def reading_executor(executors: Executors, *datasets: pb.Dataset) -> BoundedExecutor:
    """Return the executor for reading tables: remote sources may block their thread."""
    is_remote = any(dataset.WhichOneof("source") == "uri" for dataset in datasets)
    return executors.remote if is_remote else executors.compute


def parquet_pieces(uri: str, field: str, sources: Sources, ignored: Collection[str] = ()) -> list[Piece]:
    """Split a Parquet file or folder into pieces.

    Raises:
        See `read_columns`.
    """
    with sources.readable_uri(uri, field) as location:
        return pieces(location, field, ignored)


def _blob_columns(path: Path, field: str, ignored: Collection[str]) -> Iterator[Columns]:
    with path.open("rb") as file:
        parquet = file.read(len(PARQUET_MAGIC)) == PARQUET_MAGIC
    if parquet:
        yield from _parquet_columns(str(path), field, None, ignored)
        return
    with pa.memory_map(str(path)) as content:
        yield from _arrow(content, field, ignored)


def _parquet_columns(
    location: str, field: str, only: Collection[str] | None, ignored: Collection[str]
) -> Iterator[Columns]:
    return map(partial(arrow_columns, field=field), read_parquet(location, field, only, ignored))


def _check(holds: bool, field: str, fix: str) -> None:
    if not holds:
        raise InvalidField(FieldViolation(field, fix))


def stored_table(dataset: bytes | None, uri: str, sources: Sources, executors: Executors) -> DatasetTable:
    """Return the table of a serialized dataset, or of a URI where there is none."""
    parsed = pb.Dataset.FromString(dataset) if dataset else pb.Dataset(uri=uri)
    return DatasetTable(parsed, "data", sources, executors)
