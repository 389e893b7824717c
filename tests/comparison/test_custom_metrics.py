"""Weights of rows as scikit-learn's `sample_weight`, and metrics of the user's own, by compare."""

from typing import Any

import numpy as np
import pytest
import sklearn.metrics
from sklearn.linear_model import LinearRegression, LogisticRegression

from modelward import AsyncClient, Comparison, CustomMetric, Metric, ModelVersion, errors
from modelward_server.statistics.panel import Panel, reduced

pytestmark = pytest.mark.system  # Takes seconds.

DAYS, SYMBOLS = 60, 3
ROWS = DAYS * SYMBOLS
RANDOM = np.random.default_rng(7)
LABEL = RANDOM.normal(size=ROWS)
GOOD, POOR = LABEL + RANDOM.normal(0, 0.5, ROWS), LABEL + RANDOM.normal(0, 0.9, ROWS)
WEIGHTS = RANDOM.random(ROWS) * (RANDOM.random(ROWS) < 0.9)  # A tenth of the rows count nothing.
TIME, GROUP = np.repeat(np.arange(DAYS), SYMBOLS), np.tile(np.arange(SYMBOLS), DAYS)
KEYS: dict[str, Any] = {"time": TIME, "group": GROUP}


@pytest.fixture
async def pair(client: AsyncClient, name: str) -> tuple[ModelVersion, ModelVersion]:
    """Two versions whose predictions are sent."""
    model = LinearRegression().fit(LABEL[:, None], LABEL)
    return await client.register(name, model), await client.register(name, model)


async def compared(
    client: AsyncClient, pair: tuple[ModelVersion, ModelVersion], columns: list[dict[str, Any]], **asked: Any
) -> Comparison:
    tables: list[dict[str, Any]] = [
        {"id": np.arange(ROWS), "prediction": predicted, **more}
        for predicted, more in zip((GOOD, POOR), columns, strict=True)
    ]
    return await client.compare([], None, LABEL, predictions=dict(zip(pair, tables, strict=True)), **asked)


async def test_weighted_metrics_are_those_of_scikit_learn(
    client: AsyncClient, pair: tuple[ModelVersion, ModelVersion], name: str
) -> None:
    names = ["mse", "mae", "rmse", "mape", "r2", "pinball", "hit_rate", "median_absolute_error"]
    asked: dict[str, Any] = {"sample_weights": WEIGHTS, "quantile": 0.3}
    found = await compared(client, pair, [{}, {}], metrics=names, **asked)
    one: dict[str, Any] = {"y_true": LABEL, "y_pred": GOOD, "sample_weight": WEIGHTS}
    expected = {
        "mse": sklearn.metrics.mean_squared_error(**one),
        "mae": sklearn.metrics.mean_absolute_error(**one),
        "rmse": sklearn.metrics.root_mean_squared_error(**one),
        "mape": sklearn.metrics.mean_absolute_percentage_error(**one),
        "r2": sklearn.metrics.r2_score(**one),
        "pinball": sklearn.metrics.mean_pinball_loss(**one, alpha=0.3),
        "hit_rate": sklearn.metrics.accuracy_score(LABEL > 0, GOOD > 0, sample_weight=WEIGHTS),
        "median_absolute_error": sklearn.metrics.median_absolute_error(**one),
    }
    result = found.result(str(pair[0]))
    assert {metric: result[metric] for metric in names} == pytest.approx(expected, rel=1e-9)

    truth, stated = (LABEL > 0).astype(int), 1 / (1 + np.exp(-2 * POOR))
    called = (stated > 0.5).astype(int)
    versions = [await client.register(f"{name}-c", LogisticRegression().fit(LABEL[:, None], truth)) for _ in range(2)]
    table: dict[str, Any] = {"id": np.arange(ROWS), "prediction": called, "probability": stated}
    sent: dict[Any, Any] = {versions[0]: table, versions[1]: table | {"probability": np.full(ROWS, 0.5)}}
    found = await client.compare([], None, truth, predictions=sent, sample_weights=WEIGHTS, **KEYS)
    labels: dict[str, Any] = {"y_true": truth, "y_pred": called, "sample_weight": WEIGHTS}
    expected = {
        "accuracy": sklearn.metrics.accuracy_score(**labels),
        "balanced_accuracy": sklearn.metrics.balanced_accuracy_score(**labels),
        "precision": sklearn.metrics.precision_score(**labels),
        "recall": sklearn.metrics.recall_score(**labels),
        "f1": sklearn.metrics.f1_score(**labels),
        "matthews_correlation": sklearn.metrics.matthews_corrcoef(**labels),
        "roc_auc": sklearn.metrics.roc_auc_score(truth, stated, sample_weight=WEIGHTS),
        "log_loss": sklearn.metrics.log_loss(truth, stated, sample_weight=WEIGHTS),
        "brier": sklearn.metrics.brier_score_loss(truth, stated, sample_weight=WEIGHTS),
    }
    result = found.result(str(versions[0]))
    assert {metric: result[metric] for metric in expected} == pytest.approx(expected, rel=1e-9)


