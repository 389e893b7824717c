"""Hashes of rows, by which rows of test data are found in a reference whose rows are not kept.

Of many rows those with the least hashes are kept: a uniform sample that depends on the rows alone, so that any table
can be compared with it on the rows with hashes as small (a bottom-k sketch: Cohen and Kaplan 2007, Summarizing data
using bottom-k sketches).
"""

from collections.abc import Collection
from hashlib import blake2b
from typing import Any

import numpy as np

from modelward.data import Columns
from modelward.kinds import category_labels
from modelward_server.statistics.hashing import GAMMA, Hashes, finalized

MAX_HASHES = 100_000
MIN_ROWS = 20
"""Minimum number of rows of a table whose hashes are small enough for the sample."""


def row_hashes(columns: Columns, names: Collection[str]) -> Hashes:
    """Return a 64-bit hash of each row, shape (rows,): equal rows have equal ones, whatever the order of the columns.

    Args:
        columns: numbers, of which 1 and 1.0 are equal, and NaN equals itself; or categories.
        names: the columns that count.
    """
    found = np.zeros(len(next(iter(columns.values()))), np.uint64)
    for name in sorted(names):
        found = _mixed(found ^ _mixed(_bits(columns[name])))
    return found


def least_hashes(hashes: Hashes) -> Hashes:
    """Return the least distinct hashes, ascending, at most `MAX_HASHES`."""
    return np.unique(hashes)[:MAX_HASHES]


def share_among(hashes: Hashes, known: Hashes) -> float | None:
    """Return the share of rows, by their hashes, that are among the rows of a sample; None if too few are comparable.

    Args:
        hashes: shape (rows,).
        known: of `least_hashes`.
    """
    comparable = hashes if len(known) < MAX_HASHES else hashes[hashes <= known[-1]]
    return float(np.isin(comparable, known).mean()) if len(comparable) >= MIN_ROWS else None


def _bits(values: Any) -> Hashes:
    if values.dtype != object and values.dtype.kind != "b":
        numbers = values.astype(np.float64) + 0.0  # No -0.0.
        return np.asarray(np.where(np.isnan(numbers), np.nan, numbers).view(np.uint64))
    labels = np.array(["" if label is None else f"={label}" for label in category_labels(values)], object)
    distinct, places = np.unique(labels.astype(str), return_inverse=True)
    digests = [int.from_bytes(blake2b(label.encode(), digest_size=8).digest()) for label in distinct.tolist()]
    return np.array(digests, np.uint64)[places]


def _mixed(bits: Hashes) -> Hashes:
    return finalized(bits + GAMMA)
