"""Predictions that were made elsewhere, through both clients: aligned by id, judged, and put to use as positions."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression
from sklearn.metrics import (
    log_loss,
    matthews_corrcoef,
    mean_absolute_percentage_error,
    median_absolute_error,
    root_mean_squared_error,
)

from modelward import AsyncClient, Comparison, Metric, ModelKind, SignificanceTest, Verdict, errors

pytestmark = pytest.mark.system  # Runs models in processes, and uploads large tables.

RANDOM = np.random.default_rng(0)
ROWS = 400
RETURNS = RANDOM.normal(0, 0.01, ROWS)
GOOD, BAD = (RETURNS + RANDOM.normal(0, noise, ROWS) for noise in (0.005, 0.05))


@pytest.fixture
async def versions(client: AsyncClient, name: str, tmp_path: Path) -> list[str]:
    """Two versions whose files nobody could run."""
    (tmp_path / "model.bin").write_bytes(b"weights")
    return [str((await client.register(name, tmp_path / "model.bin")).ref) for _ in range(2)]


async def compared(
    client: AsyncClient, versions: list[str], answers: list[Any], truth: Any, **asked: Any
) -> Comparison:
    found = await client.compare([], None, truth, predictions=dict(zip(versions, answers, strict=True)), **asked)
    assert isinstance(found, Comparison)
    return found


async def test_numbers_are_measured_as_scikit_learn_does_and_tested_after_diebold_and_mariano(
    client: AsyncClient, versions: list[str]
) -> None:
    found = await compared(client, versions, [BAD, GOOD], RETURNS)
    assert (found.kind, found.rows, str(found.best)) == (ModelKind.REGRESSION, ROWS, versions[1])
    assert found.conclusion.verdict is Verdict.SUPERIOR
    assert found.conclusion.difference.test == SignificanceTest.DIEBOLD_MARIANO
    assert found.conclusion.difference.statistic < -5
    good = found.result(versions[1])
    assert good.latency is None
    assert good["rmse"] == pytest.approx(root_mean_squared_error(RETURNS, GOOD))
    assert good["mape"] == pytest.approx(mean_absolute_percentage_error(RETURNS, GOOD))
    assert good["median_absolute_error"] == pytest.approx(median_absolute_error(RETURNS, GOOD))
    assert [str(one) for one in found.confidence_set] == [versions[1]]
    assert found.spa_p_value is not None
    assert found.spa_p_value < 0.05
    assert found == await client.get_comparison(found.comparison_id)


async def test_classes_with_probabilities_are_put_to_mcnemar_and_delong(
    client: AsyncClient, versions: list[str]
) -> None:
    truth = np.where(RETURNS > 0, "up", "down").astype(object)
    sure = 1 / (1 + np.exp(-GOOD / 0.01))
    table = {
        "id": np.arange(ROWS),
        "prediction": np.where(GOOD > 0, "up", "down").astype(object),
        "probability": sure,
    }
    worse = table | {"prediction": np.where(BAD > 0, "up", "down").astype(object), "probability": np.full(ROWS, 0.5)}
    found = await compared(client, versions, [worse, table], truth, block_rows=1, primary="roc_auc")
    assert found.conclusion.difference.test == SignificanceTest.DELONG
    tests = {one.metric: one.test for one in found.result(versions[1]).differences}
    assert tests[Metric.ACCURACY] in {SignificanceTest.MCNEMAR, SignificanceTest.MCNEMAR_EXACT}
    assert tests[Metric.F1] is SignificanceTest.BOOTSTRAP
    good = found.result(versions[1])
    assert good["log_loss"] == pytest.approx(log_loss(truth, np.column_stack([1 - sure, sure]), labels=["down", "up"]))
    assert good["matthews_correlation"] == pytest.approx(matthews_corrcoef(truth, table["prediction"]))
    adjusted = [one.adjusted_p_value for one in good.differences]
    assert all(one.p_value <= corrected for one, corrected in zip(good.differences, adjusted, strict=True))


async def test_returns_give_trading_metrics_less_the_cost_of_turnover(client: AsyncClient, versions: list[str]) -> None:
    positions = np.clip(GOOD / 0.01, -1, 1)
    table = {"id": np.arange(ROWS), "prediction": GOOD, "position": positions}
    found = await compared(client, versions, [BAD, table], RETURNS, returns=RETURNS, cost_bps=5, primary="sharpe")
    net = pd.Series(positions * RETURNS - 5e-4 * np.abs(np.diff(positions, prepend=0)))
    good = found.result(versions[1])
    assert good["sharpe"] == pytest.approx(np.sqrt(252) * net.mean() / net.std(ddof=0))
    assert good["sortino"] == pytest.approx(np.sqrt(252) * net.mean() / np.sqrt((net.clip(upper=0) ** 2).mean()))
    path = np.r_[0, net.cumsum()]
    assert good["max_drawdown"] == pytest.approx((np.maximum.accumulate(path) - path).max())
    assert good["net_return"] == pytest.approx(252 * net.mean())
    assert found.conclusion.difference.test == SignificanceTest.SHARPE_DIFFERENCE
    assert found.conclusion.verdict is Verdict.SUPERIOR
    assert good.deflated_sharpe is not None
    assert good.deflated_sharpe.trials == 2
    assert good.deflated_sharpe.probability > 0.99


async def test_rows_are_found_by_their_ids_whatever_their_order(client: AsyncClient, versions: list[str]) -> None:
    random = np.random.default_rng(0)
    ids = [f"2026-{number}" for number in range(ROWS)]
    order = random.permutation(ROWS)[: ROWS - 50]
    shuffled = {"id": [ids[place] for place in order], "prediction": GOOD[order]}
    found = await compared(client, versions, [BAD, shuffled], RETURNS, ids=ids)
    assert found.rows == ROWS - 50
    assert found.notes[0].startswith("50 of 400 rows lack a prediction of some version and are excluded")
    expected = root_mean_squared_error(RETURNS[np.sort(order)], GOOD[np.sort(order)])
    assert found.result(versions[1])["rmse"] == pytest.approx(expected)


async def test_a_version_that_is_run_is_held_against_one_that_was_sent(client: AsyncClient, name: str) -> None:
    features = pd.DataFrame({"x": GOOD, "id": np.arange(ROWS) % 3})  # A feature may have any name.
    await client.register(name, LinearRegression().fit(features, RETURNS))
    await client.register(name, LinearRegression().fit(features, RETURNS))
    found = await client.compare([f"{name}/1"], features, RETURNS, predictions={f"{name}/2": BAD})
    ran, sent = found.result(f"{name}/1"), found.result(f"{name}/2")
    assert ran.latency is not None
    assert sent.latency is None
    assert ran["mse"] < sent["mse"]


@pytest.mark.parametrize(
    ("sent", "truth", "column", "words"),
    [
        ({"id": [0, 0], "prediction": [0.1, 0.2]}, [1.0, 2.0], "['id']", "contains an id twice"),
        ({"prediction": [0.1, 0.2]}, [1.0, 2.0], "", "no column 'id'"),
        ({"id": [0, 1], "value": [0.1, 0.2]}, [1.0, 2.0], "", "no column 'prediction'"),
        ({"id": [0, 1], "prediction": [0.1, np.inf]}, [1.0, 2.0], "['prediction']", "infinity"),
        ({"id": [0, 1], "prediction": ["a", "b"]}, [1.0, 2.0], "", "predicts text"),
        (
            {"id": [0, 1], "prediction": [0, 1], "probability": [0.1, 1.2]},
            [0, 1],
            "['probability']",
            "below 0 or above 1",
        ),
        (
            {"id": [0, 1], "prediction": [0, 1], "probability:0": [0.1, 0.2], "probability:1": [0.1, 0.2]},
            [0, 1],
            "",
            "add up to 1",
        ),
    ],
)
async def test_predictions_that_are_none_are_refused_by_name(
    client: AsyncClient, versions: list[str], sent: Any, truth: list[Any], column: str, words: str
) -> None:
    known = {"id": [0, 1], "prediction": truth}
    with pytest.raises(errors.InvalidField, match=words) as refused:
        await compared(client, versions, [known, sent], truth)
    assert refused.value.violations[0].field == f"predictions[{versions[1]}]{column}"


async def test_predictions_of_other_ids_are_refused(client: AsyncClient, versions: list[str]) -> None:
    sent = {"id": [1, 2], "prediction": [0.1, 0.2]}
    with pytest.raises(errors.InvalidField, match="have no id in common") as refused:
        await compared(client, versions, [sent, sent], [1.0, 2.0], ids=[5, 6])
    assert refused.value.violations[0].field == "predictions"
    known = {"id": [5, 6], "prediction": [0.1, 0.2]}
    with pytest.raises(errors.ModelFailed, match=f"{versions[1]} answered none of the 2 rows with a label"):
        await compared(client, versions, [known, sent], [1.0, 2.0], ids=[5, 6])


async def test_two_rows_one_class_and_no_variance_get_an_answer(client: AsyncClient, versions: list[str]) -> None:
    found = await compared(client, versions, [[1.0, 2.0], [1.0, 3.0]], [1.0, 2.0])
    assert found.conclusion.verdict is Verdict.INCONCLUSIVE
    found = await compared(client, versions, [[1] * 50, [1] * 50], [1] * 50)
    assert found.conclusion.verdict is Verdict.INCONCLUSIVE
    assert found.conclusion.difference.p_value == 1
    flat = await compared(client, versions, [[1.0] * 50, [1.0] * 50], [1.0] * 50, returns=[0.0] * 50)
    assert {one.metric for one in flat.results[0].metrics} >= {Metric.MSE, Metric.NET_RETURN, Metric.MAX_DRAWDOWN}
    assert "sharpe is omitted: it needs net returns that vary" in flat.notes
    with pytest.raises(errors.InvalidField, match="has 3 values, but y has 2"):
        await compared(client, versions, [[1.0, 2.0, 3.0], [1.0, 3.0]], [1.0, 2.0])


async def test_a_comparison_is_drawn_as_page_and_picture(client: AsyncClient, versions: list[str]) -> None:
    found = await compared(client, versions, [BAD, GOOD], RETURNS, returns=RETURNS)
    page = (await client.render_comparison(found.comparison_id)).decode()
    for said in (f"{versions[1]} is better than {versions[0]}", "Diebold-Mariano", "Deflated Sharpe ratios"):
        assert said in page
    assert "http" not in page.replace("http-equiv", "")
    assert (await client.render_comparison(found.comparison_id, "png")).startswith(b"\x89PNG")
    with pytest.raises(errors.ComparisonNotFound):
        await client.render_comparison("comparison-none")


@pytest.mark.system
@pytest.mark.weekly
async def test_a_table_above_one_message_is_uploaded_beforehand(client: AsyncClient, versions: list[str]) -> None:
    random = np.random.default_rng(0)
    truth = random.normal(size=300_000)
    found = await compared(client, versions, [truth + 1, truth + 0.5], truth, metrics=["mae"], block_rows=1)
    assert found.rows == 300_000
    assert found.result(versions[1])["mae"] == pytest.approx(0.5)