async def test_weights_of_one_change_nothing_and_whole_weights_repeat_rows(
    client: AsyncClient, pair: tuple[ModelVersion, ModelVersion]
) -> None:
    plain, ones = [
        await compared(client, pair, [{}, {}], **KEYS, **more) for more in ({}, {"sample_weights": np.ones(ROWS)})
    ]
    mse = [found.result(str(pair[1])).differences[0] for found in (plain, ones)]
    assert [mse[1].difference, mse[1].p_value, mse[1].low] == pytest.approx(
        [mse[0].difference, mse[0].p_value, mse[0].low], rel=1e-9
    )
    assert any("rank_ic is omitted: it takes no sample weights" in note for note in ones.notes)
    counts = RANDOM.integers(1, 4, 12)
    values, days = RANDOM.normal(size=12), np.repeat(np.arange(4), 3)
    repeated = Panel(np.repeat(days, counts)).series(np.repeat(values, counts))
    assert reduced(values, Panel(days), counts.astype(float)) == pytest.approx(repeated, rel=1e-12)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"sample_weights": -WEIGHTS}, "sample_weights.*is negative"),
        ({"sample_weights": 0 * WEIGHTS}, "is 0 in every row"),
        ({"sample_weights": WEIGHTS, "metrics": ["sharpe"], "returns": LABEL}, "sharpe takes no sample weights"),
        ({"metrics": ["loss:other"]}, "needs a column 'loss:other' in the predictions of every version"),
        ({"metrics": ["loss:"]}, "is not of the form loss:NAME"),
        ({"metrics": ["time_loss:own"], **KEYS}, "different values in rows of one time"),
        ({"metrics": ["loss:some"]}, "needs a column 'loss:some'"),
    ],
)
async def test_what_does_not_fit_is_refused(
    client: AsyncClient, pair: tuple[ModelVersion, ModelVersion], asked: dict[str, Any], message: str
) -> None:
    columns = [{"time_loss:own": LABEL, "loss:some": LABEL}, {"time_loss:own": LABEL}]
    with pytest.raises(errors.InvalidField, match=message):
        await compared(client, pair, columns, **asked)


@pytest.mark.parametrize("keys", [{}, KEYS])
async def test_a_column_of_squared_errors_is_the_mean_squared_error(
    client: AsyncClient, pair: tuple[ModelVersion, ModelVersion], keys: dict[str, Any]
) -> None:
    squares = [np.square(LABEL - predicted) for predicted in (GOOD, POOR)]
    columns = [{"loss:own": square, "gain:own": -square} for square in squares]
    names = ["loss:own", "mse", "gain:own"]
    found = await compared(client, pair, columns, metrics=names, **keys)
    assert found.primary_metric == CustomMetric("loss:own")
    assert found.primary_metric.lower_is_better
    builtin = await compared(client, pair, columns, metrics=["mse"], **keys)
    for version in pair:
        mine, theirs = found.result(str(version)), builtin.result(str(version))
        assert mine["loss:own"] == theirs["mse"] == -mine["gain:own"]
        assert mine.verdict == theirs.verdict
        assert mine.confidence_set_p_value == theirs.confidence_set_p_value
        for own, mse in zip(mine.differences, theirs.differences * 2, strict=False):
            told = [(one.difference, one.p_value, one.test, one.statistic) for one in (own, mse)]
            assert told[0] == told[1]
            assert (own.low, own.high) == pytest.approx((mse.low, mse.high), rel=1e-12)
    assert found.spa_p_value == builtin.spa_p_value
    assert found.conclusion.difference.p_value == builtin.conclusion.difference.p_value
    assert found == await client.get_comparison(found.comparison_id)
    assert ">loss:own</span>" in (await client.render_comparison(found.comparison_id)).decode()
    assert (await client.render_comparison(found.comparison_id, "png")).startswith(b"\x89PNG")


async def test_values_of_times_count_once(client: AsyncClient, pair: tuple[ModelVersion, ModelVersion]) -> None:
    days = RANDOM.normal(size=(2, DAYS)).cumsum(axis=1)
    columns = [{"time_gain:pnl": np.repeat(one, SYMBOLS)} for one in days]
    kept = np.arange(ROWS) != 4  # The second day has two rows.
    tables = [
        {"id": np.arange(ROWS)[kept], "prediction": predicted[kept], "time_gain:pnl": more["time_gain:pnl"][kept]}
        for predicted, more in zip((GOOD, POOR), columns, strict=True)
    ]
    sent: dict[Any, Any] = dict(zip(pair, tables, strict=True))
    found = await client.compare([], None, LABEL, predictions=sent, metrics=["time_gain:pnl"], **KEYS)
    for version, values in zip(pair, days, strict=True):
        assert found.result(str(version))["time_gain:pnl"] == pytest.approx(values.mean(), rel=1e-12)
    assert not found.primary_metric.lower_is_better
    assert str(found.best) == str(pair[int(days[1].mean() > days[0].mean())])
    everything = await client.compare([], None, LABEL, predictions=sent, **KEYS)
    measured = [one.metric for one in everything.results[0].metrics]
    assert measured[0] is Metric.MSE
    assert measured[-1] == "time_gain:pnl"
