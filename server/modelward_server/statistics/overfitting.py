"""How likely the best of many tried configurations is only the luckiest: overfitting of backtests, and haircuts.

Sources: Bailey, Borwein, Lopez de Prado and Zhu, "The probability of backtest overfitting", Journal of Computational
Finance 20 (2017), for combinatorially symmetric cross-validation; the same, Notices of the AMS 61 (2014), for the
minimum length of a backtest; Bailey and Lopez de Prado, "The Sharpe ratio efficient frontier", Journal of Risk 15
(2012), for the minimum track record; Harvey and Liu, "Backtesting", Journal of Portfolio Management 42 (2015), for
haircuts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import scipy

from modelward_server.statistics.metrics import Floats
from modelward_server.statistics.paired_tests import holm
from modelward_server.statistics.rounding import TOLERANCE
from modelward_server.statistics.sharpe import (
    expected_maximum,
    probabilistic_sharpe_ratio,
    shape_of,
    sharpe_ratio,
)

MAX_BLOCKS = 16
CHUNK_VALUES = 1 << 21


@dataclass(frozen=True)
class Overfitting:
    """What combinatorially symmetric cross-validation says of the selection of the best of several configurations."""

    probability: float
    """The share of splits in which the best in sample is at or below the median out of sample."""
    logits: Floats
    """The logit of the relative rank out of sample of the best in sample, for each split; shape (splits,)."""
    slope: float
    """Of the regression of the chosen one's ratio out of sample on that in sample; below 0, success reverses."""
    probability_of_loss: float
    """The share of splits in which the chosen one loses out of sample."""


@dataclass(frozen=True)
class TrackRecord:
    """What a series of returns says of its Sharpe ratio."""

    ratio: float
    """The observed ratio, per period."""
    above_zero: float
    """The probability that the true ratio is above 0."""
    above_luck: float
    """The probability that it exceeds the ratio that chance explains: the deflated Sharpe ratio."""
    minimum_rows: float | None
    """The number of returns that would show at 95 % that it is above 0; None if the observed ratio is not."""


@dataclass(frozen=True)
class Haircut:
    """The Sharpe ratio that is left of the best of several trials after a correction for their number."""

    method: str
    p_value: float
    """Adjusted, two-sided."""
    ratio: float
    """The ratio per period whose p-value, had it been the only trial, is the adjusted one."""


def probability_of_overfitting(returns: Floats, blocks: int = MAX_BLOCKS) -> Overfitting:
    """Estimate how likely the selection by the Sharpe ratio is overfitted (Bailey et al. 2017).

    Each half of the blocks is once the sample, and the other half is what is out of it.

    Args:
        returns: of all configurations that were tried, finite, shape (rows, configurations), in the order of time;
            at least two configurations, and two rows for each block.
        blocks: the number of consecutive blocks, even; their lengths differ by at most one row.
    """
    count = returns.shape[1]
    ranks, inside, outside = (np.concatenate(parts) for parts in zip(*_splits(returns, blocks), strict=True))
    relative = ranks / (count + 1)
    logits = np.log(relative / (1 - relative))
    return Overfitting(
        float(np.mean(logits <= TOLERANCE)), logits, _slope(inside, outside), float(np.mean(outside < 0))
    )


