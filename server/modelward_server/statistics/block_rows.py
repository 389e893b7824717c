"""The rows of a stationary bootstrap: blocks of neighbours that begin at any row."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelward_server.statistics.distances import Ints


def rows_in_blocks(first: Ints, begins: NDArray[np.bool_], rows: int) -> NDArray[np.int64]:
    """Return row numbers, shape (draws, length), of which each is the successor of the one before, or begins a block.

    Each block's place and first row are packed into one number that increases with the place, so that the greatest so
    far is that of the current block.

    Args:
        first: the row where a block would begin, from 0 to rows - 1, shape (draws, length).
        begins: whether a block begins, true in the first column, shape as `first`.
        rows: the number of rows.

    Returns:
        Numbers below rows + length, which count on after the last row, instead of going on with row 0.
    """
    length = first.shape[1]
    position, shift = np.arange(length), (rows + length).bit_length()
    packed: NDArray[Any] = (position << shift) + (first - position + length)
    packed *= begins
    np.maximum.accumulate(packed, axis=1, out=packed)
    packed &= (1 << shift) - 1
    packed += position - length
    return packed
