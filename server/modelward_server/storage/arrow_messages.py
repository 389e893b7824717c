"""Arrow IPC streams, of which each message is looked at before Arrow unpacks it.

A message says how long it is, into how much each of its buffers unpacks, and how many fields it has; all of that may
be made up. Here it is read and held against the budget first, and only then does Arrow see the message.
"""

import struct
from collections.abc import Iterator
from typing import Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from modelward_server.storage.flatbuffer import FlatTable
from modelward_server.storage.table_memory import Share

MAX_METADATA_BYTES = 16 << 20
MAX_FIELDS = 10_000
"""Columns of a table."""
MAX_NOTES_BYTES = 16 << 20
"""Names and notes of all columns together; many columns may refer to one and the same text."""
MAX_GROWTH = 1000
"""How many times its own size a table may unpack to, when that is more than one table's share of the budget."""
READ_BYTES = 1 << 20
"""How much is read at a time of what arrives: what was only announced takes no memory."""
CONTINUATION = b"\xff\xff\xff\xff"
OLD_COMPRESSION = b"ARROW:experimental_compression"
"""How Arrow 0.17 said that a batch is compressed."""
SCHEMA, DICTIONARY, BATCH = 1, 2, 3
"""The kinds of messages that a table consists of."""
TIMESTAMP = 10
"""The type that has a text of its own, its time zone."""


class Source(Protocol):
    """What bytes are read from, as from `pyarrow.NativeFile`."""

    def read_buffer(self, nbytes: int) -> pa.Buffer: ...


class CheckedStream:
    """A file for Arrow's reader, over a stream whose messages are checked.

    Args:
        source: the stream.
        share: takes the memory into which the messages unpack: the dictionaries, and one batch at a time.
        in_memory: whether reading the source takes no memory of its own.
    """

    closed = False

    def __init__(self, source: Source, share: Share, in_memory: bool) -> None:
        self._source = source
        self._share = share
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
        """Give the next bytes of the message under way, as far as they are asked for.

        Raises:
            LimitReached: the next message takes more memory than there is.
            ValueError: it is no message.
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
        self._share.resize(sum(self._dictionaries.values()))  # The batch before is done with.
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
            raise ValueError(f"a message announces {size:,} bytes about itself; {MAX_METADATA_BYTES:,} are the most")
        metadata = self._take(size)
        yield metadata
        if len(metadata) == size:
            yield self._body(metadata)

    def _body(self, metadata: memoryview) -> memoryview:
        message = FlatTable.root(metadata)
        kind, header = message.number(1, "B"), message.table(2)
        if header is None or kind not in {SCHEMA, DICTIONARY, BATCH}:
            raise ValueError("a message is neither a schema nor a batch")
        check_notes([message])
        size = message.number(3, "q")
        if size < 0:
            raise ValueError(f"a message announces {size} bytes")
        self._share.check(size)
        body = self._take(size)
        if kind == SCHEMA:
            check_fields(header)
        elif len(body) == size:  # Else Arrow says that it breaks off.
            self._account(header, kind, metadata, body)
        return body

    def _account(self, header: FlatTable, kind: int, metadata: memoryview, body: memoryview) -> None:
        """Take the memory into which a batch unpacks."""
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
        self._share.add(size)

    def _count(self, size: int) -> None:
        """Refuse what unpacks to far more than it is, batch by batch, since that costs time."""
        self._unpacked += size
        if self._unpacked > MAX_GROWTH * self._arrived:
            self._share.check(self._unpacked)

    def _take(self, size: int) -> memoryview:
        """Read so many bytes, or as many as are left."""
        if self._in_memory:
            content = self._source.read_buffer(size)
            self._arrived += len(content)
            return memoryview(content).cast("B")
        return memoryview(self._take_arriving(size))

    def _take_arriving(self, size: int) -> bytearray:
        content = bytearray()
        while len(content) < size and not self._ended:
            wanted = min(size - len(content), READ_BYTES)
            part = self._source.read_buffer(wanted)
            self._ended = len(part) < wanted
            self._share.add(len(part))
            self._arrived += len(part)
            content += memoryview(part)
        return content


def unpacked_bytes(buffers: NDArray[np.int64], body: memoryview) -> int:
    """Return into how many bytes the compressed buffers of a batch unpack: each begins with that number.

    Args:
        buffers: offset and length of each in the body, shape (buffers, 2).
    """
    sizes = [
        struct.unpack_from("<q", body, offset)[0]
        for offset, length in buffers.tolist()
        if length >= 8 and 0 <= offset <= len(body) - 8  # Others are refused by Arrow.
    ]
    return sum(size for size in sizes if size > 0)


def check_fields(schema: FlatTable) -> None:
    """Refuse a schema that has more fields or longer notes than a table has, before Arrow makes objects of them.

    Raises:
        ValueError: it has.
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
    check_notes([schema], 2, names)
    check_notes(fields[1:], 6, names)


def _time_zone_bytes(field: FlatTable) -> int:
    kind = field.table(3) if field.number(2, "B") == TIMESTAMP else None
    return kind.length(1) if kind else 0


def check_notes(tables: list[FlatTable], field: int = 4, taken: int = 0) -> None:
    """Refuse notes that are longer together than `MAX_NOTES_BYTES`."""
    for table in tables:
        for note in table.tables(field):
            taken += note.length(0) + note.length(1) + 16
            if taken > MAX_NOTES_BYTES:
                raise ValueError(f"names and notes take more than {MAX_NOTES_BYTES:,} bytes")
