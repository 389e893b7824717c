"""Small files of tables that unpack to much, each far beyond the budget of the server that the tests start."""

import io
import struct
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

BUDGET_MB = 64
"""Half of it for one table."""
ZSTD = pa.ipc.IpcWriteOptions(compression="zstd")
LZ4 = pa.ipc.IpcWriteOptions(compression="lz4")


def arrow(table: pa.Table, options: pa.ipc.IpcWriteOptions | None = None, rows: int | None = None) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema, options=options) as writer:
        writer.write_table(table, rows)
    return sink.getvalue()


def _zeros(options: pa.ipc.IpcWriteOptions) -> bytes:
    return arrow(pa.table({"a": np.zeros(10_000_000)}), options)


def _dictionary(rows: int, text: str, kind: pa.DataType) -> bytes:
    indices = pa.array(np.zeros(rows, np.int8))
    column = pa.DictionaryArray.from_arrays(indices, pa.array([text], kind))
    return arrow(pa.table({"a": column}), ZSTD)


def _dictionary_again_and_again() -> bytes:
    """Give many batches of one row over a dictionary that is large once it is unpacked."""
    column = pa.DictionaryArray.from_arrays(pa.array(np.zeros(200, np.int8)), pa.array(["x" * 20_000_000]))
    return arrow(pa.table({"a": column}), ZSTD, 1)


def _growing_dictionary() -> bytes:
    """Give a dictionary that each batch makes larger."""
    options = pa.ipc.IpcWriteOptions(compression="zstd", emit_dictionary_deltas=True)
    words = [f"{i}" + "x" * 5_000_000 for i in range(12)]
    sink = io.BytesIO()
    kind = pa.dictionary(pa.int8(), pa.string())
    with pa.ipc.new_stream(sink, pa.schema({"a": kind}), options=options) as writer:
        for known in range(1, len(words)):
            column = pa.DictionaryArray.from_arrays(pa.array([0], pa.int8()), pa.array(words[:known]))
            writer.write_batch(pa.record_batch({"a": column}))
    return sink.getvalue()


def _same_buffer_many_times() -> bytes:
    """Let the buffers of all columns be those of the first, which are compressed."""
    names = [f"x{i}" for i in range(200)]
    return arrow(pa.table({name: np.zeros(100_000) for name in names}), ZSTD)


def _views(rows: int) -> pa.Array:
    """Return rows that all show the same long text, which is there once."""
    text = b"x" * 50_000
    view = struct.pack("<i4sii", len(text), text[:4], 0, 0)
    return pa.Array.from_buffers(pa.string_view(), rows, [None, pa.py_buffer(view * rows), pa.py_buffer(text)])


def _announced(length: int) -> bytes:
    """Let a batch announce a body of another length than it has."""
    good = bytearray(arrow(pa.table({"a": np.zeros(4)})))
    batch = 8 + struct.unpack_from("<i", good, 4)[0] + 8
    message = batch + struct.unpack_from("<I", good, batch)[0]
    fields = message - struct.unpack_from("<i", good, message)[0]
    body = message + struct.unpack_from("<H", good, fields + 4 + 2 * 3)[0]
    struct.pack_into("<q", good, body, length)
    return bytes(good)


def _announced_metadata(length: int) -> bytes:
    good = arrow(pa.table({"a": np.zeros(4)}))
    return good[:4] + struct.pack("<i", length) + good[8:]


def _unpacked_length(length: int) -> bytes:
    """Let a compressed buffer say that it unpacks to another length."""
    good = arrow(pa.table({"a": np.zeros(1_000)}), ZSTD)
    return good.replace(struct.pack("<q", 8_000), struct.pack("<q", length))


def _many_columns() -> bytes:
    return arrow(pa.table({f"x{i}": np.zeros(1) for i in range(10_100)}))


def _parquet(table: pa.Table, **options: object) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd", **options)
    return sink.getvalue()


def _parquet_dictionary() -> bytes:
    indices = pa.array(np.zeros(20_000, np.int8))
    return _parquet(pa.table({"a": pa.DictionaryArray.from_arrays(indices, ["y" * 50_000])}), store_schema=False)


def _front_coded_text() -> bytes:
    """Give texts of which each is said as so much of the one before."""
    text = [f"{'y' * 20_000}{i}" for i in range(10_000)]
    table = pa.table({"a": text})
    return _parquet(table, use_dictionary=False, column_encoding={"a": "DELTA_BYTE_ARRAY"})


ARROW: dict[str, Callable[[], bytes]] = {
    "zeros in zstd": lambda: _zeros(ZSTD),
    "zeros in lz4": lambda: _zeros(LZ4),
    "a long text for many rows": lambda: _dictionary(5_000, "x" * 50_000, pa.string()),
    "a long large text for many rows": lambda: _dictionary(2_000_000, "x" * 100_000, pa.large_string()),
    "a dictionary for many batches": _dictionary_again_and_again,
    "many columns of zeros": _same_buffer_many_times,
    "text that widens": lambda: arrow(pa.table({"a": ["x" * 20_000_000 + "😀"]}), ZSTD),
    "a long text seen in many rows": lambda: arrow(pa.table({"a": _views(5_000)})),
    "a long text seen in a dictionary": lambda: arrow(
        pa.table({"a": pa.DictionaryArray.from_arrays(pa.array([0]), _views(5_000))})
    ),
    "many rows of nothing": lambda: arrow(pa.table({"a": pa.nulls(1 << 30)})),
    "a buffer that says 2^40": lambda: _unpacked_length(1 << 40),
    "a buffer that says 2^62": lambda: _unpacked_length(1 << 62),
    "a body of 2^36": lambda: _announced(1 << 36),
    "a body of 2^62": lambda: _announced(1 << 62),
}
"""Refused as too large."""
GROWING = {"a dictionary that grows": _growing_dictionary}
"""Refused as too large, or before that for what its first batch holds."""
BROKEN: dict[str, Callable[[], bytes]] = {
    "a body of less than nothing": lambda: _announced(-1),
    "metadata of 2^31": lambda: _announced_metadata(2**31 - 1),
    "metadata of less than nothing": lambda: _announced_metadata(-2),
    "too many columns": _many_columns,
    "a list": lambda: arrow(pa.table({"a": [[1.0]]})),
    "runs": lambda: arrow(pa.table({"a": pa.RunEndEncodedArray.from_arrays(pa.array([1 << 30]), pa.array([1.0]))})),
    "a view of a list": lambda: arrow(pa.table({"a": pa.array([[1.0]], pa.list_view(pa.float64()))})),
    "a dictionary of lists": lambda: arrow(
        pa.table({"a": pa.DictionaryArray.from_arrays(pa.array([0]), pa.array([[1.0]]))})
    ),
    "no column": lambda: arrow(pa.table({})),
    "nothing": lambda: b"",
}
"""Refused as wrong."""
PARQUET: dict[str, Callable[[], bytes]] = {
    "a long text for many rows": _parquet_dictionary,
    "texts that begin alike": _front_coded_text,
    "zeros": lambda: _parquet(pa.table({"a": np.zeros(8_000_000)}), row_group_size=8_000_000),
    "nothing many times": lambda: _parquet(pa.table({"a": pa.nulls(20_000_000, pa.float64())})),
}
"""Refused as too large."""
