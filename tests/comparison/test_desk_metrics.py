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
from modelward_server.statistics.panel import Panel
from modelward_server.statistics.portfolio import equal_risk_weights

pytestmark = pytest.mark.system  # Takes seconds.

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


def test_equal_risk_uses_returns_before_each_day_only() -> None:
    table = PANEL.sort_values(["day", "symbol"])
    panel = Panel(pd.factorize(table.day)[0], pd.factorize(table.symbol)[0].astype(np.int64))
    for horizon in (1, 3):
        found = equal_risk_weights(table["return"].to_numpy(), panel, 10, horizon)
        changed = table["return"].to_numpy() + np.where(panel.times > 40 - horizon, 1.0, 0.0)
        before = panel.times <= 40
        assert equal_risk_weights(changed, panel, 10, horizon)[before].tolist() == found[before].tolist()
        sums = panel.sums(found)
        assert sums[: 10 + horizon - 1].tolist() == [0.0] * (10 + horizon - 1)
        assert sums[10 + horizon :] == pytest.approx(np.ones(DAYS - 10 - horizon), rel=1e-12)
    assert equal_risk_weights(np.ones(len(table)), panel, 2).tolist() == [0.0] * len(table)


async def test_positions_are_weighted_as_given_or_by_equal_risk(
    client: AsyncClient, pair: tuple[ModelVersion, ModelVersion]
) -> None:
    given = 0.3 + RANDOM.random(len(PANEL)).round(2)
    volatility = PANEL.groupby("symbol")["return"].transform(lambda one: one.rolling(10).std().shift(1))
    inverse = (1 / volatility).fillna(0.0)
    risk = (inverse / inverse.groupby(PANEL.day).transform("sum")).fillna(0.0)
    own = PANEL["return"] + 0.001 * RANDOM.normal(size=len(PANEL))
    table = {"id": np.arange(len(PANEL)), "prediction": PANEL.good, "position": PANEL.position, "return": own}
    common: dict[str, Any] = {"time": PANEL.day.to_numpy(), "group": PANEL.symbol.to_numpy(), "cost_bps": 7.0}
    names = ["net_return", "sharpe", "turnover", "day_hit_rate"]
    for weights, asked in ((given, {"portfolio_weights": given}), (risk, {"equal_risk_times": 10})):
        sent: dict[Any, Any] = {pair[0]: PANEL.good.to_numpy(), pair[1]: table}
        returns = PANEL["return"].to_numpy()
        found = await client.compare(
            [], None, PANEL.label.to_numpy(), predictions=sent, metrics=names, returns=returns, **common, **asked
        )
        assert {name: value(found, pair[0], name) for name in names} == pytest.approx(
            portfolio(weights, PANEL["return"]), rel=1e-9
        )
        if "portfolio_weights" in asked:  # The volatilities of equal risk are those of the version's own returns.
            assert {name: value(found, pair[1], name) for name in names} == pytest.approx(
                portfolio(weights, own), rel=1e-9
            )
        else:
            assert value(found, pair[1], "net_return") != value(found, pair[0], "net_return")
    assert any(note.startswith("equal risk: 60 of 477 rows have no position") for note in found.notes)


def portfolio(weights: Any, returns: Any) -> dict[str, float]:
    """Compute metrics of a weighted portfolio by pandas."""
    held = PANEL.position * weights
    turnover = (held - held.groupby(PANEL.symbol).shift(fill_value=0.0)).abs()
    days = pd.DataFrame({"day": PANEL.day, "turnover": turnover, "gross": held * returns}).groupby("day").sum()
    net = days.gross - 7e-4 * days.turnover
    return {
        "net_return": 252 * net.mean(),
        "sharpe": net.mean() / net.std(ddof=0) * np.sqrt(252),
        "turnover": days.turnover.mean(),
        "day_hit_rate": (net > 0).mean(),
    }


async def test_returns_of_its_own_count_and_the_sharpe_ratio_has_a_course_over_the_cost(
    client: AsyncClient, pair: tuple[ModelVersion, ModelVersion]
) -> None:
    own = 2 * PANEL["return"] + 0.0001
    tables = [
        {"id": np.arange(len(PANEL)), "prediction": PANEL.good, "position": PANEL.position, "return": returns}
        for returns in (PANEL["return"], own)
    ]
    found = await client.compare(
        [], None, PANEL.label.to_numpy(), predictions=dict(zip(pair, tables, strict=True)), metrics=["sharpe"]
    )
    turnover = PANEL.position.diff().abs().fillna(PANEL.position.abs())
    for version, returns in zip(pair, (PANEL["return"], own), strict=True):
        curve = found.result(str(version)).cost_curve
        assert curve is not None
        gross = PANEL.position * returns
        assert curve.break_even_bps == pytest.approx(gross.sum() / turnover.sum() * 1e4, rel=1e-9)
        assert [one.cost_bps for one in curve.points] == pytest.approx(np.linspace(0, curve.points[-1].cost_bps, 11))
        for one in curve.points:
            net = gross - one.cost_bps * 1e-4 * turnover
            assert one.sharpe == pytest.approx(net.mean() / net.std(ddof=0) * np.sqrt(252), rel=1e-9)
    best = found.result(str(pair[1])).cost_curve
    assert best is not None
    assert best.break_even_bps is not None
    assert best.points[-1].cost_bps == pytest.approx(2 * best.break_even_bps)
    assert found == await client.get_comparison(found.comparison_id)
    page = (await client.render_comparison(found.comparison_id)).decode()
    assert page.count('aria-label="Sharpe ratio of') == 2
    assert "Sharpe ratio over the cost" in page


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"portfolio_weights": np.ones(len(PANEL))}, "portfolio_weights.*need returns"),
        ({"equal_risk_times": 20}, "equal_risk_times.*need returns"),
        ({"equal_risk_times": 20, "returns": PANEL["return"].to_numpy()}, "needs rows with a time and a group"),
        ({"portfolio_weights": -np.ones(len(PANEL)), "returns": PANEL["return"].to_numpy()}, "-1 in row 0"),
        ({"portfolio_weights": np.ones(len(PANEL)), "equal_risk_times": 20}, "cannot be combined"),
        ({"equal_risk_times": 1, "returns": PANEL["return"].to_numpy()}, "equal_risk_times"),
    ],
)
async def test_weights_that_do_not_fit_are_refused(
    client: AsyncClient, pair: tuple[ModelVersion, ModelVersion], asked: dict[str, Any], message: str
) -> None:
    with pytest.raises(errors.InvalidField, match=message):
        await compared(client, pair, ["mse"], **asked)


async def test_returns_of_one_version_alone_are_refused(
    client: AsyncClient, pair: tuple[ModelVersion, ModelVersion]
) -> None:
    table = {"id": np.arange(len(PANEL)), "prediction": PANEL.good, "return": PANEL["return"]}
    sent: dict[Any, Any] = {pair[0]: table, pair[1]: PANEL.poor.to_numpy()}
    with pytest.raises(errors.InvalidField, match="has no returns of its own"):
        await client.compare([], None, PANEL.label.to_numpy(), predictions=sent)


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
