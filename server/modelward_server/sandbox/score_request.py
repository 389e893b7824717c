"""How a request to score is written to the process that keeps a model loaded."""

import json
import struct
from functools import lru_cache

import numpy as np

from modelward.data import Columns, to_arrow

HEADER = struct.Struct("<QQ")
"""The bytes of the names, and of the rows, that follow it."""


def encoded(columns: Columns) -> bytes:
    """Return rows as one message: floats as a matrix after their names, others as an Arrow stream."""
    if any(values.dtype != np.float64 for values in columns.values()):
        stream = b"".join(to_arrow(columns))
        return HEADER.pack(0, len(stream)) + stream
    names, matrix = _names(tuple(columns)), np.column_stack(list(columns.values()))
    return b"".join((HEADER.pack(len(names), matrix.nbytes), names, matrix.data))


@lru_cache(1_000)
def _names(names: tuple[str, ...]) -> bytes:
    return json.dumps(names).encode()
