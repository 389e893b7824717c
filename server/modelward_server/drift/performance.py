"""How good predictions were, once their labels are there, and how good they promise to be before."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from modelward.comparison import Metric, ModelKind
from modelward_server.libraries import load
from modelward_server.statistics.metric_applicability import inapplicable_reason
from modelward_server.statistics.metrics import Floats, Scored, estimator

LEAST_LABELLED = 200
"""Labelled rows without which probabilities are not calibrated, and nothing is estimated."""
MOST_LABELLED = 50_000
"""Labelled rows, the newest, that calibrate probabilities: more would take memory and change little."""
BINS = 10


@dataclass(frozen=True)
class Rows:
    """Predictions of one period, row by row; NaN where there is no probability or label."""

    predictions: Floats
    probabilities: Floats
    labels: Floats
    matured: NDArray[np.bool_]

    @property
    def judged(self) -> "Rows":
        """Return the matured rows that have a label."""
        return self._only(self.matured & ~np.isnan(self.labels))

    @property
    def with_probability(self) -> "Rows":
        return self._only(~np.isnan(self.probabilities))

    @property
    def right(self) -> NDArray[np.bool_]:
        """Return whether each prediction is the label."""
        return np.asarray(self.predictions == self.labels)

    def __len__(self) -> int:
        return len(self.predictions)

    def _only(self, wanted: NDArray[np.bool_]) -> "Rows":
        return Rows(self.predictions[wanted], self.probabilities[wanted], self.labels[wanted], self.matured[wanted])


def metrics_of(rows: Rows, kind: ModelKind) -> dict[str, float]:
    """Return the metrics of judged rows; those that they do not define are left out."""
    if not len(rows):
        return {}
    return _of_classes(rows) if kind is ModelKind.CLASSIFICATION else _of_numbers(rows)


def _of_numbers(rows: Rows) -> dict[str, float]:
    scored = Scored(rows.labels, rows.predictions)
    found = _measured(scored, Metric.MAE, Metric.MSE, Metric.R2)
    return {"mae": found["mae"], "rmse": float(np.sqrt(found["mse"]))} | {k: v for k, v in found.items() if k == "r2"}


def _of_classes(rows: Rows) -> dict[str, float]:
    """Measure classes. Only the predicted class has a probability, so log loss and Brier's score are those of its
    being right: of two classes they equal the usual ones, of more they are those of top-label calibration.
    """
    found = {"accuracy": float(rows.right.mean())}
    sure = rows.with_probability
    if len(sure):
        found |= _measured(_as_two(sure.right, sure.probabilities), Metric.LOG_LOSS, Metric.BRIER)
        found |= _roc_auc(sure)
    return found


def _roc_auc(rows: Rows) -> dict[str, float]:
    """Measure how well the probability of the greater of two classes ranks the rows."""
    classes = np.union1d(rows.labels, rows.predictions)
    if len(classes) != 2:
        return {}
    greater = np.where(rows.predictions == classes[1], rows.probabilities, 1 - rows.probabilities)
    return _measured(_as_two(rows.labels == classes[1], greater), Metric.ROC_AUC)


def _as_two(truth: NDArray[np.bool_], probability: Floats) -> Scored:
    both = np.column_stack([1 - probability, probability])
    return Scored(truth.astype(np.int64), both.argmax(axis=1), (0, 1), both)


def _measured(scored: Scored, *metrics: Metric) -> dict[str, float]:
    once = np.ones((1, scored.rows))
    return {
        metric.value: float(estimator(metric, scored)(once)[0])
        for metric in metrics
        if not inapplicable_reason(metric, scored)
    }


def calibration_error(rows: Rows) -> float | None:
    """Return the expected calibration error of judged rows, over ten bins of equal width.

    That is the mean distance of the probabilities from how often the predicted class was right (Naeini, Cooper and
    Hauskrecht 2015, Obtaining well calibrated probabilities using Bayesian binning). None without probabilities.
    """
    sure = rows.with_probability
    if not len(sure):
        return None
    bins = np.minimum((sure.probabilities * BINS).astype(np.int64), BINS - 1)
    gaps = np.bincount(bins, sure.right - sure.probabilities)
    return float(np.abs(gaps).sum() / len(sure))


class Calibration:
    """What probabilities are worth, learnt from labelled rows."""

    def __init__(self, probabilities: Floats, right: NDArray[np.bool_]) -> None:
        self._curve = load("sklearn.isotonic").IsotonicRegression(out_of_bounds="clip").fit(probabilities, right)

    def expected_accuracy(self, probabilities: Floats) -> float:
        """Estimate the accuracy of predictions without labels: the mean of their calibrated probabilities.

        The idea is confidence-based performance estimation, as NannyML describes it, and the average confidence of
        Guillory et al. 2021, Predicting with confidence on unseen distributions. It holds while probabilities mean
        what they meant; it does not see that the world behind the features has changed.
        """
        return float(self._curve.predict(probabilities).mean())


def calibrated(labelled: Rows) -> Calibration | None:
    """Learn what probabilities are worth; None from fewer than `LEAST_LABELLED` rows."""
    sure = labelled.with_probability
    return Calibration(sure.probabilities, sure.right) if len(sure) >= LEAST_LABELLED else None


def estimated(rows: Rows, calibration: Calibration | None) -> Mapping[str, float]:
    """Estimate the metrics of rows without labels; nothing without calibration or probabilities."""
    sure = rows.with_probability
    if calibration is None or not len(sure):
        return {}
    return {Metric.ACCURACY.value: calibration.expected_accuracy(sure.probabilities)}
