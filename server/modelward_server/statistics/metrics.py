"""What predictions are measured by, over many weightings of the rows at once.

Every metric here is a function of weighted sums over the rows. So one matrix product gives the metric for hundreds of
bootstrap draws, each draw being a row of weights that counts how often it drew each row of data. With all weights 1
the metrics equal scikit-learn's functions of the same name.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from modelward_server.statistics import trading
from modelward_server.statistics.rounding import TOLERANCE, ties, unit_of
from modelward_server.statistics.trading import Book

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]
Estimator: TypeAlias = Callable[[Floats], Floats]
"""From weights (draws, rows) to one value for each draw; NaN where the metric is not defined."""

ACCURACY = "accuracy"
BALANCED_ACCURACY = "balanced_accuracy"
PRECISION = "precision"
RECALL = "recall"
F1 = "f1"
ROC_AUC = "roc_auc"
LOG_LOSS = "log_loss"
BRIER = "brier"
MSE = "mse"
MAE = "mae"
R2 = "r2"
HIT_RATE = "hit_rate"
RMSE = "rmse"
MAPE = "mape"
MEDIAN_ABSOLUTE_ERROR = "median_absolute_error"
MATTHEWS_CORRELATION = "matthews_correlation"
SHARPE = "sharpe"
SORTINO = "sortino"
MAX_DRAWDOWN = "max_drawdown"
NET_RETURN = "net_return"

EPSILON = float(np.finfo(np.float64).eps)
LEAST_PROBABILITY = EPSILON
"""Probabilities below it count as it in the log loss, so that one sure mistake does not cost infinity (as sklearn)."""


@dataclass(frozen=True)
class Scored:
    """Labels and one model's predictions of them, row by row.

    Of classes: `truth` and `predicted` are int64 positions in `classes` and `probabilities`, where the model gives
    them, is float64 (rows, classes). Of numbers: both are finite float64, and there are no classes.
    """

    truth: Floats | Ints
    predicted: Floats | Ints
    classes: tuple[object, ...] = ()
    probabilities: Floats | None = field(default=None)
    book: Book | None = None
    """What the predictions would have earned; None without returns."""
    no_probabilities: str = ""
    """Why a model's probabilities are not taken; empty when they are, or when it gives none."""
    errors: Floats | None = None
    """Of numbers, by how much each prediction misses, those that differ by rounding alone being the same for all
    versions; None: the plain differences."""

    @property
    def rows(self) -> int:
        return len(self.truth)


def estimator(metric: str, scored: Scored) -> Estimator:
    """Prepare a metric of one model's predictions; `why_not` says beforehand whether it can be."""
    return _ESTIMATORS[metric](scored)


def _traded(metric: Callable[[Book], Estimator]) -> Callable[[Scored], Estimator]:
    def of(scored: Scored) -> Estimator:
        assert scored.book is not None
        return metric(scored.book)

    return of


def _mean_of(values: NDArray[np.generic]) -> Estimator:
    rows = np.asarray(values, np.float64)
    return lambda weights: np.asarray(weights @ rows / weights.sum(axis=1), np.float64)


def _accuracy(scored: Scored) -> Estimator:
    return _mean_of(scored.truth == scored.predicted)


def _log_loss(scored: Scored) -> Estimator:
    assert scored.probabilities is not None
    return _mean_of(-np.log(np.clip(given_to_truth(scored, scored.probabilities), LEAST_PROBABILITY, 1.0)))


def _brier(scored: Scored) -> Estimator:
    """Brier (1950); for two classes half of his sum, which is the squared error of the positive class."""
    assert scored.probabilities is not None
    truth = indicators(scored.truth, scored)
    errors = np.square(scored.probabilities - truth).sum(axis=1)
    return _mean_of(errors / 2 if len(scored.classes) == 2 else errors)


def _mse(scored: Scored) -> Estimator:
    return _mean_of(np.square(errors_of(scored)))


def _mae(scored: Scored) -> Estimator:
    return _mean_of(np.abs(errors_of(scored)))


def _rmse(scored: Scored) -> Estimator:
    squared = _mse(scored)
    return lambda weights: np.sqrt(squared(weights))


def _mape(scored: Scored) -> Estimator:
    return _mean_of(relative_errors(scored))


def _median_absolute_error(scored: Scored) -> Estimator:
    errors = np.abs(errors_of(scored))
    order = np.argsort(errors)

    def median(weights: Floats) -> Floats:
        below = np.cumsum(weights[:, order], axis=1)
        half = below[:, -1:] / 2
        lower, upper = (below >= half).argmax(axis=1), (below > half).argmax(axis=1)
        return np.asarray((errors[order[lower]] + errors[order[upper]]) / 2)

    return median


def _r2(scored: Scored) -> Estimator:
    # Measured from the mean, or the difference of two great sums would swallow a small variance.
    unit = unit_of(scored.truth)
    truth, errors = scored.truth / unit - (scored.truth / unit).mean(), errors_of(scored) / unit
    sums = np.column_stack([np.square(errors), truth, np.square(truth), np.ones(scored.rows)])

    def explained(weights: Floats) -> Floats:
        residual, first, second, total = (weights @ sums).T
        spread = second - np.square(first) / total
        # Less is what rounding leaves of equal labels, of all of them or of those that were drawn.
        varies = spread > np.maximum(TOLERANCE * second, TOLERANCE**2 * total)
        return 1.0 - _ratio(residual, np.where(varies, spread, 0.0), np.nan)

    return explained


