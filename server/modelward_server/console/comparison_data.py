"""The test data of a comparison: columns of a file that was uploaded, or the names of those at a URI."""

import csv
import io
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from modelward.cli.output import Failure
from modelward.cli.tables import is_csv, is_parquet, read_columns
from modelward.drift import Reference
from modelward.errors import FieldViolation, InvalidField
from modelward.shared.suggestions import unknown_columns

MAX_COLUMNS = 10_000
"""As many as the contract allows."""
HEADER_BYTES = 1 << 20
"""The names of the columns must be within so much of a CSV file."""


@dataclass(frozen=True)
class Columns:
    """The names of the columns that are not features; empty where there is none."""

    label: str
    returns: str
    time: str
    group: str
    ignored: tuple[str, ...]

    def of_parquet(self, place: str | Path) -> dict[str, Any]:
        """Return the arguments of `AsyncClient.compare` for data that the server reads, at a URI or in a file."""
        return {"X": place, "y": self.label, "returns": self.returns or None, **self._options()}

    def of_table(self, table: pa.Table) -> dict[str, Any]:
        """Return these arguments for a table.

        Raises:
            InvalidField: it lacks a column.
        """
        for field, names in self._by_field().items():
            if unknown := unknown_columns(names, table.column_names):
                raise InvalidField(FieldViolation(field, unknown[0]))
        taken = [name for name in {self.label, self.returns} if name]
        returns = table[self.returns] if self.returns else None
        return {"X": table.drop_columns(taken), "y": table[self.label], "returns": returns, **self._options()}

    def _options(self) -> dict[str, Any]:
        return {"time": self.time or None, "group": self.group or None, "ignore": self.ignored}

    def _by_field(self) -> Mapping[str, Collection[str]]:
        one = {"label": self.label, "returns": self.returns, "time": self.time, "group": self.group}
        return {**{field: [name] for field, name in one.items() if name}, "ignore": self.ignored}


def uploaded_data(content: IO[bytes], columns: Columns, reference: Reference | None, folder: Path) -> dict[str, Any]:
    """Return the arguments of `AsyncClient.compare` for a file that was uploaded, which is detected by its content.

    A CSV file is read here. Parquet is left to the server, which decodes it in a process with limits.

    Args:
        content: the file's.
        columns: what its columns are.
        reference: determines the kind of a CSV column, as in the commands.
        folder: where a copy is kept, as long as the comparison needs it.

    Raises:
        InvalidField: it cannot be read, or lacks a column.
    """
    path = folder / "upload"
    with path.open("wb") as copy:
        shutil.copyfileobj(content, copy)
    if not path.stat().st_size:
        raise _problem("the file is empty")
    if is_parquet(path):
        return columns.of_parquet(path)
    if not is_csv(path):
        raise _problem("the file is no CSV or Parquet file")
    _check_header(path)
    try:
        return columns.of_table(read_columns(path, reference, columns.ignored))
    except Failure as error:
        raise _problem(error.message.replace(str(path), "the file")) from None


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


def _problem(why: str) -> InvalidField:
    return InvalidField(FieldViolation("file", why))
