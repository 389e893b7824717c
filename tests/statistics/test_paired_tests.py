"""Tests of paired differences against published figures, other libraries and brute force."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy.signal import lfilter
from scipy.stats import binomtest, ttest_rel
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar
from statsmodels.stats.multitest import multipletests

from modelward.comparison import SignificanceTest
from modelward.lifecycle import VersionRef
from modelward_server.statistics.delong import delong
from modelward_server.statistics.model_confidence_set import confidence_set, superior_predictive_ability
from modelward_server.statistics.paired_tests import diebold_mariano, holm, mcnemar, mcnemar_table
from modelward_server.statistics.sharpe import (
    expected_maximum,
    probabilistic_sharpe_ratio,
    sharpe_by_chance,
    sharpe_difference,
)
from tests.support.scale import examples

ONE, TWO, THREE = (VersionRef("spx", number) for number in (1, 2, 3))


def test_mcnemar_of_the_approval_ratings_of_agresti() -> None:
    """As statsmodels and R's mcnemar.test give it: 61 squared over 180."""
    found = mcnemar_table(np.array([[101, 121], [59, 33]]))
    assert found.test == SignificanceTest.MCNEMAR
    assert found.statistic == pytest.approx(20.672222, abs=1e-6)
    assert found.p_value == pytest.approx(5.45e-6, rel=1e-3)


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_of_any_table_equals_statsmodels(first: int, second: int) -> None:
    table = np.array([[7, first], [second, 9]])
    found = mcnemar_table(table)
    expected = statsmodels_mcnemar(table, exact=first + second < 25, correction=True)
    assert found.p_value == pytest.approx(expected.pvalue if first + second else 1.0, rel=1e-12)
    assert found.statistic == pytest.approx(expected.statistic)


def test_mcnemar_of_few_disagreements_is_the_binomial_test() -> None:
    right, other = np.arange(40) < 30, np.arange(40) >= 12
    found = mcnemar(right, other)
    assert found.test == SignificanceTest.MCNEMAR_EXACT
    assert found.p_value == pytest.approx(binomtest(12, 22).pvalue)
    assert mcnemar(right, right).p_value == 1


def test_diebold_mariano_of_two_forecasts_of_nothing() -> None:
    """Errors 0..5 against 0, 2, 3, 3, 5, 6, squared: -2.728 before the correction by the root of 5/6."""
    found = diebold_mariano(np.arange(6.0) ** 2, np.array([0, 2, 3, 3, 5, 6.0]) ** 2)
    assert found.statistic == pytest.approx(-2.4905, abs=1e-4)
    assert found.p_value == pytest.approx(0.0551, abs=1e-4)


def test_diebold_mariano_of_one_step_is_the_paired_t_test() -> None:
    """The correction turns the variance by n into that by n - 1, which Student's paired test has."""
    random = np.random.default_rng(0)
    losses, others = random.normal(size=(2, 50))
    found, expected = diebold_mariano(losses, others), ttest_rel(losses, others)
    assert found.statistic == pytest.approx(expected.statistic)
    assert found.p_value == pytest.approx(expected.pvalue)


def test_delong_equals_its_definition_by_every_pair() -> None:
    random = np.random.default_rng(0)
    positive = random.random(60) < 0.4
    scores, other = np.round(random.normal(size=(2, 60)) + positive, 1)  # With ties.
    kernels = [np.sign(one[positive][:, None] - one[~positive][None, :]) / 2 + 0.5 for one in (scores, other)]
    gap = kernels[0] - kernels[1]
    rows, columns = gap.mean(axis=1), gap.mean(axis=0)
    variance = rows.var(ddof=1) / len(rows) + columns.var(ddof=1) / len(columns)
    assert delong(positive, scores, other).statistic == pytest.approx(gap.mean() / np.sqrt(variance))


def test_deflated_sharpe_of_the_example_of_its_authors() -> None:
    """Bailey and Lopez de Prado (2014): 2.5 a year over 1250 days, skewness -3, kurtosis 10, 100 tries: 0.9004."""
    by_luck = np.sqrt(0.5 / 250) * expected_maximum(100)
    assert by_luck == pytest.approx(0.1132, abs=1e-4)
    assert probabilistic_sharpe_ratio(by_luck, 2.5 / np.sqrt(250), -3.0, 10.0, 1250) == pytest.approx(0.9004, abs=1e-4)
    assert expected_maximum(1) == 0


