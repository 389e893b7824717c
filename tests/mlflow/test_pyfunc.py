"""MLflow loads what Modelward shows there, by its own means."""

import importlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import catboost
import lightgbm
import mlflow
import numpy as np
import pandas as pd
import pytest
import xgboost
from sklearn.linear_model import LogisticRegression

from modelward import Client
from modelward.signature import Signature
from modelward_server.lifecycle import trials
from tests.support.onnx_files import linear_model
from tests.support.running_server import RunningServer
from tests.support.waiting import eventually

pytestmark = [pytest.mark.system, pytest.mark.filterwarnings("ignore")]  # MLflow's own warnings.

FRAME = pd.DataFrame(np.random.default_rng(0).normal(size=(300, 2)), columns=["momentum", "vix"])
UP = np.where(FRAME.momentum > 0, "up", "down")
UNFITTED: dict[str, Callable[[], Any]] = {
    "skops": LogisticRegression,
    "lightgbm": lambda: lightgbm.LGBMClassifier(n_estimators=5, verbose=-1),
    "xgboost": lambda: xgboost.XGBRegressor(n_estimators=5),
    "catboost": lambda: catboost.CatBoostClassifier(iterations=5, verbose=False, allow_writing_files=False),
}


class OnnxFile:
    """What predicts the same as the ONNX model of the test."""

    @staticmethod
    def predict(frame: pd.DataFrame) -> Any:
        return frame.to_numpy() @ [2.0, -1.0] + 0.5


def _registered(client: Client, name: str, kind: str, folder: Path) -> Any:
    """Register a model, and return what predicts the same."""
    if kind == "onnx":
        (folder / "model.onnx").write_bytes(linear_model([2.0, -1.0], 0.5))
        version = client.register(name, folder / "model.onnx", reference=FRAME)
        model: Any = OnnxFile
    else:
        models = {
            "skops": LogisticRegression(),
            "lightgbm": lightgbm.LGBMClassifier(n_estimators=5, verbose=-1),
            "xgboost": xgboost.XGBRegressor(n_estimators=5),
            "catboost": catboost.CatBoostClassifier(iterations=5, verbose=False, allow_writing_files=False),
        }
        model = models[kind].fit(FRAME, FRAME.momentum if kind == "xgboost" else UP)
        version = client.register(name, model, reference=FRAME)
    client.promote(version, to="staging")
    client.promote(version, to="production", reason="it passed its tests")
    return model


