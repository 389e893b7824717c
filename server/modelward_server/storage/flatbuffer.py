"""FlatBuffers read in place, as far as Arrow's messages need it: tables, vectors of tables, vectors of structs, text.

Offsets are checked against the buffer, so that a wrong one is an error and not an out-of-bounds read.
"""

import struct
from collections.abc import Iterator
from typing import Self

import numpy as np
from numpy.typing import NDArray

MAX_ITEMS = 100_000
"""Maximum number of items of one vector; many offsets of a message may refer to one and the same table."""


class FlatTable:
    """A table of a FlatBuffer.

    Args:
        data: the whole buffer.
        start: the offset of the table.

    Raises:
        ValueError: in every method, where an offset is outside the buffer.
    """

    def __init__(self, data: memoryview, start: int) -> None:
        self._data = data
        self._start = start
        self._fields = start - self._number("<i", start)
        self._fields_end = self._fields + self._number("<H", self._fields)

    @classmethod
    def root(cls, data: memoryview) -> Self:
        if len(data) < 4:
            raise ValueError("a message is shorter than its header")
        return cls(data, struct.unpack_from("<I", data)[0])

    def number(self, field: int, kind: str, default: int = 0) -> int:
        """Return a number; `kind` is its `struct` format character."""
        offset = self._offset(field)
        return default if offset is None else self._number(f"<{kind}", offset)

    def table(self, field: int) -> Self | None:
        offset = self._offset(field)
        return None if offset is None else self._table_at(offset)

    def tables(self, field: int) -> Iterator[Self]:
        start, items = self._vector(field)
        if items > MAX_ITEMS:
            raise ValueError(f"a list of {items:,} items is longer than {MAX_ITEMS:,}")
        for item in range(items):
            yield self._table_at(start + 4 * item)

    def pairs(self, field: int) -> NDArray[np.int64]:
        """Return structs of two 64-bit numbers each, shape (items, 2)."""
        start, items = self._vector(field)
        return np.frombuffer(self._data, "<i8", 2 * items, start).reshape(items, 2) if items else np.empty((0, 2), "i8")

    def length(self, field: int) -> int:
        """Return the length of a text or a vector."""
        return self._vector(field)[1]

    def _vector(self, field: int) -> tuple[int, int]:
        offset = self._offset(field)
        if offset is None:
            return 0, 0
        start = offset + self._number("<I", offset)
        return start + 4, self._number("<I", start)

    def _table_at(self, offset: int) -> Self:
        return type(self)(self._data, offset + self._number("<I", offset))

    def _offset(self, field: int) -> int | None:
        """Return the offset of a field's value; None where the field has its default."""
        entry = self._fields + 4 + 2 * field
        offset = self._number("<H", entry) if entry + 2 <= self._fields_end else 0
        return self._start + offset if offset else None

    def _number(self, kind: str, offset: int) -> int:
        if offset < 0:
            raise ValueError("an offset points before the message")
        try:
            number: int = struct.unpack_from(kind, self._data, offset)[0]
        except struct.error:
            raise ValueError("an offset points beyond the message") from None
        return number
