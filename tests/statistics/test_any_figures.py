"""Every statistic, driven by whatever figures there are: constants, ties, tiny and huge ones, one row, perfect and
inverted models. None raises, warns or gives NaN, none finds a difference between equals, and units do not matter."""

from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from modelward.comparison import Metric, ModelKind, Verdict
from modelward.drift import DriftThresholds
from modelward.lifecycle import VersionRef
from modelward_server.comparison.scoring import choose_metrics, score_runs
from modelward_server.comparison.trading_returns import (
    TradingColumns,
    TradingTerms,
    deflated_sharpes,
    portfolios_of,
)
from modelward_server.comparison.verdict import Evaluation, EvaluationTerms, evaluate
from modelward_server.drift.compare import compare
from modelward_server.drift.decision import decide as decide_drift
from modelward_server.drift.performance_test import PeriodLoss, compare_period
from modelward_server.drift.profile_builder import build_profile
from modelward_server.drift.sample import count_live
from modelward_server.sandbox.sandbox import Run
from modelward_server.statistics.arm_statistics import Arm, estimate_difference
from modelward_server.statistics.bootstrap import block_length
from modelward_server.statistics.delong import delong
from modelward_server.statistics.model_confidence_set import confidence_set, superior_predictive_ability
from modelward_server.statistics.paired_tests import diebold_mariano, min_p_value
from modelward_server.statistics.sharpe import sharpe_difference
from tests.support.scale import examples

pytestmark = pytest.mark.system  # Draws many examples.

OLD, NEW, THIRD = (VersionRef("model", number) for number in (1, 2, 3))
NEARLY = 0.1 + 0.2
Floats = NDArray[np.float64]
SCALES = (1.0, 1e-140, 1e140, 1e-9)
figures = st.sampled_from([0.0, -0.0, 0.3, NEARLY, -0.3, 1.0, 1.0 + 1e-15, 2.0, -7.5, 1e-6])


@st.composite
def tables(draw: Any, series: int = 3, most: int = 40) -> Floats:
    """Draw series of one length: of few figures, so that ties are common, or of noise, some the same or mirrored."""
    rows = draw(st.integers(1, most))
    if draw(st.booleans()):
        return np.array([draw(st.lists(figures, min_size=rows, max_size=rows)) for _ in range(series)])
    noise = np.random.default_rng(draw(st.integers(0, 99))).normal(size=(series, rows))
    return np.array(
        [noise[draw(st.integers(0, series - 1))] * draw(st.sampled_from([1.0, -1.0, 1 + 1e-15])) for _ in noise]
    )


def numbers(values: Floats) -> Run:
    return Run(ModelKind.REGRESSION, (), values, None, None)


def judged(runs: dict[VersionRef, Run], truth: Any, returns: Floats | None = None) -> Evaluation:
    scored = score_runs(runs, truth)
    if returns is not None:
        columns, terms = TradingColumns(returns, None, None), TradingTerms(0.0, 252.0)
        scored = portfolios_of(scored, {}, columns, terms).add_to(scored)
    metrics, primary, _, lacking = choose_metrics([], None, list(scored.values()), list(scored).index(OLD))
    undefined = frozenset((list(scored)[place], metric) for place, metric in lacking)
    deflated_sharpes(scored, {"model": 3})
    return evaluate(scored, EvaluationTerms(metrics, primary, OLD, 0.0, 0.95, 1.0, seed=0, undefined=undefined))


def check(outcome: Evaluation) -> None:
    for model in outcome.models.values():
        for estimate in model.metrics:
            assert np.isfinite([estimate.value, estimate.low, estimate.high]).all(), estimate
        for one in model.differences:
            assert np.isfinite([one.difference, one.low, one.high, one.statistic]).all(), one
            assert 0 <= one.p_value <= one.adjusted_p_value <= 1
            assert one.difference != 0 or one.p_value > 0.05
        assert model.confidence_set_p_value is None or 0 <= model.confidence_set_p_value <= 1
    assert outcome.spa_p_value is None or 0 <= outcome.spa_p_value <= 1


@settings(max_examples=examples(12))
@given(tables(), st.sampled_from(SCALES))
def test_comparisons_of_numbers_answer_whatever_the_figures(table: Floats, scale: float) -> None:
    truth, one, other = table * scale
    check(judged({OLD: numbers(one), NEW: numbers(other), THIRD: numbers(truth)}, truth, returns=truth))


@settings(max_examples=examples(12))
@given(tables())
def test_comparisons_of_classes_answer_whatever_the_figures(table: Floats) -> None:
    truth = (table[0] > 0).astype(np.int64)
    shares = [1 / (1 + np.exp(-side)) for side in table[1:]] + [truth.astype(float), 1.0 - truth]
    runs = {VersionRef("model", number + 1): _classes(share) for number, share in enumerate(shares)}
    check(judged(runs, truth, returns=table[0]))


def _classes(share: Floats) -> Run:
    predicted = (share > 0.5).astype(np.int64)
    return Run(ModelKind.CLASSIFICATION, (0, 1), predicted, np.column_stack([1 - share, share]), None)


@settings(max_examples=examples(25))
@given(tables(series=1, most=60), st.sampled_from([1 + 1e-15, 1 - 1e-15, 1.0]))
def test_twins_are_never_told_apart(table: Floats, twin: float) -> None:
    truth = np.random.default_rng(0).normal(size=table.shape[1]) * max(np.abs(table).max(), 1.0)
    outcome = judged({OLD: numbers(table[0]), NEW: numbers(table[0] * twin)}, truth)
    assert outcome.conclusion.verdict is Verdict.INCONCLUSIVE
    assert {one.p_value for one in outcome.models[NEW].differences} == {1.0}
    assert {one.difference for one in outcome.models[NEW].differences} == {0.0}
    assert outcome.spa_p_value in {None, 1.0}
    assert len(outcome.confidence_set) in {0, 2}


