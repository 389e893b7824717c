"""Overfitting of backtests, track records and haircuts, against published figures and other libraries."""

import math

import numpy as np
import pytest
import scipy
from statsmodels.stats.multitest import multipletests

from modelward_server.comparison.overfitting import assess_trials
from modelward_server.statistics.metrics import Floats
from modelward_server.statistics.overfitting import (
    haircuts,
    minimum_backtest_years,
    minimum_track_record,
    probability_of_overfitting,
)
from modelward_server.statistics.paired_tests import holm
from modelward_server.statistics.sharpe import expected_maximum, probabilistic_sharpe_ratio


@pytest.mark.system
@pytest.mark.parametrize(("blocks", "splits"), [(8, 70), (10, 252), (12, 924), (14, 3432), (16, 12870)])
def test_there_are_as_many_splits_as_in_the_paper(blocks: int, splits: int) -> None:
    """Bailey et al. (2017)."""
    found = probability_of_overfitting(np.random.default_rng(0).normal(size=(96, 3)), blocks)
    assert found.logits.shape == (splits,)


@pytest.mark.system
@pytest.mark.parametrize("columns", [2, 10, 100])
def test_what_is_best_in_sample_and_worst_out_of_sample_is_overfitted(columns: int) -> None:
    returns = np.random.default_rng(1).choice([-1.0, 1.0], size=(640, columns))
    level = np.repeat(np.random.default_rng(2).normal(size=(16, columns)), 40, axis=0) / 10
    returns = _standardized(returns) + level - level.mean(axis=0)
    found = probability_of_overfitting(returns)
    assert found.probability == pytest.approx(1, abs=0.02)
    assert np.median(found.logits) == pytest.approx(-math.log(columns), abs=1e-9)
    assert found.slope < 0


def _standardized(returns: Floats) -> Floats:
    blocks = returns.reshape(16, -1, returns.shape[1])
    blocks = blocks - blocks.mean(axis=1, keepdims=True)
    return np.reshape(blocks / blocks.std(axis=1, keepdims=True), returns.shape)


@pytest.mark.system
@pytest.mark.parametrize("columns", [2, 10, 100])
def test_one_that_is_better_everywhere_is_not_overfitted(columns: int) -> None:
    returns = np.random.default_rng(3).normal(size=(1000, columns))
    returns[:, 1] += 100
    found = probability_of_overfitting(returns)
    assert found.probability == found.probability_of_loss == 0
    assert found.logits == pytest.approx(math.log(columns), abs=1e-12)


@pytest.mark.system
def test_without_skill_half_of_the_selections_are_overfitted() -> None:
    """The mean over 60 tables was measured publicly as 0.476 with a standard deviation of 0.137."""
    random = np.random.default_rng(4)
    found = [probability_of_overfitting(random.normal(size=(1000, 200)), 10).probability for _ in range(30)]
    assert np.mean(found) == pytest.approx(0.476, abs=3 * 0.137 / math.sqrt(30))


@pytest.mark.system
def test_the_unit_and_the_order_of_the_columns_do_not_matter() -> None:
    returns = np.random.default_rng(5).normal(0.02, 1, size=(333, 7))
    found, other = probability_of_overfitting(returns), probability_of_overfitting(returns[:, ::-1] * 1e-6)
    assert found.probability == other.probability
    assert np.sort(found.logits) == pytest.approx(np.sort(other.logits), abs=1e-9)


@pytest.mark.parametrize(
    ("rows", "skewness", "kurtosis", "expected"),
    [(24, -2.448, 10.164, 0.913), (36, -2.448, 10.164, 0.953), (24, 0.0, 3.0, 0.982)],
)
def test_the_probabilistic_ratio_is_as_published(rows: int, skewness: float, kurtosis: float, expected: float) -> None:
    """Bailey and Lopez de Prado (2012): monthly ratio 0.458."""
    assert probabilistic_sharpe_ratio(0, 0.458, skewness, kurtosis, rows) == pytest.approx(expected, abs=6e-4)


