"""Rows that a version does not answer, and metrics that it lacks: they are its own and spoil nothing for others."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression
from sklearn.metrics import mean_absolute_error

from modelward import AsyncClient, Metric, PromotionPolicy, Verdict, errors
from modelward_server.lifecycle.comparison_gates import ComparisonEvidence, comparison_gates
from tests.comparison.test_predictions import BAD, GOOD, RETURNS, ROWS, compared

pytestmark = pytest.mark.system  # Runs models in processes.


@pytest.fixture
async def versions(client: AsyncClient, name: str, tmp_path: Path) -> list[str]:
    (tmp_path / "model.bin").write_bytes(b"weights")
    return [str((await client.register(name, tmp_path / "model.bin")).ref) for _ in range(3)]


def test_a_share_just_below_the_required_one_has_the_digit_that_tells() -> None:
    version, policy = Any, PromotionPolicy("spx", min_coverage=0.99)
    [gate] = comparison_gates(policy, version, ComparisonEvidence("comparison-1", 0.98999))  # type: ignore[arg-type]
    assert not gate.passed
    assert "98.999% of the rows; at least 99% is required" in gate.evidence


async def test_only_rows_that_all_versions_answered_are_compared(client: AsyncClient, versions: list[str]) -> None:
    hard = np.argsort(-np.abs(GOOD - RETURNS))[:80]  # The version would gain by not answering these.
    silent, labels = np.where(np.isin(np.arange(ROWS), hard), np.nan, GOOD), RETURNS.copy()
    labels[-10:] = np.nan
    answers = [BAD, silent, np.full(ROWS, np.nan)]
    found = await compared(client, versions, answers, labels)
    rows = ~np.isnan(silent) & ~np.isnan(labels)
    assert found.rows == rows.sum()
    answered = found.result(versions[1]).coverage
    assert answered == pytest.approx(1 - np.isin(hard, np.arange(ROWS - 10)).sum() / 390)
    assert found.result(versions[0]).coverage == 1
    assert found.result(versions[0])["mae"] == pytest.approx(mean_absolute_error(RETURNS[rows], BAD[rows]))
    failed = found.result(versions[2])
    assert (failed.coverage, failed.failure.partition(":")[0]) == (
        0,
        f"{versions[2]} answered none of the 390 rows with a label",
    )
    assert found.notes[0] == "10 of 400 rows have no label yet and are excluded"
    assert f"{versions[1]} answered" in found.notes[1]
    page = (await client.render_comparison(found.comparison_id)).decode()
    assert "Coverage" in page
    model = versions[0].partition("/")[0]
    for version, words in (
        (versions[1], "it answered 79.7% of the rows; at least 90.0% is required"),
        (versions[0], ""),
    ):
        await client.promote(version, to="staging")
        await client.set_promotion_policy(PromotionPolicy(model, disabled_gates=("usable",), min_coverage=0.9))
        if words:
            with pytest.raises(errors.GatesFailed, match=words):
                await client.promote(version, to="production", reason="it passed its tests")
        else:
            assert (await client.promote(version, to="production", reason="it passed its tests")).gates[
                0
            ].gate == "min_coverage"
    half = np.arange(ROWS) < ROWS // 2
    apart = [np.where(half, GOOD, np.nan), np.where(half, np.nan, GOOD)]
    with pytest.raises(errors.InvalidField, match=r"no row that all of them answered \(.* 50.0%"):
        await compared(client, versions[:2], apart, RETURNS)
    with pytest.raises(errors.ModelFailed, match="fewer than two models answered"):
        await compared(client, versions[:2], [GOOD, np.full(ROWS, np.nan)], RETURNS)


async def test_classes_that_are_missing_are_not_numbers(client: AsyncClient, versions: list[str]) -> None:
    truth = (RETURNS > 0).astype(int)
    some = np.where(np.arange(ROWS) % 4 == 0, np.nan, truth)
    found = await compared(client, versions[:2], [(BAD > 0).astype(int), some], truth)
    assert (found.kind, found.rows, found.result(versions[1])["accuracy"]) == ("classification", 300, 1)


async def test_model_that_answers_nan_is_compared_by_its_answers(client: AsyncClient, name: str) -> None:
    features = pd.DataFrame({"x": GOOD})
    model = LinearRegression().fit(features, RETURNS)
    await client.register(name, model)
    infinite = LinearRegression().fit(features, RETURNS)
    infinite.intercept_ = np.nan
    await client.register(name, infinite)
    found = await client.compare([f"{name}/1", f"{name}/2"], features, RETURNS, predictions={f"{name}/2": BAD})
    assert found.result(f"{name}/1").coverage == 1
    await client.register(name, model)
    whole = await client.compare([f"{name}/1", f"{name}/2", f"{name}/3"], features, RETURNS)
    assert whole.result(f"{name}/2").failure.startswith(f"{name}/2 answered none of the {ROWS} rows")
    assert whole.result(f"{name}/3")["mse"] == whole.result(f"{name}/1")["mse"]


async def test_flat_model_lacks_metrics_of_its_own(client: AsyncClient, versions: list[str]) -> None:
    """A version that never trades has no Sharpe ratio; the others are compared as if it were not there."""
    flat = np.zeros(ROWS)
    asked = {"returns": RETURNS, "cost_bps": 1, "primary": "sharpe"}
    found = await compared(client, versions, [BAD, GOOD, flat], RETURNS, **asked)
    alone = await compared(client, versions[:2], [BAD, GOOD], RETURNS, **asked)
    assert found.conclusion.version == alone.conclusion.version == found.best
    assert [one.value for one in found.result(versions[1]).metrics] == [
        one.value for one in alone.result(versions[1]).metrics
    ]
    last = found.results[-1]
    assert (str(last.version), last.verdict, last["net_return"], last.failure) == (
        versions[2],
        Verdict.INCONCLUSIVE,
        0,
        "",
    )
    assert {one.metric: one.reason for one in last.undefined} == {
        Metric.SHARPE: "needs net returns that vary",
        Metric.SORTINO: "needs net returns that vary",
    }
    assert f"sharpe is undefined for {versions[2]}: it needs net returns that vary" in found.notes
    page = (await client.render_comparison(found.comparison_id)).decode()
    assert "nan" not in page.lower()
    with pytest.raises(errors.InvalidField, match="sharpe needs net returns that vary"):
        await compared(client, versions, [BAD, GOOD, flat], RETURNS, baseline=versions[2], **asked)
    unasked = await compared(client, versions, [BAD, GOOD, flat], RETURNS, returns=RETURNS, metrics=["sharpe", "mae"])
    assert unasked.primary_metric is Metric.SHARPE
