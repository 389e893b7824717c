"""The one object for models of every format: it takes a table of any kind, and finds its columns by name."""

import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    ExtraTreesClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from modelward.errors import InvalidField
from modelward.formats.predictor import Predictor, estimator_predictor
from modelward.shared.model_files import saved
from tests.support.booster_models import store
from tests.support.format_models import FRAME, MODELS, TARGET

LIVE = FRAME[:50] + 0.25
LIVE.loc[3, "momentum"] = np.nan
TABLES: dict[str, Callable[[pd.DataFrame], Any]] = {
    "pandas": lambda frame: frame,
    "pandas, one row": lambda frame: frame[:1],
    "pandas, no row": lambda frame: frame[:0],
    "pandas, other order and a named extra": lambda frame: frame.assign(desk="eu")[["desk", "vix", "momentum"]],
    "pandas, another index": lambda frame: frame.set_axis(pd.date_range("2026-01-01", periods=len(frame)), axis=0),
    "pandas, Arrow types": lambda frame: frame.convert_dtypes(dtype_backend="pyarrow"),
    "pandas, nullable": lambda frame: frame.convert_dtypes(),
    "polars": lambda frame: pl.DataFrame(dict(frame))[["vix", "momentum"]],
    "arrow": lambda frame: pa.Table.from_pandas(frame[["vix", "momentum"]]),
    "arrow batch": lambda frame: pa.RecordBatch.from_pandas(frame[["vix", "momentum"]]),
    "columns": lambda frame: {name: frame[name].tolist() for name in ("vix", "momentum")},
    "array": lambda frame: frame.to_numpy(),
    "array, by columns": lambda frame: np.asfortranarray(frame.to_numpy()),
    "array of objects": lambda frame: frame.to_numpy().astype(object),
    "list of rows": lambda frame: frame.to_numpy().tolist(),
}


ESTIMATORS: dict[str, Any] = {
    "linear": LinearRegression(),
    "forest": RandomForestRegressor(5, random_state=1),
    "boosting": HistGradientBoostingRegressor(max_iter=5),
    "neighbors": KNeighborsRegressor(),
    "pipeline": make_pipeline(StandardScaler(), Ridge()),
    "columns by name": make_pipeline(ColumnTransformer([("one", StandardScaler(), ["vix"])]), Ridge()),
    "a function": make_pipeline(FunctionTransformer(lambda frame: frame[["vix"]]), Ridge()),
    "frames between steps": make_pipeline(StandardScaler().set_output(transform="pandas"), Ridge()),
    "boosting of categories": HistGradientBoostingRegressor(max_iter=5, categorical_features=["vix"]),
    "search": GridSearchCV(Ridge(), {"alpha": [0.1, 1.0]}, cv=2),
}
NEEDS_FRAMES = list(ESTIMATORS.values())[5:]


@cache
def predictor(kind: str) -> Predictor:
    with tempfile.TemporaryDirectory() as folder:
        return store(MODELS[kind](), kind, Path(folder)).predictor


@pytest.mark.filterwarnings("ignore:X does not have valid feature names")  # scikit-learn's, of arrays.
@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("kind", MODELS)
def test_a_table_of_any_kind_is_predicted_as_the_model_itself_does(kind: str, table: str) -> None:
    rows = 1 if "one row" in table else 0 if "no row" in table else len(LIVE)
    given = TABLES[table](LIVE)
    before = given.copy() if hasattr(given, "copy") else given
    if rows == 0 and kind == "skops":
        pytest.xfail("scikit-learn refuses a table without rows")
    found = predictor(kind).predict(given)
    expected = LIVE.to_numpy() @ [1.0, -0.5] if kind == "onnx" else np.asarray(MODELS[kind]().predict(LIVE))
    np.testing.assert_allclose(found, expected[:rows], rtol=1e-12, atol=1e-12)
    assert found.shape == (rows,)
    assert str(given) == str(before)


@pytest.mark.parametrize("make", [dict, pd.DataFrame, pl.DataFrame, pa.table], ids=lambda make: make.__module__)
@pytest.mark.parametrize("kind", MODELS)
def test_a_missing_column_is_named(kind: str, make: Callable[[Any], Any]) -> None:
    with pytest.raises(InvalidField, match=r"has no column 'vix' \(did you mean 'vixx'"):
        predictor(kind).predict(make({"momentum": [0.5, 1.0], "vixx": [1.0, 2.0]}))


