"""Read tables of a flatbuffer within the bounds of its bytes, without its library.

A table begins with the distance back to its list of slots. The list has its own length, the length of the table, and
for each field its distance from the begin of the table, or 0 where the default applies. Vectors, texts and other tables
are at a distance that is written in the field; a vector begins with its length.
"""

import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelward.formats.tree_structure import refuse

MAX_TABLES = 1_000_000
"""Maximum number of tables in a vector; each becomes objects here and in the library."""
OUTSIDE = "an offset or a length in the file points outside it"


class Table:
    """One table, whose fields are numbered as in its schema."""

    def __init__(self, buffer: memoryview, at: int) -> None:
        """Find the slots of a table.

        Args:
            buffer: the bytes of the flatbuffer.
            at: where the table begins.

        Raises:
            InvalidField: it is not within the bytes.
        """
        self._buffer, self._at = buffer, at
        self._slots = at - read(buffer, "<i", at)
        self._slots_length, length = read(buffer, "<H", self._slots), read(buffer, "<H", self._slots + 2)
        if self._slots + self._slots_length > len(buffer) or not 4 <= length <= len(buffer) - at:
            refuse(OUTSIDE)

    @classmethod
    def root(cls, buffer: memoryview) -> "Table":
        """Return the table at which a flatbuffer begins."""
        return cls(buffer, read(buffer, "<I", 0))

    def number(self, field: int, format_: str, default: int) -> int:
        """Return a number.

        Args:
            field: its number in the schema.
            format_: its type, as `struct` names it.
            default: where the file has none.
        """
        at = self._place(field)
        return default if at is None else read(self._buffer, format_, at)

    def vector(self, field: int, dtype: Any) -> NDArray[Any]:
        """Return numbers or structures, shape (values,), which are not copied; empty where the file has none."""
        kind, at = np.dtype(dtype), self._target(field)
        if at is None:
            return np.empty(0, kind)
        count = read(self._buffer, "<I", at)
        if count * kind.itemsize > len(self._buffer) - at - 4:
            refuse(OUTSIDE)
        return np.frombuffer(self._buffer, kind, count, at + 4)

    def text(self, field: int) -> bytes:
        """Return a text's bytes; empty where the file has none."""
        return self.vector(field, np.uint8).tobytes()

    def table(self, field: int) -> "Table | None":
        """Return another table; None where the file has none."""
        at = self._target(field)
        return None if at is None else Table(self._buffer, at)

    def tables(self, field: int) -> "Iterator[Table]":
        """Yield the tables of a vector."""
        for at in self._targets(field):
            yield Table(self._buffer, at)

    def texts(self, field: int) -> Iterator[bytes]:
        """Yield the texts of a vector."""
        for at in self._targets(field):
            count = read(self._buffer, "<I", at)
            if count > len(self._buffer) - at - 4:
                refuse(OUTSIDE)
            yield bytes(self._buffer[at + 4 : at + 4 + count])

    def _targets(self, field: int) -> Iterator[int]:
        distances = self.vector(field, "<u4")
        if len(distances) > MAX_TABLES:
            refuse(f"the file has {len(distances):,} parts of one kind; at most {MAX_TABLES:,} are read")
        begin = (self._target(field) or 0) + 4
        return (begin + 4 * i + distance for i, distance in enumerate(distances.tolist()))

    def _target(self, field: int) -> int | None:
        at = self._place(field)
        return None if at is None else at + read(self._buffer, "<I", at)

    def _place(self, field: int) -> int | None:
        slot = 4 + 2 * field
        if slot + 2 > self._slots_length:
            return None
        distance = read(self._buffer, "<H", self._slots + slot)
        return self._at + distance if distance else None


def read(buffer: memoryview, format_: str, at: int) -> int:
    """Return one number from the bytes.

    Args:
        buffer: the bytes.
        format_: its type, as `struct` names it.
        at: where it is.

    Raises:
        InvalidField: it is not within the bytes.
    """
    if not 0 <= at <= len(buffer) - struct.calcsize(format_):
        refuse(OUTSIDE)
    value: int = struct.unpack_from(format_, buffer, at)[0]
    return value
