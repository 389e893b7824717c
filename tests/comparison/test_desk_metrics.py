"""Metrics of a trading desk, by compare, against pandas, scipy and scikit-learn."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy
from sklearn.calibration import calibration_curve
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import mean_pinball_loss

from modelward import AsyncClient, Comparison, Metric, ModelVersion, SignificanceTest, errors

SYMBOLS, DAYS = 6, 80
RANDOM = np.random.default_rng(12)
PANEL = pd.DataFrame(
    {
        "day": np.repeat(pd.date_range("2024-01-01", periods=DAYS), SYMBOLS),
        "symbol": [f"S{number}" for number in range(SYMBOLS)] * DAYS,
        "signal": RANDOM.normal(size=SYMBOLS * DAYS),
    }
)
PANEL["label"] = (0.3 * PANEL.signal + RANDOM.normal(size=len(PANEL))).round(1)  # Rounded, so that labels tie.
PANEL["good"] = PANEL.signal.round(1)
PANEL["poor"] = (PANEL.signal + 3 * RANDOM.normal(size=len(PANEL))).round(1)
PANEL["position"] = np.sign(PANEL.good)
PANEL["return"] = 0.01 * PANEL.label
PANEL = PANEL.drop(PANEL.index[[3, 200, 201]]).reset_index(drop=True)  # Days of five and of four rows.


@pytest.fixture
async def pair(client: AsyncClient, name: str) -> tuple[ModelVersion, ModelVersion]:
    """Two versions whose predictions are sent."""
    model = LinearRegression().fit(PANEL[["signal"]], PANEL.label)
    return await client.register(name, model), await client.register(name, model)


async def compared(
    client: AsyncClient, pair: tuple[ModelVersion, ModelVersion], metrics: list[str], **more: Any
) -> Comparison:
    sent: dict[Any, Any] = {
        version: PANEL[column].to_numpy() for version, column in zip(pair, ("good", "poor"), strict=True)
    }
    return await client.compare([], None, PANEL.label.to_numpy(), predictions=sent, metrics=metrics, **more)


def value(found: Comparison, version: ModelVersion, metric: str) -> float:
    return next(one.value for one in found.result(str(version)).metrics if one.metric == metric)


async def test_rank_ic_is_the_mean_of_spearmans_correlation_by_day(
    client: AsyncClient, pair: tuple[ModelVersion, ModelVersion]
) -> None:
    shuffled = RANDOM.permutation(len(PANEL))
    rows = PANEL.iloc[shuffled]
    sent: dict[Any, Any] = {
        version: rows[column].to_numpy() for version, column in zip(pair, ("good", "poor"), strict=True)
    }
    found = await client.compare(
        [],
        None,
        rows.label.to_numpy(),
        predictions=sent,
        metrics=["rank_ic", "icir"],
        time=rows.day.to_numpy(),
        group=rows.symbol.to_numpy(),
    )
    for version, column in zip(pair, ("good", "poor"), strict=True):
        by_day = [scipy.stats.spearmanr(day[column], day.label).statistic for _, day in PANEL.groupby("day")]
        assert value(found, version, "rank_ic") == pytest.approx(np.mean(by_day), abs=1e-12)
        assert value(found, version, "icir") == pytest.approx(np.mean(by_day) / np.std(by_day), abs=1e-12)
    tests = {one.metric: one.test for one in found.result(str(pair[1])).differences}
    assert tests[Metric.ICIR] is SignificanceTest.SHARPE_DIFFERENCE
    assert found.conclusion.verdict == "superior" or found.conclusion.version == pair[0].ref


async def test_a_panels_positions_make_one_portfolio(
    client: AsyncClient, pair: tuple[ModelVersion, ModelVersion]
) -> None:
    names = ["sharpe", "sortino", "net_return", "max_drawdown", "turnover", "break_even_cost"]
    found = await compared(
        client,
        pair,
        names,
        returns=PANEL["return"].to_numpy(),
        cost_bps=7.0,
        time=PANEL.day.to_numpy(),
        group=PANEL.symbol.to_numpy(),
    )
    before = PANEL.groupby("symbol").position.shift(fill_value=0.0)
    rows = PANEL.assign(turnover=(PANEL.position - before).abs(), gross=PANEL.position * PANEL["return"])
    days = rows.groupby("day")[["turnover", "gross"]].mean()
    net = days.gross - 7e-4 * days.turnover
    path = net.cumsum()
    expected = {
        "sharpe": net.mean() / net.std(ddof=0) * np.sqrt(252),
        "sortino": net.mean() / np.sqrt((net.clip(upper=0) ** 2).mean()) * np.sqrt(252),
        "net_return": 252 * net.mean(),
        "max_drawdown": (path.cummax().clip(lower=0) - path).max(),
        "turnover": days.turnover.mean(),
        "break_even_cost": days.gross.sum() / days.turnover.sum() * 1e4,
    }
    assert {name: value(found, pair[0], name) for name in names} == pytest.approx(expected, rel=1e-9)


async def test_the_break_even_cost_is_the_return_over_the_turnover(
    client: AsyncClient, pair: tuple[ModelVersion, ModelVersion]
) -> None:
    found = await compared(client, pair, ["break_even_cost"], returns=PANEL["return"].to_numpy())
    turnover = np.abs(np.diff(PANEL.position, prepend=0.0)).sum()
    expected = (PANEL.position * PANEL["return"]).sum() / turnover * 1e4
    assert value(found, pair[0], "break_even_cost") == pytest.approx(expected, rel=1e-12)


async def test_quantile_loss_is_that_of_scikit_learn(
    client: AsyncClient, pair: tuple[ModelVersion, ModelVersion]
) -> None:
    found = await compared(client, pair, ["pinball"], quantile=0.9)
    expected = mean_pinball_loss(PANEL.label, PANEL.good, alpha=0.9)
    assert value(found, pair[0], "pinball") == pytest.approx(expected, rel=1e-12)


async def test_qlike_is_the_loss_of_variances(client: AsyncClient, pair: tuple[ModelVersion, ModelVersion]) -> None:
    with pytest.raises(errors.InvalidField, match="qlike needs labels and predictions above zero"):
        await compared(client, pair, ["qlike"], primary="qlike")
    realized, forecast = np.exp(PANEL.label.to_numpy()), np.exp(PANEL.good.to_numpy())
    sent: dict[Any, Any] = {pair[0]: forecast, pair[1]: np.full(len(PANEL), realized.mean())}
    found = await client.compare([], None, realized, predictions=sent, metrics=["qlike"])
    ratio = realized / forecast
    assert value(found, pair[0], "qlike") == pytest.approx(np.mean(ratio - np.log(ratio) - 1), rel=1e-12)


async def test_calibration_error_weighs_the_gaps_of_ten_bins(client: AsyncClient, name: str) -> None:
    truth = (PANEL.label > 0).astype(int).to_numpy()
    model = LogisticRegression().fit(PANEL[["signal"]], truth)
    versions = [await client.register(name, model), await client.register(name, model)]
    stated = 1 / (1 + np.exp(-PANEL.poor.to_numpy()))
    table = pd.DataFrame({"id": np.arange(len(PANEL)), "prediction": (stated > 0.5).astype(int), "probability": stated})
    sent: dict[Any, Any] = dict.fromkeys(versions, table)
    found = await client.compare([], None, truth, predictions=sent, metrics=["calibration_error"])
    seen, said = calibration_curve(truth, stated, n_bins=10)
    counts = np.bincount(np.searchsorted(np.arange(1, 10) / 10, stated), minlength=10)
    expected = (np.abs(seen - said) * counts[counts > 0]).sum() / len(truth)
    assert value(found, versions[0], "calibration_error") == pytest.approx(expected, rel=1e-9)


async def test_rank_ic_needs_times_and_groups(client: AsyncClient, pair: tuple[ModelVersion, ModelVersion]) -> None:
    with pytest.raises(errors.InvalidField, match="needs rows with a time and a group; name their columns"):
        await compared(client, pair, ["rank_ic"])
