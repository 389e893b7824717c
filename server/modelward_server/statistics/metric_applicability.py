"""Which metrics apply to which models and labels."""

import numpy as np

from modelward_server.statistics import metrics
from modelward_server.statistics.metrics import Floats, Scored, estimator, signs_of
from modelward_server.statistics.rounding import TOLERANCE, varies

PROBABILITY_METRICS = {metrics.ROC_AUC, metrics.LOG_LOSS, metrics.BRIER, metrics.CALIBRATION_ERROR}
REGRESSION_METRICS = {
    metrics.MSE,
    metrics.MAE,
    metrics.R2,
    metrics.RMSE,
    metrics.MAPE,
    metrics.MEDIAN_ABSOLUTE_ERROR,
    metrics.RANK_IC,
    metrics.ICIR,
    metrics.PINBALL,
    metrics.QLIKE,
}
PANEL_METRICS = {metrics.RANK_IC, metrics.ICIR}
TRADING_METRICS = {
    metrics.SHARPE,
    metrics.SORTINO,
    metrics.MAX_DRAWDOWN,
    metrics.NET_RETURN,
    metrics.TURNOVER,
    metrics.BREAK_EVEN_COST,
    metrics.DAY_HIT_RATE,
}
ON_REQUEST_METRICS = {
    metrics.PINBALL,
    metrics.QLIKE,
    metrics.CALIBRATION_ERROR,
    metrics.TURNOVER,
    metrics.BREAK_EVEN_COST,
    metrics.DAY_HIT_RATE,
}
"""Metrics that are computed only where they are named."""
UNWEIGHTED_METRICS = TRADING_METRICS | PANEL_METRICS
"""Metrics of the times, in which rows have no weights of their own."""
ANY_KIND_METRICS = TRADING_METRICS | {metrics.HIT_RATE}


def applies_to(metric: str, *, classes: bool) -> bool:
    """Return whether a metric applies to models that predict classes (or, if `classes` is false, numbers)."""
    return metric in ANY_KIND_METRICS or (metric in REGRESSION_METRICS) != classes


def inapplicable_reason(metric: str, scored: Scored) -> str:
    """Return why a metric cannot be computed for these labels and predictions; empty if it can."""
    return unsuitable_reason(metric, scored) or undefined_reason(metric, scored)


def unsuitable_reason(metric: str, scored: Scored) -> str:
    """Return what a metric requires that this kind of model, label or request lacks, regardless of the values."""
    if ":" in metric:
        return _unsuitable_for_columns(metric, scored)
    if scored.sample_weights is not None and metric in UNWEIGHTED_METRICS:
        return "takes no sample weights, because it is computed by time"
    if metric in ANY_KIND_METRICS:
        return _unsuitable_for_trading(metric, scored)
    if metric in REGRESSION_METRICS:
        return _unsuitable_for_numbers(metric, scored)
    return _unsuitable_for_classes(metric, scored)


def _unsuitable_for_trading(metric: str, scored: Scored) -> str:
    if metric == metrics.HIT_RATE:
        return "" if signs_of(scored) is not None else "needs numeric labels"
    return "needs returns; name their column" if scored.trading_returns is None else ""


def _unsuitable_for_classes(metric: str, scored: Scored) -> str:
    if not scored.classes:
        return "needs models that predict classes"
    if metric in PROBABILITY_METRICS and scored.probabilities is None:
        return f"needs probabilities, and {scored.no_probabilities or 'a model gives none'}"
    return ""


def _unsuitable_for_columns(metric: str, scored: Scored) -> str:
    if metric not in scored.custom:
        return f"needs a column {metric!r} in the predictions of every version"
    weighted = scored.custom[metric].by_time and scored.sample_weights is not None
    return "takes no sample weights, because it is computed by time" if weighted else ""


def _unsuitable_for_numbers(metric: str, scored: Scored) -> str:
    if scored.classes:
        return "needs models that predict numbers"
    has_groups = scored.panel is not None and scored.panel.groups is not None
    return "" if has_groups or metric not in PANEL_METRICS else "needs rows with a time and a group; name their columns"


def undefined_reason(metric: str, scored: Scored) -> str:
    """Return why an applicable metric has no value on these rows; empty if it has one."""
    why = _missing_condition(metric, scored)
    if why:
        return why
    with np.errstate(over="ignore", invalid="ignore"):
        value = estimator(metric, scored)(np.ones((1, scored.times)))[0]
    return "" if np.isfinite(value) else "has no finite value on these rows"


def _missing_condition(metric: str, scored: Scored) -> str:
    if metric == metrics.R2 and not varies(scored.truth):
        return "needs labels that are not all the same"
    if metric == metrics.MAPE and not scored.truth.all():
        return "needs labels that are not zero"
    if metric == metrics.ROC_AUC and (len(scored.classes) != 2 or len(np.unique(scored.truth)) != 2):
        return "needs labels of exactly two classes"
    if metric == metrics.QLIKE and min(scored.truth.min(), scored.predicted.min()) <= 0:
        return "needs labels and predictions above zero, as variances are"
    if metric in {metrics.SHARPE, metrics.SORTINO} and scored.trading_returns:
        return _missing_return_condition(metric, scored.trading_returns.net)
    return ""


def _missing_return_condition(metric: str, net: Floats) -> str:
    if not varies(net):
        return "needs net returns that vary"
    none_lost = metric == metrics.SORTINO and net.min() >= -TOLERANCE * np.abs(net).max()
    return "needs rows with a loss, and it has none" if none_lost else ""
