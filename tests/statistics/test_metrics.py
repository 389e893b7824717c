"""Metrics over weighted rows, against scikit-learn's functions of the same name."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn import metrics as sk

from modelward.comparison import Metric
from modelward_server.statistics.metric_applicability import inapplicable_reason
from modelward_server.statistics.metrics import Scored, estimator
from tests.support.scale import examples

Weights = NDArray[np.float64]


def classes_case(seed: int, rows: int, classes: int) -> Scored:
    random = np.random.default_rng(seed)
    probabilities = random.dirichlet(np.ones(classes), rows).round(2)  # Rounded, so that scores tie.
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    truth = np.r_[np.arange(classes), random.integers(classes, size=rows - classes)]
    predicted = np.where(random.random(rows) < 0.5, truth, random.integers(classes, size=rows))
    return Scored(truth, predicted, tuple(range(classes)), probabilities)


def numbers_case(seed: int, rows: int) -> Scored:
    random = np.random.default_rng(seed)
    truth = random.normal(size=rows)
    return Scored(truth, truth + random.normal(size=rows))


def score(metric: Metric, scored: Scored, weights: Weights | None = None) -> float:
    [value] = estimator(metric, scored)(np.ones((1, scored.rows)) if weights is None else weights[None])
    return float(value)


def positive(scored: Scored) -> NDArray[np.float64]:
    assert scored.probabilities is not None
    return scored.probabilities[:, 1]


def average(scored: Scored) -> str:
    return "binary" if len(scored.classes) == 2 else "macro"


Theirs = Callable[[Scored, Weights], float]
OF_CLASSES: dict[Metric, Theirs] = {
    Metric.ACCURACY: lambda s, w: sk.accuracy_score(s.truth, s.predicted, sample_weight=w),
    Metric.BALANCED_ACCURACY: lambda s, w: sk.balanced_accuracy_score(s.truth, s.predicted, sample_weight=w),
    Metric.PRECISION: lambda s, w: sk.precision_score(
        s.truth, s.predicted, average=average(s), sample_weight=w, zero_division=0
    ),
    Metric.RECALL: lambda s, w: sk.recall_score(
        s.truth, s.predicted, average=average(s), sample_weight=w, zero_division=0
    ),
    Metric.F1: lambda s, w: sk.f1_score(s.truth, s.predicted, average=average(s), sample_weight=w, zero_division=0),
    Metric.LOG_LOSS: lambda s, w: sk.log_loss(
        s.truth, s.probabilities, labels=list(range(len(s.classes))), sample_weight=w
    ),
    Metric.BRIER: lambda s, w: sk.brier_score_loss(
        s.truth, s.probabilities, labels=list(range(len(s.classes))), sample_weight=w
    ),
}
OF_NUMBERS: dict[Metric, Theirs] = {
    Metric.MSE: lambda s, w: sk.mean_squared_error(s.truth, s.predicted, sample_weight=w),
    Metric.MAE: lambda s, w: sk.mean_absolute_error(s.truth, s.predicted, sample_weight=w),
    Metric.R2: lambda s, w: sk.r2_score(s.truth, s.predicted, sample_weight=w),
}


@pytest.mark.parametrize("metric", OF_CLASSES)
@settings(max_examples=examples(25))
@given(seed=st.integers(0, 2**32), rows=st.integers(6, 80), classes=st.integers(2, 4))
def test_class_metrics_equal_scikit_learn(metric: Metric, seed: int, rows: int, classes: int) -> None:
    scored = classes_case(seed, rows, classes)
    weights = np.random.default_rng(seed).integers(1, 4, size=rows).astype(float)
    assert score(metric, scored, weights) == pytest.approx(OF_CLASSES[metric](scored, weights), abs=1e-12)


@settings(max_examples=examples(50))
@given(seed=st.integers(0, 2**32), rows=st.integers(6, 80))
def test_auc_equals_scikit_learn_with_ties_and_weights(seed: int, rows: int) -> None:
    scored = classes_case(seed, rows, 2)
    weights = np.random.default_rng(seed).integers(1, 4, size=rows).astype(float)
    theirs = sk.roc_auc_score(scored.truth, positive(scored), sample_weight=weights)
    assert score(Metric.ROC_AUC, scored, weights) == pytest.approx(theirs, abs=1e-12)


@pytest.mark.parametrize("metric", OF_NUMBERS)
@settings(max_examples=examples(25))
@given(seed=st.integers(0, 2**32), rows=st.integers(3, 80))
def test_number_metrics_equal_scikit_learn(metric: Metric, seed: int, rows: int) -> None:
    scored = numbers_case(seed, rows)
    weights = np.random.default_rng(seed).integers(1, 4, size=rows).astype(float)
    assert score(metric, scored, weights) == pytest.approx(OF_NUMBERS[metric](scored, weights), rel=1e-9)


@pytest.mark.parametrize("metric", [*OF_CLASSES, Metric.ROC_AUC, Metric.HIT_RATE])
def test_a_weight_of_three_is_the_row_three_times(metric: Metric) -> None:
    scored = classes_case(7, 40, 2)
    weights = np.random.default_rng(7).integers(0, 4, size=40)
    assert scored.probabilities is not None
    rows = np.repeat(np.arange(40), weights)
    repeated = Scored(scored.truth[rows], scored.predicted[rows], scored.classes, scored.probabilities[rows])
    assert score(metric, scored, weights.astype(float)) == pytest.approx(score(metric, repeated), abs=1e-12)


def test_many_draws_at_once_give_what_each_gives_alone() -> None:
    scored = classes_case(3, 50, 2)
    weights = np.random.default_rng(3).multinomial(50, np.full(50, 1 / 50), size=8).astype(float)
    for metric in [*OF_CLASSES, Metric.ROC_AUC, Metric.HIT_RATE]:
        alone = [score(metric, scored, row) for row in weights]
        np.testing.assert_allclose(estimator(metric, scored)(weights), alone, rtol=1e-12)


def test_r2_survives_a_great_offset() -> None:
    scored = numbers_case(1, 200)
    shifted = Scored(np.float64(1e8) + scored.truth, np.float64(1e8) + scored.predicted)
    assert score(Metric.R2, shifted) == pytest.approx(score(Metric.R2, scored), abs=1e-6)


def test_r2_of_a_draw_without_variance_is_not_defined() -> None:
    one_row_only = np.zeros((1, 5))
    one_row_only[0, 2] = 5
    assert np.isnan(estimator(Metric.R2, numbers_case(1, 5))(one_row_only)[0])


def test_auc_of_a_draw_with_one_class_is_not_defined() -> None:
    scored = classes_case(1, 10, 2)
    assert np.isnan(score(Metric.ROC_AUC, scored, (scored.truth == 1).astype(float)))


def test_the_hit_rate_asks_for_the_side_of_zero_and_counts_zero_as_not_above() -> None:
    truth, predicted = np.array([0.01, -0.02, 0.03, 0.0]), np.array([0.5, 0.5, 0.1, -0.1])
    assert score(Metric.HIT_RATE, Scored(truth, predicted)) == 0.75
    up_down = Scored(np.array([0, 1, 1]), np.array([0, 1, 0]), (-1, 1))
    assert score(Metric.HIT_RATE, up_down) == pytest.approx(2 / 3)


def test_a_sure_mistake_costs_a_finite_log_loss() -> None:
    scored = Scored(np.array([0]), np.array([1]), (0, 1), np.array([[0.0, 1.0]]))
    assert score(Metric.LOG_LOSS, scored) == pytest.approx(-np.log(np.finfo(float).eps))


@pytest.mark.parametrize(
    ("metric", "scored", "reason"),
    [
        (Metric.ACCURACY, numbers_case(0, 5), "classes"),
        (Metric.MSE, classes_case(0, 5, 2), "numbers"),
        (Metric.ROC_AUC, classes_case(0, 9, 3), "two classes"),
        (Metric.BRIER, Scored(np.array([0]), np.array([0]), (0, 1)), "probabilities"),
        (Metric.R2, Scored(np.ones(4), np.ones(4)), "all the same"),
        (Metric.HIT_RATE, Scored(np.array([0]), np.array([0]), ("down", "up")), "numeric"),
    ],
)
def test_a_metric_that_makes_no_sense_says_why(metric: Metric, scored: Scored, reason: str) -> None:
    assert reason in inapplicable_reason(metric, scored)


def test_every_metric_either_works_or_says_why_not() -> None:
    for scored in (classes_case(0, 20, 2), classes_case(0, 20, 3), numbers_case(0, 20)):
        for metric in Metric:
            assert inapplicable_reason(metric, scored) or np.isfinite(score(metric, scored))
