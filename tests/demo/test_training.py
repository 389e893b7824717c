"""The demo's models are the same each time, and measured on days that they have not learnt from."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin

from modelward.demo.market import Sample, load_market
from modelward.demo.training import FOLD_DAYS, FOLDS, gradient_boosting, measure, random_forest, train


class Parrot(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn ships no types.
    """Knows the days that it was fitted to by heart, and is sure of the wrong direction on any other."""

    def fit(self, features: pd.DataFrame, label: pd.Series) -> "Parrot":
        self.known_, self.truth_ = set(features.index), load_market().label
        return self

    def predict_proba(self, features: pd.DataFrame) -> np.ndarray:
        right = np.array([day in self.known_ for day in features.index])
        rising = np.where(right, self.truth_[features.index], 1 - self.truth_[features.index])
        return np.column_stack([1 - rising, rising])


@pytest.fixture(scope="module")
def days() -> Sample:
    return load_market().between("2003", "2006")


def test_no_day_that_is_measured_was_learnt_from(days: Sample) -> None:
    assert train(Parrot(), days).metrics["accuracy"] == 0


def test_the_model_that_is_kept_has_learnt_from_every_day(days: Sample) -> None:
    assert train(Parrot(), days).estimator.known_ == set(days.features.index)


@pytest.mark.system
@pytest.mark.parametrize("make", [random_forest, gradient_boosting])
@pytest.mark.weekly
def test_training_twice_gives_the_same_model(make: type, days: Sample) -> None:
    first, second = (train(make(), days.until(FOLD_DAYS * (FOLDS + 1))) for _ in range(2))
    assert first.metrics == second.metrics
    np.testing.assert_array_equal(
        first.estimator.predict_proba(days.features), second.estimator.predict_proba(days.features)
    )


def test_measures_are_those_of_their_definitions() -> None:
    label, rising = pd.Series([1, 0, 1, 0]), pd.Series([0.8, 0.4, 0.3, 0.1])
    found = measure(label, rising)
    assert found["accuracy"] == 0.75
    assert found["brier"] == pytest.approx((0.04 + 0.16 + 0.49 + 0.01) / 4)
    assert found["log_loss"] == pytest.approx(-np.log([0.8, 0.6, 0.3, 0.9]).mean())
    assert found["roc_auc"] == 0.75


def test_days_that_all_went_one_way_have_no_measure_that_needs_both() -> None:
    found = measure(pd.Series([1, 1]), pd.Series([0.6, 0.4]))
    assert set(found) == {"accuracy", "log_loss", "brier"}
