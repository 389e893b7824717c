"""The SHA-256 of a table, the same however its rows were sent; `scoring.proto` defines its bytes."""

import hashlib
from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from modelward.kinds import Column, Kind, is_time, kind_of

PER_SECOND = {"us": 1_000_000, "ns": 1_000_000_000}
MISSING_SECONDS = np.iinfo(np.int64).min
MISSING_TRUTH = 2


def table_digest(*tables: Mapping[str, Column]) -> str:
    """Return the SHA-256 of tables, one after the other, in hexadecimal.

    Args:
        tables: columns as `modelward.kinds` describes them, in their order; within one table of the same length.
    """
    digest = hashlib.sha256()
    for table in tables:
        digest.update(_integer(len(next(iter(table.values())))) + _integer(len(table)))
        for name, values in table.items():
            for part in _column(name, values):
                digest.update(part)
    return digest.hexdigest()


def _column(name: str, values: Column) -> Iterator[bytes]:
    yield _text(name)
    if values.dtype.kind in "fi":
        yield from _numbers(values)
    elif is_time(values):
        yield b"t" + _times(values).tobytes()
    elif kind_of(values) is Kind.TRUTH:
        yield b"b" + bytes(MISSING_TRUTH if value is None else value for value in values.tolist())
    else:
        yield b"s" + b"".join(_integer(-1) if text is None else _text(text) for text in values.tolist())


def _numbers(values: Column) -> Iterator[bytes]:
    if values.dtype.kind == "i":
        yield b"i" + values.astype("<i8").tobytes()
    else:
        yield b"d" + np.where(np.isnan(values), np.nan, values).astype("<f8").tobytes()


def _times(values: Column) -> NDArray[np.int64]:
    """Return the seconds and nanoseconds of each time, of shape (rows, 2)."""
    per_second = PER_SECOND[np.datetime_data(values.dtype)[0]]
    seconds, rest = np.divmod(values.astype(np.int64), per_second)
    pairs = np.column_stack([seconds, rest * (PER_SECOND["ns"] // per_second)])
    pairs[np.isnat(values)] = MISSING_SECONDS, 0
    return pairs.astype("<i8")


def _text(text: str) -> bytes:
    encoded = text.encode()
    return _integer(len(encoded)) + encoded


def _integer(value: int) -> bytes:
    return value.to_bytes(8, "little", signed=True)
