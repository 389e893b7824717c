"""Test for a performance decline: the newest period of a version against the periods before it.

The units of the test are periods, not rows, because rows of one period share its market conditions. A period's loss is
its error rate, or for numbers the logarithm of its root mean squared error, since errors in volatile periods are
multiples of those in calm ones. The new period is compared with the earlier ones by Student's t test of one new value.
Neighbouring periods are dependent too, so the earlier ones count as their effective number of independent periods
(Bayley and Hammersley 1946; von Storch and Zwiers 1999, Statistical analysis in climate research, 6.6), with the
lag-one autocorrelation corrected for its bias in short series (Kendall 1954).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy

from modelward_server.statistics.metrics import Floats
from modelward_server.statistics.null_distribution import min_attainable_p_value
from modelward_server.statistics.rounding import TOLERANCE, differs, size_of, varies, zero_rounding_errors

SIGNIFICANCE = 0.01
"""Significance level of an alarm: one-sided, for each tested period."""
MIN_PERIODS = 3
MIN_ROWS = 100
"""Minimum number of labelled rows in all earlier periods together; with fewer, nothing is tested."""
MIN_EFFECTIVE_PERIODS = 3
"""Minimum effective number of the earlier periods, or one less than their number if that is smaller."""
MAX_CORRELATION = 0.95
"""Maximum lag-one autocorrelation that is taken into account."""
MIN_ERROR = 1e-60
"""Lower bound on errors and variances, so that logarithms and quotients are defined."""


@dataclass(frozen=True)
class PeriodLoss:
    """The summed loss of the labelled predictions of one period: 0 or 1 per row for classes, else squared errors."""

    rows: int
    loss: float
    squared: float
    """The sum of the rows' squared losses."""
    size: float = 0.0
    """The largest magnitude of a label: errors within its rounding error count as that rounding error."""


@dataclass(frozen=True)
class PerformanceTestResult:
    """The result of comparing a period with those before it: its metric, the earlier one, and the p-value."""

    metric: str
    value: float
    baseline: float
    p_value: float

    @property
    def declined(self) -> bool:
        return self.p_value < SIGNIFICANCE


def compare_period(earlier: Sequence[PeriodLoss], newest: PeriodLoss, *, classes: bool) -> PerformanceTestResult | None:
    """Compare a period with those before it.

    Args:
        earlier: the losses of the earlier periods, the oldest first.
        newest: the loss of the period.
        classes: whether the losses are those of a classifier.

    Returns:
        None with fewer than `MIN_PERIODS` earlier periods, or fewer than `MIN_ROWS` rows in them.
    """
    if len(earlier) < MIN_PERIODS or sum(period.rows for period in earlier) < MIN_ROWS:
        return None
    before = _pooled(earlier)
    rounding = TOLERANCE * max(before.size, newest.size)
    noise = np.array([_noise(period.rows, before, classes) for period in [*earlier, newest]])
    losses = np.array([_level(period, classes, rounding) for period in [*earlier, newest]])
    step = 0.5 / newest.rows if classes else 0.0  # Yates's continuity correction: one rare error is no decline.
    p_value = decline_p_value(losses[:-1], losses[-1] - step, noise[:-1], noise[-1])
    p_value = max(p_value, min_attainable_p_value(newest.rows, before.rows))
    return PerformanceTestResult(
        "accuracy" if classes else "rmse", _metric(newest, classes), _metric(before, classes), p_value
    )


def decline_p_value(earlier: Floats, newest: float, noise: Floats, newest_noise: float) -> float:
    """Return the probability of a level at least as high as the newest if nothing has changed.

    Args:
        earlier: the level of each earlier period, the oldest first, finite, shape (periods,).
        newest: the level of the newest period.
        noise: the sampling variance of each earlier level, due to its limited number of rows, shape (periods,).
        newest_noise: that of the newest level; its excess over the others is added to the variance.
    """
    if not differs(float(earlier.mean()), newest, max(size_of(earlier, newest), 1.0)):
        return 0.5
    effective_periods = independent_periods(earlier)
    between_periods = float(np.square(earlier - earlier.mean()).sum()) / (len(earlier) * (1 - 1 / effective_periods))
    mean_noise = float(noise.mean())
    variance = max(between_periods, mean_noise) * (1 + 1 / effective_periods) + max(newest_noise - mean_noise, 0.0)
    return float(
        scipy.special.stdtr(effective_periods - 1, (earlier.mean() - newest) / np.sqrt(max(variance, MIN_ERROR)))
    )


def independent_periods(levels: Floats) -> float:
    """Return the effective number of independent periods, for the mean of dependent levels of shape (periods,)."""
    count, lags = len(levels), np.arange(1, len(levels))
    dependence = 2 * np.sum((1 - lags / count) * _correlation(levels) ** lags)
    return max(count / (1 + float(dependence)), min(MIN_EFFECTIVE_PERIODS, count - 1))


def _correlation(levels: Floats) -> float:
    """Return the bias-corrected lag-one autocorrelation, limited to the range from 0 to `MAX_CORRELATION`."""
    centred = levels - levels.mean()
    total = float(np.square(centred).sum())
    biased = float(centred[1:] @ centred[:-1]) / total if varies(levels, max(size_of(levels), 1.0)) else 0.0
    return min(max(biased + (1 + 3 * biased) / len(levels), 0.0), MAX_CORRELATION)


def _pooled(periods: Sequence[PeriodLoss]) -> PeriodLoss:
    return PeriodLoss(
        sum(period.rows for period in periods),
        sum(period.loss for period in periods),
        sum(period.squared for period in periods),
        max(period.size for period in periods),
    )


def _noise(rows: int, before: PeriodLoss, classes: bool) -> float:
    """Return the sampling variance of a period's level for a number of rows, estimated from all earlier rows."""
    if classes:
        rate = (before.loss + 1) / (
            before.rows + 2
        )  # Laplace's rule of succession: no error so far does not imply a rate of 0.
        return rate * (1 - rate) / rows
    mean = before.loss / before.rows
    variance = float(zero_rounding_errors(before.squared / before.rows - mean * mean, mean * mean).clip(0.0))
    return variance / (4 * mean * mean * rows) if mean > MIN_ERROR else 0.0


def _level(period: PeriodLoss, classes: bool, rounding: float) -> float:
    mean = period.loss / period.rows
    return mean if classes else float(np.log(max(np.sqrt(mean), MIN_ERROR, rounding)))


def _metric(period: PeriodLoss, classes: bool) -> float:
    mean = period.loss / period.rows
    return 1 - mean if classes else float(np.sqrt(mean))
