"""The demo's models: they guess the market's next day, and are measured on days that they have not seen."""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd
from sklearn.base import ClassifierMixin, clone
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.metrics import accuracy_score, balanced_accuracy_score, brier_score_loss, log_loss, roc_auc_score

from modelward.demo.market import Sample

SEED = 7


FOLDS = 4
"""How many spans of days a model is measured on, each time trained on the days before only."""
FOLD_DAYS = 126
"""How long each of these spans is: half a year."""


@dataclass(frozen=True)
class Trained:
    """A fitted model, with the days that it learnt from and how well its like foretold days that it had not seen."""

    estimator: ClassifierMixin
    days: Sample
    metrics: Mapping[str, float]


def random_forest() -> RandomForestClassifier:
    """Make a forest whose leaves are large: a day's direction is nearly all noise."""
    return RandomForestClassifier(n_estimators=200, max_depth=5, min_samples_leaf=25, random_state=SEED)


def gradient_boosting() -> GradientBoostingClassifier:
    """Make boosted trees that learn slowly from half of the days at a time."""
    return GradientBoostingClassifier(
        n_estimators=80, learning_rate=0.03, max_depth=2, subsample=0.5, min_samples_leaf=25, random_state=SEED
    )


def train(estimator: ClassifierMixin, days: Sample) -> Trained:
    """Measure a model walking forward over the last two years of the days, then fit it to all of them.

    Each half-year is foretold by a model that has learnt from the days before it and from nothing else.
    """
    rising = pd.concat([_foretell_last(estimator, days.until(end)) for end in _fold_ends(len(days))])
    metrics = measure(days.label.loc[rising.index], rising)
    return Trained(clone(estimator).fit(days.features, days.label), days, metrics)


def _fold_ends(rows: int) -> range:
    return range(rows - (FOLDS - 1) * FOLD_DAYS, rows + 1, FOLD_DAYS)


def _foretell_last(estimator: ClassifierMixin, days: Sample) -> pd.Series:
    before, after = days.split(FOLD_DAYS)
    return chance_of_rise(clone(estimator).fit(before.features, before.label), after)


def chance_of_rise(estimator: ClassifierMixin, days: Sample) -> pd.Series:
    """Return the probability that a model gives to a rise on the next day, by day."""
    return pd.Series(estimator.predict_proba(days.features)[:, 1], days.features.index)


def measure(label: pd.Series, rising: pd.Series) -> dict[str, float]:
    """Return how well probabilities of a rise foretold the days.

    Balanced accuracy and ROC AUC are left out where all days went one way: they compare days of both.
    """
    guess = rising > 0.5
    found = {
        "accuracy": accuracy_score(label, guess),
        "log_loss": log_loss(label, rising, labels=[0, 1]),
        "brier": brier_score_loss(label, rising),
    }
    if label.nunique() > 1:
        found |= {
            "balanced_accuracy": balanced_accuracy_score(label, guess),
            "roc_auc": roc_auc_score(label, rising),
        }
    return {name: float(value) for name, value in found.items()}