def _hit_rate(scored: Scored) -> Estimator:
    sides = sides_of_zero(scored)
    assert sides is not None
    return _mean_of(sides[0] == sides[1])


def _balanced_accuracy(scored: Scored) -> Estimator:
    def mean_recall(hits: Floats, _called: Floats, present: Floats) -> Floats:
        return np.asarray(np.nanmean(_ratio(hits, present, np.nan), axis=1))

    return _by_class(scored, mean_recall)


def _matthews_correlation(scored: Scored) -> Estimator:
    """Gorodkin (2004), of any number of classes; 0 where a side has one class only."""

    def correlation(hits: Floats, called: Floats, present: Floats) -> Floats:
        total = present.sum(axis=1)
        part = hits.sum(axis=1) * total - (called * present).sum(axis=1)
        spreads = (total**2 - np.square(side).sum(axis=1) for side in (called, present))
        return _ratio(part, np.sqrt(np.prod(list(spreads), axis=0)))

    return _by_class(scored, correlation)


def _precision(scored: Scored) -> Estimator:
    return _by_class(scored, lambda hits, called, _: _averaged(scored, _ratio(hits, called)))


def _recall(scored: Scored) -> Estimator:
    return _by_class(scored, lambda hits, _, present: _averaged(scored, _ratio(hits, present)))


def _f1(scored: Scored) -> Estimator:
    return _by_class(scored, lambda hits, called, present: _averaged(scored, _ratio(2 * hits, called + present)))


def _roc_auc(scored: Scored) -> Estimator:
    """The Mann-Whitney statistic, ties counting half; in one order of the scores that serves every draw."""
    assert scored.probabilities is not None
    scores = ties(scored.probabilities[:, 1])
    order = np.argsort(scores, kind="stable")
    positive = scored.truth[order] == 1
    starts = np.flatnonzero(np.r_[True, np.diff(scores[order]) != 0])

    def ranked_right(weights: Floats) -> Floats:
        ordered = weights[:, order]
        above = np.add.reduceat(ordered * positive, starts, axis=1)
        below = np.add.reduceat(ordered * ~positive, starts, axis=1)
        pairs = (above * (np.cumsum(below, axis=1) - below / 2)).sum(axis=1)
        possible = above.sum(axis=1) * below.sum(axis=1)
        return _ratio(pairs, possible, np.nan)

    return ranked_right


def _by_class(scored: Scored, combine: Callable[[Floats, Floats, Floats], Floats]) -> Estimator:
    """Build a metric of how many rows of each class are found, are called so, and are there."""
    present, called = indicators(scored.truth, scored), indicators(scored.predicted, scored)
    sums = np.hstack([present * called, called, present])

    def over(weights: Floats) -> Floats:
        hits, calls, presence = np.split(weights @ sums, 3, axis=1)
        return combine(hits, calls, presence)

    return over


def _averaged(scored: Scored, by_class: Floats) -> Floats:
    """Return the positive class's value of two, or of more the mean over those that occur at all."""
    if len(scored.classes) == 2:
        return by_class[:, 1]
    occurring = np.union1d(scored.truth, scored.predicted).astype(np.int64)
    return np.asarray(by_class[:, occurring].mean(axis=1))


def indicators(positions: Floats | Ints, scored: Scored) -> Floats:
    return np.asarray(positions[:, None] == np.arange(len(scored.classes)), np.float64)


def errors_of(scored: Scored) -> Floats:
    return np.asarray(scored.truth - scored.predicted, np.float64) if scored.errors is None else scored.errors


def relative_errors(scored: Scored) -> Floats:
    return np.asarray(np.abs(errors_of(scored)) / np.maximum(np.abs(scored.truth), EPSILON))


def given_to_truth(scored: Scored, probabilities: Floats) -> Floats:
    given: Floats = probabilities[np.arange(scored.rows), np.asarray(scored.truth, np.int64)]
    return given


def _ratio(part: Floats, whole: Floats, otherwise: float = 0.0) -> Floats:
    """Divide; `otherwise` where there is nothing to divide by."""
    quotient: Floats = np.full_like(part, otherwise)
    np.divide(part, whole, out=quotient, where=whole > 0)
    return quotient


def sides_of_zero(scored: Scored) -> tuple[NDArray[np.bool_], NDArray[np.bool_]] | None:
    """Return whether labels and predictions are above zero; None where the classes are not numbers."""
    if not scored.classes:
        return scored.truth > 0, scored.predicted > 0
    if any(isinstance(value, str) for value in scored.classes):
        return None
    above = np.asarray(scored.classes, np.float64) > 0
    return above[np.asarray(scored.truth, np.int64)], above[np.asarray(scored.predicted, np.int64)]


_ESTIMATORS: Mapping[str, Callable[[Scored], Estimator]] = {
    ACCURACY: _accuracy,
    BALANCED_ACCURACY: _balanced_accuracy,
    PRECISION: _precision,
    RECALL: _recall,
    F1: _f1,
    ROC_AUC: _roc_auc,
    LOG_LOSS: _log_loss,
    BRIER: _brier,
    MSE: _mse,
    MAE: _mae,
    R2: _r2,
    HIT_RATE: _hit_rate,
    RMSE: _rmse,
    MAPE: _mape,
    MEDIAN_ABSOLUTE_ERROR: _median_absolute_error,
    MATTHEWS_CORRELATION: _matthews_correlation,
    SHARPE: _traded(trading.sharpe),
    SORTINO: _traded(trading.sortino),
    MAX_DRAWDOWN: _traded(trading.max_drawdown),
    NET_RETURN: _traded(trading.net_return),
}
