"""How many configurations were tried before a version: what it says of the backtest, and the gates that ask for it."""

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

from modelward import AsyncClient, BacktestTrials, PromotionPolicy, ValidationFold, errors
from modelward.lifecycle import ModelVersion
from modelward_server.statistics.overfitting import probability_of_overfitting
from modelward_server.statistics.sharpe import expected_maximum, probabilistic_sharpe_ratio, shape_of, sharpe_ratio

X = np.arange(8.0).reshape(4, 2)
MODEL = LinearRegression().fit(X, X[:, 0])


def returns_of(configurations: int, days: int = 504, skill: float = 0.0) -> pd.DataFrame:
    """Return daily returns; only the first configuration has skill, in ratios per day."""
    drawn = np.random.default_rng(configurations).normal(size=(days, configurations))
    drawn[:, 0] += skill
    return pd.DataFrame(0.01 * drawn, columns=[f"c{number}" for number in range(configurations)])


async def registered(client: AsyncClient, name: str, trials: Any, **more: Any) -> ModelVersion:
    """Register a version and move it to staging."""
    version = await client.register(name, MODEL, trials=trials, **more)
    return (await client.promote(version, to="staging")).version


async def refused(client: AsyncClient, version: ModelVersion, **conditions: Any) -> str:
    """Ask for a promotion under a policy that refuses it, and return the words."""
    await client.set_promotion_policy(PromotionPolicy(version.model, disabled_gates=("usable",), **conditions))
    with pytest.raises(errors.GatesFailed) as refusal:
        await client.promote(version, to="production", dry_run=True, reason="it passed its tests")
    return str(refusal.value)


async def passed(client: AsyncClient, version: ModelVersion, **conditions: Any) -> list[str]:
    await client.set_promotion_policy(PromotionPolicy(version.model, disabled_gates=("usable",), **conditions))
    gates = (await client.promote(version, to="production", dry_run=True, reason="it passed its tests")).gates
    assert all(gate.passed for gate in gates)
    return [gate.evidence for gate in gates]


@pytest.mark.system
@pytest.mark.weekly("postgresql")
async def test_the_returns_of_all_trials_tell_how_much_is_luck(client: AsyncClient, name: str) -> None:
    returns = returns_of(20)
    version = await registered(client, name, returns)
    assert version == await client.get_version(version)
    assert version.overfitting is not None
    found = version.overfitting.backtest
    assert found is not None
    ratios = {str(name): sharpe_ratio(column.to_numpy()) for name, column in returns.items()}
    chosen = max(ratios, key=lambda name: ratios[name])
    assert (found.chosen, found.rows, version.overfitting.trials) == (chosen, 504, 20)
    assert found.sharpe == pytest.approx(ratios[chosen] * np.sqrt(252), rel=1e-9)
    by_chance = float(np.std(list(ratios.values()), ddof=1)) * expected_maximum(20)
    assert found.expected_by_luck == pytest.approx(by_chance * np.sqrt(252), rel=1e-9)
    shape = shape_of(returns[chosen].to_numpy())
    deflated = probabilistic_sharpe_ratio(by_chance, ratios[chosen], *shape, 504)
    assert found.deflated_sharpe == pytest.approx(deflated, abs=1e-12)
    expected = probability_of_overfitting(returns.to_numpy())
    assert found.selection is not None
    assert found.selection.probability == pytest.approx(expected.probability, abs=1e-12)
    assert sum(found.selection.logits.values()) == 12_870
    assert [cut.method for cut in found.haircuts] == ["bonferroni", "holm", "bhy"]
    assert all(0 <= cut.sharpe < found.sharpe for cut in found.haircuts)


@pytest.mark.system
async def test_only_the_record_of_the_registration_has_the_logits(client: AsyncClient, name: str) -> None:
    version = await client.register(name, MODEL, trials=returns_of(5, days=60))
    changed = await client.update_version(version, tags={"desk": "a"})
    assert changed.overfitting == version.overfitting == (await client.get_version(version)).overfitting
    assert not (await client.verify_audit_log()).defects
    records = [record async for record in client.export_audit_log() if record.model == name]
    told = {record.kind: json.loads(record.payload) for record in records if '"logits"' in record.payload}
    logits = {kind: payload["overfitting"]["backtest"]["selection"]["logits"] for kind, payload in told.items()}
    assert {kind: bool(found) for kind, found in logits.items()} == {"registered": True, "version": False}


