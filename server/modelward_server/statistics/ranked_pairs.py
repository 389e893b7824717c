"""The share of pairs that scores rank right, of rows that draws contain with different weights."""

import numpy as np
from numpy.typing import NDArray

from modelward_server.statistics.panel import Ints
from modelward_server.statistics.rounding import Floats


class RankedPairs:
    """Counts the pairs of a positive and a negative row whose scores are in order: the area under the ROC curve.

    The rows are sorted once for all draws.

    Args:
        scores: finite, shape (rows,).
        positive: which rows are positive, shape (rows,).
        times: the number of each row's time, whose weight it has, shape (rows,).
        weights: the weight of each row beside that of its time, shape (rows,); None: 1 each.
    """

    def __init__(self, scores: Floats, positive: NDArray[np.bool_], times: Ints, weights: Floats | None) -> None:
        order = np.argsort(scores, kind="stable")
        above, below = order[positive[order]], order[~positive[order]]
        self._times = times[above], times[below]
        self._weights = None if weights is None else (weights[above, None], weights[below, None])
        # The number of negative rows below each positive one, without and with those of the same score.
        self._places = [np.searchsorted(scores[below], scores[above], side) for side in ("left", "right")]
        self._tied = bool((self._places[0] != self._places[1]).any())

    def share(self, weights: Floats) -> Floats:
        """Return the share of each draw, pairs of equal scores counting half; NaN without a pair.

        Args:
            weights: how often each draw contains each time, integers, shape (draws, times).

        Returns:
            Shape (draws,).
        """
        above, below = self._drawn(weights)
        summed = np.zeros((len(below) + 1, len(weights)))
        np.cumsum(below, axis=0, out=summed[1:])
        right = np.einsum("rd,rd->d", above, summed[self._places[0]])
        if self._tied:
            right = (right + np.einsum("rd,rd->d", above, summed[self._places[1]])) / 2
        pairs = above.sum(axis=0) * summed[-1]
        return np.asarray(np.divide(right, pairs, out=np.full(len(weights), np.nan), where=pairs > 0))

    def _drawn(self, weights: Floats) -> tuple[Floats, Floats]:
        """Return the weights of the positive and of the negative rows, shape (rows, draws): each draw is a column."""
        by_time = np.ascontiguousarray(weights.T)
        above, below = (by_time[times] for times in self._times)
        if self._weights is not None:
            above, below = above * self._weights[0], below * self._weights[1]
        return above, below
