"""Weights of the positions of a panel in one portfolio, by equal risk and without look-ahead."""

import numpy as np
from numpy.typing import NDArray

from modelward_server.statistics.panel import Panel
from modelward_server.statistics.rounding import TOLERANCE, Floats

CHUNK_VALUES = 1 << 20
"""Number of returns in memory at a time: 8 MiB."""


def equal_risk_weights(returns: Floats, panel: Panel, window: int, horizon: int = 1) -> Floats:
    """Return weights in inverse proportion to volatilities, which are known before the time of each row.

    Args:
        returns: the return of a position of 1 over each row; finite, shape (rows,), in the order of the panel.
        panel: the times and groups of the rows.
        window: the number of returns from which a volatility is estimated, at least 2.
        horizon: the number of times over which a return reaches: it is known so many times later.

    Returns:
        Shape (rows,): they sum to 1 at each time, over the groups with enough returns. Groups with fewer known returns
        than `window`, or equal ones, have the weight 0.
    """
    inverse = _inverse_volatilities(returns, panel, window, horizon)
    totals = np.repeat(panel.sums(inverse), panel.counts)
    return np.divide(inverse, totals, out=np.zeros_like(inverse), where=totals > 0)


def _inverse_volatilities(returns: Floats, panel: Panel, window: int, horizon: int) -> Floats:
    assert panel.groups is not None
    inverse = np.zeros(len(returns))
    order = np.argsort(panel.groups, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(panel.groups[order])) + 1):
        known = np.searchsorted(panel.times[rows], panel.times[rows] - horizon, side="right")
        enough = known >= window
        if enough.any():
            inverse[rows[enough]] = _of_windows(returns[rows], window)[known[enough] - window]
    return inverse


def _of_windows(returns: Floats, window: int) -> Floats:
    """Return 1 / the standard deviation of each run of `window` returns; 0 where they are equal."""
    runs: NDArray[np.float64] = np.lib.stride_tricks.sliding_window_view(returns, window)
    step = max(1, CHUNK_VALUES // window)
    return np.concatenate([_inverse_deviations(runs[start : start + step]) for start in range(0, len(runs), step)])


def _inverse_deviations(runs: NDArray[np.float64]) -> Floats:
    spread = runs.std(axis=1, ddof=1)
    moving = spread > TOLERANCE * np.abs(runs).max(axis=1)
    return np.asarray(np.divide(1.0, spread, out=np.zeros_like(spread), where=moving))
