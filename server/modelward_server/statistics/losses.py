"""How wrong each row is: what paired tests look at."""

import numpy as np
from numpy.typing import NDArray

from modelward_server.statistics import metrics
from modelward_server.statistics.delong import ranked_otherwise
from modelward_server.statistics.metric_applicability import PROBABILITIES, TRADING
from modelward_server.statistics.metrics import (
    LEAST_PROBABILITY,
    Floats,
    Scored,
    errors_of,
    given_to_truth,
    indicators,
    relative_errors,
    sides_of_zero,
)

WRONG = {metrics.ACCURACY, metrics.HIT_RATE}
"""Whose losses are the rows that are wrong."""


def row_losses(scored: Scored) -> Floats:
    """Return how wrong each row's prediction is: squared, or for classes by the probability of the true one."""
    if not scored.classes:
        return np.square(errors_of(scored))
    if scored.probabilities is None:
        return np.asarray(scored.truth != scored.predicted, np.float64)
    return 1.0 - given_to_truth(scored, scored.probabilities)


def mean_losses(metric: str, scored: Scored) -> Floats | None:
    """Return the losses whose mean decides by a metric, shape (rows,); None for one that is no mean over the rows.

    Higher is worse, whatever the metric's own direction.
    """
    if metric in WRONG:
        return np.asarray(1.0 - right_rows(metric, scored), np.float64)
    if metric in {metrics.MSE, metrics.RMSE}:
        return np.square(errors_of(scored))
    if metric in {metrics.MAE, metrics.MAPE}:
        return np.abs(errors_of(scored)) if metric == metrics.MAE else relative_errors(scored)
    if metric == metrics.NET_RETURN and scored.book:
        return -scored.book.net
    return _probability_losses(metric, scored)


def right_rows(metric: str, scored: Scored) -> NDArray[np.bool_]:
    """Return which rows are right, by the class or by the side of zero."""
    if metric == metrics.HIT_RATE:
        sides = sides_of_zero(scored)
        assert sides is not None
        return np.asarray(sides[0] == sides[1])
    return np.asarray(scored.truth == scored.predicted)


def telling_rows(metric: str, scored: Scored, other: Scored) -> int:
    """Count the rows that tell two models apart in a metric: where their answers differ in what it looks at."""
    if metric == metrics.HIT_RATE:
        sides, others = sides_of_zero(scored), sides_of_zero(other)
        assert sides is not None
        assert others is not None
        return int(np.count_nonzero(sides[1] != others[1]))
    if metric in TRADING:
        assert scored.book is not None
        assert other.book is not None
        return int(np.count_nonzero(scored.book.net != other.book.net))
    if metric == metrics.ROC_AUC:
        return ranked_apart(scored, other)
    if not scored.classes or metric in PROBABILITIES:
        return int(np.count_nonzero(row_losses(scored) != row_losses(other)))
    return int(np.count_nonzero(scored.predicted != other.predicted))


def ranked_apart(scored: Scored, other: Scored) -> int:
    """Count the rows that two models rank otherwise among those of the other class."""
    assert scored.probabilities is not None
    assert other.probabilities is not None
    return ranked_otherwise(scored.truth == 1, scored.probabilities[:, 1], other.probabilities[:, 1])


def _probability_losses(metric: str, scored: Scored) -> Floats | None:
    if scored.probabilities is None or metric not in {metrics.LOG_LOSS, metrics.BRIER}:
        return None
    if metric == metrics.BRIER:
        return np.asarray(np.square(scored.probabilities - indicators(scored.truth, scored)).sum(axis=1))
    return np.asarray(-np.log(np.clip(given_to_truth(scored, scored.probabilities), LEAST_PROBABILITY, 1.0)))
