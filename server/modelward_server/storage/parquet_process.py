"""The process that reads Parquet for the server: `python -m modelward_server.storage.parquet_process`.

It reads one job from its standard input, limits its memory, and writes an Arrow IPC stream to its standard output, or
the list of the row groups as JSON. The last line of its standard error describes a failure.
"""

import json
import os
import resource
import sys
import threading
from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from pyarrow import fs

from modelward.shared.suggestions import unknown_columns

MAX_ROWS = 65_536
"""Maximum rows of one batch."""
BATCH_BYTES = 32 << 20
"""Approximate maximum size of a batch of numbers."""
AHEAD_BYTES = 64 << 20
"""Read-ahead for all columns together; Arrow's default is a column's whole row group."""
MIN_AHEAD_BYTES = 32 << 10
MAX_AHEAD_BYTES = 8 << 20
"""Read-ahead of one column."""
MAX_GROWTH = 1000
"""Maximum factor by which a dataset may grow when decoded, once it exceeds the memory limit."""
OWN_BYTES = 96 << 20
"""Memory for the process itself, in addition to that for a table."""
Job = dict[str, Any]
BROKEN, OUT_OF_MEMORY = 2, 3
"""Exit statuses of failures."""


def main() -> None:
    """Perform one job, and report the result by the exit status."""
    job = json.loads(sys.stdin.buffer.readline() or b"null")
    if job is None:
        return  # The server ended before it had a job.
    threading.Thread(target=_exit_with_server, daemon=True).start()
    try:
        limit_memory(job["memory_bytes"] + OWN_BYTES)
        _list(job) if job.get("list") else _read(job)
    except MemoryError:
        os._exit(OUT_OF_MEMORY)
    except Exception as error:  # Arrow raises various types for invalid data.
        print(f"{error}".replace("\n", " "), file=sys.stderr, flush=True)
        os._exit(BROKEN)


def _exit_with_server() -> None:
    os.read(0, 1)  # Returns when the server ends, however it ends.
    os._exit(1)


