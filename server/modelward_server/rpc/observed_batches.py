"""Batches of live rows as they arrive, alone or several in one table, and their rows as the reference's features."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from modelward.data import Columns, to_arrow
from modelward.errors import FieldViolation, InvalidField, LimitReached
from modelward.segments import ClosureSessions
from modelward.shared.convert.common import time_from_proto
from modelward.shared.row_ids import id_texts
from modelward.shared.suggestions import unknown_columns
from modelward.v1 import drift_pb2 as pb
from modelward.v1.common_pb2 import Dataset
from modelward_server.drift.multivariate import normalized_ranks
from modelward_server.drift.reports import OF_REFERENCE
from modelward_server.drift.row_order import ID, sort_rows
from modelward_server.drift.row_segments import rows_in
from modelward_server.drift.sample import fit_columns
from modelward_server.drift.window_closing import WindowCloser
from modelward_server.rpc.datasets import read_columns
from modelward_server.rpc.requests import optional_time
from modelward_server.statistics.distances import NormalizedRanks
from modelward_server.storage.columns import select_rows, without
from modelward_server.storage.sources import Sources
from modelward_server.storage.table_memory import MIB, bytes_of

MAX_TABLE_BYTES = 64 * MIB
"""Maximum decoded size of one batch: the ledger stores its rows until their window is compared."""
Refusal = InvalidField | LimitReached


@dataclass(frozen=True)
class Received:
    """A message with one batch, or with several in one table.

    Attributes:
        field: its field in the request, for errors.
        first: the number of its first batch.
        rows: the number of rows of each batch; empty: all are of one batch.
        seen_at: when each batch was observed.
    """

    field: str
    first: int
    data: Dataset
    rows: Sequence[int]
    seen_at: Sequence[datetime]

    @property
    def last(self) -> int:
        """Return the number of its last batch."""
        return self.first + len(self.seen_at) - 1


@dataclass(frozen=True)
class Batch:
    """A batch: its number, when it was observed, and which rows of its table are its own."""

    number: int
    seen_at: datetime
    rows: slice


@dataclass(frozen=True)
class BatchTable:
    """The rows of batches that were read together, their ranks in the reference, the batches, and the rows' ids."""

    field: str
    columns: Columns
    ranks: NormalizedRanks
    batches: Sequence[Batch]
    ids: NDArray[np.object_] | None

    def of_rows(self, rows: NDArray[np.bool_]) -> "BatchTable":
        """Return some rows of a table of one batch, by a mask of shape (rows,)."""
        own = replace(self, columns=select_rows(self.columns, rows), ranks=self.ranks[rows])
        return _as_one(replace(own, ids=None if self.ids is None else self.ids[rows]), self.batches[0])

    def stored_ids(self, rows: slice) -> bytes | None:
        """Return the ids of some rows as an Arrow stream; None if they have none."""
        return None if self.ids is None else b"".join(to_arrow({"id": self.ids[rows]}))


@dataclass(frozen=True)
class ReadBatches:
    """The batches before the first that cannot be read, and why that one cannot; None if all can."""

    tables: Sequence[BatchTable]
    refusal: Refusal | None = None


def numbered(tables: Iterable[BatchTable], first: int) -> ReadBatches:
    """Return tables of one batch each with the numbers of these batches, from the first one on."""
    renumbered = ((table, replace(table.batches[0], number=number)) for number, table in enumerate(tables, first))
    return ReadBatches([replace(table, batches=[batch]) for table, batch in renumbered])


def number_of_batches(part: pb.ObserveRequest) -> int:
    """Return the number of batches of a message."""
    return max(1, len(part.batches.rows))


def received(part: pb.ObserveRequest) -> Received:
    """Return the batches of a message; those without a time were observed now.

    Raises:
        InvalidField: it has another number of times than of batches.
    """
    if part.HasField("batch"):
        seen_at = optional_time(part.batch, "seen_at") or datetime.now(UTC)
        return Received("batch", part.batch.number, part.batch.data, (), [seen_at])
    several = part.batches
    times = [time_from_proto(one) for one in several.seen_at] or [datetime.now(UTC)] * len(several.rows)
    if len(times) != len(several.rows):
        fix = f"has {len(times)} times for {len(several.rows)} batches; send one for each, or none"
        raise InvalidField(FieldViolation("batches.seen_at", fix))
    return Received("batches", several.first_number, several.data, several.rows, times)


@contextmanager
def refused_as(number: int, field: str) -> Iterator[None]:
    """Let the error of one batch among several tell its number."""
    try:
        yield
    except InvalidField as error:
        if field == "batch":
            raise
        raise InvalidField(*error.violations, message=f"batch {number}: {error}", batch=number) from error


