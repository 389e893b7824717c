"""Is a difference more than luck? The paired stationary bootstrap, and a verdict from it.

The rows are drawn anew, many times, in blocks of neighbours whose lengths are geometrically distributed, and every
model is measured on the same draws: what is luck to all alike cancels out of their differences, and series that hang
together in time keep doing so.

Sources: Politis and Romano, "The stationary bootstrap", Journal of the American Statistical Association 89 (1994);
Politis and White, "Automatic block-length selection for the dependent bootstrap", Econometric Reviews 23 (2004), with
the correction of Patton, Politis and White (2009); Hesterberg, "What teachers should know about the bootstrap", The
American Statistician 69 (2015), for the expanded percentile interval, which mends that plain ones are too narrow where
the rows are few; Davison and Hinkley, "Bootstrap methods and their application" (1997), for counting the sample itself
among the draws in a p-value.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import scipy

from modelward_server.libraries import load
from modelward_server.statistics.metrics import Estimator, Floats
from modelward_server.statistics.paired_tests import least_p_value
from modelward_server.statistics.rounding import unit_of, varies

DRAWS = 2000
"""How often the rows are drawn: the ends of a 95 % interval then wander by about a twentieth of its length."""
FEWEST_DRAWS = 400
MOST_ROWS = 200_000_000
"""How many rows are drawn at the most, by fewer draws, so that large test sets take seconds."""
CHUNK_VALUES = 1 << 21
"""How many weights are in memory at a time: 16 MiB."""
POWER = 0.8
"""The chance to see a true difference that `rows_needed` plans for, as is the custom."""


@dataclass(frozen=True)
class Interval:
    """An estimate with a confidence interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """A paired difference, with its interval and how likely so great a one is by luck."""

    value: float
    low: float
    high: float
    p_value: float
    deviation: float
    """Its standard deviation over the draws."""


def draws_for(rows: int) -> int:
    """Return how often so many rows are drawn."""
    return int(np.clip(MOST_ROWS // rows, FEWEST_DRAWS, DRAWS))


def draw_weights(rows: int, block_rows: float, draws: int, seed: int) -> Iterator[Floats]:
    """Yield chunks of weights, shape (some draws, rows), that count how often each draw took each row.

    Args:
        rows: how many rows there are; each draw takes as many, and the last row is followed by the first.
        block_rows: the mean length of a block, at least 1; with 1 the rows are drawn independently.
        seed: the same seed gives the same draws.
    """
    random = np.random.default_rng(seed)
    at_once = max(1, CHUNK_VALUES // rows)
    for start in range(0, draws, at_once):
        shape = (min(at_once, draws - start), rows)
        taken = _block_rows(shape, block_rows, random)
        places = taken + rows * np.arange(shape[0])[:, None]
        yield np.bincount(places.ravel(), minlength=shape[0] * rows).reshape(shape).astype(np.float64)


def _block_rows(shape: tuple[int, int], block_rows: float, random: np.random.Generator) -> np.ndarray:
    """Return which rows each draw takes: a row behind the one before it, or with chance 1/block_rows any row."""
    rows = shape[1]
    jumps = random.integers(rows, size=shape)
    if block_rows <= 1:
        return jumps
    begins = random.random(shape) < 1 / block_rows
    begins[:, 0] = True
    position = np.arange(rows)
    block_start = np.maximum.accumulate(np.where(begins, position, 0), axis=1)
    return (np.take_along_axis(jumps, block_start, axis=1) + position - block_start) % rows


def resample(estimators: Sequence[Estimator], weights: Iterator[Floats]) -> Floats:
    """Return each estimator's value on each draw, shape (draws, estimators)."""
    return np.vstack([np.column_stack([estimate(chunk) for estimate in estimators]) for chunk in weights])


def interval(value: float, draws: Floats, blocks: float, level: float) -> Interval:
    """Return the expanded percentile interval, which always holds the value itself.

    Args:
        draws: the value on each draw; those that are NaN are left out.
        blocks: how many blocks the rows make.
        level: the confidence level, as 0.95.
    """
    tail = _expanded((1 - level) / 2, blocks)
    defined = draws[~np.isnan(draws)]
    low, high = np.quantile(defined, [tail, 1 - tail]) if len(defined) else (value, value)
    return Interval(value, min(float(low), value), max(float(high), value))


def difference(
    value: float, draws: Floats, blocks: float, informative: float, comparisons: int, level: float
) -> Difference:
    """Judge a paired difference.

    Args:
        value: the difference on the sample itself.
        draws: the difference on each draw; NaN where it is not defined, which speaks for neither side.
        blocks: how many blocks the rows make.
        informative: how many blocks of rows tell the two apart at all: no bootstrap of few rows may claim more than
            the exact sign test of so many.
        comparisons: how many differences are judged together; the interval is widened for it (Bonferroni).
        level: the confidence level, as 0.95.
    """
    defined = draws[~np.isnan(draws)]
    ends = interval(value, defined, blocks, 1 - (1 - level) / comparisons)
    against = min(np.count_nonzero(~(draws > 0)), np.count_nonzero(~(draws < 0)))
    p_value = max(2 * _contracted((1 + against) / (len(draws) + 1), blocks), least_p_value(informative))
    return Difference(value, ends.low, ends.high, min(1.0, p_value), _deviation(defined))


def _deviation(draws: Floats) -> float:
    unit = unit_of(draws)
    return float(np.std(draws / unit) * unit) if varies(draws) else 0.0


def _expanded(tail: float, blocks: float) -> float:
    """Return which tail of the draws is the tail of Student's t that few blocks ask for."""
    freedom = max(blocks - 1, 1.0)
    return float(scipy.special.ndtr(np.sqrt(1 + 1 / freedom) * scipy.special.stdtrit(freedom, tail)))


def _contracted(tail: float, blocks: float) -> float:
    """Undo `_expanded`: return the tail of Student's t that a tail of the draws is."""
    freedom = max(blocks - 1, 1.0)
    return float(scipy.special.stdtr(freedom, scipy.special.ndtri(min(tail, 0.5)) / np.sqrt(1 + 1 / freedom)))


def rows_needed(found: Difference, rows: int, comparisons: int, level: float) -> int:
    """Return about how many rows would settle a difference, if the one seen is the true one; 0 when none would.

    The usual size of a sample for a normal mean: its standard error shrinks with the root of the rows.
    """
    if found.value == 0 or found.deviation == 0:
        return 0
    normal = NormalDist()
    reach = normal.inv_cdf(1 - (1 - level) / 2 / comparisons) + normal.inv_cdf(POWER)
    return max(rows + 1, int(np.ceil(min(rows * (reach * found.deviation / found.value) ** 2, 1e15))))


def block_length(series: Sequence[Floats]) -> float:
    """Return the mean block length that the most dependent of some series asks for, at least 1.

    A constant series asks for 1, and none for more than a tenth of its rows, or there would be too few blocks.
    """
    return max([1.0, *(_block_length(values) for values in series)])


def _block_length(values: Floats) -> float:
    if len(values) < 30 or not varies(values):  # Fewer rows show no dependence that could be told from chance.
        return 1.0
    with np.errstate(all="ignore"):
        length = float(load("arch.bootstrap").optimal_block_length(values / unit_of(values))["stationary"].iloc[0])
    return float(np.clip(np.nan_to_num(length, nan=1.0), 1.0, len(values) / 10))
