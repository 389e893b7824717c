"""The test data of a comparison: columns of a file that was uploaded, or the names of those at a URI."""

import csv
import io
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any

import pyarrow as pa

from modelward.cli.output import Failure
from modelward.cli.tables import is_csv, read_table
from modelward.errors import FieldViolation, InvalidField
from modelward.shared.suggestions import unknown_columns
from modelward_server.storage.parquet import read_parquet

MAX_TABLE_BYTES = 512 << 20
"""Of a table that was uploaded, once it is decoded."""
MAX_COLUMNS = 10_000
"""As many as the contract allows."""
HEADER_BYTES = 1 << 20
"""The names of the columns must be within so much of a CSV file."""
PARQUET = b"PAR1"


@dataclass(frozen=True)
class Columns:
    """The names of the columns that are not features; empty where there is none."""

    label: str
    returns: str
    time: str
    group: str
    ignored: tuple[str, ...]

    @property
    def options(self) -> dict[str, Any]:
        """The same as arguments of `AsyncClient.compare`, which columns at a URI and of a table share."""
        return {"time": self.time or None, "group": self.group or None, "ignore": self.ignored}

    def of_uri(self, uri: str) -> dict[str, Any]:
        """Return the arguments for data at a URI, which the server reads."""
        return {"X": uri, "y": self.label, "returns": self.returns or None, **self.options}

    def of_table(self, table: pa.Table) -> dict[str, Any]:
        """Return the arguments for a table.

        Raises:
            InvalidField: it lacks a column.
        """
        for field, names in self._by_field().items():
            if unknown := unknown_columns(names, table.column_names):
                raise InvalidField(FieldViolation(field, unknown[0]))
        taken = [name for name in {self.label, self.returns} if name]
        returns = table[self.returns] if self.returns else None
        return {"X": table.drop_columns(taken), "y": table[self.label], "returns": returns, **self.options}

    def _by_field(self) -> Mapping[str, Collection[str]]:
        one = {"label": self.label, "returns": self.returns, "time": self.time, "group": self.group}
        return {**{field: [name] for field, name in one.items() if name}, "ignore": self.ignored}


def uploaded_table(content: IO[bytes]) -> pa.Table:
    """Read a CSV, Parquet or Arrow file, detected by its content; Parquet is decoded in a process of its own.

    Raises:
        InvalidField: it cannot be read, or is too large once it is decoded.
        LimitReached: decoding it takes more memory than there is for tables.
    """
    with TemporaryDirectory() as folder:
        path = Path(folder, "upload")
        with path.open("wb") as copy:
            shutil.copyfileobj(content, copy)
        try:
            return _read(path)
        except Failure as error:
            raise _problem(error.message.replace(str(path), "the file")) from None


def _read(path: Path) -> pa.Table:
    if not path.stat().st_size:
        raise _problem("the file is empty")
    if _begins_with(path, PARQUET):
        return _parquet(path)
    if not is_csv(path):
        raise _problem("the file is no CSV or Parquet file")
    _check_header(path)
    return read_table(path)


def _begins_with(path: Path, magic: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(magic)) == magic


def _check_header(path: Path) -> None:
    """Refuse a header of so many columns that reading it takes the memory of the console."""
    with path.open("rb") as file:
        beginning = file.read(HEADER_BYTES).decode(errors="replace")
    try:
        header = next(csv.reader(io.StringIO(beginning)), [])
    except csv.Error:
        raise _problem("the file does not begin with the names of its columns, separated by commas") from None
    if len(header) > MAX_COLUMNS:
        raise _problem(f"the file has more than {MAX_COLUMNS:,} columns")


def _parquet(path: Path) -> pa.Table:
    batches: list[pa.RecordBatch] = []
    for batch in read_parquet(str(path), "file"):
        batches.append(batch)
        if sum(batch.nbytes for batch in batches) > MAX_TABLE_BYTES:
            raise _problem(f"the file decodes to more than {MAX_TABLE_BYTES >> 20} MiB; give its URI instead")
    if not batches:
        raise _problem("the file has no rows")
    return pa.Table.from_batches(batches)


def _problem(why: str) -> InvalidField:
    return InvalidField(FieldViolation("file", why))
