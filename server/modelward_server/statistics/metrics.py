"""Metrics of predictions, vectorized over bootstrap draws.

Every metric here is a function of weighted sums over the rows. One matrix product therefore gives the metric for
hundreds of bootstrap draws, each being a row of weights that states how often the draw contains each row of data. With
all weights 1 the metrics equal scikit-learn's functions of the same name. Of a panel, whole times are drawn, so the
rows of a time have one weight and are summed beforehand.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from modelward_server.statistics import trading
from modelward_server.statistics.panel import Panel, summed
from modelward_server.statistics.ranked_pairs import RankedPairs
from modelward_server.statistics.rounding import TOLERANCE, equalize_ties, unit_of
from modelward_server.statistics.trading import TradingReturns
from modelward_server.statistics.weighted_median import WeightedMedian
from modelward_server.statistics.weighted_sums import OfSums

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]
Estimator: TypeAlias = Callable[[Floats], Floats]
"""Maps weights, shape (draws, times), to one value per draw, shape (draws,); NaN where the metric is undefined."""

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
RANK_IC = "rank_ic"
ICIR = "icir"
PINBALL = "pinball"
QLIKE = "qlike"
CALIBRATION_ERROR = "calibration_error"
TURNOVER = "turnover"
BREAK_EVEN_COST = "break_even_cost"
DAY_HIT_RATE = "day_hit_rate"

EPSILON = float(np.finfo(np.float64).eps)
MIN_PROBABILITY = EPSILON
"""Lower bound on probabilities in the log loss, so that one confident mistake does not make it infinite (as
sklearn)."""
CALIBRATION_BINS = 10


@dataclass(frozen=True)
class CustomColumn:
    """A metric of the user's own: one value for each row, whose mean is the metric."""

    values: Floats
    """Finite, shape (rows,)."""
    by_time: bool
    """Whether the rows of a time share one value, which counts once."""
    lower_is_better: bool


@dataclass(frozen=True)
class Scored:
    """Labels and one model's predictions, row by row.

    For classes, `truth` and `predicted` are int64 positions in `classes`, shape (rows,), and `probabilities`, if the
    model provides them, is float64 of shape (rows, classes). For numbers, both are finite float64 and there are no
    classes.
    """

    truth: Floats | Ints
    predicted: Floats | Ints
    classes: tuple[object, ...] = ()
    probabilities: Floats | None = field(default=None)
    trading_returns: TradingReturns | None = None
    """The returns that trading on the predictions would have made; None without returns."""
    no_probabilities: str = ""
    """Why a model's probabilities are not used; empty if they are, or if it provides none."""
    errors: Floats | None = None
    """For numbers, the error of each prediction, with errors that differ only by rounding made equal across versions;
    None: the plain differences."""
    panel: Panel | None = None
    """The times of the rows; None if each row is a time of its own."""
    quantile: float = 0.5
    """The quantile that the predictions estimate, for the quantile loss."""
    sample_weights: Floats | None = None
    """The weight of each row in the metrics, at least 0 and not all 0, shape (rows,); None: 1 each."""
    custom: Mapping[str, CustomColumn] = field(default_factory=dict)
    """The metrics of the user's own, by name."""

    @property
    def rows(self) -> int:
        return len(self.truth)

    @property
    def times(self) -> int:
        return self.rows if self.panel is None else self.panel.length

    @cached_property
    def rank_correlations(self) -> tuple[Floats, Floats]:
        """The rank correlation of predictions and labels at each time (Spearman 1904), with ties averaged.

        The coefficients, shape (times,), 0 where predictions are all equal; and 1 where there is one, 0 where a time
        has fewer than two rows or equal labels: its coefficient is 0 too. Only of a panel.
        """
        panel = self.panel
        assert panel is not None
        own, true = (_centred_ranks(values, panel) for values in (self.predicted, self.truth))
        spreads = panel.sums(np.square(own)), panel.sums(np.square(true))
        coefficients = _ratio(panel.sums(own * true), np.sqrt(spreads[0] * spreads[1]))
        return coefficients, np.asarray(spreads[1] > 0, np.float64)


