"""The model confidence set, and the test for superior predictive ability over a baseline.

Sources: Hansen, Lunde and Nason, "The model confidence set", Econometrica 79 (2011), with their statistic T_max;
Hansen, "A test for superior predictive ability", Journal of Business & Economic Statistics 23 (2005), as
`arch.bootstrap.SPA` has it, whose variances take time quadratic in the rows.
"""

from collections.abc import Hashable, Mapping
from typing import TypeVar

import numpy as np
import scipy

from modelward_server.libraries import load
from modelward_server.statistics.block_length import autocovariances
from modelward_server.statistics.metrics import Floats
from modelward_server.statistics.paired_tests import min_p_value
from modelward_server.statistics.rounding import TOLERANCE, size_of, unit_of, varies, zero_rounding_errors

Model = TypeVar("Model", bound=Hashable)

DRAWS = 1000
MAX_VALUES_DRAWN = 60_000_000
"""Maximum of rows times models times draws; the number of draws is reduced to respect it, so that it takes seconds."""
MIN_DRAWS = 200
MIN_ROWS = 10
BLOCK_LENGTH_FACTOR = 1.5
"""Block length of the confidence set, as a multiple of the length that is optimal for estimating a variance: a test
that must hold its level needs longer blocks (Sun, Phillips and Jin 2008)."""
MAX_BLOCKS = 2_000
"""Maximum number of blocks per draw; longer data are drawn in longer blocks, because more blocks add no accuracy."""


def confidence_set(losses: Mapping[Model, Floats], block_rows: float, seed: int) -> dict[Model, float]:
    """Return the model confidence set p-value of each model: the level at which it would leave the set of the best.

    Args:
        losses: the losses of each model, finite, shape (rows,), in the order of time. Models with equal losses share a
            p-value.
        block_rows: the mean number of dependent neighbouring rows, at least 1.
        seed: the same seed gives the same result.

    Returns:
        p-values in [0, 1]; empty if there are fewer than `MIN_ROWS` rows.
    """
    rows = len(next(iter(losses.values())))
    if rows < MIN_ROWS:
        return {}
    kept = _undominated(losses)
    first = {
        version: next(other for other in kept if _constant_difference(losses[version], losses[other]) == 0)
        for version in kept
    }
    distinct = {version: losses[version] for version in dict.fromkeys(first.values())}
    table = np.column_stack(list(distinct.values()))
    p_values = dict(zip(distinct, _p_values(table, block_rows, seed).tolist(), strict=True))
    least = min_p_value(rows / block_rows)
    return {version: p_values[first[version]] if version in kept else least for version in losses}


def _undominated(losses: Mapping[Model, Floats]) -> list[Model]:
    """Leave out models that are worse than another by a constant: without variance, only a sign test is possible."""
    return [
        version
        for version, own in losses.items()
        if not any((_constant_difference(own, others) or 0.0) > 0 for others in losses.values())
    ]


def _constant_difference(losses: Floats, others: Floats) -> float | None:
    """Return the difference of two models if it is the same on every row, otherwise None."""
    difference, size = losses - others, size_of(losses, others)
    return None if varies(difference, size) else float(zero_rounding_errors(difference.mean(), size))


def _p_values(losses: Floats, block_rows: float, seed: int) -> Floats:
    """Return the p-values of the columns of losses: the worst model is eliminated first, and p-values never decrease.

    The statistic is the largest of the remaining models' mean losses, each minus the mean of all that remain, in
    bootstrap standard errors. Student's t accounts for these errors being estimated from few blocks.
    """
    rows, models = losses.shape
    losses = (losses - losses.mean(axis=1, keepdims=True)) / unit_of(losses)
    length = _length(rows, block_rows)
    drawn, means = _drawn_errors(losses, length, seed), losses.mean(axis=0)
    remaining, p_values, running_max = np.arange(models), np.ones(models), 0.0
    while len(remaining) > 1:
        worst, p_value = _eliminate(means[remaining], drawn[:, remaining], rows / length)
        best = remaining[means[remaining].argmin()]
        informative = np.count_nonzero(losses[:, remaining[worst]] != losses[:, best])
        running_max = max(running_max, p_value, min_p_value(informative / block_rows))
        p_values[remaining[worst]] = running_max
        remaining = np.delete(remaining, worst)
    return p_values


