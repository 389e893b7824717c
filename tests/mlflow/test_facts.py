"""MLflow shows what becomes known of a version: data sets, values of metrics, drift and comparisons."""

import json
from datetime import timedelta
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.types import Schema
from sklearn.linear_model import LinearRegression

from modelward import Client, ModelVersion
from modelward.shared.figures import score
from tests.support.running_server import RunningServer
from tests.support.waiting import eventually

pytestmark = pytest.mark.system  # Each test needs MLflow's store.

FRAME = pd.DataFrame(np.random.default_rng(0).normal(size=(400, 2)), columns=["momentum", "vix"])
TREND = FRAME.momentum * 2 - FRAME.vix


def _shown(server: RunningServer, client: Client, name: str) -> tuple[Any, ModelVersion]:
    """Return a client of MLflow, and a version that MLflow shows with all changes up to now."""
    eventually(lambda: client.get_version(f"{name}/1").mlflow_version and not server.app.mirror.behind())
    uri = server.settings.tracking_uri
    return mlflow.MlflowClient(uri, registry_uri=uri), client.get_version(f"{name}/1")


def test_references_are_data_sets_of_the_run(server: RunningServer, name: str) -> None:
    with Client(server.target, actor="ann") as client:
        version = client.register(name, LinearRegression().fit(FRAME, TREND), reference=FRAME.assign(sector="bank"))
        client.set_reference(version, FRAME[:100], name="crisis")
        shown, version = _shown(server, client, name)
        digests = {client.get_reference(version, name=one).digest[:36] for one in version.references}
        client.update_version(version, description="reviewed")
        _shown(server, client, name)
        run = shown.get_run(version.run_id)
    given = {one.dataset.name: one.dataset for one in run.inputs.dataset_inputs}
    assert set(given) == {f"{name}-v1-default", f"{name}-v1-crisis"}
    assert {one.digest for one in given.values()} == digests
    default = given[f"{name}-v1-default"]
    assert json.loads(default.profile) == {"num_rows": 400, "num_elements": 1200}
    columns = Schema.from_json(json.dumps(json.loads(default.schema)["mlflow_colspec"]))
    assert [f"{one.name}: {one.type.name}" for one in columns.inputs] == [
        "momentum: double",
        "vix: double",
        "sector: string",
    ]
    assert mlflow.data.get_source(run.inputs.dataset_inputs[0]).to_dict()["tags"]["mlflow.user"] == "ann"
    assert run.data.tags["mlflow.user"] == "ann"
    assert shown.get_model_version(name, version.mlflow_version).tags["modelward.created_by"] == "ann"


def test_each_value_of_a_metric_is_a_step(server: RunningServer, name: str) -> None:
    with Client(server.target) as client:
        version = client.register(name, LinearRegression().fit(FRAME, TREND), metrics={"hit_rate": 0.5})
        start = version.created_at
        for value, hours in ((0.51, 1), (0.52, 2), (0.48, -3), (0.53, 3)):
            client.log_metrics(version, {"hit_rate": value}, measured_at=start + timedelta(hours=hours))
            shown, version = _shown(server, client, name)
        client.log_metrics(version, {"hit_rate": 0.49}, measured_at=start + timedelta(hours=2.5))
        shown, version = _shown(server, client, name)
        history = shown.get_metric_history(version.run_id, "hit_rate")
    measured = [(one.step, one.value, round((one.timestamp / 1000 - start.timestamp()) / 3600, 1)) for one in history]
    assert sorted(measured) == [
        (0, 0.5, 0),
        (1, 0.51, 1),
        (2, 0.48, -3),
        (2, 0.52, 2),
        (4, 0.49, 2.5),
        (4, 0.53, 3),
    ]
    assert shown.get_run(version.run_id).data.metrics["hit_rate"] == version.metrics["hit_rate"] == 0.53


def test_the_newest_drift_report_and_comparison_are_there(server: RunningServer, name: str) -> None:
    with Client(server.target) as client:
        for slope in (1.0, 0.5):
            client.register(name, LinearRegression().fit(FRAME, TREND * slope), reference=FRAME)
        report = client.detect_drift(f"{name}/1", FRAME + 2)
        found = client.compare([f"{name}/1", f"{name}/2"], FRAME, TREND + FRAME.vix**2)
        shown, version = _shown(server, client, name)
        run = shown.get_run(version.run_id)
        calm = client.detect_drift(f"{name}/1", FRAME)
        _shown(server, client, name)
        tags = shown.get_model_version(name, version.mlflow_version).tags
        scores = shown.get_metric_history(version.run_id, "modelward.drift_score")
    assert run.data.metrics["modelward.drift_score"] == report.score
    assert run.data.tags["modelward.drift"].startswith(f"drift detected, score {score(report.score)}")
    assert tags["modelward.comparison"].startswith(found.conclusion.summary)
    assert found.comparison_id in tags["modelward.comparison"]
    assert tags["modelward.drift"].startswith("no drift detected")
    assert calm.report_id in tags["modelward.drift"]
    assert [score.value for score in scores] == [report.score, calm.score]