class BatchReader:
    """Reads the batches of one sender.

    Args:
        closer: what closes its windows; its reference has the features.
        sources: where tables may be read from.
    """

    def __init__(self, closer: WindowCloser, sources: Sources) -> None:
        self._profile, self._keys, self._regime = closer.profile, closer.keys, closer.regime
        self._id_column = closer.observer.id_column
        self._sources = sources

    def read(self, messages: Sequence[Received]) -> ReadBatches:
        """Read messages in order, until a batch cannot be read.

        Raises:
            LimitReached: the ledger would have to store too much of the first batch.
            InvalidField: the first batch cannot be read; see `read_columns`, `sort_rows` and `fit_columns`.
        """
        tables: list[BatchTable] = []
        try:
            for table in itertools.chain.from_iterable(map(self._tables, messages)):
                tables.append(table)
        except (InvalidField, LimitReached) as error:
            if not tables:
                raise
            return ReadBatches(tables, error)
        return ReadBatches(tables)

    def fit(self, tables: Sequence[tuple[Columns, Sequence[str], datetime]]) -> ReadBatches:
        """Fit tables that were read before, each with the ids of its rows as one batch.

        Columns that the reference does not have are left out.

        Raises:
            LimitReached, InvalidField: as `read`.
        """
        return ReadBatches([self._alone(*one) for one in tables])

    def _alone(self, table: Columns, ids: Sequence[str], seen_at: datetime) -> BatchTable:
        names = {feature.name for feature in self._profile.features} | self._keys.names
        # Copies, because rows are sorted in place: what was decoded may be read-only, and another version's table too.
        columns = {name: np.array(values) for name, values in table.items() if name in names}
        id_column = _free_name("id", columns)
        columns[id_column] = np.array([*ids, None], object)[:-1]
        fitted = self._fitted("batch", columns, (), id_column)
        return _as_one(fitted, Batch(1, seen_at, slice(0)))

    def _tables(self, message: Received) -> Iterator[BatchTable]:
        """Read a message as one table where its rows need no order, and each of its batches alone otherwise, or where
        one is wrong."""
        with refused_as(message.first, message.field):
            columns = self._columns(message)
        batches = _batches(message, len(next(iter(columns.values()))))
        together = self._together(message.field, columns, batches)
        if together is not None:
            yield together
            return
        for batch in batches:
            with refused_as(batch.number, message.field):
                table = self._fitted(message.field, select_rows(columns, batch.rows), [batch], self._id_column)
            yield _as_one(table, batch)

    def _together(self, field: str, columns: Columns, batches: Sequence[Batch]) -> BatchTable | None:
        if len(batches) == 1 or self._keys.time in columns:
            return None
        try:
            return self._fitted(field, dict(columns), batches, self._id_column)
        except (InvalidField, LimitReached):
            return None

    def _columns(self, message: Received) -> Columns:
        ignored = {*self._profile.ignored} - self._keys.names - {self._id_column}
        return read_columns(message.data, f"{message.field}.data", self._sources, ignored=ignored)

    def _fitted(self, field: str, columns: Columns, batches: Sequence[Batch], id_column: str) -> BatchTable:
        """Fit rows to the column kinds of the reference, sorted by the columns of times and groups.

        Rows that are not of the sessions of the reference are left out.
        """
        keys = self._keys.within(columns)
        if id_column:
            columns[id_column] = _ids(columns, id_column, field)
        if isinstance(self._regime, ClosureSessions):
            columns = rows_in(columns, keys, self._regime, OF_REFERENCE)
        sort_rows(columns, keys)
        fitted = fit_columns(self._profile, without(columns, keys.names | {id_column}), f"{field}.data")
        fitted |= {name: columns[name] for name in keys.names}
        if keys.group:  # As text, because batches of one window may hold text or integers.
            fitted[keys.group] = np.array([*map(str, columns[keys.group]), None], object)[:-1]
        _check_size(fitted, f"{field}.data")
        ids = columns[id_column] if id_column else None
        return BatchTable(field, fitted, normalized_ranks(self._profile.features, fitted), batches, ids)


def _as_one(table: BatchTable, batch: Batch) -> BatchTable:
    """Return a table all of whose rows are of one batch."""
    return replace(table, batches=[replace(batch, rows=slice(0, len(table.ranks)))])


def _ids(columns: Columns, name: str, field: str) -> NDArray[np.object_]:
    """Return the ids of rows as text.

    Raises:
        InvalidField: there is no such column, or an id is missing or invalid.
    """
    if name not in columns:
        raise InvalidField(FieldViolation(ID, unknown_columns([name], columns)[0]))
    texts = id_texts(columns[name], f"{field}.data[{name!r}]")
    return np.array([*texts, None], object)[:-1]


def _free_name(name: str, columns: Columns) -> str:
    while name in columns:
        name = f"_{name}"
    return name


def _batches(message: Received, rows: int) -> list[Batch]:
    """Return the batches of a message with so many rows.

    Raises:
        InvalidField: its batches have another number of rows.
    """
    ends = [*itertools.accumulate(message.rows or [rows])]
    if ends[-1] != rows:
        fix = f"add up to {ends[-1]:,}, but the table has {rows:,} rows; send the number of rows of each batch"
        raise InvalidField(FieldViolation(f"{message.field}.rows", fix))
    slices = map(slice, [0, *ends[:-1]], ends)
    numbers = range(message.first, message.last + 1)
    return [*map(Batch, numbers, message.seen_at, slices)]


def _check_size(columns: Columns, field: str) -> None:
    if bytes_of(columns) > MAX_TABLE_BYTES:
        fix = f"decodes to more than {MAX_TABLE_BYTES // MIB} MiB, which the ledger would store; send smaller batches"
        raise LimitReached(f"{field}: {fix}", limit="observed_batch", field=field)
