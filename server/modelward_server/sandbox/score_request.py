"""Rows to predict, and how they are written to the process that keeps a model loaded."""

import json
import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from typing import Self

import numpy as np

from modelward.data import Columns, to_arrow

HEADER = struct.Struct("<QQ")
"""The bytes of the names, and of the rows, that follow it."""
SMALL_BYTES = 64 << 10
"""Size up to which a table is decoded, encoded and hashed on the event loop: a thread would take longer."""


@dataclass(frozen=True)
class Rows:
    """Rows to predict, as columns and as the message to a process; each form is made when it is first needed."""

    count: int
    make_columns: Callable[[], Columns]
    make_request: Callable[[], bytes]
    is_large: bool
    """Whether a form is made in a thread: on the event loop, every other call would wait for it."""

    @classmethod
    def of_columns(cls, columns: Columns) -> Self:
        """Take a table of one row or more."""
        from modelward_server.storage.table_memory import bytes_of  # The model's process imports this module too.

        is_large = bytes_of(columns) > SMALL_BYTES
        return cls(len(next(iter(columns.values()))), lambda: columns, partial(_encoded, columns), is_large)

    @classmethod
    def of_matrix(cls, names: tuple[str, ...], values: bytes) -> Self:
        """Take little-endian float64 values, row after row, which are sent as they are."""
        rows = len(values) // (8 * len(names))
        return cls(rows, partial(_columns, names, values), partial(_matrix, names, values), len(values) > SMALL_BYTES)

    @cached_property
    def columns(self) -> Columns:
        return self.make_columns()

    @cached_property
    def request(self) -> bytes:
        """Floats as a matrix after their names, others as an Arrow stream."""
        return self.make_request()


def _columns(names: tuple[str, ...], values: bytes) -> Columns:
    return dict(zip(names, np.frombuffer(values, "<f8").reshape(-1, len(names)).T, strict=True))


def _encoded(columns: Columns) -> bytes:
    if any(values.dtype != np.float64 for values in columns.values()):
        stream = b"".join(to_arrow(columns))
        return HEADER.pack(0, len(stream)) + stream
    return _matrix(tuple(columns), np.column_stack(list(columns.values())).astype("<f8", copy=False).tobytes())


def _matrix(names: tuple[str, ...], values: bytes) -> bytes:
    encoded = _names(names)
    return b"".join((HEADER.pack(len(encoded), len(values)), encoded, values))


@lru_cache(1_000)
def _names(names: tuple[str, ...]) -> bytes:
    return json.dumps(names).encode()
