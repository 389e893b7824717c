"""Parquet files and folders, local or in an object store, read in parts by a process with its own memory limit.

The memory that a Parquet file needs is known only once it is decoded: its footer may be forged, a page of a few bytes
may expand to gigabytes, and so may a text that many rows share. So it is decoded in a process that can fail alone.
"""

import atexit
import io
import json
import os
import select
import subprocess
import sys
import tempfile
import threading
from base64 import b64decode
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO, Any

import pyarrow as pa

from modelward.errors import FieldViolation, InvalidField, LimitReached, StoreUnavailable
from modelward_server.runtime.admission import RETRY_SECONDS
from modelward_server.storage.arrow_tables import PresentColumns, read_arrow
from modelward_server.storage.table_memory import MEMORY, too_large

MAX_READERS = 4
"""Maximum number of concurrent reader processes, each of which may take as much memory as one table."""
MAX_SILENT_SECONDS = 300.0
"""Maximum time in which a reader sends nothing, while somebody waits for it."""
MAX_LIST_BYTES = 64 << 20
"""Maximum size of a list of row groups."""
MAX_ERROR_BYTES = 10_000
OUT_OF_MEMORY = 3
"""Exit status of a process that would exceed its memory limit."""


@dataclass(frozen=True)
class Piece:
    """Row groups of one file, which can be read independently, also on another machine.

    Attributes:
        first_row: the number of rows of the whole dataset before it.
        field: the path of the dataset in its request, for errors.
        schema: the columns of the whole dataset as a serialized Arrow schema, in base64.
    """

    uri: str
    path: str
    row_groups: tuple[int, ...]
    first_row: int
    rows: int
    field: str
    schema: str

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Read the piece in batches.

        Raises:
            See `read_parquet`.
        """
        job = {"uri": self.uri, "path": self.path, "row_groups": self.row_groups, "schema": self.schema}
        yield from _batches(job, self.field)


def read_parquet(
    uri: str, field: str, columns: Collection[str] | None = None, ignored: Collection[str] = ()
) -> Iterator[pa.RecordBatch]:
    """Read a Parquet file, or a folder of them, at a URI or a local path, in batches.

    The columns of a folder are those of all its files; where types differ, a column has one that holds all values.

    Args:
        field: the path of the dataset in its request, for errors.
        columns: the columns to read; None: all.
        ignored: columns that are left out, whatever they hold.

    Raises:
        InvalidField: it is not Parquet, is truncated, lacks a column, or files have incompatible types.
        LimitReached: it takes more memory than a reader may, or other tables hold too much.
        StoreUnavailable: its store sent nothing for too long.
    """
    job = {"uri": uri, "columns": None if columns is None else sorted(columns), **_ignoring(ignored)}
    yield from _batches(job, field)


def pieces(uri: str, field: str, ignored: Collection[str] = ()) -> list[Piece]:
    """Split a dataset into its row groups, in order.

    Raises:
        See `read_parquet`.
    """
    with _reader({"uri": uri, "list": True, **_ignoring(ignored)}, field) as reader:
        content = reader.output.read(MAX_LIST_BYTES)
        if len(content) == MAX_LIST_BYTES:
            raise too_large(field)
        reader.check(field)
    dataset_pieces: list[Piece] = []
    rows = 0
    listed = json.loads(content)
    for path, group, size in listed["groups"]:
        dataset_pieces.append(Piece(uri, path, (group,), rows, size, field, listed["schema"]))
        rows += size
    return dataset_pieces


def columns_of(dataset_pieces: Sequence[Piece]) -> list[str]:
    """Return the names of the columns of a dataset."""
    if not dataset_pieces:
        return []
    return list(pa.ipc.read_schema(pa.py_buffer(b64decode(dataset_pieces[0].schema))).names)


def _ignoring(ignored: Collection[str]) -> dict[str, object]:
    return {"ignored": sorted(ignored), "ignored_are_there": isinstance(ignored, PresentColumns)}


def _batches(job: Mapping[str, object], field: str) -> Iterator[pa.RecordBatch]:
    with _reader(job, field) as reader:
        try:
            yield from read_arrow(pa.PythonFile(reader.output, mode="r"), field)
        except InvalidField:
            if not reader.output.read(1):
                reader.check(field)  # The process reports why its stream is truncated.
            raise
        reader.check(field)


class _Pipe(io.RawIOBase):
    """The output of a reader, which must not be silent for too long: its store may send a byte now and then for ever.

    Args:
        file: the pipe, without a buffer.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._arrival = select.poll()
        self._arrival.register(file, select.POLLIN)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._arrival.poll(MAX_SILENT_SECONDS * 1000):
            message = f"the store of a dataset sent nothing that could be read for {MAX_SILENT_SECONDS:g} s"
            raise StoreUnavailable(f"{message}; retry when it works again", store="source")
        data = os.read(self._file.fileno(), len(buffer))
        buffer[: len(data)] = data
        return len(data)


