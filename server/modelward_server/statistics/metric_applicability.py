"""Which metrics suit which models and labels."""

import numpy as np

from modelward_server.statistics import metrics
from modelward_server.statistics.metrics import Floats, Scored, estimator, sides_of_zero
from modelward_server.statistics.rounding import TOLERANCE, varies

PROBABILITIES = {metrics.ROC_AUC, metrics.LOG_LOSS, metrics.BRIER}
REGRESSION = {
    metrics.MSE,
    metrics.MAE,
    metrics.R2,
    metrics.RMSE,
    metrics.MAPE,
    metrics.MEDIAN_ABSOLUTE_ERROR,
}
TRADING = {metrics.SHARPE, metrics.SORTINO, metrics.MAX_DRAWDOWN, metrics.NET_RETURN}
ANY_KIND = TRADING | {metrics.HIT_RATE}


def suits(metric: str, *, classes: bool) -> bool:
    """Say whether a metric is meant for models that predict classes, or else numbers."""
    return metric in ANY_KIND or (metric in REGRESSION) != classes


def why_not(metric: str, scored: Scored) -> str:
    """Say what forbids a metric for these labels and predictions; empty when nothing does."""
    return unsuited(metric, scored) or undefined(metric, scored)


def unsuited(metric: str, scored: Scored) -> str:
    """Say what a metric needs that such models, labels or requests do not have, whatever the figures."""
    if metric == metrics.HIT_RATE:
        return "" if sides_of_zero(scored) is not None else "needs numeric labels"
    if metric in TRADING:
        return "needs returns; name their column" if scored.book is None else ""
    if metric in REGRESSION:
        return "" if not scored.classes else "needs models that predict numbers"
    if not scored.classes:
        return "needs models that predict classes"
    if metric in PROBABILITIES and scored.probabilities is None:
        return f"needs probabilities, and {scored.no_probabilities or 'a model gives none'}"
    return ""


def undefined(metric: str, scored: Scored) -> str:
    """Say why a metric that suits has no value on these rows; empty when it has one."""
    why = _lacking(metric, scored)
    if why:
        return why
    with np.errstate(over="ignore", invalid="ignore"):
        value = estimator(metric, scored)(np.ones((1, scored.rows)))[0]
    return "" if np.isfinite(value) else "has no finite value on these rows"


def _lacking(metric: str, scored: Scored) -> str:
    if metric == metrics.R2 and not varies(scored.truth):
        return "needs labels that are not all the same"
    if metric == metrics.MAPE and not scored.truth.all():
        return "needs labels that are not zero"
    if metric == metrics.ROC_AUC and (len(scored.classes) != 2 or len(np.unique(scored.truth)) != 2):
        return "needs labels of exactly two classes"
    if metric in {metrics.SHARPE, metrics.SORTINO} and scored.book:
        return _lacking_returns(metric, scored.book.net)
    return ""


def _lacking_returns(metric: str, net: Floats) -> str:
    if not varies(net):
        return "needs net returns that vary"
    none_lost = metric == metrics.SORTINO and net.min() >= -TOLERANCE * np.abs(net).max()
    return "needs rows with a loss, and a version has none" if none_lost else ""
