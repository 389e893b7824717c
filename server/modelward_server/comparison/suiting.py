"""Which metrics suit which models and labels."""

import numpy as np

from modelward.comparison import Metric, ModelKind
from modelward_server.comparison.metrics import Scored, sides_of_zero

PROBABILITIES = {Metric.ROC_AUC, Metric.LOG_LOSS, Metric.BRIER}
REGRESSION = {
    Metric.MSE,
    Metric.MAE,
    Metric.R2,
    Metric.RMSE,
    Metric.MAPE,
    Metric.MEDIAN_ABSOLUTE_ERROR,
}
TRADING = {Metric.SHARPE, Metric.SORTINO, Metric.MAX_DRAWDOWN, Metric.NET_RETURN}
ANY_KIND = TRADING | {Metric.HIT_RATE}


def suits(metric: Metric, kind: ModelKind) -> bool:
    """Say whether a metric is meant for models of that kind."""
    return metric in ANY_KIND or (metric in REGRESSION) == (kind is ModelKind.REGRESSION)


def why_not(metric: Metric, scored: Scored) -> str:
    """Say what forbids a metric for these labels and predictions; empty when nothing does."""
    if metric is Metric.HIT_RATE:
        return "" if sides_of_zero(scored) is not None else "needs numeric labels"
    if metric in TRADING:
        return _why_not_traded(metric, scored)
    return _why_not_numbers(metric, scored) if metric in REGRESSION else _why_not_classes(metric, scored)


def _why_not_numbers(metric: Metric, scored: Scored) -> str:
    if scored.kind is not ModelKind.REGRESSION:
        return "needs models that predict numbers"
    if metric is Metric.R2 and len(np.unique(scored.truth)) < 2:
        return "needs labels that are not all the same"
    return "needs labels that are not zero" if metric is Metric.MAPE and not scored.truth.all() else ""


def _why_not_classes(metric: Metric, scored: Scored) -> str:
    if scored.kind is not ModelKind.CLASSIFICATION:
        return "needs models that predict classes"
    if metric in PROBABILITIES and scored.probabilities is None:
        return f"needs probabilities, and {scored.no_probabilities or 'a model gives none'}"
    if metric is Metric.ROC_AUC and (len(scored.classes) != 2 or len(set(scored.truth)) != 2):
        return "needs labels of exactly two classes"
    return ""


def _why_not_traded(metric: Metric, scored: Scored) -> str:
    if scored.book is None:
        return "needs returns; name their column"
    flat = metric in {Metric.SHARPE, Metric.SORTINO} and np.ptp(scored.book.net) == 0
    return "needs net returns that vary" if flat else ""