@pytest.mark.parametrize(
    ("periods", "skewness", "kurtosis", "years"),
    [(250, 0, 3, 2.73), (52, 0, 3, 2.83), (12, 0, 3, 3.24), (12, -0.72, 5.78, 4.99)],
)
def test_the_minimum_track_record_is_as_published(periods: int, skewness: float, kurtosis: float, years: float) -> None:
    """Bailey and Lopez de Prado (2012): an annual ratio of 2 against 1."""
    root = math.sqrt(periods)
    rows = minimum_track_record(2 / root, skewness, kurtosis, 1 / root)
    assert rows / periods == pytest.approx(years, abs=6e-3)


def test_the_track_record_and_the_probability_agree() -> None:
    """1.14 against 1 of 250 normal returns needs 228.735 (published in the tests of mlfinlab before 2021)."""
    assert probabilistic_sharpe_ratio(1, 1.14, 0, 3, 250) == pytest.approx(0.95727, abs=1e-5)
    rows = minimum_track_record(1.14, 0, 3, 1)
    assert rows == pytest.approx(228.735, abs=5e-4)
    z = scipy.special.ndtri(0.95)
    assert (1.14 - 1) * math.sqrt((rows - 1) / (1 + 1.14**2 / 2)) == pytest.approx(z, abs=1e-12)
    assert minimum_track_record(1, 0, 3, 1) == math.inf


def test_the_best_of_many_trials_is_expected_as_published() -> None:
    """Bailey et al. (2014): ten trials, and 45 that reach a ratio of 1 within five years."""
    assert expected_maximum(10) == pytest.approx(1.575, abs=6e-4)
    assert expected_maximum(45) == pytest.approx(2.2356, abs=6e-5)
    assert minimum_backtest_years(45, 1) == pytest.approx(5, abs=6e-3)


@pytest.mark.system
@pytest.mark.weekly
def test_the_adjusted_p_values_are_those_of_statsmodels() -> None:
    p_values = np.random.default_rng(6).uniform(size=20) ** 4
    assert holm(p_values.tolist()) == pytest.approx(multipletests(p_values, method="holm")[1], abs=1e-12)
    ratios = -scipy.special.stdtrit(99, p_values / 2) / 10
    for number in (0, 7, 19):
        cut = {one.method: one for one in haircuts(ratios, number, 100)}
        for method, theirs in (("bonferroni", "bonferroni"), ("holm", "holm"), ("bhy", "fdr_by")):
            expected = multipletests(p_values, method=theirs)[1][number]
            assert cut[method].p_value == pytest.approx(expected, abs=1e-12)
            assert 2 * scipy.special.stdtr(99, -cut[method].ratio * 10) == pytest.approx(expected, abs=1e-9)


def test_316_factors_need_the_published_t() -> None:
    """Harvey, Liu and Zhu (2016): a t-statistic of 3.78 at 5 % by Bonferroni."""
    rows = 100_000_000
    [cut] = haircuts([3.78 / math.sqrt(rows)], 0, rows, trials=316)
    assert cut.p_value == pytest.approx(0.05, abs=5e-4)


def test_a_ratio_of_one_trial_is_not_cut() -> None:
    for cut in haircuts([-0.1], 0, 500):
        assert cut.ratio == pytest.approx(-0.1, abs=1e-12)


@pytest.mark.system
def test_a_configuration_in_another_unit_changes_nothing_for_the_others() -> None:
    returns = np.random.default_rng(3).normal(0, 0.01, (252, 20))
    columns = {f"c{number}": values for number, values in enumerate(returns.T)}
    usual, odd = (
        assess_trials(columns | {"other": returns[:, 0] * unit}, "", 252, "trials").backtest for unit in (1.0, 2.0**660)
    )
    assert usual
    assert odd == usual
