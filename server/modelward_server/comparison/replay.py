"""The test set of a replay: rows that live monitoring saw, with the labels that were recorded since."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial

import numpy as np
import pyarrow as pa
from sqlalchemy.orm import Session

from modelward.data import Columns
from modelward.errors import FieldViolation, InvalidField, NothingToReplay
from modelward.kinds import Column, Kind, category_labels, kind_of, missing_in
from modelward.lifecycle import VersionRef
from modelward.replay import Replay, ReplayedRows
from modelward_server.drift.replay_rows import SeenRows, labels_of, seen_rows
from modelward_server.drift.row_order import RowKeys, read_keys, without_repeated
from modelward_server.lifecycle.repository import model_row, version_row
from modelward_server.storage.arrow_tables import arrow_columns, check_ignored, read_arrow
from modelward_server.storage.columns import joined, select_rows
from modelward_server.storage.parquet import Piece
from modelward_server.storage.table_memory import MemoryReservation, bytes_of
from modelward_server.storage.unit_of_work import UnitOfWork

FIELD = "replay"
"""The field of the request, for errors."""


@dataclass(frozen=True)
class ReplayTerms:
    """Which rows are read, and what is added to them.

    Attributes:
        replay: the rows; its model is not empty.
        label: the name of the column that labels get.
        id: the name of the column that ids get; empty for none.
        ignored: columns that are left out; `PresentColumns` must be there.
    """

    replay: Replay
    label: str
    id: str = ""
    ignored: Collection[str] = ()


class ReplayedTable:
    """The test set of a replay.

    Args:
        unit_of_work: the transactions of the ledger.
        terms: which rows are read.

    Attributes:
        rows: which rows it has, and which were left out; None before it is read.
    """

    is_parquet = False

    def __init__(self, unit_of_work: UnitOfWork, terms: ReplayTerms) -> None:
        self._unit_of_work, self._terms = unit_of_work, terms
        self.rows: ReplayedRows | None = None

    async def read(self, only: Collection[str] | None = None) -> Columns:
        """Read all columns that all rows have, in the order in which the rows were seen.

        Raises:
            ModelNotFound, VersionNotFound: the named object does not exist.
            NothingToReplay: no row has a label.
            InvalidField: a column has the name of labels or ids, or holds values of several kinds.
            LimitReached: the rows take more memory than one table may, or other tables hold too much.
        """
        until = datetime.now(UTC)
        columns, self.rows = await self._unit_of_work.analyse(partial(_read, terms=self._terms, until=until))
        return columns

    async def pieces(self) -> list[Piece]:
        return []

    def distinct(self, columns: Columns, keys: RowKeys) -> Columns:
        """Return the first row of each pair of time and group; the others are counted as repeated.

        Raises:
            InvalidField: a time or group is missing or of another kind.
        """
        if not keys.time or self.rows is None:
            return columns
        kept, repeated = without_repeated(columns | read_keys(columns, keys), keys)
        self.rows = replace(self.rows, repeated=self.rows.repeated + repeated)
        return kept


def _read(session: Session, terms: ReplayTerms, until: datetime) -> tuple[Columns, ReplayedRows]:
    replay = terms.replay
    model_row(session, replay.model)
    if replay.version:
        version_row(session, VersionRef(replay.model, replay.version))
    since = until - replay.since
    with MemoryReservation(FIELD) as reservation:
        labelled = _LabelledRows(session, terms, reservation)
        for seen in seen_rows(session, replay.model, replay.version, since):
            labelled.add(seen)
        return labelled.columns(), labelled.counted(since, until)


class _LabelledRows:
    """Collects the rows that have labels, each id once."""

    def __init__(self, session: Session, terms: ReplayTerms, reservation: MemoryReservation) -> None:
        self._session, self._terms, self._reservation = session, terms, reservation
        self._taken: set[str] = set()
        self._parts: list[Columns] = []
        self._times: list[datetime] = []
        self._seen = self._without_id = self._without_label = 0

    def add(self, seen: SeenRows) -> None:
        """Add rows that were seen together."""
        if seen.ids is None:
            rows = _rows_of(self._stored(seen))
            self._seen, self._without_id = self._seen + rows, self._without_id + rows
            return
        ids = _ids_of(seen.ids)
        labels = labels_of(self._session, seen.version, ids)
        self._seen, self._without_label = self._seen + len(ids), self._without_label + sum(i not in labels for i in ids)
        fresh = {one: row for row, one in reversed([*enumerate(ids)]) if one in labels and one not in self._taken}
        if fresh:
            self._take(seen, dict(sorted(fresh.items(), key=lambda one: one[1])), labels)

    def _take(self, seen: SeenRows, rows: dict[str, int], labels: dict[str, float]) -> None:
        columns = select_rows(self._columns(seen), np.fromiter(rows.values(), np.int64, len(rows)))
        self._name(columns, "label", self._terms.label)
        columns[self._terms.label] = np.array([labels[one] for one in rows])
        if self._terms.id:
            self._name(columns, "id", self._terms.id)
            columns[self._terms.id] = np.array([*rows, None], object)[:-1]
        self._reservation.add(bytes_of(columns))
        self._parts.append(columns)
        self._times.append(seen.seen_at)
        self._taken |= rows.keys()

    def _columns(self, seen: SeenRows) -> Columns:
        batches = read_arrow(pa.BufferReader(self._stored(seen)), FIELD)
        return joined([arrow_columns(batch, FIELD) for batch in batches])

    def _stored(self, seen: SeenRows) -> bytes:
        return self._session.scalars(seen.table).one()

    def _name(self, columns: Columns, field: str, name: str) -> None:
        if name in columns:
            raise InvalidField(FieldViolation(field, f"is {name!r}, a column of the rows; give another name to use"))

    def counted(self, since: datetime, until: datetime) -> ReplayedRows:
        """Return how many rows were left out."""
        replay, times = self._terms.replay, self._times
        repeated = self._seen - self._without_id - self._without_label - len(self._taken)
        counts = (self._seen, self._without_id, self._without_label, repeated)
        return ReplayedRows(replay.model, replay.version, since, until, times[0], times[-1], *counts)

    def columns(self) -> Columns:
        """Return the columns that all rows have."""
        if not self._parts:
            raise self._nothing()
        parts = self._parts
        ignored = self._terms.ignored
        names = [name for name in parts[0] if all(name in part for part in parts)]
        check_ignored(names, ignored)
        self._parts = []
        chosen = [name for name in names if name not in ignored]
        columns = {name: _joined(name, [part.pop(name) for part in parts]) for name in chosen}
        self._reservation.transfer_to(columns)
        return columns

    def _nothing(self) -> NothingToReplay:
        model, seen, id_less, unlabelled = self._terms.replay.model, self._seen, self._without_id, self._without_label
        counts = f"of {seen:,} rows that were seen, {id_less:,} have no id and {unlabelled:,} no label"
        fix = "observe rows with the ids of their predictions, and record labels for these (RecordOutcomes)"
        return NothingToReplay(
            f"there is no row of {model} to compare on: {counts}; {fix}",
            model=model,
            seen=seen,
            without_id=id_less,
            without_label=unlabelled,
        )


def _joined(name: str, parts: Sequence[Column]) -> Column:
    """Return a column that came in parts; booleans that came beside text are text, as in live windows.

    Raises:
        InvalidField: the parts hold values of different kinds, as different versions may have seen.
    """
    kinds = {kind_of(part) for part in parts if not missing_in(part).all()}
    if kinds == {Kind.CATEGORY, Kind.TRUTH}:
        parts = [np.array([*category_labels(part), None], object)[:-1] for part in parts]
    elif len(kinds) > 1:
        found = " and ".join(sorted(kinds))
        fix = f"saw {found} in the column {name!r}; name one version, or a shorter time"
        raise InvalidField(FieldViolation(FIELD, fix))
    return np.concatenate(parts)


def _rows_of(table: bytes) -> int:
    with pa.ipc.open_stream(table) as stream:
        return sum(batch.num_rows for batch in stream)


def _ids_of(stream: bytes) -> list[str]:
    with pa.ipc.open_stream(stream) as reader:
        ids: list[str] = reader.read_all().column(0).to_pylist()
    return ids
