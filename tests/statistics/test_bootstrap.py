"""The bootstrap and the verdict: known answers, properties, and how often it cries wolf."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import lfilter

from modelward.comparison import Verdict
from modelward_server.comparison.difference_tests import verdict_of
from modelward_server.statistics.bootstrap import (
    PairedDifference,
    block_length,
    draw_weights,
    interval,
    paired_difference,
    resample,
    rows_needed,
)
from tests.support.scale import FULL

Floats = NDArray[np.float64]


def weights(rows: int, block_rows: float, draws: int, seed: int = 0) -> Floats:
    return np.vstack(list(draw_weights(rows, block_rows, draws, seed)))


def mean_difference(losses: Floats, block_rows: float = 1.0, draws: int = 1000, seed: int = 0) -> PairedDifference:
    taken = resample([lambda w: w @ losses / len(losses)], draw_weights(len(losses), block_rows, draws, seed))
    informative = np.count_nonzero(losses) / block_rows
    return paired_difference(float(losses.mean()), taken[:, 0], len(losses) / block_rows, informative, 1, 0.95)


@pytest.mark.parametrize("block_rows", [1.0, 5.0])
def test_each_draw_takes_as_many_rows_as_there_are_and_every_row_equally_often(block_rows: float) -> None:
    drawn = weights(50, block_rows, 4000)
    assert (drawn.sum(axis=1) == 50).all()
    assert drawn.mean(axis=0) == pytest.approx(np.ones(50), abs=0.15)


def test_the_same_seed_draws_the_same_and_another_seed_does_not() -> None:
    assert np.array_equal(weights(20, 3, 50, seed=1), weights(20, 3, 50, seed=1))
    assert not np.array_equal(weights(20, 3, 50, seed=1), weights(20, 3, 50, seed=2))


def test_chunks_hold_every_draw_of_long_data() -> None:
    chunks = list(draw_weights(500_000, 1.0, 9, 0))
    assert [len(chunk) for chunk in chunks] == [4, 4, 1]


def test_the_bootstraps_standard_error_of_a_mean_is_the_formulas() -> None:
    values = np.random.default_rng(0).normal(size=400)
    assert mean_difference(values, draws=4000).deviation == pytest.approx(values.std() / 20, rel=0.05)


def test_blocks_see_the_dependence_that_single_rows_miss() -> None:
    series = lfilter([1], [1, -0.8], np.random.default_rng(1).normal(size=2000))
    true_error = np.sqrt(1 / (1 - 0.8) ** 2 / 2000)  # The long-run variance of an AR(1) over its length.
    alone, blocks = mean_difference(series), mean_difference(series, block_rows=block_length([series]))
    assert alone.deviation < 0.5 * true_error
    assert blocks.deviation == pytest.approx(true_error, rel=0.3)


def test_the_automatic_block_is_one_for_what_tells_nothing() -> None:
    assert block_length([]) == 1.0
    assert block_length([np.zeros(100)]) == 1.0
    assert block_length([np.arange(10.0)]) == 1.0


def test_the_automatic_block_is_a_tenth_of_the_rows_at_most() -> None:
    assert block_length([np.arange(100.0)]) == 10.0


def test_an_interval_holds_its_value_and_leaves_out_draws_that_are_not_defined() -> None:
    found = interval(5.0, np.array([1.0, 2.0, np.nan, 3.0]), 1e9, 0.95)
    assert found.low == pytest.approx(1.05)
    assert found.high == 5.0


def test_the_interval_of_few_rows_is_as_wide_as_students_t() -> None:
    """Of normal draws with the bootstrap's deviation, which divides by n, it is the t-interval of 10 rows."""
    draws = np.random.default_rng(0).normal(0, np.sqrt(0.9), 2_000_000)
    assert interval(0.0, draws, 10, 0.95).high == pytest.approx(2.2622, rel=0.01)  # The table's t(9) at 97.5 %.
    assert interval(0.0, draws, 1e9, 0.95).high == pytest.approx(1.96 * np.sqrt(0.9), rel=0.01)