class _Reader:
    """A process that reads one dataset, and the file to which it writes its errors."""

    def __init__(self, process: "subprocess.Popen[bytes]", errors: IO[bytes]) -> None:
        assert process.stdout, "it is a pipe"
        self.process = process
        self.errors = errors
        self.output = io.BufferedReader(_Pipe(process.stdout))

    def submit(self, job: Mapping[str, object]) -> None:
        """Send the job; a process that has died is reported by its exit status."""
        assert self.process.stdin, "it is a pipe"
        with suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps(job).encode() + b"\n")
            self.process.stdin.flush()

    def check(self, field: str) -> None:
        """Raise the error with which the process ended, if any.

        Raises:
            InvalidField, LimitReached: it did not read everything.
        """
        code = self.process.wait()
        if code == 0:
            return
        self.errors.seek(0)
        message = self.errors.read(MAX_ERROR_BYTES).decode(errors="replace").strip()
        if code == OUT_OF_MEMORY or "bad_alloc" in message:
            raise too_large(field)
        why = message.rpartition("\n")[2].partition(".")[0] if code > 0 else "its reader crashed"
        raise InvalidField(FieldViolation(field, f"cannot be read as Parquet: {why}"))

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()
        self.errors.close()


class _Readers:
    """Starts reader processes in advance: one that waits for its job has completed its imports."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._next: _Reader | None = None
        atexit.register(self.close)

    def take(self) -> _Reader:
        with self._lock:
            reader, self._next = self._next, None
            if reader is None or reader.process.poll() is not None:
                reader = _start_reader()
            self._next = _start_reader()
            return reader

    def close(self) -> None:
        with self._lock:
            if self._next:
                self._next.end()
            self._next = None


def _start_reader() -> _Reader:
    errors = tempfile.TemporaryFile()  # noqa: SIM115 - the reader closes it
    program = [sys.executable, "-P", "-m", "modelward_server.storage.parquet_process"]
    process = subprocess.Popen(
        program,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        bufsize=0,
        env=_environment(),
        start_new_session=True,
    )
    return _Reader(process, errors)


def _environment() -> dict[str, str]:
    """Return the server's environment, which configures access to object stores, without the server's own settings.

    Arrow's own allocators reserve a gigabyte at a time, which would count against the memory limit.
    """
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith("MODELWARD_")}
    return kept | {"ARROW_DEFAULT_MEMORY_POOL": "system"}


_readers = _Readers()
_slots = threading.BoundedSemaphore(MAX_READERS)


@contextmanager
def _reader(job: Mapping[str, object], field: str) -> Iterator[_Reader]:
    """Yield a process that performs a job, and end it with the block."""
    if not _slots.acquire(blocking=False):
        fix = f"{MAX_READERS} other calls are reading Parquet; retry"
        raise LimitReached(f"{field}: {fix}", RETRY_SECONDS, limit="parquet_readers", field=field)
    try:
        reader = _readers.take()
        try:
            reader.submit({**job, "memory_bytes": MEMORY.table_limit})
            yield reader
        finally:
            reader.end()
    finally:
        _slots.release()
