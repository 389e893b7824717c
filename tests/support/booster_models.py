"""Models of LightGBM, XGBoost and CatBoost, and the rows that they are tried with: numbers, gaps, categories.

A library is imported where its models are made, so that an environment with one of them can make those.
"""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from modelward.formats import formats
from modelward.formats.predictor import Predictor
from modelward.signature import Signature

ROWS = 1000
KINDS = ["binary", "multiclass", "regression", "ranker", "custom"]
LABELS: Any = {"binary": np.array(["down", "up"]), "multiclass": np.array([10, 20, 40])}
"""The classes of each kind; XGBoost numbers them, and a version's signature has them."""
GROUPS = [100] * 10


def frame(seed: int = 7, rows: int = ROWS) -> pd.DataFrame:
    """Return columns of numbers, with missing ones, and of categories, with missing ones."""
    random = np.random.default_rng(seed)
    table = pd.DataFrame({"trend": random.normal(size=rows), "volume": random.gamma(2.0, size=rows)})
    table.loc[::9, "trend"] = np.nan
    venue = pd.Series(random.choice(["dark", "lit", "auction", "otc"], rows)).astype("object")
    venue[::11] = None
    return table.assign(
        venue=pd.Categorical(venue, ["dark", "lit", "auction", "otc"]), hour=random.integers(0, 24, rows)
    )


def frame_for(library: str, seed: int = 7, rows: int = ROWS) -> pd.DataFrame:
    """Return the columns as a library takes them: CatBoost has no missing categories, so they are a text here."""
    table = frame(seed, rows)
    return table.assign(venue=table["venue"].astype("object").fillna("none")) if library == "catboost" else table


def target(kind: str, table: pd.DataFrame) -> Any:
    """Return what a kind of model learns: text labels, several labels, or numbers."""
    value = table["trend"].fillna(0.5) + (table["venue"] == "lit") - 0.02 * table["hour"]
    if kind == "binary":
        return np.where(value > 0.2, "up", "down")
    if kind == "multiclass":
        return np.array([10, 20, 40])[np.digitize(value, [-0.3, 0.6])]
    return np.digitize(value, [-0.5, 0.2, 0.9]) if kind == "ranker" else value.to_numpy()


SEEN = frame(seed=8)
"""What the models learn from."""


def squared(labels: Any, predicted: Any) -> Any:
    """Return gradient and hessian of the squared error."""
    return predicted - labels, np.ones_like(labels)


def lightgbm_model(kind: str) -> Any:
    import lightgbm

    few: dict[str, Any] = {
        "n_estimators": 8,
        "num_leaves": 9,
        "verbose": -1,
        "n_jobs": 1,
        "min_child_samples": 5,
        "cat_smooth": 1.0,
    }
    labels = target(kind, SEEN)
    if kind in {"binary", "multiclass"}:
        return lightgbm.LGBMClassifier(**few, min_data_per_group=5).fit(SEEN, labels)
    if kind == "ranker":
        return lightgbm.LGBMRanker(**few).fit(SEEN, labels, group=GROUPS)
    return lightgbm.LGBMRegressor(**few, objective=squared if kind == "custom" else "regression").fit(SEEN, labels)


class Squared:
    """The squared error, as CatBoost takes it."""

    def calc_ders_range(self, predicted: Any, labels: Any, _weights: Any) -> list[tuple[float, float]]:
        return [(label - value, -1.0) for value, label in zip(predicted, labels, strict=True)]


def catboost_model(kind: str) -> Any:
    import catboost

    seen = frame_for("catboost", seed=8)
    few: dict[str, Any] = {
        "iterations": 8,
        "depth": 4,
        "verbose": False,
        "allow_writing_files": False,
        "thread_count": 1,
        "cat_features": ["venue", "hour"],
    }
    labels = target(kind, seen)
    if kind == "binary":
        return catboost.CatBoostClassifier(**few).fit(seen, labels)
    if kind == "multiclass":
        return catboost.CatBoostClassifier(**few, grow_policy="Depthwise").fit(seen, labels)
    if kind == "ranker":
        return catboost.CatBoostRanker(**few).fit(seen, labels, group_id=np.repeat(range(len(GROUPS)), GROUPS))
    if kind == "regression":
        return catboost.CatBoostRegressor(**few, grow_policy="Lossguide").fit(seen, labels)
    with warnings.catch_warnings(action="ignore"):  # That it would be faster with numba.
        return catboost.CatBoostRegressor(**few, loss_function=Squared(), eval_metric="RMSE").fit(seen, labels)


def xgboost_model(kind: str, seen: pd.DataFrame = SEEN, **options: Any) -> Any:
    import xgboost

    few: dict[str, Any] = {"n_estimators": 8, "max_depth": 4, "enable_categorical": True, "n_jobs": 1} | options
    labels = target(kind, SEEN)
    if kind in LABELS:
        return xgboost.XGBClassifier(**few).fit(seen, np.searchsorted(LABELS[kind], labels))
    if kind == "ranker":
        return xgboost.XGBRanker(**few).fit(seen, labels, group=GROUPS)
    return xgboost.XGBRegressor(**few, **({"objective": squared} if kind == "custom" else {})).fit(seen, labels)


MODELS = {"catboost": catboost_model, "lightgbm": lightgbm_model, "xgboost": xgboost_model}


@dataclass(frozen=True)
class Stored:
    """A model that was saved, checked and loaded."""

    path: Path
    framework: str
    signature: Signature
    predictor: Predictor


def store(model: Any, name: str, folder: Path) -> Stored:
    """Save a model with its format, check the file as everybody who loads it does, and load it."""
    known = formats()[name]
    path = folder / known.file_name
    framework = known.save(model, path)
    known.check(path)
    signature = Signature.from_dict(known.signature(model).to_dict())
    return Stored(path, framework, signature, known.predictor(known.load(path), signature))
