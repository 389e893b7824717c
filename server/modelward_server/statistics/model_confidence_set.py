"""Which of many models could be the best, and does any beat the baseline, all looks taken together?

Sources: Hansen, Lunde and Nason, "The model confidence set", Econometrica 79 (2011), with their statistic T_max;
Hansen, "A test for superior predictive ability", Journal of Business & Economic Statistics 23 (2005), by
`arch.bootstrap`.
"""

from collections.abc import Hashable, Mapping
from typing import TypeVar

import numpy as np
import scipy

from modelward_server.libraries import load
from modelward_server.statistics.metrics import Floats
from modelward_server.statistics.paired_tests import least_p_value
from modelward_server.statistics.rounding import TOLERANCE, settled, size_of, unit_of, varies

Model = TypeVar("Model", bound=Hashable)

DRAWS = 1000
MOST_VALUES = 60_000_000
"""How many rows times models times draws there may be; fewer draws keep to it, so that the answer takes seconds."""
FEWEST_DRAWS = 200
LEAST_ROWS = 10
LONGER = 1.5
"""How much longer the blocks of the confidence set are than those that estimate a variance best: a test that shall hold
its level needs longer ones (Sun, Phillips and Jin 2008)."""
MOST_BLOCKS = 2_000
"""Longer data are drawn in longer blocks: so many are as good as more."""


def confidence_set(losses: Mapping[Model, Floats], block_rows: float, seed: int) -> dict[Model, float]:
    """Return the p-value with which each model would leave the set of those that could be the best.

    Args:
        losses: of each model, shape (rows,), in the order of time. Models whose losses are the same share a p-value.
        block_rows: the mean number of neighbouring rows that hang together.
        seed: the same seed gives the same answer.

    Returns:
        p-values in [0, 1]; empty when the rows are too few.
    """
    rows = len(next(iter(losses.values())))
    if rows < LEAST_ROWS:
        return {}
    kept = _undominated(losses)
    first = {version: next(other for other in kept if _apart(losses[version], losses[other]) == 0) for version in kept}
    distinct = {version: losses[version] for version in dict.fromkeys(first.values())}
    table = np.column_stack(list(distinct.values()))
    p_values = dict(zip(distinct, _p_values(table, block_rows, seed).tolist(), strict=True))
    least = least_p_value(rows / block_rows)
    return {version: p_values[first[version]] if version in kept else least for version in losses}


def _undominated(losses: Mapping[Model, Floats]) -> list[Model]:
    """Leave out what is worse than another by the same on every row: there is no error to test it by but the sign."""
    return [
        version
        for version, mine in losses.items()
        if not any((_apart(mine, others) or 0.0) > 0 for others in losses.values())
    ]


def _apart(losses: Floats, others: Floats) -> float | None:
    """Return by how much two models differ when that is the same on every row, or else None."""
    difference, size = losses - others, size_of(losses, others)
    return None if varies(difference, size) else float(settled(difference.mean(), size))


def _p_values(losses: Floats, block_rows: float, seed: int) -> Floats:
    """Return the p-values of the columns of losses: the worst is thrown out first, and none is below one before it.

    The statistic is the greatest of the models' mean losses, each less the mean of all that are left, in errors by the
    bootstrap. These errors are estimated from few blocks, as Student's t knows it.
    """
    rows, models = losses.shape
    losses = (losses - losses.mean(axis=1, keepdims=True)) / unit_of(losses)
    length = _length(rows, block_rows)
    drawn, means = _drawn_errors(losses, length, seed), losses.mean(axis=0)
    left, found, reached = np.arange(models), np.ones(models), 0.0
    while len(left) > 1:
        worst, p_value = _step(means[left], drawn[:, left], rows / length)
        best = left[means[left].argmin()]
        telling = np.count_nonzero(losses[:, left[worst]] != losses[:, best])
        reached = max(reached, p_value, least_p_value(telling / block_rows))
        found[left[worst]] = reached
        left = np.delete(left, worst)
    return found


def _step(means: Floats, drawn: Floats, blocks: float) -> tuple[int, float]:
    """Return which model is the worst, and how often luck alone makes one look so much worse than the others."""
    apart, wander = means - means.mean(), drawn - drawn.mean(axis=1, keepdims=True)
    errors = np.sqrt(np.square(wander).mean(axis=0))
    known = errors > TOLERANCE
    constant = np.where(settled(apart, 1.0) > 0, np.inf, 0.0)  # Of what has no error but is worse, nothing is luck.
    surprise = np.where(known, apart / np.where(known, errors, 1.0), constant)
    worst, freedom = int(surprise.argmax()), max(blocks - 1, 1.0)
    level = -scipy.special.ndtri(scipy.special.stdtr(freedom, -surprise[worst] / np.sqrt(1 + 1 / freedom)))
    reach = np.where(known, wander / np.where(known, errors, 1.0), 0.0).max(axis=1)
    return worst, float((1 + np.count_nonzero(reach >= level * (1 - TOLERANCE))) / (len(drawn) + 1))


def _drawn_errors(losses: Floats, length: int, seed: int) -> Floats:
    """Return by how much the mean losses of draws of circular blocks miss the mean, shape (draws, models)."""
    rows, models = losses.shape
    centred = losses - losses.mean(axis=0)
    sums = np.vstack([np.zeros((1, models)), np.vstack([centred, centred[:length]]).cumsum(axis=0)])
    blocks = sums[length:][:rows] - sums[:rows]
    random, count = np.random.default_rng(seed), max(1, round(rows / length))
    drawn = np.array([blocks[random.integers(rows, size=count)].sum(axis=0) for _ in range(DRAWS)])
    return np.asarray(drawn / (count * length))


def _length(rows: int, block_rows: float) -> int:
    wanted = LONGER * block_rows if block_rows > 1 else 1.0
    return int(np.clip(round(max(wanted, rows / MOST_BLOCKS)), 1, rows))


def any_better(baseline: Floats, others: Mapping[Model, Floats], block_rows: float, seed: int) -> float | None:
    """Return how likely luck alone makes one of the others look so much better than the baseline; None of few rows."""
    if len(baseline) < LEAST_ROWS:
        return None
    least = least_p_value(len(baseline) / block_rows)
    apart = [_apart(losses, baseline) for losses in others.values()]
    if any(constant is not None and constant < 0 for constant in apart):
        return least
    differing = [losses for losses, constant in zip(others.values(), apart, strict=True) if constant is None]
    return max(_superior(baseline, np.column_stack(differing), block_rows, seed), least) if differing else 1.0


def _superior(baseline: Floats, models: Floats, block_rows: float, seed: int) -> float:
    unit, draws = unit_of(baseline, models), _draws(models.size)
    found = load("arch.bootstrap").SPA(
        baseline / unit, models / unit, reps=draws, block_size=max(1, round(block_rows)), seed=seed
    )
    found.compute()
    best = models[:, models.mean(axis=0).argmin()]
    telling = least_p_value(np.count_nonzero(best != baseline) / block_rows)
    return max((1 + draws * float(found.pvalues["consistent"])) / (1 + draws), telling)


def _draws(values: int) -> int:
    return int(np.clip(MOST_VALUES // values, FEWEST_DRAWS, DRAWS))
