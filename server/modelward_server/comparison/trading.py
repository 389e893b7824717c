"""What predictions would have earned: positions, the returns of rows, and the cost of changing positions."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
BASIS_POINT = 1e-4
ROUNDING = 1e-12
"""What rounding leaves of a variance that is none, relative to the mean square."""


@dataclass(frozen=True)
class Book:
    """What one model's positions came to."""

    positions: Floats
    """Held over each row, shape (rows,), 1 for long and -1 for short at full size."""
    net: Floats
    """The return of each row after costs, as a share; shape (rows,)."""
    periods_per_year: float


def keep_book(positions: Floats, returns: Floats, cost_bps: float, periods_per_year: float) -> Book:
    """Work out net returns; the first position is bought from nothing.

    Args:
        positions: finite, shape (rows,), in the order of time.
        returns: what a position of 1 made over each row, as a share; finite, shape (rows,).
        cost_bps: what a change of the position by 1 costs, in basis points.
    """
    turnover = np.abs(np.diff(positions, prepend=0.0))
    return Book(positions, positions * returns - cost_bps * BASIS_POINT * turnover, periods_per_year)


def sharpe(book: Book) -> Callable[[Floats], Floats]:
    """Sharpe (1994): mean over standard deviation, times the root of the periods in a year."""
    sums = np.column_stack([book.net, np.square(book.net), np.ones(len(book.net))])

    def ratio(weights: Floats) -> Floats:
        first, second, total = (weights @ sums).T
        mean = first / total
        return np.asarray(_per_root(mean, second / total - mean**2, second / total) * np.sqrt(book.periods_per_year))

    return ratio


def sortino(book: Book) -> Callable[[Floats], Floats]:
    """Sortino and Price (1994): mean over the root of the mean square of what lies below zero."""
    sums = np.column_stack([book.net, np.square(np.minimum(book.net, 0.0)), np.ones(len(book.net))])

    def ratio(weights: Floats) -> Floats:
        first, below, total = (weights @ sums).T
        return np.asarray(_per_root(first / total, below / total, below / total) * np.sqrt(book.periods_per_year))

    return ratio


def net_return(book: Book) -> Callable[[Floats], Floats]:
    """Return the mean of the net returns for a year."""
    return lambda weights: np.asarray(weights @ book.net / weights.sum(axis=1) * book.periods_per_year)


def max_drawdown(book: Book) -> Callable[[Floats], Floats]:
    """Return the greatest fall of the summed net returns from a peak, of nothing at the least.

    The rows of a draw stay in the order of time, each as often as it was drawn.
    """

    def fall(weights: Floats) -> Floats:
        path = np.cumsum(weights * book.net, axis=1)
        peak = np.maximum(np.maximum.accumulate(path, axis=1), 0.0)
        return np.asarray((peak - path).max(axis=1))

    return fall


def _per_root(mean: Floats, variance: Floats, scale: Floats) -> Floats:
    """Divide by the root of a variance; NaN where only rounding is left of it."""
    varies = variance > ROUNDING * scale
    return np.asarray(np.where(varies, mean / np.sqrt(np.where(varies, variance, 1.0)), np.nan))