def test_skill_counts_less_the_more_was_tried() -> None:
    few, many = (probabilistic_sharpe_ratio(sharpe_by_chance(trials, 1 / 499), 0.1, 0, 3, 500) for trials in (1, 100))
    assert few > 0.9 > many


def test_sharpe_difference_of_equal_skill_is_luck_and_of_great_skill_is_not() -> None:
    random = np.random.default_rng(5)
    market = lfilter([1], [1, -0.3], random.normal(size=1000))
    alike = sharpe_difference(market + random.normal(size=1000), market + random.normal(size=1000), 3, seed=0)
    better = sharpe_difference(market + 0.4 + random.normal(size=1000), market + random.normal(size=1000), 3, seed=0)
    assert alike.p_value > 0.05 > better.p_value
    assert better.statistic > 3
    assert sharpe_difference(market, market, 3, seed=0).p_value == 1


@pytest.mark.system
def test_holm_multiplies_by_how_many_are_left() -> None:
    random = np.random.default_rng(0)
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []
    drawn = random.random(20) ** 3
    assert holm(drawn.tolist()) == pytest.approx(multipletests(drawn, method="holm")[1])


def test_the_confidence_set_keeps_the_best_and_drops_the_worst() -> None:
    random = np.random.default_rng(0)
    losses = {ONE: random.normal(1, 1, 500), TWO: random.normal(1.02, 1, 500), THREE: random.normal(2, 1, 500)}
    found = confidence_set(losses, 1.0, seed=0)
    assert found[THREE] < 0.05 < min(found[ONE], found[TWO])
    assert max(found.values()) == 1


def test_models_that_answer_alike_share_their_place_in_the_set() -> None:
    random = np.random.default_rng(0)
    losses = random.normal(1, 1, 100)
    assert confidence_set({ONE: losses, TWO: losses.copy()}, 1.0, seed=0) == {ONE: 1, TWO: 1}
    found = confidence_set({ONE: losses, TWO: losses.copy(), THREE: losses + 1}, 1.0, seed=0)
    assert found == {ONE: 1, TWO: 1, THREE: 2.0**-99}  # Worse by the same on each of 100 rows: the sign test.
    assert superior_predictive_ability(losses, {TWO: losses - 1}, 1.0, seed=0) == 2.0**-99
    assert superior_predictive_ability(losses, {TWO: losses.copy()}, 1.0, seed=0) == 1


def test_superior_ability_is_seen_and_its_absence_too() -> None:
    random = np.random.default_rng(0)
    baseline = random.normal(1, 1, 500)
    worse, better = baseline + random.normal(0.2, 1, 500), baseline - random.normal(0.2, 1, 500)
    assert (superior_predictive_ability(baseline, {TWO: worse}, 1.0, seed=0) or 0) > 0.5
    assert (superior_predictive_ability(baseline, {TWO: worse, THREE: better}, 1.0, seed=0) or 0) < 0.05
    assert superior_predictive_ability(baseline[:5], {TWO: worse[:5]}, 1.0, seed=0) is None


finite = st.floats(-1e6, 1e6)


@settings(max_examples=examples(25))
@given(arrays(float, st.tuples(st.just(2), st.integers(1, 30)), elements=finite), st.integers(1, 10))
def test_tests_mirror_each_other_and_are_never_nan(series: NDArray[np.float64], horizon: int) -> None:
    one, two = series
    for found, mirrored in [
        (diebold_mariano(one, two, horizon), diebold_mariano(two, one, horizon)),
        (sharpe_difference(one, two, horizon, 0), sharpe_difference(two, one, horizon, 0)),
        (mcnemar(one > 0, two > 0), mcnemar(two > 0, one > 0)),
    ]:
        assert 0 <= found.p_value <= 1
        assert np.isfinite(found.statistic)
        assert found.p_value == pytest.approx(mirrored.p_value)