def estimator(metric: str, scored: Scored) -> Estimator:
    """Return the estimator of a metric for one model's predictions.

    The metric must be applicable: `inapplicable_reason` must return an empty string.
    """
    if metric in scored.custom:
        return _custom(scored, scored.custom[metric])
    return _ESTIMATORS[metric](scored)


def _custom(scored: Scored, column: CustomColumn) -> Estimator:
    if not column.by_time:
        return _mean_of(scored, column.values)
    return trading.mean_of(of_times(column.values, scored.panel))


def _trading_metric(metric: Callable[[TradingReturns], Estimator]) -> Callable[[Scored], Estimator]:
    def of(scored: Scored) -> Estimator:
        assert scored.trading_returns is not None
        return metric(scored.trading_returns)

    return of


def _mean_of(scored: Scored, values: NDArray[np.generic]) -> OfSums:
    columns = np.column_stack([np.asarray(values, np.float64), np.ones(scored.rows)])
    return OfSums(weighted_sums(columns, scored), _quotient)


def _accuracy(scored: Scored) -> Estimator:
    return _mean_of(scored, scored.truth == scored.predicted)


def _log_loss(scored: Scored) -> Estimator:
    assert scored.probabilities is not None
    return _mean_of(
        scored, -np.log(np.clip(true_class_probabilities(scored, scored.probabilities), MIN_PROBABILITY, 1.0))
    )


def _brier(scored: Scored) -> Estimator:
    """Return the Brier score (Brier 1950); for two classes half his sum: the squared error of the positive class."""
    assert scored.probabilities is not None
    truth = one_hot(scored.truth, scored)
    errors = np.square(scored.probabilities - truth).sum(axis=1)
    return _mean_of(scored, errors / 2 if len(scored.classes) == 2 else errors)


def _mse(scored: Scored) -> OfSums:
    return _mean_of(scored, np.square(prediction_errors(scored)))


def _mae(scored: Scored) -> Estimator:
    return _mean_of(scored, np.abs(prediction_errors(scored)))


def _rmse(scored: Scored) -> Estimator:
    squared = _mse(scored)
    return replace(squared, combine=lambda sums: np.sqrt(squared.combine(sums)))


def _mape(scored: Scored) -> Estimator:
    return _mean_of(scored, relative_errors(scored))


def _median_absolute_error(scored: Scored) -> Estimator:
    errors = np.abs(prediction_errors(scored))
    if scored.sample_weights is not None:
        return _median_of_weighted_rows(errors, scored)
    times = np.arange(scored.rows) if scored.panel is None else scored.panel.times
    return WeightedMedian(errors, times, scored.times).of


def _median_of_weighted_rows(errors: Floats, scored: Scored) -> Estimator:
    order = np.argsort(errors)

    def median(weights: Floats) -> Floats:
        below = np.cumsum(by_row(weights, scored)[:, order], axis=1)
        half = below[:, -1:] / 2
        lower, upper = (below >= half).argmax(axis=1), (below > half).argmax(axis=1)
        return np.asarray((errors[order[lower]] + errors[order[upper]]) / 2)

    return median


def _pinball(scored: Scored) -> Estimator:
    return _mean_of(scored, quantile_losses(scored))


def _qlike(scored: Scored) -> Estimator:
    return _mean_of(scored, variance_losses(scored))


def _rank_ic(scored: Scored) -> Estimator:
    coefficients, defined = scored.rank_correlations
    return OfSums(np.column_stack([coefficients, defined]), _quotient)


