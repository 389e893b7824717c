"""Arrow IPC streams whose messages are validated before Arrow decodes them.

A message declares its length, the uncompressed size of each of its buffers, and the number of its fields; all of that
may be forged. Here the declarations are checked against the budget first, and only then does Arrow see the message.
"""

import struct
from collections.abc import Iterator
from typing import Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from modelward_server.storage.flatbuffer import FlatTable
from modelward_server.storage.table_memory import MemoryReservation

MAX_METADATA_BYTES = 16 << 20
MAX_FIELDS = 10_000
"""Maximum number of columns of a table."""
MAX_METADATA_SIZE = 16 << 20
"""Maximum bytes of names and metadata of all columns together; many columns may refer to one and the same text."""
MAX_GROWTH = 1000
"""Maximum factor by which a table may grow when decompressed, once it exceeds one table's reservation of the budget."""
READ_BYTES = 1 << 20
"""Size of one read from the source: bytes that were only declared take no memory."""
CONTINUATION = b"\xff\xff\xff\xff"
OLD_COMPRESSION = b"ARROW:experimental_compression"
"""The key by which Arrow 0.17 marked a batch as compressed."""
SCHEMA, DICTIONARY, BATCH = 1, 2, 3
"""The message types of a table."""
TIMESTAMP = 10
"""The type that carries text of its own, its time zone."""


class Source(Protocol):
    """A source of bytes, such as `pyarrow.NativeFile`."""

    def read_buffer(self, nbytes: int) -> pa.Buffer: ...


class CheckedStream:
    """A file for Arrow's reader, over a stream whose messages are checked.

    Args:
        source: the stream.
        reservation: reserves the memory into which the messages decode: the dictionaries, and one batch at a time.
        in_memory: whether reading the source takes no memory of its own.
    """

    closed = False

    def __init__(self, source: Source, reservation: MemoryReservation, in_memory: bool) -> None:
        self._source = source
        self._reservation = reservation
        self._in_memory = in_memory
        self._parts: list[memoryview] = []
        self._dictionaries: dict[int, int] = {}
        self._arrived = self._unpacked = 0
        self._ended = False

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self.closed = True

    def read(self, size: int = -1) -> memoryview | bytes:
        """Return up to `size` bytes of the current message, of which the next one is read when it is used up.

        Raises:
            LimitReached: the next message takes more memory than is available.
            ValueError: it is not a valid message.
        """
        if not self._parts:
            self._parts = list(filter(None, self._next_message()))
        if not self._parts:
            return b""
        part = self._parts[0][:size]
        self._parts[0] = self._parts[0][size:]
        if not self._parts[0]:
            self._parts.pop(0)
        return part

    def _next_message(self) -> Iterator[memoryview]:
        self._reservation.resize(sum(self._dictionaries.values()))  # The previous batch has been consumed.
        prefix = self._take(4)
        marked = prefix == CONTINUATION
        length = self._take(4) if marked else prefix
        yield prefix
        if marked:
            yield length
        size = struct.unpack("<i", length)[0] if len(length) == 4 else 0
        if not size:
            return
        if not 0 < size <= MAX_METADATA_BYTES:
            raise ValueError(f"a message declares {size:,} bytes of metadata; {MAX_METADATA_BYTES:,} are allowed")
        metadata = self._take(size)
        yield metadata
        if len(metadata) == size:
            yield self._body(metadata)

    def _body(self, metadata: memoryview) -> memoryview:
        message = FlatTable.root(metadata)
        kind, header = message.number(1, "B"), message.table(2)
        if header is None or kind not in {SCHEMA, DICTIONARY, BATCH}:
            raise ValueError("a message is neither a schema nor a batch")
        check_custom_metadata([message])
        size = message.number(3, "q")
        if size < 0:
            raise ValueError(f"a message declares {size} bytes")
        self._reservation.check(size)
        body = self._take(size)
        if kind == SCHEMA:
            check_fields(header)
        elif len(body) == size:  # Otherwise Arrow reports that the stream is truncated.
            self._account(header, kind, metadata, body)
        return body

    def _account(self, header: FlatTable, kind: int, metadata: memoryview, body: memoryview) -> None:
        """Reserve the memory into which a batch decodes."""
        batch = header.table(1) if kind == DICTIONARY else header
        if batch is None:
            raise ValueError("a dictionary has no values")
        compressed = batch.table(3) is not None or OLD_COMPRESSION in bytes(metadata)
        size = unpacked_bytes(batch.pairs(2), body) if compressed else 0
        if kind == DICTIONARY:
            number, more = header.number(0, "q"), header.number(2, "?")
            own = len(body) + size
            self._dictionaries[number] = own + (self._dictionaries.get(number, 0) if more else 0)
        self._count(size + sum(self._dictionaries.values()))
        self._reservation.add(size)

    def _count(self, size: int) -> None:
        """Refuse a stream that decodes to far more than its size, batch by batch, since decoding costs time."""
        self._unpacked += size
        if self._unpacked > MAX_GROWTH * self._arrived:
            self._reservation.check(self._unpacked)

    def _take(self, size: int) -> memoryview:
        """Read `size` bytes, or as many as are left."""
        if self._in_memory:
            content = self._source.read_buffer(size)
            self._arrived += len(content)
            return memoryview(content).cast("B")
        return memoryview(self._take_arriving(size))

    def _take_arriving(self, size: int) -> bytearray:
        content = bytearray()
        while len(content) < size and not self._ended:
            chunk_size = min(size - len(content), READ_BYTES)
            part = self._source.read_buffer(chunk_size)
            self._ended = len(part) < chunk_size
            self._reservation.add(len(part))
            self._arrived += len(part)
            content += memoryview(part)
        return content


def unpacked_bytes(buffers: NDArray[np.int64], body: memoryview) -> int:
    """Return the number of bytes into which the compressed buffers of a batch decode: each begins with that number.

    Args:
        buffers: offset and length of each in the body, shape (buffers, 2).
    """
    sizes = [
        struct.unpack_from("<q", body, offset)[0]
        for offset, length in buffers.tolist()
        if length >= 8 and 0 <= offset <= len(body) - 8  # Arrow refuses the others.
    ]
    return sum(size for size in sizes if size > 0)


def check_fields(schema: FlatTable) -> None:
    """Refuse a schema with too many fields or too much metadata, before Arrow creates objects for them.

    Raises:
        ValueError: the schema exceeds a limit.
    """
    fields = [schema]
    waiting = list(schema.tables(1))
    while waiting:
        field = waiting.pop()
        fields.append(field)
        waiting.extend(field.tables(5))
        if len(fields) + len(waiting) > MAX_FIELDS + 1:
            raise ValueError(f"it has more than {MAX_FIELDS:,} columns")
    names = sum(field.length(0) + _time_zone_bytes(field) for field in fields[1:])
    check_custom_metadata([schema], 2, names)
    check_custom_metadata(fields[1:], 6, names)


def _time_zone_bytes(field: FlatTable) -> int:
    kind = field.table(3) if field.number(2, "B") == TIMESTAMP else None
    return kind.length(1) if kind else 0


def check_custom_metadata(tables: list[FlatTable], field: int = 4, size: int = 0) -> None:
    """Refuse custom metadata whose total size exceeds `MAX_METADATA_SIZE`."""
    for table in tables:
        for entry in table.tables(field):
            size += entry.length(0) + entry.length(1) + 16
            if size > MAX_METADATA_SIZE:
                raise ValueError(f"names and metadata take more than {MAX_METADATA_SIZE:,} bytes")
