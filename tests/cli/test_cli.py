"""The command line, as people and scripts use it."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result
from sklearn.linear_model import LogisticRegression

from modelward import Client
from modelward.cli.commands import cli
from tests.conftest import RunningServer

Run = Callable[..., Result]


@pytest.fixture
def run(server: RunningServer) -> Run:
    """Run a command against the server."""

    def invoke(*args: str) -> Result:
        environment = {"MODELWARD_SERVER": server.target, "MODELWARD_ACTOR": "ann", "COLUMNS": "160"}
        return CliRunner().invoke(cli, args, env=environment)

    return invoke


@pytest.fixture
def data() -> pd.DataFrame:
    random = np.random.default_rng(1)
    frame = pd.DataFrame(random.normal(size=(300, 2)), columns=["ret", "vol"])
    return frame.assign(up=(frame["ret"] > 0).astype(int))


@pytest.fixture
def model(server: RunningServer, name: str, data: pd.DataFrame) -> str:
    """A model with two versions, the first in production."""
    features = data[["ret", "vol"]]
    with Client(server.target, actor="ann") as client:
        for c in (0.01, 1.0):
            fitted = LogisticRegression(C=c).fit(features, data["up"])
            client.register(name, fitted, metrics={"accuracy": 0.5 + c / 10}, reference=features)
            client.promote(f"{name}/{1 if c < 1 else 2}", to="staging")
        client.promote(f"{name}/1", to="production", reason="first")
    return name


def _json(result: Result) -> Any:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_models_and_versions_are_shown_as_tables_and_as_json(run: Run, model: str) -> None:
    table = run("models", "--prefix", model)
    assert model in table.output
    assert "production" in table.output
    [found] = _json(run("models", "--prefix", model, "--json"))
    assert (found["name"], found["production_version"], found["latest_version"]) == (model, 1, 2)
    listed = _json(run("versions", model, "--json"))
    assert [(version["version"], version["stage"]) for version in listed] == [(2, "staging"), (1, "production")]
    assert "accuracy=0.501" in run("versions", model, "--stage", "production").output


def test_show_tells_all_about_a_model_and_a_version(run: Run, model: str) -> None:
    assert "production  1" in run("show", model).output
    shown = run("show", f"{model}/1").output
    assert "model.skops" in shown
    assert "C=0.01" in shown
    assert _json(run("show", f"{model}/1", "--json"))["references"] == ["default"]


def test_register_and_download_go_there_and_back(run: Run, name: str, tmp_path: Path) -> None:
    (tmp_path / "weights.bin").write_bytes(b"weights")
    said = run("register", name, str(tmp_path / "weights.bin"), "--metric", "auc=0.6", "--tag", "desk=index")
    assert said.output.strip() == f"registered {name}/1 in training"
    assert _json(run("show", f"{name}/1", "--json"))["metrics"] == {"auc": 0.6}
    run("download", f"{name}/1", str(tmp_path / "copy"))
    assert (tmp_path / "copy" / "weights.bin").read_bytes() == b"weights"


def test_promotion_rollback_and_history(run: Run, model: str) -> None:
    assert "would be in production" in run("promote", f"{model}/2", "--to", "production", "--dry-run").output
    promoted = run("promote", f"{model}/2", "--to", "production", "--reason", "better").output
    assert f"{model}/2 is now in production; {model}/1 was archived" in promoted
    assert _json(run("resolve", model, "--json"))["version"] == 2
    assert "is in production again" in run("rollback", model, "--reason", "worse").output
    moves = _json(run("history", model, "--json"))
    assert [move["to_stage"] for move in moves[:4]] == ["production", "archived", "production", "archived"]
    assert (moves[0]["actor"], moves[0]["reason"]) == ("ann", "rollback: worse")
    assert "rollback: worse" in run("history", model, "--limit", "1").output


def test_halt_stops_resolve_with_its_reason(run: Run, model: str) -> None:
    run("halt", model, "--reason", "prices are wrong")
    refused = run("resolve", model)
    assert refused.exit_code == 1
    assert "prices are wrong" in refused.stderr
    run("resume", model)
    assert run("resolve", model).exit_code == 0


def test_drift_of_a_file_is_shown_by_feature(run: Run, model: str, data: pd.DataFrame, tmp_path: Path) -> None:
    (data[["ret", "vol"]] * [5, 1]).to_csv(tmp_path / "crisis.csv", index=False)
    data[["ret", "vol"]].to_parquet(tmp_path / "same.parquet", index=False)
    shown = run("drift", f"{model}/1", str(tmp_path / "crisis.csv")).output
    assert "Drift in 1 of 2 features" in shown
    report = _json(run("drift", f"{model}/1", str(tmp_path / "same.parquet"), "--json"))
    assert (report["drift_detected"], report["label"]) == (False, "same.parquet")
    assert "crisis.csv" in run("reports", model).output


def test_comparison_of_a_file_names_the_better_one(run: Run, model: str, data: pd.DataFrame, tmp_path: Path) -> None:
    data.to_csv(tmp_path / "test.csv", index=False)
    arguments = ["compare", f"{model}/1", f"{model}/2", str(tmp_path / "test.csv"), "--label", "up"]
    assert "accuracy" in run(*arguments).output
    found = _json(run(*arguments, "--primary", "log_loss", "--json"))
    assert found["best"] == {"model": model, "version": 2}
    wrong = run(*arguments[:-1], "absent")
    assert wrong.exit_code == 2
    assert "has no column 'absent'; it has ret, vol, up" in wrong.stderr


def test_due_jobs_and_schedules_are_listed(run: Run, server: RunningServer, model: str) -> None:
    with Client(server.target) as client:
        client.request_retraining(model, reason="by hand")
    assert "by hand" in next(
        due["reasons"][0]["summary"] for due in _json(run("due", "--json")) if due["model"] == model
    )
    assert [job["model"] for job in _json(run("jobs", model, "--json"))] == [model]
    assert "nothing found" in run("schedules", model).output


def test_audit_log_is_verified_and_exported(run: Run, model: str) -> None:
    assert "intact" in run("audit", "verify").output
    lines = [json.loads(line) for line in run("audit", "export").stdout.splitlines()]
    assert any(line["model"] == model and line["kind"] == "transition" for line in lines)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["show", "absent"], 1, "there is no model 'absent'"),
        (["show", "absent/x"], 1, "version: 'absent/x' is not of the form 'model/3'"),
        (["promote", "absent/1", "--to", "prod"], 2, "'prod' is not one of"),
        (["register", "m", "/absent/path"], 2, "does not exist"),
        (["resolve", "m", "--as-of", "yesterday"], 2, "is not an ISO 8601 time"),
        (["models", "--tag", "novalue"], 2, "is not of the form KEY=VALUE"),
    ],
)
def test_mistakes_are_told_in_a_line_and_by_the_exit_code(run: Run, arguments: list[str], code: int, said: str) -> None:
    result = run(*arguments)
    assert result.exit_code == code
    assert said in result.stderr
    assert "Traceback" not in result.output


def test_bad_setting_of_the_server_is_named(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "modelward", "serve", "--port", "70000", "--data-dir", str(tmp_path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 2
    assert "port: Input should be less than or equal to 65535" in done.stderr


def test_port_in_use_is_told_in_a_line(server: RunningServer, tmp_path: Path) -> None:
    port = server.target.rpartition(":")[2]
    command = [sys.executable, "-m", "modelward", "serve", "--port", port, "--data-dir", str(tmp_path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}" in done.stderr
    assert "Traceback" not in done.stderr
