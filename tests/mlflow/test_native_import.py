"""Models that MLflow's own flavors saved, imported: they are run and compared here, or a reason says why not."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import catboost
import lightgbm
import mlflow
import numpy as np
import pandas as pd
import pytest
import xgboost
from mlflow.models import infer_signature
from sklearn.linear_model import LogisticRegression

from modelward import Client, TrialResult
from modelward.signature import Signature
from modelward_server.mlflow.client import global_uri
from modelward_server.settings import Settings
from tests.support.mlflow_tables import write_mlflow_tables
from tests.support.onnx_files import linear_model
from tests.support.running_server import RunningServer
from tests.support.waiting import eventually

pytestmark = [pytest.mark.system, pytest.mark.filterwarnings("ignore")]  # MLflow's own warnings.

FRAME = pd.DataFrame(np.random.default_rng(0).normal(size=(300, 2)), columns=["momentum", "vix"])
UP = (FRAME.momentum + 0.3 * FRAME.vix > 0).astype(int)
CLASSIFIER = LogisticRegression().fit(FRAME, UP)
BOOSTED = lightgbm.LGBMClassifier(n_estimators=5, verbose=-1).fit(FRAME, UP)
BY_ITS_LIBRARY: dict[str, Any] = {
    "xgboost": xgboost.XGBClassifier(n_estimators=5).fit(FRAME, UP),
    "catboost": catboost.CatBoostClassifier(iterations=5, verbose=False, allow_writing_files=False).fit(FRAME, UP),
}
TRUSTED = ("collections.OrderedDict", "lightgbm.basic.Booster", "lightgbm.sklearn.LGBMClassifier")
"""Types of LightGBM's estimators, which MLflow saves by skops."""


def doubled(model_input):  # type: ignore[no-untyped-def] # MLflow makes a signature of types
    """Return twice the first column; a model that is code."""
    return 2 * model_input.iloc[:, 0]


def _log(settings: Settings, kind: str, folder: Path) -> None:
    """Register a model as a data scientist does with MLflow alone."""
    # Every server of this process sets MLflow's URI when it mirrors a version, those of other tests too.
    with global_uri(settings.tracking_uri):
        _log_there(kind, folder)


def _log_there(kind: str, folder: Path) -> None:
    common: dict[str, Any] = {"name": "model", "registered_model_name": kind, "pip_requirements": []}
    common["signature"] = infer_signature(FRAME, UP)
    with mlflow.start_run():
        if kind in {"skops", "cloudpickle"}:
            mlflow.sklearn.log_model(CLASSIFIER, serialization_format=kind, **common)
        elif kind == "booster":
            mlflow.lightgbm.log_model(BOOSTED.booster_, **common)
        elif kind == "boosted":
            mlflow.lightgbm.log_model(BOOSTED, **common)
        elif kind == "code":
            mlflow.pyfunc.log_model(python_model=doubled, **common)
        elif kind == "onnx":
            _log_onnx(common, folder)
        else:
            model = BY_ITS_LIBRARY[kind]
            {"xgboost": mlflow.xgboost, "catboost": mlflow.catboost}[kind].log_model(model, **common)


def _log_onnx(common: dict[str, Any], folder: Path) -> None:
    import onnx

    (folder / "linear.onnx").write_bytes(linear_model([2.0, -1.0], 0.5))
    numbers = FRAME.astype("float32").to_numpy()
    common["signature"] = infer_signature(numbers, numbers[:, :1])
    mlflow.onnx.log_model(onnx.load(folder / "linear.onnx"), **common)


@pytest.fixture
def settings(tmp_path: Path, request: pytest.FixtureRequest) -> Settings:
    allowed = (f"file://{tmp_path / 'files'}", "models:/")
    return Settings(port=0, data_dir=tmp_path / "data", allowed_sources=allowed, **getattr(request, "param", {}))