@pytest.mark.parametrize("kind", ["skops", "onnx", "lightgbm", "xgboost", "catboost"])
@pytest.mark.weekly("lightgbm", "xgboost")
def test_mlflow_loads_a_model_that_predicts_the_same(
    server: RunningServer, name: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Client(server.target) as client:
        model = _registered(client, name, kind, tmp_path)
        mlflow.set_tracking_uri(server.settings.tracking_uri)
        eventually_loaded(f"models:/{name}@production")
        _check_own_flavor(kind, f"models:/{name}@production", model)
        for allowed in ("true", "false"):
            monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", allowed)
            loaded = eventually_loaded(f"models:/{name}@production")
            np.testing.assert_allclose(_numbers(loaded.predict(FRAME)), _numbers(model.predict(FRAME)), rtol=1e-5)


def _check_own_flavor(kind: str, uri: str, model: Any) -> None:
    """Check what MLflow's flavor for the model's library loads."""
    flavor = importlib.import_module(f"mlflow.{'sklearn' if kind == 'skops' else kind}")
    loaded = flavor.load_model(uri)
    if kind == "onnx":  # It is the graph.
        assert [given.name for given in loaded.graph.input] == ["x"]
        return
    predicted = np.asarray(loaded.predict(xgboost.DMatrix(FRAME) if kind == "xgboost" else FRAME))
    found = (predicted > 0.5).astype(float) if kind == "lightgbm" else _numbers(predicted)
    np.testing.assert_allclose(found, _numbers(model.predict(FRAME)), rtol=1e-5)


def test_python_function_takes_text_and_categories_of_pandas(server: RunningServer, name: str) -> None:
    frame = FRAME.assign(sector=pd.Categorical(np.where(FRAME.vix > 0, "bank", "oil")))
    model = lightgbm.LGBMRegressor(n_estimators=5, verbose=-1).fit(frame, FRAME.vix)
    mlflow.set_tracking_uri(server.settings.tracking_uri)
    with Client(server.target) as client:
        client.register(name, model, reference=frame)
        eventually(lambda: _model_in_mlflow(client, name).metadata.signature)
        loaded = _model_in_mlflow(client, name)
    assert loaded.metadata.signature.inputs.input_names() == ["momentum", "vix", "sector"]
    expected = np.asarray(model.predict(frame))
    missing = frame.assign(sector=frame.sector.where(frame.vix < 1))
    np.testing.assert_allclose(loaded.predict(frame), expected)
    np.testing.assert_allclose(loaded.predict(frame.astype({"sector": object})), expected)
    np.testing.assert_allclose(loaded.predict(missing), np.asarray(model.predict(missing)))
    assert np.isin(loaded.predict(loaded.input_example), expected).all()


def eventually_loaded(uri: str) -> Any:
    """Load a model once MLflow has it."""
    found: list[Any] = []

    def load() -> bool:
        with suppress(mlflow.exceptions.MlflowException):
            found.append(mlflow.pyfunc.load_model(uri))
        return bool(found)

    eventually(load)
    return found[0]


def _numbers(predicted: Any) -> Any:
    values = np.ravel(predicted)
    return values if values.dtype.kind == "f" else (values == "up").astype(float)


def test_the_signature_is_there(server: RunningServer, name: str, tmp_path: Path) -> None:
    with Client(server.target) as client:
        _registered(client, name, "skops", tmp_path)
        known = client.resolve(name).version.signature or Signature()
        mlflow.set_tracking_uri(server.settings.tracking_uri)
        shown = eventually_loaded(f"models:/{name}@production").metadata.signature
    assert shown.inputs.input_names() == list(known.names)
    assert [str(kind) for kind in shown.inputs.input_types()] == ["DataType.double"] * 2


def test_a_signature_that_the_trial_found_reaches_mlflow(
    server: RunningServer, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    booster = lightgbm.LGBMRegressor(n_estimators=5, verbose=-1).fit(FRAME, FRAME.vix).booster_
    booster.save_model(tmp_path / "model.txt")
    mlflow.set_tracking_uri(server.settings.tracking_uri)
    with Client(server.target) as client:
        with monkeypatch.context() as delayed:
            delayed.setattr(trials, "any_to_claim", lambda *_: False)
            client.register(name, tmp_path / "model.txt")
            assert _model_in_mlflow(client, name).metadata.signature is None
        client.create_model(f"{name}-other")  # A change of anything wakes the trials.
        eventually(lambda: client.get_version(f"{name}/1").signature)
        eventually(lambda: _model_in_mlflow(client, name).metadata.signature)
        shown = _model_in_mlflow(client, name)
    assert shown.metadata.signature.inputs.input_names() == ["momentum", "vix"]
    np.testing.assert_allclose(shown.predict(FRAME), np.asarray(booster.predict(FRAME)))


def test_an_unchanged_signature_is_not_written_again(server: RunningServer, name: str, tmp_path: Path) -> None:
    mlflow.set_tracking_uri(server.settings.tracking_uri)
    with Client(server.target) as client:
        _registered(client, name, "skops", tmp_path)
        created = eventually_loaded(f"models:/{name}@production").metadata.utc_time_created
        eventually(lambda: not client.reconcile_mlflow(name).differences)
        client.update_version(f"{name}/1", description="reviewed")
        eventually(lambda: mlflow.MlflowClient().get_model_version(name, "1").description == "reviewed")
        assert eventually_loaded(f"models:/{name}@production").metadata.utc_time_created == created


@pytest.mark.parametrize("kind", ["skops", "lightgbm"])
def test_rows_of_the_reference_are_the_input_example(
    server: RunningServer, name: str, kind: str, tmp_path: Path
) -> None:
    mlflow.set_tracking_uri(server.settings.tracking_uri)
    with Client(server.target) as client:
        model = _registered(client, name, kind, tmp_path)
        loaded = eventually_loaded(f"models:/{name}@production")
    example = loaded.input_example
    pd.testing.assert_frame_equal(example[:1], FRAME[:1])
    assert len(example) == 5
    np.testing.assert_allclose(_numbers(loaded.predict(example)), _numbers(model.predict(example)))


def _model_in_mlflow(client: Client, name: str) -> Any:
    eventually(lambda: client.get_version(f"{name}/1").mlflow_version)
    return mlflow.pyfunc.load_model(f"models:/{name}/1")
