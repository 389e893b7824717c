"""Paired stationary bootstrap: confidence intervals and p-values for metric differences.

The rows are resampled in blocks of neighbours with geometrically distributed lengths, and every model is measured on
the same draws: variation that is common to all models cancels out of their differences, and the dependence of
neighbouring rows is preserved.

Sources: Politis and Romano, "The stationary bootstrap", Journal of the American Statistical Association 89 (1994);
Politis and White, "Automatic block-length selection for the dependent bootstrap", Econometric Reviews 23 (2004), with
the correction of Patton, Politis and White (2009); Hesterberg, "What teachers should know about the bootstrap", The
American Statistician 69 (2015), for the expanded percentile interval, which corrects that plain percentile intervals
are too narrow for few rows; Davison and Hinkley, "Bootstrap methods and their application" (1997), for counting the
sample itself among the draws in a p-value.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import scipy

from modelward_server.statistics.block_length import optimal_block_length
from modelward_server.statistics.block_rows import rows_in_blocks
from modelward_server.statistics.metrics import Estimator, Floats
from modelward_server.statistics.paired_tests import min_p_value
from modelward_server.statistics.rounding import unit_of, varies
from modelward_server.statistics.weighted_sums import OfSums, SharedSums

DRAWS = 2000
"""Number of bootstrap draws: the ends of a 95 % interval then vary by about a twentieth of its length."""
MIN_DRAWS = 400
MAX_ROWS_DRAWN = 200_000_000
"""Maximum number of rows drawn in total; large test sets get fewer draws, so that they take seconds."""
CHUNK_VALUES = 1 << 21
"""Number of weights in memory at a time: 16 MiB."""
POWER = 0.8
"""The power for which `rows_needed` plans: the conventional 80 %."""


@dataclass(frozen=True)
class Interval:
    """An estimate with a confidence interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class PairedDifference:
    """A paired difference with its confidence interval and two-sided p-value."""

    value: float
    low: float
    high: float
    p_value: float
    deviation: float
    """Its standard deviation over the draws: the bootstrap standard error."""


