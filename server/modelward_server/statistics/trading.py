"""Trading returns of predictions: positions times returns, minus the cost of changing positions."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from modelward_server.statistics.panel import Ints, Panel, stacked
from modelward_server.statistics.rounding import TOLERANCE, unit_of
from modelward_server.statistics.weighted_sums import OfSums

Floats: TypeAlias = NDArray[np.float64]
BASIS_POINT = 1e-4


@dataclass(frozen=True)
class TradingReturns:
    """The positions of one model and their net returns."""

    positions: Floats
    """The position over each row, shape (rows,): 1 is fully long and -1 fully short."""
    net: Floats
    """The return of each time after costs, as a fraction (0.01 is 1 %); shape (times,), without a panel (rows,)."""
    periods_per_year: float
    gross: Floats
    """The return of each time before costs, shape (times,)."""
    turnover: Floats
    """The change of the positions at each time, shape (times,)."""


def compute_trading_returns(
    positions: Floats,
    returns: Floats,
    cost_bps: float,
    periods_per_year: float,
    panel: Panel | None = None,
    rows: Ints | None = None,
    weights: Floats | None = None,
) -> TradingReturns:
    """Compute net returns; before the first row, of a panel the first row of each group, the position is 0.

    Of a panel the net return of a time is that of one portfolio of its rows.

    Args:
        positions: finite, shape (rows,), in the order of time.
        returns: the return of a position of 1 over each row, as a fraction; finite, shape (rows,).
        cost_bps: the cost of changing the position by 1, in basis points.
        periods_per_year: the number of times in a year, such as 252 for daily rows.
        panel: the times and groups of the rows; None if each row is a time of its own.
        rows: the rows whose returns are computed, ascending, from positions that are held over all rows; None: all.
        weights: the share of the capital of each row, shape (rows,); None: the same share for each row of a time.
    """
    held = positions if weights is None else weights * positions
    gross, turnover = held * returns, _turnover(held, panel)
    if rows is not None:
        gross, turnover, positions = gross[rows], turnover[rows], positions[rows]
        panel = None if panel is None else stacked(panel.part(rows))
    if panel is not None:
        shares = panel.counts if weights is None else 1.0
        gross, turnover = panel.sums(gross) / shares, panel.sums(turnover) / shares
    net = gross - cost_bps * BASIS_POINT * turnover
    return TradingReturns(positions, net, periods_per_year, gross, turnover)


def _turnover(positions: Floats, panel: Panel | None) -> Floats:
    """Return by how much each position differs from the one before it, of a panel the one of the same group."""
    if panel is None or panel.groups is None:
        return np.abs(np.diff(positions, prepend=0.0))
    order = np.argsort(panel.groups, kind="stable")
    begins = np.diff(panel.groups[order], prepend=-1) != 0
    turnover = np.empty_like(positions)
    turnover[order] = np.abs(np.where(begins, positions[order], np.diff(positions[order], prepend=0.0)))
    return turnover


def mean_of(values: NDArray[np.generic]) -> OfSums:
    """Return the estimator of the mean of one value for each time, shape (times,)."""
    columns = np.column_stack([np.asarray(values, np.float64), np.ones(len(values))])
    return OfSums(columns, lambda sums: sums[:, 0] / sums[:, 1])


def sharpe(returns: TradingReturns) -> OfSums:
    """Return the estimator of the Sharpe ratio (Sharpe 1994): mean over standard deviation, annualized.

    The ratio is multiplied by the square root of the periods in a year; NaN where the returns do not vary.
    """
    net, middle = _centred(returns.net)
    columns = np.column_stack([net, np.square(net), np.ones(len(net))])

    def ratio(sums: Floats) -> Floats:
        first, second, total = sums.T
        offset, square = first / total, second / total
        variance = np.where(square - offset**2 > TOLERANCE * square, square - offset**2, 0.0)
        return np.asarray(_per_root(middle + offset, variance) * np.sqrt(returns.periods_per_year))

    return OfSums(columns, ratio)


def sortino(returns: TradingReturns) -> OfSums:
    """Return the estimator of the Sortino ratio (Sortino and Price 1994): mean over downside deviation, annualized.

    The downside deviation is the root of the mean square of the negative returns; NaN where it is 0.
    """
    net = returns.net / unit_of(returns.net)
    columns = np.column_stack([net, np.square(np.minimum(net, 0.0)), np.ones(len(net))])

    def ratio(sums: Floats) -> Floats:
        first, below, total = sums.T
        return np.asarray(_per_root(first / total, below / total) * np.sqrt(returns.periods_per_year))

    return OfSums(columns, ratio)


def net_return(returns: TradingReturns) -> OfSums:
    """Return the estimator of the annualized mean net return."""
    mean = mean_of(returns.net)
    return replace(mean, combine=lambda sums: mean.combine(sums) * returns.periods_per_year)


def day_hit_rate(returns: TradingReturns) -> OfSums:
    """Return the estimator of the share of times with a net return above 0."""
    return mean_of(returns.net > 0)


def turnover(returns: TradingReturns) -> OfSums:
    """Return the estimator of the mean turnover of a time."""
    return mean_of(returns.turnover)


def break_even_cost(returns: TradingReturns) -> OfSums:
    """Return the estimator of the cost of changing the position by 1 that takes the whole return, in basis points.

    NaN where the positions do not change.
    """

    def cost(sums: Floats) -> Floats:
        earned, changed = sums.T
        return np.asarray(np.where(changed > 0, earned / np.where(changed > 0, changed, 1.0), np.nan))

    return OfSums(np.column_stack([returns.gross / BASIS_POINT, returns.turnover]), cost)


def at_cost(returns: TradingReturns, cost_bps: float) -> TradingReturns:
    """Return the same trades at another cost, in basis points."""
    return replace(returns, net=returns.gross - cost_bps * BASIS_POINT * returns.turnover)


def max_drawdown(returns: TradingReturns) -> Callable[[Floats], Floats]:
    """Return the estimator of the maximum drawdown: the largest decline of the summed net returns from a peak.

    The peak is at least 0. The rows of a draw stay in the order of time, each repeated as often as it was drawn.
    """

    def fall(weights: Floats) -> Floats:
        path = np.cumsum(weights * returns.net, axis=1)
        peak = np.maximum(np.maximum.accumulate(path, axis=1), 0.0)
        return np.asarray((peak - path).max(axis=1))

    return fall


def _centred(net: Floats) -> tuple[Floats, float]:
    """Return net returns in a unit of their magnitude, centred so that a small variance is not lost, and their mean."""
    scaled = net / unit_of(net)
    middle = float(scaled.mean())
    return scaled - middle, middle


def _per_root(mean: Floats, variance: Floats) -> Floats:
    """Divide by the root of a variance of numbers of magnitude 1 to 2; NaN where it is only a rounding error."""
    varies = variance > TOLERANCE**2
    return np.asarray(np.where(varies, mean / np.sqrt(np.where(varies, variance, 1.0)), np.nan))
