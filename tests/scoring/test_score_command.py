"""The command `modelward score`, through its main function."""

import csv
import io
import json
from pathlib import Path
from uuid import uuid4

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from sklearn.linear_model import LinearRegression

from modelward import Client
from modelward.cli.commands import cli
from tests.support.running_server import RunningServer

ROWS = pd.DataFrame({"a": np.arange(120.0), "b": np.ones(120)})


@pytest.fixture(scope="module")
def model(scoring_server: RunningServer) -> str:
    name = f"spx-{uuid4().hex[:8]}"
    with Client(scoring_server.target) as client:
        version = client.register(name, LinearRegression().fit(ROWS, 2 * ROWS.a), reference=ROWS)
        client.promote(version, to="staging")
        client.promote(version, to="production", reason="it passed its tests")
    return name


@pytest.fixture
def data(tmp_path: Path) -> str:
    ROWS.to_csv(tmp_path / "rows.csv", index=False)
    return str(tmp_path / "rows.csv")


def run(server: RunningServer, *arguments: str) -> str:
    done = CliRunner().invoke(cli, ["score", *arguments, "--server", server.target], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_rows_are_shown_with_the_version_that_answered(scoring_server: RunningServer, model: str, data: str) -> None:
    shown = run(scoring_server, model, data)
    assert f"{model}/1, production" in shown
    assert "prediction" in shown
    assert "and 20 more rows" in shown


def test_json_and_csv_have_every_row(scoring_server: RunningServer, model: str, data: str) -> None:
    found = json.loads(run(scoring_server, model, data, "--format", "json"))
    np.testing.assert_allclose(found["predictions"], 2 * ROWS.a, atol=1e-9)
    rows = list(csv.DictReader(io.StringIO(run(scoring_server, model, data, "--format", "csv"))))
    assert [int(row["row"]) for row in rows] == list(range(120))
    np.testing.assert_allclose([float(row["prediction"]) for row in rows], 2 * ROWS.a, atol=1e-9)


def test_the_highest_are_asked_for(scoring_server: RunningServer, model: str, data: str) -> None:
    found = json.loads(run(scoring_server, model, data, "--top", "2", "--format", "json"))
    assert found["rows"] == [119, 118]
