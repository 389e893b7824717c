"""scikit-learn's models on their way to files and back: which load by themselves, and what is said of the others."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import uniform
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.cluster import Birch
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.feature_selection import SelectKBest, chi2, f_regression, mutual_info_classif
from sklearn.gaussian_process import GaussianProcessClassifier
from sklearn.gaussian_process.kernels import RBF, WhiteKernel
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV, TimeSeriesSplit
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, SplineTransformer, StandardScaler

from modelward import AsyncClient, errors
from modelward.shared.model_files import load, saved
from tests.support.comparison_models import SKOPS

RANDOM = np.random.default_rng(0)
X = np.abs(RANDOM.normal(size=(80, 3)))
Y = (X[:, 0] > 0.7).astype(int)
FRAME = pd.DataFrame(X, columns=["a", "b", "c"])
FRAME["venue"] = pd.Categorical(RANDOM.choice(["NYSE", "CME"], 80))
LOG = LogisticRegression()


class Doubled(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types.
    """Somebody's own step."""

    def fit(self, x: Any, y: Any = None) -> "Doubled":
        return self

    def transform(self, x: Any) -> Any:
        return 2 * np.asarray(x)


DOUBLED = f"{__name__}.Doubled"


def there_and_back(model: Any, data: Any, trusted: list[str] | None = None) -> Any:
    with saved(model.fit(data, Y)) as files:
        return load(SKOPS, files.folder, trusted or [], allow_pickle=False)


@pytest.mark.parametrize(
    "model",
    [
        GridSearchCV(LOG, {"C": [1, 2]}, cv=3),
        GridSearchCV(LOG, {"C": [1, 2]}, scoring=["accuracy", "roc_auc"], refit="roc_auc", cv=TimeSeriesSplit(3)),
        GridSearchCV(Ridge(), {"alpha": [1, 2]}, scoring="neg_mean_squared_error", cv=3),
        RandomizedSearchCV(LOG, {"C": [1.0, 2.0, 3.0]}, n_iter=2, cv=3, random_state=0),
        make_pipeline(SelectKBest(k=2), LOG),
        make_pipeline(SelectKBest(chi2, k=2), LOG),
        make_pipeline(SelectKBest(f_regression, k=2), Ridge()),
        make_pipeline(SelectKBest(mutual_info_classif, k=2), LOG),
        make_pipeline(FunctionTransformer(np.log1p), LOG),
        make_pipeline(SplineTransformer(), LOG),
        HistGradientBoostingClassifier(max_iter=3),
        GaussianProcessClassifier(RBF() + WhiteKernel(), optimizer=None),
        KNeighborsClassifier(metric="manhattan", algorithm="ball_tree"),
    ],
    ids=lambda model: type(model[0] if isinstance(model, Pipeline) else model).__name__,
)
def test_common_models_load_by_themselves_and_without_a_warning(model: Any) -> None:
    loaded = there_and_back(model, X)
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))


@pytest.mark.parametrize(
    "model",
    [
        HistGradientBoostingClassifier(max_iter=3, categorical_features="from_dtype"),
        make_pipeline(
            make_column_transformer(
                (OneHotEncoder(), make_column_selector(dtype_include="category")),
                (StandardScaler(), make_column_selector(dtype_include="number")),
            ),
            LOG,
        ),
    ],
    ids=["categories of trees", "columns by type"],
)
def test_models_of_categories_load_by_themselves(model: Any) -> None:
    loaded = there_and_back(model, FRAME)
    np.testing.assert_array_equal(loaded.predict(FRAME), model.predict(FRAME))


async def test_types_of_ones_own_are_warned_of_and_load_once_they_are_named(
    client: AsyncClient, name: str, tmp_path: Path
) -> None:
    model = make_pipeline(Doubled(), LogisticRegression()).fit(X, Y)
    with pytest.warns(errors.UntrustedTypesWarning, match=rf"load\(\) and follow\(\) need trusted=\['{DOUBLED}'\]"):
        version = await client.register(name, model)
    with pytest.raises(errors.FormatNotExecutable, match=rf"pass trusted=\['{DOUBLED}'\]") as caught:
        await client.load(version)
    assert caught.value.metadata["format"] == "skops"
    loaded = await client.load(version, trusted=[DOUBLED])
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))


def test_frozen_distributions_are_not_trusted_since_they_run_a_text_of_theirs() -> None:
    model = RandomizedSearchCV(LOG, {"C": uniform(0.1, 10)}, n_iter=2, cv=3, random_state=0)
    with (
        pytest.warns(errors.UntrustedTypesWarning, match="rv_continuous_frozen"),
        pytest.raises(errors.FormatNotExecutable, match="rv_continuous_frozen"),
    ):
        there_and_back(model, X)


def test_what_no_file_can_name_is_refused() -> None:
    def inner(x: Any) -> Any:
        return x

    for function in (lambda x: x, inner):
        with pytest.raises(errors.InvalidField, match=r"model: contains .*, which cannot be found by name"):
            there_and_back(make_pipeline(FunctionTransformer(function), LOG), X)


async def test_a_class_and_what_skops_cannot_save_are_refused_in_words(client: AsyncClient, name: str) -> None:
    with pytest.raises(errors.InvalidField, match=r"model: LogisticRegression is a class; give an instance"):
        await client.register(name, LogisticRegression)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        birch = Birch().fit(X)
    with pytest.raises(errors.InvalidField, match=r"model: Birch cannot be saved by skops: .*; save it to a file"):
        await client.register(name, birch)
    with pytest.raises(errors.ModelNotFound):
        await client.get_model(name)