def limit_memory(size: int) -> None:
    """Limit the memory that the process may take from here on."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    in_use = next((int(line.split()[1]) << 10 for line in lines if line.startswith("VmData")), 0)
    resource.setrlimit(resource.RLIMIT_DATA, (in_use + size, in_use + size))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _list(job: Job) -> None:
    dataset = open_parquet(job["uri"])
    groups = [
        (fragment.path, group.id, group.num_rows)
        for fragment in dataset.get_fragments()
        for group in fragment.row_groups
    ]
    schema = _chosen(common_schema(dataset), None, job).serialize().to_pybytes()
    sys.stdout.write(json.dumps({"groups": groups, "schema": b64encode(schema).decode()}))
    sys.stdout.flush()


def _read(job: Job) -> None:
    filesystem, _ = locate(job["uri"])
    if "path" in job:
        paths, kept = [job["path"]], pa.ipc.read_schema(pa.py_buffer(b64decode(job["schema"])))
    else:
        dataset = open_parquet(job["uri"])
        paths, kept = dataset.files, _chosen(common_schema(dataset), job["columns"], job)
    files = (_open_file(filesystem, path) for path in paths)
    size = sum(info.size or 0 for info in filesystem.get_file_info(paths))
    batches = (batch for file in files for batch in read_file(file, kept, job.get("row_groups")))
    with pa.PythonFile(sys.stdout.buffer, mode="w") as sink, pa.ipc.new_stream(sink, kept) as writer:
        for batch in _bounded(batches, max(job["memory_bytes"], MAX_GROWTH * size)):
            writer.write_batch(batch)


def common_schema(dataset: ds.Dataset) -> pa.Schema:
    """Return the columns of all files of a dataset, each with a type that holds the values of all files.

    Raises:
        ValueError: a column has incompatible types, such as text and numbers.
    """
    columns: dict[str, pa.Field] = {}
    for fragment in dataset.get_fragments():
        schema = fragment.physical_schema
        duplicates = sorted(name for name, times in Counter(schema.names).items() if times > 1)
        if duplicates:
            raise ValueError(f"has columns of the same name: {', '.join(duplicates)}")
        for one in schema:
            columns[one.name] = _common_field(columns.get(one.name, one), one)
    return pa.schema(list(columns.values()))


def _common_field(known: pa.Field, other: pa.Field) -> pa.Field:
    if known.type == other.type:
        return pa.field(known.name, known.type)
    kinds = [_decoded(one.type) for one in (known, other) if not pa.types.is_null(one.type)]
    common = next((common for are, common in COMMON if all(map(are, kinds))), None) if len(kinds) > 1 else kinds[0]
    if common is None:
        fix = f"column {known.name!r} is {known.type} in one file and {other.type} in another; use the same type"
        raise ValueError(fix)
    return pa.field(known.name, common)


def _decoded(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _fits_int64(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) and kind != pa.uint64())


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_time(kind: pa.DataType) -> bool:
    return bool(pa.types.is_date(kind) or pa.types.is_timestamp(kind))


def _is_coarse_time(kind: pa.DataType) -> bool:
    return _is_time(kind) and not (pa.types.is_timestamp(kind) and kind.unit == "ns")


COMMON: tuple[tuple[Callable[[pa.DataType], bool], pa.DataType], ...] = (
    (_fits_int64, pa.int64()),
    (_is_number, pa.float64()),
    (_is_text, pa.large_string()),
    (_is_coarse_time, pa.timestamp("us", "UTC")),
    (_is_time, pa.timestamp("ns", "UTC")),
)
"""The common type of two types: that of the first line whose condition both fulfil."""


def open_parquet(uri: str) -> ds.Dataset:
    """Open a Parquet file, or a folder of them, at a URI or a local path.

    Raises:
        OSError, pa.ArrowInvalid: nothing can be read there.
    """
    filesystem, path = locate(uri)
    return ds.dataset(path, format="parquet", filesystem=filesystem)


def _open_file(filesystem: fs.FileSystem, path: str) -> pq.ParquetFile:
    metadata = pq.ParquetFile(filesystem.open_input_file(path), pre_buffer=False).metadata
    ahead = min(max(AHEAD_BYTES // max(1, metadata.num_columns), MIN_AHEAD_BYTES), MAX_AHEAD_BYTES)
    content = filesystem.open_input_file(path)
    return pq.ParquetFile(content, metadata=metadata, buffer_size=ahead, pre_buffer=False)


def _chosen(schema: pa.Schema, columns: list[str] | None, job: Job) -> pa.Schema:
    if unknown := unknown_columns(job["ignored"], schema.names) if job["ignored_are_there"] else []:
        raise ValueError(f"ignored_columns {unknown[0]}")
    for name in columns or ():
        if name not in schema.names:
            raise ValueError(f"has no column {name!r}; it has {', '.join(schema.names)}")
    kept = schema.names if columns is None else columns
    return pa.schema([schema.field(name) for name in kept if name not in job["ignored"]])


def read_file(file: pq.ParquetFile, schema: pa.Schema, row_groups: list[int] | None) -> Iterator[pa.RecordBatch]:
    """Read columns of a file in order; a column that the file lacks is null, as in an Arrow dataset.

    The scan of an Arrow dataset would load whole row groups at once.
    """
    rows = max(1, min(MAX_ROWS, BATCH_BYTES // (8 * max(1, len(schema)))))
    available = [name for name in schema.names if name in file.schema_arrow.names]
    for batch in file.iter_batches(rows, row_groups, available, use_threads=False):
        columns = [
            _cast(batch.column(one.name), one.type) if one.name in available else pa.nulls(len(batch), one.type)
            for one in schema
        ]
        yield pa.record_batch(columns, schema=schema)


def _cast(values: pa.Array, kind: pa.DataType) -> pa.Array:
    """Cast to the type that holds the values of all files; integers become the nearest floats."""
    return values.cast(kind, safe=not pa.types.is_floating(kind))


def _bounded(batches: Iterator[pa.RecordBatch], max_bytes: int) -> Iterator[pa.RecordBatch]:
    """Pass batches on until they exceed `max_bytes` together: a column of few bytes may expand for hours."""
    for batch in batches:
        max_bytes -= max(batch.nbytes, batch.num_rows)
        if max_bytes < 0:
            raise MemoryError
        yield batch


def locate(uri: str) -> tuple[fs.FileSystem, str]:
    """Return the file system of a URI, and the path in it. S3-compatible stores are configured as for MLflow."""
    endpoint = os.environ.get("MLFLOW_S3_ENDPOINT_URL") or os.environ.get("AWS_ENDPOINT_URL")
    if uri.startswith("s3://") and endpoint:
        return fs.S3FileSystem(endpoint_override=endpoint), uri.removeprefix("s3://").rstrip("/")
    if "://" not in uri:
        return fs.LocalFileSystem(), uri
    filesystem, path = fs.FileSystem.from_uri(uri)
    return filesystem, path


if __name__ == "__main__":
    main()