@settings(max_examples=examples(25))
@given(tables(series=2), st.integers(1, 5), st.sampled_from([2.0**-400, 2.0**400, 2.0]))
def test_tests_of_a_difference_are_the_same_in_every_unit(table: Floats, block: int, unit: float) -> None:
    one, other = table
    for test in (partial(diebold_mariano, horizon=block), partial(sharpe_difference, block_rows=block, seed=0)):
        found, scaled = test(one, other), test(one * unit, other * unit)
        assert 0 <= found.p_value <= 1
        assert np.isfinite(found.statistic)
        assert scaled.p_value == pytest.approx(found.p_value)
        assert test(one, one * (1 + 1e-15)).p_value == 1
    assert block_length([one * unit - other * unit]) == pytest.approx(block_length([one - other]))


def test_no_test_is_surer_than_the_signs_of_the_rows_allow() -> None:
    positive = np.array([False, False, True, True])
    assert delong(positive, np.array([0.1, 0.2, 0.8, 0.9]), np.array([0.9, 0.8, 0.2, 0.1])).p_value == 0.125
    assert delong(positive, np.array([0.1, 0.2, 0.8, 0.9]), np.array([0.2, 0.3, 0.7, 0.71])).p_value == 1
    assert diebold_mariano(np.ones(6), np.zeros(6)).p_value == min_p_value(6) == 1 / 32
    outcome = judged({OLD: numbers(np.full(4, 1e-3) * [1, 1, 1, 1.001]), NEW: numbers(np.ones(4))}, np.zeros(4))
    assert min(one.p_value for one in outcome.models[NEW].differences) >= 1 / 8


def test_scores_that_differ_by_rounding_rank_nothing() -> None:
    positive = np.arange(40) % 2 == 1
    dust, flat = np.where(positive, NEARLY, 0.3), np.full(40, 0.3)
    assert delong(positive, dust, flat).p_value == 1
    outcome = judged({OLD: _classes(dust), NEW: _classes(flat)}, positive.astype(np.int64))
    areas = {one.value for model in outcome.models.values() for one in model.metrics if one.metric is Metric.ROC_AUC}
    assert areas == {0.5}


@settings(max_examples=examples(25))
@given(tables(series=4), st.floats(1, 5))
def test_sets_of_the_best_keep_one_and_share_places(table: Floats, block: float) -> None:
    losses = {VersionRef("model", number + 1): row for number, row in enumerate(np.vstack([table, table[0]]))}
    found = confidence_set(losses, block, seed=0)
    better = superior_predictive_ability(table[0], {NEW: table[1], THIRD: table[2]}, block, seed=0)
    assert (better is None) == (found == {})
    if found and better is not None:
        assert max(found.values()) == 1
        assert all(0 < p_value <= 1 for p_value in found.values())
        assert found[VersionRef("model", 1)] == found[VersionRef("model", 5)]
        assert 0 < better <= 1


@settings(max_examples=examples(40))
@given(tables(series=4, most=80), st.booleans(), st.sampled_from([1.0, 0.7, 1e6, 1e-6]))
def test_arms_that_are_equal_but_for_rounding_have_no_interval(table: Floats, paired: bool, level: float) -> None:
    rows = table.shape[1]
    equal = np.full(rows, 0.3 * level)
    dusty = np.where(np.arange(rows) % 2, equal, NEARLY * level)
    for before in (table[0], equal, dusty):
        found = estimate_difference(_arm(equal, before), _arm(dusty, before), paired=paired)
        assert found.interval(0.05) == (-np.inf, np.inf)
        assert found.difference == 0
    varied = estimate_difference(_arm(table[0], table[1]), _arm(table[2], table[3]), paired=paired)
    low, high = varied.interval(0.05)
    assert low <= varied.difference <= high
    assert 0 <= varied.variance_explained <= 1
    same = estimate_difference(_arm(table[0], table[1]), _arm(table[0] * (1 + 1e-15), table[1]), paired=True)
    assert same.interval(0.05) == (-np.inf, np.inf)


def _arm(values: Floats, before: Floats) -> Arm:
    arm = Arm(len(values))
    arm.add(np.arange(len(values)), values, before)
    return arm


@settings(max_examples=examples(12))
@given(tables(series=2, most=40), st.sampled_from([1.0, 1e-300, 1e300]))
def test_drift_answers_whatever_the_figures(table: Floats, scale: float) -> None:
    columns = {"x": table[0] * scale, "y": np.where(table[1] > 0, "up", "down").astype(object)}
    profile = build_profile(columns)
    found = decide_drift(
        compare(profile, count_live({"default": profile}, [(columns, None)], "data"), "default"), DriftThresholds()
    )
    assert not found.drift_detected  # The reference against itself.
    for feature in found.features:
        assert (feature.ks, feature.wasserstein, feature.p_value) == (0, 0, 1)


@pytest.mark.parametrize("usual", [0.0, 0.25, 1e6])
def test_errors_that_differ_by_rounding_are_no_decline(usual: float) -> None:
    """A faultless model whose errors are 1e-16 now, and one whose error is always the same."""
    earlier = [_period(50, usual, size=1e6) for _ in range(5)]
    found = compare_period(earlier, _period(50, usual * (1 + 1e-15) + 1e-16, size=1e6), classes=False)
    assert found is not None
    assert found.p_value >= 0.5
    assert not found.declined


def _period(rows: int, error: float, size: float) -> PeriodLoss:
    return PeriodLoss(rows, rows * error**2, rows * error**4, size)
