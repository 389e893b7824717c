"""FlatBuffers read in place, as far as Arrow's messages need it: tables, vectors of tables, vectors of structs, text.

Positions are checked against the bytes, so that a wrong one is an error and not a read elsewhere.
"""

import struct
from collections.abc import Iterator
from typing import Self

import numpy as np
from numpy.typing import NDArray

MAX_ITEMS = 100_000
"""Items of one vector; many places of a message may refer to one and the same table."""


class FlatTable:
    """One table.

    Args:
        data: the whole buffer.
        start: where the table begins.

    Raises:
        ValueError: in every method, where a position lies outside of the buffer.
    """

    def __init__(self, data: memoryview, start: int) -> None:
        self._data = data
        self._start = start
        self._fields = start - self._number("<i", start)
        self._fields_end = self._fields + self._number("<H", self._fields)

    @classmethod
    def root(cls, data: memoryview) -> Self:
        if len(data) < 4:
            raise ValueError("a message is shorter than its beginning")
        return cls(data, struct.unpack_from("<I", data)[0])

    def number(self, field: int, kind: str, default: int = 0) -> int:
        """Return a number; `kind` is its type as `struct` names it."""
        place = self._place(field)
        return default if place is None else self._number(f"<{kind}", place)

    def table(self, field: int) -> Self | None:
        place = self._place(field)
        return None if place is None else self._table_at(place)

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
        place = self._place(field)
        if place is None:
            return 0, 0
        start = place + self._number("<I", place)
        return start + 4, self._number("<I", start)

    def _table_at(self, place: int) -> Self:
        return type(self)(self._data, place + self._number("<I", place))

    def _place(self, field: int) -> int | None:
        """Return where a field's value stands; None where it has its default."""
        entry = self._fields + 4 + 2 * field
        offset = self._number("<H", entry) if entry + 2 <= self._fields_end else 0
        return self._start + offset if offset else None

    def _number(self, kind: str, place: int) -> int:
        if place < 0:
            raise ValueError("a position lies before the message")
        try:
            number: int = struct.unpack_from(kind, self._data, place)[0]
        except struct.error:
            raise ValueError("a position lies behind the message") from None
        return number