@pytest.fixture
def client(settings: Settings, tmp_path: Path) -> Iterator[Client]:
    settings.data_dir.mkdir(parents=True)
    write_mlflow_tables(settings.data_dir / "mlflow.db")
    with global_uri(settings.tracking_uri):
        mlflow.set_experiment(experiment_id=mlflow.create_experiment("research", str(tmp_path / "files")))
    running = RunningServer(settings)
    with Client(running.target) as client:
        yield client
    running.stop()


def _tried(client: Client, version: str) -> Any:
    def trial() -> Any:
        return client.get_version(version).trial

    eventually(lambda: trial().result is not TrialResult.PENDING)
    return trial()


def test_models_in_formats_of_ours_are_compared_and_followed(
    client: Client, settings: Settings, tmp_path: Path
) -> None:
    stored = {"skops": "skops", "booster": "lightgbm", "onnx": "onnx", "xgboost": "xgboost", "catboost": "catboost"}
    for kind in stored:
        _log(settings, kind, tmp_path)
    imported = client.import_mlflow()
    assert {(one.problem, one.not_tried) for one in imported} == {("", "")}
    versions = {one.model: client.get_version(f"{one.model}/1") for one in imported}
    assert {model: str(version.format) for model, version in versions.items()} == stored
    assert versions["skops"].framework.startswith("scikit-learn ")
    assert (versions["booster"].signature or Signature()).names == ("momentum", "vix")
    assert {model: _tried(client, f"{model}/1").result for model in stored} == dict.fromkeys(stored, "usable")
    classifiers = ["skops/1", "booster/1", "xgboost/1", "catboost/1"]
    assert [result.failure for result in client.compare(classifiers, FRAME, UP).results] == [""] * len(classifiers)
    client.promote("booster/1", to="staging")
    client.promote("booster/1", to="production", reason="it passed its tests")
    with client.follow("booster") as live:
        np.testing.assert_array_equal(live.current.model.predict(FRAME), BOOSTED.predict(FRAME))
    for kind, model in BY_ITS_LIBRARY.items():
        np.testing.assert_array_equal(np.ravel(client.load(f"{kind}/1").predict(FRAME)), model.predict(FRAME))
    numbers = FRAME.astype("float32").to_numpy()
    np.testing.assert_allclose(client.load("onnx/1").predict(numbers).ravel(), numbers @ [2, -1] + 0.5, rtol=1e-5)


def test_models_that_are_code_have_a_reason(client: Client, settings: Settings, tmp_path: Path) -> None:
    for kind in ("cloudpickle", "code", "boosted"):
        _log(settings, kind, tmp_path)
    imported = {one.model: one for one in client.import_mlflow()}
    assert "MODELWARD_ALLOW_PICKLE" in imported["cloudpickle"].not_tried
    assert imported["code"].not_tried == "its python_function runs code of its author's, which only MLflow loads"
    for model in ("cloudpickle", "code"):
        trial = _tried(client, f"{model}/1")
        assert (trial.result, trial.reason) == (TrialResult.NOT_TRIED, imported[model].not_tried)
    boosted = _tried(client, "boosted/1")
    assert boosted.result is TrialResult.UNUSABLE
    assert "lightgbm.sklearn.LGBMClassifier" in boosted.reason
    client.promote("code/1", to="staging")
    [gate] = client.promote("code/1", to="production", reason="it passed its tests").transition.gates
    assert gate.passed  # Nobody here knows its format, and the evidence says why.
    assert imported["code"].not_tried in gate.evidence


@pytest.mark.parametrize("settings", [{"allow_pickle": True, "trusted_types": TRUSTED}], indirect=True)
def test_models_run_once_the_operator_allows_it(client: Client, settings: Settings, tmp_path: Path) -> None:
    for kind in ("cloudpickle", "boosted"):
        _log(settings, kind, tmp_path)
    assert [one.not_tried for one in client.import_mlflow()] == ["", ""]
    for model in ("cloudpickle", "boosted"):
        assert _tried(client, f"{model}/1").result is TrialResult.USABLE
    found = client.compare(["cloudpickle/1", "boosted/1"], FRAME, UP)
    assert [result.failure for result in found.results] == ["", ""]
