"""The block length of a bootstrap that is optimal for estimating the variance of a mean.

Source: Politis and White, "Automatic block-length selection for the dependent bootstrap", Econometric Reviews 23
(2004), with the correction of Patton, Politis and White (2009). `arch.bootstrap.optimal_block_length` gives the same
lengths, one series and one lag after the other.
"""

import numpy as np
import scipy

from modelward_server.statistics.rounding import Floats

MIN_RUN = 5
"""Number of lags in a row without a significant autocorrelation, after which dependence is taken to end."""


def optimal_block_length(series: Floats) -> float:
    """Return the optimal mean block length of one series, shape (rows,); see `optimal_block_lengths`."""
    return float(optimal_block_lengths(series)[0])


def optimal_block_lengths(series: Floats) -> Floats:
    """Return the optimal mean block length of the stationary bootstrap for each series, in rows.

    Args:
        series: float64, shape (rows, series) or (rows,), in the order of time, not constant; no square may overflow.

    Returns:
        The lengths, shape (series,), which may be below 1, or not finite where they cannot be estimated.
    """
    rows = len(series)
    centred = series.reshape(rows, -1) - series.reshape(rows, -1).mean(axis=0)
    run = max(MIN_RUN, int(np.log10(rows)))
    covariances = autocovariances(centred, int(np.ceil(np.sqrt(rows))) + run)
    with np.errstate(all="ignore"):
        lags, weights = _flat_top(_last_lag(centred, covariances, run), len(covariances))
        variance = covariances[0] + 2 * (weights * covariances).sum(axis=0)
        slope = 2 * (weights * lags * covariances).sum(axis=0)
        lengths = np.cbrt(np.square(slope / variance) * rows)
    return np.asarray(np.minimum(lengths, np.ceil(min(3 * np.sqrt(rows), rows / 3))))


def autocovariances(centred: Floats, lags: int) -> Floats:
    """Return the autocovariances of each column, whose mean is 0, from lag 0 to `lags`, shape (lags + 1, series)."""
    rows = len(centred)
    size = scipy.fft.next_fast_len(rows + lags, real=True)
    spectrum = scipy.fft.rfft(centred, size, axis=0)
    products = scipy.fft.irfft(np.square(np.abs(spectrum)), size, axis=0)
    return np.asarray(products[: lags + 1] / rows)


def _last_lag(centred: Floats, covariances: Floats, run: int) -> Floats:
    """Return for each series the lag after which autocorrelations are insignificant, shape (series,)."""
    rows, most = len(centred), len(covariances) - 1
    sums = np.vstack([np.zeros(centred.shape[1]), np.square(centred).cumsum(axis=0)])
    after = np.arange(1, most + 2)
    correlations = np.abs(covariances) * rows / np.sqrt((sums[-1] - sums[after]) * sums[rows - after])
    small = correlations < 2 * np.sqrt(np.log10(rows) / rows)
    counts = np.vstack([np.zeros(centred.shape[1], np.int64), small.cumsum(axis=0)])
    ends = counts[run : most + 1] - counts[: most + 1 - run] == run
    last = np.where(ends.any(axis=0), ends.argmax(axis=0), most)
    return np.where(ends.any(axis=0), np.minimum(2 * np.maximum(last, 1), most), most)


def _flat_top(last: Floats, lags: int) -> tuple[Floats, Floats]:
    """Return the lags and their weights for each series: 1 up to half of its last lag, then falling to 0 at it."""
    numbers = np.arange(lags, dtype=np.float64)[:, None]
    weights = np.clip(2 * (1 - numbers / last), 0.0, 1.0)
    weights[0] = 0.0  # Lag 0 counts once, not on both sides.
    return numbers, weights
