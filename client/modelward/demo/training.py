"""The demo's models: they predict the market's next day, and are evaluated out of sample."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, TypeAlias

import pandas as pd
from sklearn.base import clone
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.metrics import accuracy_score, balanced_accuracy_score, brier_score_loss, log_loss, roc_auc_score

from modelward.demo.market import Sample

SEED = 7


FOLDS = 4
"""Number of folds of the walk-forward validation, each trained on the days before only."""
FOLD_DAYS = 126
"""Days per fold: half a year."""
Classifier: TypeAlias = Any
"""A classifier of scikit-learn, which ships no types."""


@dataclass(frozen=True)
class Trained:
    """A fitted model, with its training days and its out-of-sample metrics."""

    estimator: Classifier
    days: Sample
    metrics: Mapping[str, float]


def random_forest() -> Classifier:
    """Create a forest with large leaves, because a day's direction is nearly all noise."""
    return RandomForestClassifier(n_estimators=200, max_depth=5, min_samples_leaf=25, random_state=SEED)


def gradient_boosting() -> Classifier:
    """Create boosted trees with a low learning rate and half of the days per tree, of LightGBM if it is installed."""
    few: dict[str, Any] = {
        "n_estimators": 80,
        "learning_rate": 0.03,
        "max_depth": 2,
        "subsample": 0.5,
        "random_state": SEED,
    }
    if find_spec("lightgbm") is None:
        return GradientBoostingClassifier(min_samples_leaf=25, **few)
    from lightgbm import LGBMClassifier

    return LGBMClassifier(subsample_freq=1, min_child_samples=25, n_jobs=1, verbose=-1, **few)


def train(estimator: Classifier, days: Sample) -> Trained:
    """Evaluate a model by walk-forward validation over the last two years of the days, then fit it to all of them.

    Each half-year is predicted by a model trained on the days before it only.
    """
    rising = pd.concat([_foretell_last(estimator, days.until(end)) for end in _fold_ends(len(days))])
    metrics = measure(days.label.loc[rising.index], rising)
    return Trained(clone(estimator).fit(days.features, days.label), days, metrics)


def _fold_ends(rows: int) -> range:
    return range(rows - (FOLDS - 1) * FOLD_DAYS, rows + 1, FOLD_DAYS)


def _foretell_last(estimator: Classifier, days: Sample) -> pd.Series:
    before, after = days.split(FOLD_DAYS)
    return rise_probability(clone(estimator).fit(before.features, before.label), after)


def rise_probability(estimator: Classifier, days: Sample) -> pd.Series:
    """Return the predicted probability of a rise on the next day, by day."""
    return pd.Series(estimator.predict_proba(days.features)[:, 1], days.features.index)


def measure(label: pd.Series, rising: pd.Series) -> dict[str, float]:
    """Return the metrics of predicted probabilities of a rise.

    Balanced accuracy and ROC AUC are omitted where all days went one way, because they need both classes.
    """
    predicted = rising > 0.5
    metrics = {
        "accuracy": accuracy_score(label, predicted),
        "log_loss": log_loss(label, rising, labels=[0, 1]),
        "brier": brier_score_loss(label, rising),
    }
    if label.nunique() > 1:
        metrics |= {
            "balanced_accuracy": balanced_accuracy_score(label, predicted),
            "roc_auc": roc_auc_score(label, rising),
        }
    return {name: float(value) for name, value in metrics.items()}