def _splits(returns: Floats, blocks: int) -> list[tuple[Floats, Floats, Floats]]:
    """Return of the chosen column of each split its rank out of sample, and its ratios in and out of sample."""
    middle = returns.mean(axis=0)
    parts = np.array_split(returns - middle, blocks)  # Centred, so that small variances are not lost.
    sums = np.array([[part.sum(axis=0), np.square(part).sum(axis=0)] for part in parts])
    rows = np.array([len(part) for part in parts], np.float64)
    halves = np.array([np.isin(range(blocks), half) for half in combinations(range(blocks), blocks // 2)], np.float64)
    step = max(1, CHUNK_VALUES // returns.shape[1])
    return [
        _chosen(*(_ratios(taken, sums, rows, middle) for taken in (part, 1 - part)))
        for part in (halves[start : start + step] for start in range(0, len(halves), step))
    ]


def _ratios(taken: Floats, sums: Floats, rows: Floats, middle: Floats) -> Floats:
    """Return the Sharpe ratios of each column over the blocks that are taken; 0 where its returns do not vary."""
    count = (taken @ rows)[:, None]
    mean, square = taken @ sums[:, 0] / count, taken @ sums[:, 1] / count
    variance = square - np.square(mean)
    mean = mean + middle
    varies = variance > TOLERANCE * (square + np.square(middle))
    return np.where(varies, mean / np.sqrt(np.where(varies, variance, 1.0)), 0.0)


def _chosen(inside: Floats, outside: Floats) -> tuple[Floats, Floats, Floats]:
    """Follow the best column in sample; equal ratios out of sample share their ranks, of which 1 is the worst."""
    best = inside.argmax(axis=1)[:, None]
    own = np.take_along_axis(outside, best, axis=1)
    ranks = (outside < own).sum(axis=1) + ((outside == own).sum(axis=1) + 1) / 2
    return ranks, np.take_along_axis(inside, best, axis=1)[:, 0], own[:, 0]


def _slope(inside: Floats, outside: Floats) -> float:
    deviation = inside - inside.mean()
    size = float(deviation @ deviation)
    return float(deviation @ outside / size) if size > TOLERANCE * float(inside @ inside) else 0.0


def track_record(returns: Floats, by_chance: float) -> TrackRecord:
    """Assess the Sharpe ratio of returns.

    Args:
        returns: finite returns that vary, shape (rows,), at least three.
        by_chance: the ratio per period that chance explains, such as `sharpe_by_chance` of many trials.
    """
    ratio, shape, rows = sharpe_ratio(returns), shape_of(returns), len(returns)
    return TrackRecord(
        ratio=ratio,
        above_zero=probabilistic_sharpe_ratio(0.0, ratio, *shape, rows),
        above_luck=probabilistic_sharpe_ratio(by_chance, ratio, *shape, rows),
        minimum_rows=minimum_track_record(ratio, *shape) if ratio > 0 else None,
    )


def minimum_track_record(
    ratio: float, skewness: float, kurtosis: float, threshold: float = 0.0, confidence: float = 0.95
) -> float:
    """Return how many returns show that a Sharpe ratio exceeds a threshold (Bailey and Lopez de Prado 2012).

    Args:
        ratio: the observed ratio, per period.
        skewness: the skewness of the returns.
        kurtosis: the kurtosis of the returns; 3 for a normal distribution.
        threshold: the ratio to exceed, per period.
        confidence: the probability with which it is exceeded, between 0.5 and 1.

    Returns:
        The number of returns, not rounded; infinite where the ratio does not exceed the threshold.
    """
    if ratio <= threshold:
        return float("inf")
    variance = max(1 - skewness * ratio + (kurtosis - 1) / 4 * ratio**2, TOLERANCE)  # Below 0 only by rounding.
    return 1 + variance * (float(scipy.special.ndtri(confidence)) / (ratio - threshold)) ** 2


def minimum_backtest_years(trials: int, ratio: float) -> float:
    """Return below how many years the best of trials without skill is expected to reach an annualized Sharpe ratio.

    Source: Bailey et al. (2014), theorem 1.

    Args:
        trials: the number of independent trials.
        ratio: the annualized ratio, above 0.
    """
    return (expected_maximum(trials) / ratio) ** 2


def haircuts(ratios: Sequence[float] | Floats, chosen: int, rows: int, trials: int = 0) -> list[Haircut]:
    """Correct a Sharpe ratio for the number of trials, by Bonferroni, Holm, and Benjamini, Hochberg and Yekutieli.

    Source: Harvey and Liu (2015). The p-values are two-sided and of Student's t, as for independent returns.

    Args:
        ratios: of all trials whose ratios are known, per period, finite.
        chosen: the place of the ratio that is corrected.
        rows: the number of returns of each, at least two.
        trials: how many there were, if more than those in `ratios`: then only Bonferroni's correction is known.
    """
    statistics = np.abs(np.asarray(ratios, np.float64)) * np.sqrt(rows)
    p_values = 2 * scipy.special.stdtr(rows - 1, -statistics)
    adjusted = {"bonferroni": np.minimum(p_values * max(trials, len(p_values)), 1.0)}
    if trials <= len(p_values):
        adjusted["holm"] = np.array(holm(p_values))
        adjusted["bhy"] = scipy.stats.false_discovery_control(p_values, method="by")
    return [_haircut(method, float(values[chosen]), float(ratios[chosen]), rows) for method, values in adjusted.items()]


def _haircut(method: str, p_value: float, ratio: float, rows: int) -> Haircut:
    left = -float(scipy.special.stdtrit(rows - 1, p_value / 2)) / np.sqrt(rows) if p_value > 0 else abs(ratio)
    return Haircut(method, p_value, float(np.copysign(max(left, 0.0), ratio)))