@pytest.mark.parametrize("kind", MODELS)
def test_an_array_of_another_width_is_refused(kind: str) -> None:
    with pytest.raises(InvalidField, match="has 3 columns, but the model takes 2"):
        predictor(kind).predict(np.zeros((4, 3)))


@pytest.mark.filterwarnings("ignore:X does not have valid feature names")  # scikit-learn's, of arrays.
@pytest.mark.parametrize("estimator", ESTIMATORS.values(), ids=ESTIMATORS)
def test_a_matrix_with_names_is_predicted_bit_for_bit_as_the_frame(estimator: Any) -> None:
    model = estimator_predictor(estimator.fit(FRAME[:200], TARGET[:200]), None)
    rows = model.from_matrix(np.ascontiguousarray(LIVE.dropna()[["vix", "momentum"]].to_numpy()), ["vix", "momentum"])
    expected = estimator.predict(LIVE.dropna()[["momentum", "vix"]])
    np.testing.assert_array_equal(model.outputs(rows).predicted, expected)
    assert isinstance(rows, np.ndarray) == (estimator not in NEEDS_FRAMES)


@pytest.mark.parametrize("forest", [RandomForestClassifier, ExtraTreesClassifier])
def test_a_forest_is_asked_once_for_classes_and_probabilities(
    forest: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = np.array(["down", "flat", "up"])[np.digitize(TARGET, [-0.5, 0.5])]
    model = forest(4, max_depth=2, random_state=1).fit(FRAME, names)  # Few trees, so that probabilities are equal.
    expected, probabilities = model.predict(FRAME), model.predict_proba(FRAME)
    predictor = estimator_predictor(model, None)
    monkeypatch.setattr(predictor, "_predict", None)
    outputs = predictor.outputs(predictor.prepare(FRAME))
    assert outputs.labels().tolist() == expected.tolist()
    assert outputs.probabilities is not None
    np.testing.assert_array_equal(outputs.probabilities, probabilities)


TEXT: dict[str, Any] = {
    "pandas": pd.DataFrame({"x": ["1.0"], "y": [2.0]}),
    "pandas, strings": pd.DataFrame({"x": ["1.0"], "y": [2.0]}).astype("string"),
    "polars": pl.DataFrame({"x": ["1.0"], "y": [2.0]}),
    "arrow": pa.table({"x": ["1.0"], "y": [2.0]}),
    "columns": {"x": ["1.0"], "y": [2.0]},
    "array": np.array([["1.0", "2.0"]]),
    "array of objects": np.array([["1.0", 2.0]], object),
    "list of rows": [["1.0", 2.0]],
}


@pytest.mark.parametrize("table", TEXT)
@pytest.mark.parametrize("in_frame", [True, False])
def test_text_of_numbers_is_refused_by_a_model_that_takes_numbers(in_frame: bool, table: str) -> None:
    rows = pd.DataFrame({"x": [1.0, 2.0, 3.0], "y": [0.0, 1.0, 0.0]})
    model = make_pipeline(StandardScaler(), Ridge()).fit(rows if in_frame else rows.to_numpy(), rows.x)
    with pytest.raises(InvalidField, match=r"data: has text in the column '\w+', where the model takes numbers; send"):
        estimator_predictor(model, None).predict(TEXT[table])


@pytest.mark.parametrize("empty", [[None, None], pa.nulls(2), pd.Series([None, None], dtype="string")])
def test_a_column_without_any_value_is_missing_whatever_its_type(empty: Any) -> None:
    rows = pd.DataFrame({"x": [1.0, 2.0, 3.0], "y": [0.0, 1.0, 0.0]})
    predictor = estimator_predictor(HistGradientBoostingRegressor(max_iter=5).fit(rows.to_numpy(), rows.x), None)
    expected = predictor.predict({"x": [np.nan] * 2, "y": [0.0, 1.0]})
    np.testing.assert_array_equal(predictor.predict({"x": empty, "y": [0.0, 1.0]}), expected)


def test_a_model_whose_class_has_no_module_is_predicted_with() -> None:
    made: dict[str, Any] = {}
    exec("Own = type('Own', (), {'predict': lambda self, rows: rows[:, 0]})", made)
    model = made["Own"]()
    assert not hasattr(type(model), "__module__")
    assert estimator_predictor(model, None).predict(np.ones((2, 1))).tolist() == [1.0, 1.0]
    with pytest.raises(InvalidField, match="Own is not a path"), saved(model):
        pass
