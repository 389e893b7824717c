"""Which metrics suit which models and labels."""

import numpy as np

from modelward.comparison import Metric, ModelKind
from modelward_server.statistics.metrics import Floats, Scored, estimator, sides_of_zero
from modelward_server.statistics.rounding import TOLERANCE, varies

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
    return unsuited(metric, scored) or undefined(metric, scored)


def unsuited(metric: Metric, scored: Scored) -> str:
    """Say what a metric needs that such models, labels or requests do not have, whatever the figures."""
    if metric is Metric.HIT_RATE:
        return "" if sides_of_zero(scored) is not None else "needs numeric labels"
    if metric in TRADING:
        return "needs returns; name their column" if scored.book is None else ""
    if metric in REGRESSION:
        return "" if scored.kind is ModelKind.REGRESSION else "needs models that predict numbers"
    if scored.kind is not ModelKind.CLASSIFICATION:
        return "needs models that predict classes"
    if metric in PROBABILITIES and scored.probabilities is None:
        return f"needs probabilities, and {scored.no_probabilities or 'a model gives none'}"
    return ""


def undefined(metric: Metric, scored: Scored) -> str:
    """Say why a metric that suits has no value on these rows; empty when it has one."""
    why = _lacking(metric, scored)
    if why:
        return why
    with np.errstate(over="ignore", invalid="ignore"):
        value = estimator(metric, scored)(np.ones((1, scored.rows)))[0]
    return "" if np.isfinite(value) else "has no finite value on these rows"


def _lacking(metric: Metric, scored: Scored) -> str:
    if metric is Metric.R2 and not varies(scored.truth):
        return "needs labels that are not all the same"
    if metric is Metric.MAPE and not scored.truth.all():
        return "needs labels that are not zero"
    if metric is Metric.ROC_AUC and (len(scored.classes) != 2 or len(np.unique(scored.truth)) != 2):
        return "needs labels of exactly two classes"
    if metric in {Metric.SHARPE, Metric.SORTINO} and scored.book:
        return _lacking_returns(metric, scored.book.net)
    return ""


def _lacking_returns(metric: Metric, net: Floats) -> str:
    if not varies(net):
        return "needs net returns that vary"
    none_lost = metric is Metric.SORTINO and net.min() >= -TOLERANCE * np.abs(net).max()
    return "needs rows with a loss, and a version has none" if none_lost else ""
