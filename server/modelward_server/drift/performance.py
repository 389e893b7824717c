"""Performance metrics of predictions with labels, and estimates of them before the labels arrive."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from modelward.comparison import Metric, ModelKind
from modelward_server.libraries import load
from modelward_server.statistics.metric_applicability import inapplicable_reason
from modelward_server.statistics.metrics import Floats, Scored, estimator

MIN_LABELLED = 200
"""Minimum number of labelled rows: with fewer, probabilities are not calibrated and nothing is estimated."""
MAX_LABELLED = 50_000
"""Maximum number of labelled rows, the newest, that calibrate probabilities: more take memory and change little."""
BINS = 10


@dataclass(frozen=True)
class PredictionRows:
    """The predictions of one period, each array of shape (rows,); NaN where there is no probability or label."""

    predictions: Floats
    probabilities: Floats
    labels: Floats
    matured: NDArray[np.bool_]

    @property
    def judged(self) -> "PredictionRows":
        """Return the matured rows that have a label."""
        return self._only(self.matured & ~np.isnan(self.labels))

    @property
    def with_probability(self) -> "PredictionRows":
        return self._only(~np.isnan(self.probabilities))

    @property
    def correct(self) -> NDArray[np.bool_]:
        """Return whether each prediction equals its label."""
        return np.asarray(self.predictions == self.labels)

    def __len__(self) -> int:
        return len(self.predictions)

    def _only(self, wanted: NDArray[np.bool_]) -> "PredictionRows":
        return PredictionRows(
            self.predictions[wanted], self.probabilities[wanted], self.labels[wanted], self.matured[wanted]
        )


def metrics_of(rows: PredictionRows, kind: ModelKind) -> dict[str, float]:
    """Return the metrics of matured rows with labels; metrics that are undefined for them are left out."""
    if not len(rows):
        return {}
    return _classification_metrics(rows) if kind is ModelKind.CLASSIFICATION else _regression_metrics(rows)


def _regression_metrics(rows: PredictionRows) -> dict[str, float]:
    scored = Scored(rows.labels, rows.predictions)
    values = _evaluate(scored, Metric.MAE, Metric.MSE, Metric.R2)
    return {"mae": values["mae"], "rmse": float(np.sqrt(values["mse"]))} | {
        k: v for k, v in values.items() if k == "r2"
    }


def _classification_metrics(rows: PredictionRows) -> dict[str, float]:
    """Return the metrics of a classifier.

    Only the predicted class has a probability, so log loss and Brier score are those of the event that it is correct:
    for two classes they equal the usual ones, for more they are those of top-label calibration.
    """
    metrics = {"accuracy": float(rows.correct.mean())}
    with_probabilities = rows.with_probability
    if len(with_probabilities):
        metrics |= _evaluate(
            _as_binary(with_probabilities.correct, with_probabilities.probabilities), Metric.LOG_LOSS, Metric.BRIER
        )
        metrics |= _roc_auc(with_probabilities)
    return metrics


def _roc_auc(rows: PredictionRows) -> dict[str, float]:
    """Return the area under the ROC curve of the probability of the greater of two classes."""
    classes = np.union1d(rows.labels, rows.predictions)
    if len(classes) != 2:
        return {}
    greater = np.where(rows.predictions == classes[1], rows.probabilities, 1 - rows.probabilities)
    return _evaluate(_as_binary(rows.labels == classes[1], greater), Metric.ROC_AUC)


def _as_binary(truth: NDArray[np.bool_], probability: Floats) -> Scored:
    both = np.column_stack([1 - probability, probability])
    return Scored(truth.astype(np.int64), both.argmax(axis=1), (0, 1), both)


def _evaluate(scored: Scored, *metrics: Metric) -> dict[str, float]:
    once = np.ones((1, scored.rows))
    return {
        metric.value: float(estimator(metric, scored)(once)[0])
        for metric in metrics
        if not inapplicable_reason(metric, scored)
    }


def calibration_error(rows: PredictionRows) -> float | None:
    """Return the expected calibration error of matured rows with labels, over ten bins of equal width.

    That is the mean absolute difference between the probabilities and the share of correct predictions (Naeini, Cooper
    and Hauskrecht 2015, Obtaining well calibrated probabilities using Bayesian binning). None without probabilities.
    """
    with_probabilities = rows.with_probability
    if not len(with_probabilities):
        return None
    bins = np.minimum((with_probabilities.probabilities * BINS).astype(np.int64), BINS - 1)
    gaps = np.bincount(bins, with_probabilities.correct - with_probabilities.probabilities)
    return float(np.abs(gaps).sum() / len(with_probabilities))


class Calibration:
    """An isotonic calibration of probabilities, fitted to labelled rows.

    Args:
        probabilities: of the predicted classes, shape (rows,).
        correct: whether each prediction was correct, shape (rows,).
    """

    def __init__(self, probabilities: Floats, correct: NDArray[np.bool_]) -> None:
        self._curve = load("sklearn.isotonic").IsotonicRegression(out_of_bounds="clip").fit(probabilities, correct)

    def expected_accuracy(self, probabilities: Floats) -> float:
        """Estimate the accuracy of predictions without labels: the mean of their calibrated probabilities.

        The idea is confidence-based performance estimation, as NannyML describes it, and the average confidence of
        Guillory et al. 2021, Predicting with confidence on unseen distributions. It is valid while the probabilities
        stay calibrated; it does not detect that the relation between features and labels has changed (concept drift).
        """
        return float(self._curve.predict(probabilities).mean())


def calibrated(labelled: PredictionRows) -> Calibration | None:
    """Fit a calibration; None for fewer than `MIN_LABELLED` rows with probabilities."""
    with_probabilities = labelled.with_probability
    return (
        Calibration(with_probabilities.probabilities, with_probabilities.correct)
        if len(with_probabilities) >= MIN_LABELLED
        else None
    )


def estimated(rows: PredictionRows, calibration: Calibration | None) -> Mapping[str, float]:
    """Estimate the metrics of rows without labels; empty without calibration or probabilities."""
    with_probabilities = rows.with_probability
    if calibration is None or not len(with_probabilities):
        return {}
    return {Metric.ACCURACY.value: calibration.expected_accuracy(with_probabilities.probabilities)}
