"""Samples of numbered rows that do not follow any period of the rows.

Every k-th row of a panel that is sorted by time and symbol is of the same few symbols. Here rows are chosen by a hash
of their number, so that the choice is the same wherever and in how many parts they are read.
"""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from modelward_server.statistics.hashing import Hashes, finalized

Ints: TypeAlias = NDArray[np.integer]


def in_sample(numbers: Ints, every: int) -> NDArray[np.bool_]:
    """Return which rows are in the sample of one in `every`: number 0 and, on average, each in its share.

    Rows with the same number are chosen together. A multiple of `every` chooses a part of the same rows.
    """
    return np.asarray(_hashes(numbers) <= np.uint64((2**64 - 1) // every))


def even_sample(rows: int, max_rows: int) -> Ints:
    """Return the numbers of at most `max_rows` rows, ascending."""
    if rows <= max_rows:
        return np.arange(rows)
    return np.sort(np.argsort(_hashes(np.arange(rows)), kind="stable")[:max_rows])


def _hashes(numbers: Ints) -> Hashes:
    return finalized(numbers.astype(np.uint64))