def draws_for(rows: int) -> int:
    """Return the number of draws for a number of rows."""
    return int(np.clip(MAX_ROWS_DRAWN // rows, MIN_DRAWS, DRAWS))


def draw_weights(rows: int, block_rows: float, draws: int, seed: int, expanded: int = 0) -> Iterator[Floats]:
    """Yield chunks of weights, shape (draws of the chunk, rows): how often each draw contains each row.

    In memory the draws of a row are beside each other, because estimators sort, group and add up rows.

    Args:
        rows: the number of rows; each draw has as many, and the last row is followed by the first.
        block_rows: the mean length of a block in rows, at least 1; with 1 the rows are drawn independently.
        draws: the number of draws.
        seed: the same seed gives the same draws.
        expanded: the number of weights into which those of a draw will be expanded, which limits the chunks too.
    """
    random = np.random.default_rng(seed)
    at_once = max(1, CHUNK_VALUES // max(rows, expanded))
    for start in range(0, draws, at_once):
        shape = (min(at_once, draws - start), rows)
        taken = _block_rows(shape, block_rows, random)
        places = taken + rows * np.arange(shape[0])[:, None]
        yield np.bincount(places.ravel(), minlength=shape[0] * rows).reshape(shape).astype(np.float64, order="F")


def _block_rows(shape: tuple[int, int], block_rows: float, random: np.random.Generator) -> np.ndarray:
    """Return the rows of each draw: each the successor of the one before, or with probability 1/block_rows any row."""
    rows = shape[1]
    jumps = random.integers(rows, size=shape)
    if block_rows <= 1:
        return jumps
    begins = random.random(shape) < 1 / block_rows
    begins[:, 0] = True
    taken = rows_in_blocks(jumps, begins, rows)
    taken -= rows * (taken >= rows)
    return taken


def resample(estimators: Sequence[Estimator], weights: Iterator[Floats]) -> Floats:
    """Return each estimator's value on each draw, shape (draws, estimators)."""
    shared = SharedSums([one for one in estimators if isinstance(one, OfSums)])

    def values(chunk: Floats) -> Floats:
        summed = iter(shared.values(chunk))
        return np.column_stack([next(summed) if isinstance(one, OfSums) else one(chunk) for one in estimators])

    return np.vstack([values(chunk) for chunk in weights])


def interval(value: float, draws: Floats, blocks: float, level: float) -> Interval:
    """Return the expanded percentile interval, which always contains the value itself.

    Args:
        value: the estimate on the sample.
        draws: the estimate on each draw, shape (draws,); NaN is left out, and if all are, both ends are the value.
        blocks: the number of blocks into which the rows divide.
        level: the confidence level, such as 0.95.
    """
    tail = _expanded((1 - level) / 2, blocks)
    defined = draws[~np.isnan(draws)]
    low, high = np.quantile(defined, [tail, 1 - tail]) if len(defined) else (value, value)
    return Interval(value, min(float(low), value), max(float(high), value))


def paired_difference(
    value: float, draws: Floats, blocks: float, informative: float, comparisons: int, level: float
) -> PairedDifference:
    """Compute the confidence interval and the p-value of a paired difference.

    Args:
        value: the difference on the sample itself.
        draws: the difference on each draw, shape (draws,); NaN where it is undefined, which counts for neither side.
        blocks: the number of blocks into which the rows divide.
        informative: the number of blocks of rows in which the two models differ: a bootstrap of few rows may not
            claim more than the exact sign test of that many.
        comparisons: the number of simultaneous comparisons, for which the interval is widened (Bonferroni).
        level: the confidence level, such as 0.95.
    """
    defined = draws[~np.isnan(draws)]
    ends = interval(value, defined, blocks, 1 - (1 - level) / comparisons)
    against = min(np.count_nonzero(~(draws > 0)), np.count_nonzero(~(draws < 0)))
    p_value = max(2 * _contracted((1 + against) / (len(draws) + 1), blocks), min_p_value(informative))
    return PairedDifference(value, ends.low, ends.high, min(1.0, p_value), _deviation(defined))


def _deviation(draws: Floats) -> float:
    unit = unit_of(draws)
    return float(np.std(draws / unit) * unit) if varies(draws) else 0.0


def _expanded(tail: float, blocks: float) -> float:
    """Return the tail probability of the draws that corresponds to a tail of Student's t for few blocks."""
    freedom = max(blocks - 1, 1.0)
    return float(scipy.special.ndtr(np.sqrt(1 + 1 / freedom) * scipy.special.stdtrit(freedom, tail)))


def _contracted(tail: float, blocks: float) -> float:
    """Return the inverse of `_expanded`: the tail of Student's t that corresponds to a tail of the draws."""
    freedom = max(blocks - 1, 1.0)
    return float(scipy.special.stdtr(freedom, scipy.special.ndtri(min(tail, 0.5)) / np.sqrt(1 + 1 / freedom)))


def rows_needed(difference: PairedDifference, rows: int, comparisons: int, level: float) -> int:
    """Estimate the number of rows at which an observed difference would be significant, were it the true one.

    This is the usual sample size for a normal mean, whose standard error decreases with the square root of the rows.

    Args:
        difference: the observed difference.
        rows: the number of rows in which it was observed.
        comparisons: the number of simultaneous comparisons.
        level: the confidence level, such as 0.95.

    Returns:
        More than `rows`; 0 if no number of rows would do, because the difference or its deviation is 0.
    """
    if difference.value == 0 or difference.deviation == 0:
        return 0
    normal = NormalDist()
    reach = normal.inv_cdf(1 - (1 - level) / 2 / comparisons) + normal.inv_cdf(POWER)
    return max(rows + 1, int(np.ceil(min(rows * (reach * difference.deviation / difference.value) ** 2, 1e15))))


def block_length(series: Sequence[Floats]) -> float:
    """Estimate the mean block length for the most dependent of several series.

    Args:
        series: finite, each of shape (rows,), in the order of time.

    Returns:
        The length in rows: 1 for constant series, and at most a tenth of the rows, so that enough blocks remain.
    """
    return max([1.0, *(_block_length(values) for values in series)])


def _block_length(values: Floats) -> float:
    if len(values) < 30 or not varies(values):  # Dependence in fewer rows cannot be distinguished from chance.
        return 1.0
    length = optimal_block_length(values / unit_of(values))
    return float(np.clip(np.nan_to_num(length, nan=1.0), 1.0, len(values) / 10))