def _icir(scored: Scored) -> Estimator:
    coefficients, defined = scored.rank_correlations
    columns = np.column_stack([coefficients, np.square(coefficients), defined])

    def ratio(sums: Floats) -> Floats:
        first, second, times = sums.T
        mean = _ratio(first, times, np.nan)
        variance = _ratio(second, times, np.nan) - np.square(mean)
        return np.asarray(np.where(variance > TOLERANCE, mean / np.sqrt(np.maximum(variance, TOLERANCE)), np.nan))

    return OfSums(columns, ratio)


def _calibration_error(scored: Scored) -> Estimator:
    """Return the expected calibration error (Naeini et al. 2015) over bins of equal width."""
    assert scored.probabilities is not None
    rows = np.arange(scored.rows)
    chosen = np.ones(scored.rows, np.int64) if len(scored.classes) == 2 else scored.probabilities.argmax(axis=1)
    stated = scored.probabilities[rows, chosen]
    places = np.searchsorted(np.linspace(0, 1, CALIBRATION_BINS + 1)[1:-1], stated)  # As calibration_curve of sklearn.
    gaps = np.zeros((scored.rows, CALIBRATION_BINS + 1))
    gaps[rows, places] = stated - (scored.truth == chosen)
    gaps[:, -1] = 1.0
    return OfSums(
        weighted_sums(gaps, scored), lambda sums: _ratio(np.abs(sums[:, :-1]).sum(axis=1), sums[:, -1], np.nan)
    )


def _r2(scored: Scored) -> Estimator:
    # Centred on the mean, because the difference of two large sums would lose a small variance.
    unit = unit_of(scored.truth)
    truth, errors = scored.truth / unit - (scored.truth / unit).mean(), prediction_errors(scored) / unit
    columns = np.column_stack([np.square(errors), truth, np.square(truth), np.ones(scored.rows)])

    def explained(sums: Floats) -> Floats:
        residual, first, second, total = sums.T
        variation = second - _ratio(np.square(first), total)
        # A smaller value is the rounding error of equal labels, of all of them or of the drawn ones.
        varies = variation > np.maximum(TOLERANCE * second, TOLERANCE**2 * total)
        return 1.0 - _ratio(residual, np.where(varies, variation, 0.0), np.nan)

    return OfSums(weighted_sums(columns, scored), explained)


def _hit_rate(scored: Scored) -> Estimator:
    signs = signs_of(scored)
    assert signs is not None
    return _mean_of(scored, signs[0] == signs[1])


def _balanced_accuracy(scored: Scored) -> Estimator:
    def mean_recall(hits: Floats, _called: Floats, present: Floats) -> Floats:
        return np.asarray(np.nanmean(_ratio(hits, present, np.nan), axis=1))

    return _by_class(scored, mean_recall)


def _matthews_correlation(scored: Scored) -> Estimator:
    """Return Gorodkin's (2004) correlation for any number of classes; 0 where a side has only one class."""

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
    """Return the Mann-Whitney statistic, with ties counting half; the scores are sorted once for all draws."""
    assert scored.probabilities is not None
    times = np.arange(scored.rows) if scored.panel is None else scored.panel.times
    return RankedPairs(equalize_ties(scored.probabilities[:, 1]), scored.truth == 1, times, scored.sample_weights).share


def _by_class(scored: Scored, combine: Callable[[Floats, Floats, Floats], Floats]) -> Estimator:
    """Return an estimator computed from the true positives, predicted and actual rows of each class."""
    present, called = one_hot(scored.truth, scored), one_hot(scored.predicted, scored)
    columns = weighted_sums(np.hstack([present * called, called, present]), scored)
    return OfSums(columns, lambda sums: combine(*np.split(sums, 3, axis=1)))


def _averaged(scored: Scored, by_class: Floats) -> Floats:
    """Return the value of the positive class of two, or the mean over those of several classes that occur."""
    if len(scored.classes) == 2:
        return by_class[:, 1]
    occurring = np.union1d(scored.truth, scored.predicted).astype(np.int64)
    return np.asarray(by_class[:, occurring].mean(axis=1))


