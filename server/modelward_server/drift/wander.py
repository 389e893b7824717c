"""How far stretches of the reference wander from it, feature by feature: the null is learnt from that."""

from collections.abc import Callable, Iterator

import numpy as np

from modelward_server.statistics.block_bootstrap import Draws, block_length
from modelward_server.statistics.distances import Floats, Ints, kl_divergence, smoothed, total_variation
from modelward_server.statistics.null_distribution import (
    REPLICATES,
    SEED,
    Null,
    independent_tests,
    lengths,
    null_of,
    p_values,
)

Measure = Callable[[Ints], Floats]
"""Takes row numbers of stretches, shape (replicates, length), and gives squared statistics, shape (4, replicates): of
the distribution function (or total variation), of the divergence, of the missing share, and of the Wasserstein distance
(0 for categories), each times the rows."""
QUANTILES = (np.arange(256) + 0.5) / 256
"""Where the quantile functions are compared, which gives the Wasserstein distance."""


class Wander:
    """Draws the nulls of a reference's features by the same stretches.

    Attributes:
        blocks: the longest block length of its features.
    """

    def __init__(self, rows: int) -> None:
        random = np.random.default_rng(SEED)
        self.rows, self.blocks = rows, 1.0
        self.draws = [Draws(random, rows, length, REPLICATES) for length in lengths(rows)]
        self._p_values: list[Floats] = []

    @property
    def tests(self) -> float:
        """Return how many independent tests all features are worth."""
        return independent_tests(np.array(self._p_values))

    def of_numbers(self, ordered: Floats, ranks: Ints, cumulative: Ints, bins: Ints, scaled: Floats) -> Null:
        """Learn the null of a feature of numbers.

        Args:
            ordered: the values in the order of time, NaN where missing, shape (m,).
            ranks: the index of each value among the distinct ones, -1 where it is missing, shape (m,).
            cumulative: rows at or below each distinct value, shape (k,).
            bins: the bin of each distinct value, shape (k,).
            scaled: each distinct value in standard deviations, finite, shape (k,).
        """
        if not len(cumulative):
            return self._learn([ranks], lambda stretches: np.zeros((4, len(stretches))))
        shares = cumulative / cumulative[-1]
        counts = np.bincount(bins, weights=np.diff(cumulative, prepend=0))
        own = scaled[np.searchsorted(shares, QUANTILES)]

        def measure(stretches: Ints) -> Floats:
            drawn = np.sort(ranks[stretches], axis=1)
            inside = np.where(drawn < 0, -1, bins[drawn])
            return _squared(drawn, _distances(drawn, shares), inside, counts, ranks, _shifts(drawn, scaled, own))

        return self._learn(_views(ordered, ranks), measure)

    def of_categories(self, codes: Ints, counts: Ints) -> Null:
        """Learn the null of a feature of categories.

        Args:
            codes: the category of each row in the order of time, -1 where it is missing, shape (m,).
            counts: rows of each category, the most frequent first, shape (k,).
        """
        if not len(counts):
            return self._learn([codes], lambda stretches: np.zeros((4, len(stretches))))

        def measure(stretches: Ints) -> Floats:
            drawn = codes[stretches]
            found = _counts(drawn, len(counts))
            distances = total_variation(found / found.sum(1, keepdims=True).clip(1), counts / counts.sum())
            return _squared(drawn, np.where(found.any(1), distances, 0.0), drawn, counts, codes, np.zeros(len(drawn)))

        return self._learn([(codes == 0).astype(float), (codes < 0).astype(float)], measure)

    def _learn(self, views: Iterator[Floats] | list[Floats] | list[Ints], measure: Measure) -> Null:
        block = block_length(np.asarray(view, np.float64) for view in views)
        self.blocks = max(self.blocks, block)
        drawn = np.stack([measure(draws.stretches(block)) for draws in self.draws], axis=1)
        null = null_of(drawn, self.rows / block)
        least = p_values(drawn).min(axis=0)
        self._p_values.append(1 - (1 - least) ** null.tests)
        return null


def _views(ordered: Floats, ranks: Ints) -> Iterator[Floats]:
    """Give what may depend from row to row: the level, how far it is from the middle, whether it is there."""
    unit = np.abs(ordered[np.isfinite(ordered)]).max(initial=0.0) or 1.0
    finite = np.where(np.isfinite(ordered), ordered / unit, np.nan)
    level = np.where(np.isnan(finite), np.nanmedian(finite) if np.isfinite(finite).any() else 0.0, finite)
    yield level
    yield np.abs(level - np.median(level))
    place = ranks / max(ranks.max(), 1)
    yield np.abs(place - 0.5)
    if (ranks < 0).any():
        yield (ranks < 0).astype(np.float64)


def _distances(drawn: Ints, shares: Floats) -> Floats:
    """Return the Kolmogorov-Smirnov statistic of each sorted stretch, whose missing rows (-1) come first."""
    rows = drawn.shape[1]
    missing = (drawn < 0).sum(axis=1, keepdims=True)
    place = np.arange(rows) - missing
    present = np.maximum(rows - missing, 1)
    cdf = np.concatenate(([0.0], shares))
    # Among equal ranks only the last step up and the first step down are the function's own.
    changes = drawn[:, 1:] != drawn[:, :-1]
    last = np.column_stack([changes, np.ones(len(drawn), bool)]) & (drawn >= 0)
    first = np.column_stack([np.ones(len(drawn), bool), changes]) & (drawn >= 0)
    above = np.where(last, np.abs((place + 1) / present - cdf[drawn + 1]), 0.0)
    before = np.where(first, np.abs(place / present - cdf[drawn]), 0.0)
    return np.asarray(np.maximum(above, before).max(axis=1))


def _shifts(drawn: Ints, scaled: Floats, own: Floats) -> Floats:
    """Return the Wasserstein distance of each sorted stretch, by the difference of the quantile functions."""
    missing = (drawn < 0).sum(axis=1, keepdims=True)
    present = drawn.shape[1] - missing
    places = np.minimum(missing + (QUANTILES * present).astype(np.int32), drawn.shape[1] - 1)
    values = scaled[np.take_along_axis(drawn, places, axis=1)]
    return np.where(present[:, 0] > 0, np.abs(values - own).mean(axis=1), 0.0)


def _squared(drawn: Ints, distances: Floats, bins: Ints, counts: Ints, codes: Ints, shifts: Floats) -> Floats:
    rows = drawn.shape[1]
    present = (drawn >= 0).sum(axis=1)
    divergence = np.where(present > 0, kl_divergence(smoothed(_counts(bins, len(counts))), smoothed(counts)), 0.0)
    missing = 1 - present / rows - (codes < 0).mean()
    return np.stack([present * distances**2, present * divergence, rows * missing**2, present * shifts**2])


def _counts(drawn: Ints, bins: int) -> Ints:
    """Count each row's entries by bin, without those below 0, shape (rows, bins)."""
    offset = drawn + (bins + 1) * np.arange(len(drawn))[:, None] + 1
    return np.bincount(offset.ravel(), minlength=len(drawn) * (bins + 1)).reshape(len(drawn), bins + 1)[:, 1:]