@pytest.mark.system
@pytest.mark.weekly("postgresql")
async def test_gates_on_luck_and_on_the_track_record_say_what_they_found(client: AsyncClient, name: str) -> None:
    lucky = await registered(client, name, returns_of(50))
    said = await refused(client, lucky, max_pbo=0.2, min_deflated_sharpe=0.95, min_track_record=0.95)
    assert "the probability of overfitting is " in said
    assert "of 12,870 splits; at most 0.2 is allowed" in said
    assert "of 50 trials; at least 0.95 is required (the returns of its trials)" in said
    skilled = await registered(client, name, returns_of(50, skill=0.3))
    evidence = await passed(client, skilled, max_pbo=0.2, min_deflated_sharpe=0.95, min_track_record=0.95)
    assert "504 rows, needs " in evidence[2]
    short = await registered(client, name, returns_of(2, days=40, skill=0.1))
    assert "40 rows, needs " in await refused(client, short, min_track_record=0.95)


@pytest.mark.system
async def test_a_version_without_returns_does_not_pass_gates_on_them(client: AsyncClient, name: str) -> None:
    version = await registered(client, name, 500)
    assert version.overfitting is not None
    assert (version.overfitting.trials, version.overfitting.backtest) == (500, None)
    said = await refused(client, version, max_pbo=0.5, min_deflated_sharpe=0.5)
    assert "was registered without returns of its trials" in said
    assert "has neither returns of its trials nor a comparison with returns" in said
    assert "without two trials" in await refused(client, await registered(client, name, returns_of(1)), max_pbo=0.5)


@pytest.mark.system
@pytest.mark.weekly("postgresql")
async def test_a_comparison_counts_the_trials_of_all_versions(client: AsyncClient, name: str) -> None:
    first, second = await registered(client, name, 500), await registered(client, name, None)
    random = np.random.default_rng(0)
    outcome = random.normal(0.001, 0.01, 600)
    sent = {first: outcome + random.normal(0, 0.05, 600), second: random.normal(size=600)}
    common: dict[str, Any] = {"predictions": sent, "returns": outcome, "metrics": ["sharpe"]}
    found = await client.compare([], None, outcome, **common)
    result = found.result(str(first)).deflated_sharpe
    assert result is not None
    assert result.trials == 501
    evidence = await passed(client, first, min_deflated_sharpe=0.0, min_track_record=0.5)
    assert f"of 501 trials; at least 0 is required (comparison {found.comparison_id})" in evidence[0]
    told = await client.compare([], None, outcome, trials=returns_of(30), **common)
    assert told.overfitting is not None
    assert told.overfitting.backtest is not None
    result = told.result(str(first)).deflated_sharpe
    assert result is not None
    assert (result.trials, result.expected_by_luck) == (30, told.overfitting.backtest.expected_by_luck)
    assert (await client.get_comparison(told.comparison_id)).overfitting == told.overfitting


@pytest.mark.system
@pytest.mark.weekly("postgresql")
async def test_a_panels_track_record_counts_its_times(client: AsyncClient, name: str) -> None:
    first, second = await registered(client, name, None), await registered(client, name, None)
    random, days = np.random.default_rng(0), np.repeat(np.arange(300), 2)
    outcome = random.normal(0.002, 0.01, 600)
    sent: dict[Any, Any] = {first: np.ones(600), second: random.normal(size=600)}
    await client.compare(
        [], None, outcome, predictions=sent, returns=outcome, time=days, group=np.tile(["a", "b"], 300)
    )
    [evidence] = await passed(client, first, min_track_record=0.5)
    assert evidence.startswith("300 rows, needs ")


@pytest.mark.system
@pytest.mark.weekly("postgresql")
async def test_the_chosen_configuration_need_not_be_the_best(client: AsyncClient, name: str) -> None:
    returns = returns_of(3).assign(day=pd.date_range("2024-01-01", periods=504))
    version = await registered(client, name, BacktestTrials(returns, chosen="c1", periods_per_year=52))
    assert version.overfitting is not None
    assert version.overfitting.backtest is not None
    expected = sharpe_ratio(returns["c1"].to_numpy()) * np.sqrt(52)
    assert version.overfitting.backtest.sharpe == pytest.approx(expected, rel=1e-9)


