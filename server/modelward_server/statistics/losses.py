"""Losses of each row, or of each time of a panel, the input of paired tests."""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from modelward_server.statistics import metrics
from modelward_server.statistics.delong import ranked_differently
from modelward_server.statistics.metric_applicability import PROBABILITY_METRICS, TRADING_METRICS
from modelward_server.statistics.metrics import (
    MIN_PROBABILITY,
    CustomColumn,
    Floats,
    Scored,
    of_times,
    one_hot,
    prediction_errors,
    quantile_losses,
    relative_errors,
    signs_of,
    true_class_probabilities,
    variance_losses,
    weighted_sums,
)
from modelward_server.statistics.panel import reduced
from modelward_server.statistics.trading import TradingReturns

ERROR_RATE_METRICS = {metrics.ACCURACY, metrics.HIT_RATE}
"""Metrics whose losses are 1 for wrong rows and 0 for correct ones."""
_TRADING_LOSSES: Mapping[str, Callable[[TradingReturns], Floats]] = {
    metrics.NET_RETURN: lambda returns: -returns.net,
    metrics.TURNOVER: lambda returns: returns.turnover,
    metrics.DAY_HIT_RATE: lambda returns: (returns.net <= 0).astype(np.float64),
}
"""The losses of metrics that are means over the times."""


def row_losses(scored: Scored) -> Floats:
    """Return the loss of each row, shape (rows,).

    For numbers that is the squared error; for classes one minus the probability of the true class, or without
    probabilities 1 for a wrong class and 0 for the correct one.
    """
    if not scored.classes:
        return np.square(prediction_errors(scored))
    if scored.probabilities is None:
        return np.asarray(scored.truth != scored.predicted, np.float64)
    return 1.0 - true_class_probabilities(scored, scored.probabilities)


def time_losses(scored: Scored) -> Floats:
    """Return the losses of `row_losses`, of a panel reduced to one value for each time, shape (times,)."""
    return _by_time(row_losses(scored), scored)


def _by_time(losses: Floats, scored: Scored) -> Floats:
    return reduced(losses, scored.panel, scored.sample_weights)


def mean_losses(metric: str, scored: Scored) -> Floats | None:
    """Return the losses whose mean orders models as a metric does, shape (times,).

    Higher is worse, whatever the metric's own direction.

    Returns:
        None if the metric is not a function of a mean over the rows.
    """
    if scored.trading_returns and metric in _TRADING_LOSSES:
        return _TRADING_LOSSES[metric](scored.trading_returns)
    if metric == metrics.RANK_IC:
        coefficients, defined = scored.rank_correlations
        mean = coefficients.sum() / defined.sum()
        return np.asarray(-mean - (coefficients - mean) * defined * (len(defined) / defined.sum()))
    if metric in scored.custom:
        return _custom_losses(scored.custom[metric], scored)
    losses = _mean_losses(metric, scored)
    return None if losses is None else _by_time(losses, scored)


def _custom_losses(column: CustomColumn, scored: Scored) -> Floats:
    losses = column.values if column.lower_is_better else -column.values
    return of_times(losses, scored.panel) if column.by_time else _by_time(losses, scored)


def _mean_losses(metric: str, scored: Scored) -> Floats | None:
    if metric in ERROR_RATE_METRICS:
        return np.asarray(1.0 - correct_rows(metric, scored), np.float64)
    if metric in {metrics.MSE, metrics.RMSE}:
        return np.square(prediction_errors(scored))
    if metric in {metrics.MAE, metrics.MAPE}:
        return np.abs(prediction_errors(scored)) if metric == metrics.MAE else relative_errors(scored)
    if metric in {metrics.PINBALL, metrics.QLIKE}:
        return quantile_losses(scored) if metric == metrics.PINBALL else variance_losses(scored)
    return _probability_losses(metric, scored)


def correct_rows(metric: str, scored: Scored) -> NDArray[np.bool_]:
    """Return which rows are predicted correctly, shape (rows,): by the class, or for the hit rate by the sign."""
    if metric == metrics.HIT_RATE:
        sides = signs_of(scored)
        assert sides is not None
        return np.asarray(sides[0] == sides[1])
    return np.asarray(scored.truth == scored.predicted)


def informative_times(metric: str, scored: Scored, other: Scored) -> int:
    """Count the times at which two models differ in what a metric measures; without a panel those are rows."""
    if metric in TRADING_METRICS - {metrics.HIT_RATE}:
        assert scored.trading_returns is not None
        assert other.trading_returns is not None
        own, theirs = scored.trading_returns.net, other.trading_returns.net
        return int(np.count_nonzero((own > 0) != (theirs > 0) if metric == metrics.DAY_HIT_RATE else own != theirs))
    differing = differing_rows(metric, scored, other).astype(np.float64)
    return int(np.count_nonzero(weighted_sums(differing, scored)))


def differing_rows(metric: str, scored: Scored, other: Scored) -> NDArray[np.bool_]:
    """Return in which rows two models differ in what a metric of their predictions measures, shape (rows,)."""
    if metric in scored.custom:
        return np.asarray(scored.custom[metric].values != other.custom[metric].values)
    if metric == metrics.HIT_RATE:
        sides, others = signs_of(scored), signs_of(other)
        assert sides is not None
        assert others is not None
        return np.asarray(sides[1] != others[1])
    if metric == metrics.ROC_AUC:
        return rows_ranked_differently(scored, other)
    if not scored.classes or metric in PROBABILITY_METRICS:
        return np.asarray(row_losses(scored) != row_losses(other))
    return np.asarray(scored.predicted != other.predicted)


def rows_ranked_differently(scored: Scored, other: Scored) -> NDArray[np.bool_]:
    """Return which rows have another rank among the rows of the other class with one model than with the other."""
    assert scored.probabilities is not None
    assert other.probabilities is not None
    return ranked_differently(scored.truth == 1, scored.probabilities[:, 1], other.probabilities[:, 1])


def _probability_losses(metric: str, scored: Scored) -> Floats | None:
    if scored.probabilities is None or metric not in {metrics.LOG_LOSS, metrics.BRIER}:
        return None
    if metric == metrics.BRIER:
        return np.asarray(np.square(scored.probabilities - one_hot(scored.truth, scored)).sum(axis=1))
    return np.asarray(-np.log(np.clip(true_class_probabilities(scored, scored.probabilities), MIN_PROBABILITY, 1.0)))