def _verdict(found: PairedDifference, lower_is_better: bool, margin: float) -> Verdict:
    return verdict_of(found, found.p_value, lower_is_better, margin, 0.95)


@pytest.mark.parametrize(("disagreements", "p_value"), [(1, 1.0), (4, 0.125), (5, 0.0625)])
def test_few_rows_cannot_claim_more_than_the_exact_sign_test(disagreements: int, p_value: float) -> None:
    """McNemar's exact p-value where all discordant rows speak for one side is 2^(1-k)."""
    losses = np.r_[np.ones(disagreements), np.zeros(100 - disagreements)]
    assert mean_difference(losses).p_value >= p_value
    assert _verdict(mean_difference(losses), lower_is_better=True, margin=0.0) is Verdict.INCONCLUSIVE


def test_two_rows_prove_nothing() -> None:
    assert _verdict(mean_difference(np.array([-1.0, -1.0])), lower_is_better=True, margin=0.0) is Verdict.INCONCLUSIVE


def test_verdicts_of_a_loss_and_of_a_score_mirror_each_other() -> None:
    better = mean_difference(np.random.default_rng(2).normal(0.5, 1, 200))
    assert _verdict(better, lower_is_better=False, margin=0.0) is Verdict.SUPERIOR
    assert _verdict(better, lower_is_better=True, margin=0.0) is Verdict.INFERIOR


def test_within_the_margin_is_non_inferior_even_where_it_is_surely_a_little_worse() -> None:
    worse = mean_difference(np.random.default_rng(2).normal(-0.1, 0.1, 400))
    assert _verdict(worse, lower_is_better=False, margin=0.0) is Verdict.INFERIOR
    assert _verdict(worse, lower_is_better=False, margin=0.2) is Verdict.NON_INFERIOR


def test_more_comparisons_ask_for_more_evidence() -> None:
    draws = np.random.default_rng(3).normal(2.3, 1, 2000)
    one, many = (paired_difference(2.3, draws, 1e6, 50, comparisons, 0.95) for comparisons in (1, 10))
    assert many.p_value == one.p_value
    assert many.low < one.low
    assert verdict_of(one, one.p_value, False, 0.0, 0.95) is Verdict.SUPERIOR
    assert verdict_of(many, 10 * many.p_value, False, 0.0, 0.95) is Verdict.INCONCLUSIVE


def test_no_difference_at_all_is_certainly_luck() -> None:
    same = mean_difference(np.zeros(50))
    assert (same.value, same.low, same.high, same.p_value) == (0.0, 0.0, 0.0, 1.0)
    assert rows_needed(same, 50, 1, 0.95) == 0


def test_rows_needed_follow_the_formula_of_a_normal_mean() -> None:
    """A difference of 0.1 standard deviations asks for (1.96 + 0.8416)^2 / 0.01 = 785 rows."""
    found = PairedDifference(0.1, -0.1, 0.3, 0.3, deviation=0.1)  # As of 100 rows.
    assert rows_needed(found, 100, 1, 0.95) == 785


PAIRS = 300 if FULL else 100


@pytest.mark.system
@pytest.mark.parametrize(("dependence", "most"), [(0.0, 0.08), (0.6, 0.12)])
def test_two_equal_models_are_seldom_told_apart(dependence: float, most: float) -> None:
    """The rate of false alarms at 5 % nominal, over pairs of equal models with 400 rows each.

    Of AR(1) losses a test that took the rows as independent would cry wolf 33 times of 100: its error is half the
    true one. The automatic block leaves 8 of 100.
    """
    random, alarms = np.random.default_rng(4), 0
    for number in range(PAIRS):
        losses = lfilter([1], [1, -dependence], random.normal(size=450))[50:]
        found = mean_difference(losses, block_length([losses]), draws=300, seed=number)
        alarms += verdict_of(found, found.p_value, True, 0.0, 0.95) is not Verdict.INCONCLUSIVE
    assert alarms / PAIRS < most