@pytest.mark.system
async def test_folds_are_kept_with_the_version(client: AsyncClient, name: str) -> None:
    folds = (
        ValidationFold("2022", {"rank_ic": 0.03}, 4000, 1000, "2018-01-02", "2021-12-31", "2022-01-03", "2022-12-30"),
        ValidationFold("2023", {"rank_ic": 0.01}),
    )
    version = await registered(client, name, None, folds=folds)
    assert (await client.get_version(version)).folds == folds
    with pytest.raises(errors.InvalidArgument, match="names a fold twice"):
        await registered(client, name, None, folds=(folds[0], folds[0]))


@pytest.mark.parametrize(
    ("trials", "said"),
    [
        (0, "trials: is 0; the chosen configuration counts too"),
        (True, "trials: is True; give their number"),
        (
            returns_of(2).mask(returns_of(2) == returns_of(2).loc[7, "c1"]),
            "trials.returns: 'c1' has no return in row 7",
        ),
        (pd.DataFrame({"a": ["x", "y", "z"]}), "trials.returns: 'a' is not a column of numbers"),
        (returns_of(2, days=2), "trials.returns: has 2 rows; a Sharpe ratio needs at least 3"),
        (pd.DataFrame({"a": [0.0] * 5}), "trials.returns: 'a' does not vary"),
        (BacktestTrials(returns_of(2), chosen="c7"), "trials.chosen: 'c7' is no column of the returns"),
        ("file:///etc/returns.parquet", "not allowed|allow"),
    ],
)
async def test_trials_that_cannot_be_read_register_nothing(
    client: AsyncClient, name: str, trials: Any, said: str
) -> None:
    with pytest.raises(errors.ModelwardError, match=said):
        await registered(client, name, trials)
    with pytest.raises(errors.ModelNotFound):
        await client.get_model(name)


@pytest.mark.system
async def test_folds_of_versions_are_set_side_by_side(client: AsyncClient, name: str) -> None:
    def fold(year: int, metrics: dict[str, float], test_from: str = "") -> ValidationFold:
        return ValidationFold(str(year), metrics, test_from=test_from)

    first = await client.register(
        name, MODEL, folds=[fold(2020, {"ic": 0.5}, "2020-01"), fold(2021, {"ic": 0.25}), fold(2022, {"ic": 0.125})]
    )
    second = await client.register(
        name,
        MODEL,
        folds=[
            fold(2020, {"ic": 1.0}, "2020-07"),
            fold(2021, {"ic": 0.75, "mse": 2.0}, "2021-01"),
            fold(2022, {"ic": 0.375}),
        ],
    )
    bare = await client.register(name, MODEL)
    found = await client.compare_folds([first, second, bare])
    values = {(row.fold, row.test_from, row.metric): dict(row.values) for row in found.rows}
    a, b = str(first.ref), str(second.ref)
    assert values == {
        ("2020", "2020-01", "ic"): {a: 0.5},
        ("2020", "2020-07", "ic"): {b: 1.0},  # The same name, but another test window.
        ("2021", "2021-01", "ic"): {a: 0.25, b: 0.75},  # One of them has no window.
        ("2021", "2021-01", "mse"): {b: 2.0},
        ("2022", "", "ic"): {a: 0.125, b: 0.375},
    }
    own, other = found.summary(a, "ic"), found.summary(second.ref, "ic")
    assert (own.folds, own.difference, own.paired_folds) == (3, None, 0)
    assert own.mean == pytest.approx(0.875 / 3)
    assert own.deviation == pytest.approx(np.std([0.5, 0.25, 0.125], ddof=1))
    assert other.paired_folds == 2
    assert other.difference == pytest.approx(0.375)
    assert other.difference_deviation == pytest.approx(np.std([0.5, 0.25], ddof=1))
    assert found.summary(b, "mse").difference is None
    assert list(found.to_pandas().columns) == ["fold", "test_from", "test_until", "metric", a, b, str(bare.ref)]
    turned = await client.compare_folds([first, second], baseline=second)
    assert turned.summary(a, "ic").difference == pytest.approx(-0.375)
    with pytest.raises(KeyError):
        found.summary(bare.ref, "ic")
    for versions, baseline, message in (
        ([], None, "names no version"),
        ([first, first], None, "names a version twice"),
        ([first], second, "is not among the versions"),
        ([bare], None, "were registered without folds"),
    ):
        with pytest.raises(errors.InvalidField, match=message):
            await client.compare_folds(versions, baseline=baseline)
