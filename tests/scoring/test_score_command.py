"""The command `modelward score`, through its main function."""

import csv
import io
import json
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from modelward import Client
from modelward.assignment import assign
from modelward.cli.commands import cli
from tests.support.running_server import RunningServer
from tests.support.waiting import eventually

pytestmark = pytest.mark.system  # Takes seconds.

ROWS = pd.DataFrame({"a": np.arange(120.0), "b": np.ones(120)})


@pytest.fixture(scope="module")
def scoring_settings() -> dict[str, object]:
    return {"score_log": 1.0}


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


def run(server: RunningServer, *arguments: str, command: str = "score") -> str:
    done = CliRunner().invoke(cli, [command, *arguments, "--server", server.target], catch_exceptions=False)
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


def test_an_ab_test_chooses_the_version_of_a_unit(scoring_server: RunningServer, model: str, data: str) -> None:
    with Client(scoring_server.target) as client:
        client.register(model, LinearRegression().fit(ROWS, ROWS.a), reference=ROWS)
        test = client.create_ab_test(
            f"{model}-exits", {"champion": f"{model}/1", "challenger": f"{model}/2"}, primary_metric="pnl_bps"
        )
    variant = assign(test, "account-7").variant
    shown = run(scoring_server, model, data, "--ab-test", test.test, "--unit", "account-7")
    assert variant.name in shown
    assert str(variant.version) in shown


def test_the_highest_are_asked_for(scoring_server: RunningServer, model: str, data: str) -> None:
    found = json.loads(run(scoring_server, model, data, "--top", "2", "--format", "json"))
    assert found["rows"] == [119, 118]


def test_what_decided_at_an_instant_is_listed_and_the_past_is_compared(
    scoring_server: RunningServer, model: str, data: str
) -> None:
    first = json.loads(run(scoring_server, model, data, "--format", "json"))["request_id"]
    between = datetime.now(UTC).isoformat()
    second = json.loads(run(scoring_server, model, data, "--format", "json"))["request_id"]

    def listed(*arguments: str) -> list[str]:
        found = run(scoring_server, model, *arguments, "--format", "json", command="scores")
        return [record["request_id"] for record in json.loads(found)]

    eventually(lambda: second in listed())
    assert listed("--at", between, "--limit", "1") == listed("--until", between, "--limit", "1") == [first]
    assert listed("--since", between) == listed("--request", second) == [second]
    assert listed("--client", "nobody") == []
    shown = run(scoring_server, model, "--version", "1", command="scores")
    assert f"{model}/1" in shown
    assert first in shown
    replayed = run(scoring_server, model, data, "--as-of", between)
    assert "the same answer" in replayed
    assert "unchanged" in replayed


def test_one_end_of_a_period_is_given_once(scoring_server: RunningServer) -> None:
    arguments = ["scores", "--at", "2026-03-02", "--until", "2026-03-02", "--server", scoring_server.target]
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == 2
    assert "give --at or --until" in done.output


def test_csv_columns_have_the_kinds_of_the_reference(scoring_server: RunningServer, tmp_path: Path) -> None:
    name, codes = f"codes-{uuid4().hex[:8]}", ["10501", "20502"] * 60
    rows = pd.DataFrame({"code": codes, "x": np.linspace(0, 1, 120)})
    model = make_pipeline(
        make_column_transformer((OneHotEncoder(), ["code"]), remainder="passthrough"), LinearRegression()
    )
    with Client(scoring_server.target) as client:
        model.fit(rows, [1.0, 2.0] * 60)
        client.register(name, model)
        version = client.register(name, model, reference=rows)
        client.promote(version, to="staging")
        client.promote(version, to="production", reason="it passed its tests")
    rows.assign(y=[1.0, 2.0] * 60).to_csv(tmp_path / "rows.csv", index=False)
    found = json.loads(run(scoring_server, name, str(tmp_path / "rows.csv"), "--json"))
    np.testing.assert_allclose(found["predictions"], [1.0, 2.0] * 60, atol=1e-9)
    versions = f"{name}/1", f"{name}/2", str(tmp_path / "rows.csv"), "--label", "y", "--json"
    compared = json.loads(run(scoring_server, *versions, command="compare"))
    assert [one["failure"] for one in compared["results"]] == ["", ""]


def test_rows_that_fail_are_counted_where_not_all_are_shown(
    scoring_server: RunningServer, model: str, data: str
) -> None:
    gaps = ROWS.copy()
    gaps.loc[3:14, "a"] = np.nan
    gaps.to_csv(data, index=False)
    shown = run(scoring_server, model, data, "--row-errors")
    assert "row 12" in shown
    assert "2 more rows; --format json has all" in shown
