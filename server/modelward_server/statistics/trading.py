"""What predictions would have earned: positions, the returns of rows, and the cost of changing positions."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from modelward_server.statistics.rounding import TOLERANCE, unit_of

Floats: TypeAlias = NDArray[np.float64]
BASIS_POINT = 1e-4


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
    net, middle = _centred(book.net)
    sums = np.column_stack([net, np.square(net), np.ones(len(net))])

    def ratio(weights: Floats) -> Floats:
        first, second, total = (weights @ sums).T
        apart, square = first / total, second / total
        variance = np.where(square - apart**2 > TOLERANCE * square, square - apart**2, 0.0)
        return np.asarray(_per_root(middle + apart, variance) * np.sqrt(book.periods_per_year))

    return ratio


def sortino(book: Book) -> Callable[[Floats], Floats]:
    """Sortino and Price (1994): mean over the root of the mean square of what lies below zero."""
    net = book.net / unit_of(book.net)
    sums = np.column_stack([net, np.square(np.minimum(net, 0.0)), np.ones(len(net))])

    def ratio(weights: Floats) -> Floats:
        first, below, total = (weights @ sums).T
        return np.asarray(_per_root(first / total, below / total) * np.sqrt(book.periods_per_year))

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


def _centred(net: Floats) -> tuple[Floats, float]:
    """Return net returns in a unit of their size about their middle, or a small variance would be lost, and that."""
    inside = net / unit_of(net)
    middle = float(inside.mean())
    return inside - middle, middle


def _per_root(mean: Floats, variance: Floats) -> Floats:
    """Divide by the root of a variance of what is 1 to 2 large; NaN where only rounding is left of it."""
    varies = variance > TOLERANCE**2
    return np.asarray(np.where(varies, mean / np.sqrt(np.where(varies, variance, 1.0)), np.nan))