def _eliminate(means: Floats, drawn: Floats, blocks: float) -> tuple[int, float]:
    """Return the index of the worst model, and the p-value of its difference to the mean of all."""
    excess, deviations = means - means.mean(), drawn - drawn.mean(axis=1, keepdims=True)
    errors = np.sqrt(np.square(deviations).mean(axis=0))
    known = errors > TOLERANCE
    # A worse model whose excess has no variance is worse with certainty.
    constant = np.where(zero_rounding_errors(excess, 1.0) > 0, np.inf, 0.0)
    statistics = np.where(known, excess / np.where(known, errors, 1.0), constant)
    worst, freedom = int(statistics.argmax()), max(blocks - 1, 1.0)
    level = -scipy.special.ndtri(scipy.special.stdtr(freedom, -statistics[worst] / np.sqrt(1 + 1 / freedom)))
    maxima = np.where(known, deviations / np.where(known, errors, 1.0), 0.0).max(axis=1)
    return worst, float((1 + np.count_nonzero(maxima >= level * (1 - TOLERANCE))) / (len(drawn) + 1))


def _drawn_errors(losses: Floats, length: int, seed: int) -> Floats:
    """Return the deviations of circular block bootstrap means from the mean losses, shape (draws, models)."""
    rows, models = losses.shape
    centred = losses - losses.mean(axis=0)
    sums = np.vstack([np.zeros((1, models)), np.vstack([centred, centred[:length]]).cumsum(axis=0)])
    blocks = sums[length:][:rows] - sums[:rows]
    random, count = np.random.default_rng(seed), max(1, round(rows / length))
    drawn = np.array([blocks[random.integers(rows, size=count)].sum(axis=0) for _ in range(DRAWS)])
    return np.asarray(drawn / (count * length))


def _length(rows: int, block_rows: float) -> int:
    length = BLOCK_LENGTH_FACTOR * block_rows if block_rows > 1 else 1.0
    return int(np.clip(round(max(length, rows / MAX_BLOCKS)), 1, rows))


def superior_predictive_ability(
    baseline: Floats, others: Mapping[Model, Floats], block_rows: float, seed: int
) -> float | None:
    """Test whether any other model is better than the baseline (Hansen's SPA test).

    Args:
        baseline: the losses of the baseline, finite, shape (rows,), in the order of time.
        others: the losses of the other models, each of shape (rows,).
        block_rows: the mean number of dependent neighbouring rows, at least 1.
        seed: the same seed gives the same result.

    Returns:
        The p-value of the null hypothesis that no model is better; None with fewer than `MIN_ROWS` rows.
    """
    if len(baseline) < MIN_ROWS:
        return None
    least = min_p_value(len(baseline) / block_rows)
    constants = [_constant_difference(losses, baseline) for losses in others.values()]
    if any(constant is not None and constant < 0 for constant in constants):
        return least
    differing = [losses for losses, constant in zip(others.values(), constants, strict=True) if constant is None]
    return max(_spa_p_value(baseline, np.column_stack(differing), block_rows, seed), least) if differing else 1.0


def _spa_p_value(baseline: Floats, models: Floats, block_rows: float, seed: int) -> float:
    unit, draws, block = unit_of(baseline, models), _draws(models.size), max(1, round(block_rows))
    gains = baseline[:, None] / unit - models / unit
    mean = gains.mean(axis=0)
    # A model that is clearly worse does not count under the null hypothesis (Hansen 2005, equation 9).
    deviation = np.sqrt(_long_run_variances(gains - mean, block) / len(gains))
    centre = np.where(mean >= -deviation * np.sqrt(2 * np.log(np.log(len(gains)))), mean, 0.0)
    drawn = load("arch.bootstrap").StationaryBootstrap(block, gains, seed=seed).bootstrap(draws)
    exceeding = np.count_nonzero([(rows.mean(axis=0) - centre).max() > mean.max() for (rows,), _ in drawn])
    best = models[:, models.mean(axis=0).argmin()]
    return max((1 + exceeding) / (1 + draws), min_p_value(np.count_nonzero(best != baseline) / block_rows))


def _long_run_variances(centred: Floats, block: int) -> Floats:
    """Return the variance of the stationary bootstrap for the mean of each column, times the rows, shape (columns,).

    Source: Politis and Romano (1994), lemma 1.
    """
    rows, lags, stay = len(centred), np.arange(1, len(centred)), 1 - 1 / block
    covariances = autocovariances(centred, rows - 1)
    kernel = (1 - lags / rows) * stay**lags + lags / rows * stay ** (rows - lags)
    return np.asarray(np.maximum(covariances[0] + 2 * kernel @ covariances[1:], 0.0))


def _draws(values: int) -> int:
    return int(np.clip(MAX_VALUES_DRAWN // values, MIN_DRAWS, DRAWS))