def by_row(weights: Floats, scored: Scored) -> Floats:
    """Give each row the weight of its time, times its own, shape (draws, rows)."""
    rows = weights if scored.panel is None else scored.panel.expand(weights)
    return rows if scored.sample_weights is None else rows * scored.sample_weights


def weighted_sums(values: Floats, scored: Scored) -> Floats:
    """Return the sum of each time, of values with the weights of their rows, shape (times,) or (times, columns)."""
    own = scored.sample_weights
    return summed(values if own is None else (values.T * own).T, scored.panel)


def of_times(values: Floats, panel: Panel | None) -> Floats:
    """Return one value for each time, where the rows of a time have equal ones, shape (times,)."""
    return values if panel is None else values[panel.starts[:-1]]


def one_hot(positions: Floats | Ints, scored: Scored) -> Floats:
    return np.asarray(positions[:, None] == np.arange(len(scored.classes)), np.float64)


def prediction_errors(scored: Scored) -> Floats:
    return np.asarray(scored.truth - scored.predicted, np.float64) if scored.errors is None else scored.errors


def relative_errors(scored: Scored) -> Floats:
    return np.asarray(np.abs(prediction_errors(scored)) / np.maximum(np.abs(scored.truth), EPSILON))


def quantile_losses(scored: Scored) -> Floats:
    """Return the quantile loss of each row (Koenker and Bassett 1978), shape (rows,)."""
    errors = prediction_errors(scored)
    return np.maximum(scored.quantile * errors, (scored.quantile - 1.0) * errors)


def variance_losses(scored: Scored) -> Floats:
    """Return the QLIKE loss of each row (Patton 2011), shape (rows,); labels and predictions are above zero."""
    ratio = scored.truth / scored.predicted
    return np.asarray(ratio - np.log(ratio) - 1.0)


def _centred_ranks(values: Floats | Ints, panel: Panel) -> Floats:
    """Rank values within each time, equal ones by their mean rank, and centre the ranks, shape (rows,)."""
    order = np.lexsort((values, panel.times))
    ordered = values[order]
    begins = np.flatnonzero(np.r_[True, (np.diff(ordered) != 0) | (np.diff(panel.times) != 0)])
    ends = np.r_[begins[1:], len(values)]
    ranks = np.empty(len(values))
    ranks[order] = np.repeat((begins + ends - 1) / 2.0, ends - begins)
    return ranks - np.repeat(panel.sums(ranks) / panel.counts, panel.counts)


def true_class_probabilities(scored: Scored, probabilities: Floats) -> Floats:
    given: Floats = probabilities[np.arange(scored.rows), np.asarray(scored.truth, np.int64)]
    return given


def _quotient(sums: Floats) -> Floats:
    """Divide the first of two sums by the second."""
    return _ratio(sums[:, 0], sums[:, 1], np.nan)


def _ratio(part: Floats, whole: Floats, otherwise: float = 0.0) -> Floats:
    """Divide; `otherwise` where the divisor is not positive."""
    quotient: Floats = np.full_like(part, otherwise)
    np.divide(part, whole, out=quotient, where=whole > 0)
    return quotient


def signs_of(scored: Scored) -> tuple[NDArray[np.bool_], NDArray[np.bool_]] | None:
    """Return whether labels and predictions are above zero, each of shape (rows,); None if classes are not numbers."""
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
    SHARPE: _trading_metric(trading.sharpe),
    SORTINO: _trading_metric(trading.sortino),
    MAX_DRAWDOWN: _trading_metric(trading.max_drawdown),
    NET_RETURN: _trading_metric(trading.net_return),
    RANK_IC: _rank_ic,
    ICIR: _icir,
    PINBALL: _pinball,
    QLIKE: _qlike,
    CALIBRATION_ERROR: _calibration_error,
    TURNOVER: _trading_metric(trading.turnover),
    BREAK_EVEN_COST: _trading_metric(trading.break_even_cost),
    DAY_HIT_RATE: _trading_metric(trading.day_hit_rate),
}
