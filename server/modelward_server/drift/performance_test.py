"""Whether a version performs worse than it did: its newest period against the periods before it.

Periods are the units of the test, not rows, because rows of one period share its weather. A period's loss is its error
rate, or for numbers the logarithm of its root mean squared error, since errors of volatile times are multiples of
those of calm ones. The new period is compared with the earlier ones by Student's t test of one new value. Periods
depend on their neighbours too, so the earlier ones count as fewer: as many as independent ones would tell as much
(Bayley and Hammersley 1946; von Storch and Zwiers 1999, Statistical analysis in climate research, 6.6), with the
correlation of neighbours freed of its bias in short series (Kendall 1954).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy

from modelward_server.statistics.metrics import Floats
from modelward_server.statistics.null_distribution import min_attainable_p_value
from modelward_server.statistics.rounding import TOLERANCE, differs, size_of, varies, zero_rounding_errors

SIGNIFICANCE = 0.01
"""How improbable a period must be for an alarm: one-sided, for each period that is judged."""
LEAST_PERIODS = 3
MIN_ROWS = 100
"""Labelled rows before the new period, over all earlier ones, without which nothing is judged."""
LEAST_WORTH = 3
"""Independent periods that the earlier ones are worth at the least, or one less than they are."""
STRONGEST = 0.95
"""The strongest correlation of neighbours that is reckoned with."""
LEAST_ERROR = 1e-60
"""Errors and variances below it count as it, so that one may take logarithms and divide."""


@dataclass(frozen=True)
class PeriodLoss:
    """How wrong the labelled predictions of one period were: wrong or right, or errors squared, summed."""

    rows: int
    loss: float
    squared: float
    """The sum of the rows' squared losses."""
    size: float = 0.0
    """The greatest magnitude of a label: errors that are only what rounding leaves of it count as so much."""


@dataclass(frozen=True)
class Judgement:
    """What the comparison of a period with those before it found."""

    metric: str
    value: float
    baseline: float
    p_value: float

    @property
    def declined(self) -> bool:
        return self.p_value < SIGNIFICANCE


def judge(earlier: Sequence[PeriodLoss], newest: PeriodLoss, *, classes: bool) -> Judgement | None:
    """Compare a period with those before it, the oldest first; None when they are too few to tell."""
    if len(earlier) < LEAST_PERIODS or sum(period.rows for period in earlier) < MIN_ROWS:
        return None
    before = _together(earlier)
    rounding = TOLERANCE * max(before.size, newest.size)
    noise = np.array([_noise(period.rows, before, classes) for period in [*earlier, newest]])
    losses = np.array([_level(period, classes, rounding) for period in [*earlier, newest]])
    step = 0.5 / newest.rows if classes else 0.0  # Yates: counts go in steps, and one rare error is no decline.
    p_value = surprise(losses[:-1], losses[-1] - step, noise[:-1], noise[-1])
    p_value = max(p_value, min_attainable_p_value(newest.rows, before.rows))
    return Judgement("accuracy" if classes else "rmse", _metric(newest, classes), _metric(before, classes), p_value)


def surprise(earlier: Floats, newest: float, noise: Floats, newest_noise: float) -> float:
    """Return how often a period is at least so high if nothing has changed.

    Args:
        earlier: the level of each earlier period, the oldest first.
        noise: the variance of each level that its few rows explain by themselves.
        newest_noise: that of the newest; more than the others have is added to what is expected.
    """
    if not differs(float(earlier.mean()), newest, max(size_of(earlier, newest), 1.0)):
        return 0.5
    worth = independent_periods(earlier)
    spread = float(np.square(earlier - earlier.mean()).sum()) / (len(earlier) * (1 - 1 / worth))
    usual = float(noise.mean())
    variance = max(spread, usual) * (1 + 1 / worth) + max(newest_noise - usual, 0.0)
    return float(scipy.special.stdtr(worth - 1, (earlier.mean() - newest) / np.sqrt(max(variance, LEAST_ERROR))))


def independent_periods(levels: Floats) -> float:
    """Return how many independent periods say as much about the mean as these, whose neighbours depend."""
    count, ahead = len(levels), np.arange(1, len(levels))
    dependence = 2 * np.sum((1 - ahead / count) * _correlation(levels) ** ahead)
    return max(count / (1 + float(dependence)), min(LEAST_WORTH, count - 1))


def _correlation(levels: Floats) -> float:
    """Return the correlation of neighbours, from 0 on, freed of its bias."""
    apart = levels - levels.mean()
    total = float(np.square(apart).sum())
    plain = float(apart[1:] @ apart[:-1]) / total if varies(levels, max(size_of(levels), 1.0)) else 0.0
    return min(max(plain + (1 + 3 * plain) / len(levels), 0.0), STRONGEST)


def _together(periods: Sequence[PeriodLoss]) -> PeriodLoss:
    return PeriodLoss(
        sum(period.rows for period in periods),
        sum(period.loss for period in periods),
        sum(period.squared for period in periods),
        max(period.size for period in periods),
    )


def _noise(rows: int, before: PeriodLoss, classes: bool) -> float:
    """Return the variance that so many rows alone give the level of a period, from the earlier rows together."""
    if classes:
        rate = (before.loss + 1) / (before.rows + 2)  # Laplace's rule: no error so far does not mean none ever.
        return rate * (1 - rate) / rows
    mean = before.loss / before.rows
    variance = float(zero_rounding_errors(before.squared / before.rows - mean * mean, mean * mean).clip(0.0))
    return variance / (4 * mean * mean * rows) if mean > LEAST_ERROR else 0.0


def _level(period: PeriodLoss, classes: bool, rounding: float) -> float:
    mean = period.loss / period.rows
    return mean if classes else float(np.log(max(np.sqrt(mean), LEAST_ERROR, rounding)))


def _metric(period: PeriodLoss, classes: bool) -> float:
    mean = period.loss / period.rows
    return 1 - mean if classes else float(np.sqrt(mean))
