"""How long rows depend on each other, and stretches of the reference that keep the dependence.

The stationary bootstrap (Politis and Romano, 1994) draws stretches in blocks of geometric length. The length that
estimates a variance best follows Politis and White (2004) with the correction of Patton, Politis and White (2009). A
test that shall hold its level needs longer ones (Sun, Phillips and Jin, 2008), so blocks are drawn twice as long.
"""

from collections.abc import Iterable

import numpy as np

from modelward_server.libraries import load
from modelward_server.statistics.distances import Floats, Ints

LONGER = 2.0
SCALES = (1, 4, 16)
"""Rows that are averaged before their dependence is measured. That of volatilities is weak from row to row, and lasts
for months: it drowns in the noise of single rows."""
AVERAGES = 50
"""Averages that a scale must have left, so that a block length can be told from them."""
DEPENDENT = 2.5
"""Averages that are independent show block lengths up to this by chance."""
LEAST_BLOCKS = 8
"""A block length that leaves fewer blocks cannot be told from chance."""
ROWS_MEASURED = 20_000


def block_length(series: Iterable[Floats]) -> float:
    """Return for how many rows the dependence in any of some series lasts, at least 1.

    Args:
        series: the same feature seen in different ways, as its values and their distances from the middle: of returns
            the latter cluster, not the former. Without NaN, infinities or values whose squares overflow.
    """
    return max((_length(part[-ROWS_MEASURED:]) for part in series), default=1.0)


def _length(series: Floats) -> float:
    found = [max(_optimal(series), 1.0)]
    for scale in SCALES[1:]:
        averages = series[: len(series) // scale * scale].reshape(-1, scale).mean(axis=1)
        length = _optimal(averages) if len(averages) >= AVERAGES else 0.0
        found.append(scale * length if length > DEPENDENT else 1.0)
    return max(min(max(found), len(series) / LEAST_BLOCKS), 1.0)


def _optimal(series: Floats) -> float:
    if len(series) < 10 or np.ptp(series) == 0:
        return 1.0
    with np.errstate(all="ignore"):
        length = float(load("arch.bootstrap").optimal_block_length(series.astype(np.float64))["stationary"].iloc[0])
    return length if np.isfinite(length) else 1.0


class Draws:
    """The random numbers behind stretches: the same for every feature, so that features keep their dependence.

    Args:
        rows: rows of the reference.
        length: rows of each stretch.
        replicates: how many stretches.
    """

    def __init__(self, random: np.random.Generator, rows: int, length: int, replicates: int) -> None:
        self._rows = rows
        self._ends = random.random((replicates, length), dtype=np.float32)
        self._first = random.integers(rows, size=(replicates, length), dtype=np.int32)

    def stretches(self, block: float) -> Ints:
        """Return row numbers, shape (replicates, length), in blocks of that mean length, around the end."""
        begins = self._ends < 1 / min(LONGER * block, max(self._rows / 3, 1.0)) if block > 1 else self._ends < 2
        begins[:, 0] = True
        place = np.arange(begins.shape[1], dtype=np.int32)
        begun = np.maximum.accumulate(np.where(begins, place, 0), axis=1)
        return np.asarray((np.take_along_axis(self._first, begun, axis=1) + place - begun) % self._rows)
