"""What the outcomes of an arm come to, against formulas and figures from elsewhere."""

from typing import Any

import numpy as np
import pytest
import statsmodels.api as sm
from scipy.optimize import minimize_scalar
from scipy.stats import ttest_rel

from modelward_server.statistics import cuped, sample_ratio
from modelward_server.statistics.arm_statistics import Arm, estimate_difference, merge_clusters
from modelward_server.statistics.confidence_sequences import MIN_UNITS, TUNED_AT, half_width, mixing_variance


def arm(values: np.ndarray, before: np.ndarray | None = None, keys: np.ndarray | None = None) -> Arm:
    """Return an arm of one outcome for each unit, or of the keys given."""
    numbered = np.arange(len(values)) if keys is None else keys
    taken = Arm(int(numbered.max()) + 1)
    taken.add(numbered, values, np.full(len(values), np.nan) if before is None else before)
    return taken


def test_width_is_the_papers() -> None:
    """Waudby-Smith et al. (2024), theorem 2.2, term by term."""
    deviation, time, alpha = 1.7, 350, 0.05
    rho = np.sqrt(mixing_variance(alpha))
    expected = deviation * np.sqrt(
        2 * (time * rho**2 + 1) / (time**2 * rho**2) * np.log(np.sqrt(time * rho**2 + 1) / alpha)
    )
    assert half_width(deviation**2 / time, time, alpha) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.2])
def test_sequence_is_narrowest_where_it_is_tuned(alpha: float) -> None:
    def width(logarithm: float) -> float:
        grown = TUNED_AT * np.exp(logarithm)
        return float((grown + 1) / grown * np.log((grown + 1) / alpha**2))

    best = np.exp(minimize_scalar(width, bounds=(-20, 0), method="bounded").x)
    assert mixing_variance(alpha) == pytest.approx(best, rel=1e-3)


def test_split_of_550_to_450_has_the_chi_square_p_value_that_is_known() -> None:
    assert sample_ratio.p_value([550, 450], [1, 1]) == pytest.approx(0.00157, abs=5e-6)


def test_sequential_p_value_is_one_over_the_ratio_of_likelihoods_one_unit_at_a_time() -> None:
    """The posterior predictive of each unit in turn, which is how Lindon and Malek derive it."""
    weights, units, prior = (
        np.array([0.5, 0.3, 0.2]),
        [40, 5, 3],
        sample_ratio.CONCENTRATION * np.array([0.5, 0.3, 0.2]),
    )
    factor = 1.0
    for place, count in enumerate(units):
        for _ in range(count):
            factor *= prior[place] / prior.sum() / weights[place]
            prior[place] += 1
    assert sample_ratio.sequential_p_value(units, weights.tolist()) == pytest.approx(1 / factor, rel=1e-9)


def test_split_without_units_is_not_broken() -> None:
    assert (sample_ratio.p_value([0, 0], [1, 1]), sample_ratio.sequential_p_value([0, 0], [1, 1])) == (1.0, 1.0)


def test_difference_of_two_samples_has_welchs_variance() -> None:
    random = np.random.default_rng(7)
    control, challenger = random.normal(0, 1, 300), random.normal(0.4, 2, 200)
    found = estimate_difference(arm(np.append(control, [])), _shifted(challenger, 300), paired=False)
    assert found.difference == pytest.approx(challenger.mean() - control.mean())
    assert found.variance == pytest.approx(control.var(ddof=1) / 300 + challenger.var(ddof=1) / 200)
    assert (found.units, found.effective_outcomes, found.variance_explained) == (500, 500, 0)


def _shifted(values: np.ndarray, keys: int) -> Arm:
    """Return an arm whose units come behind those of another."""
    taken = Arm(keys + len(values))
    taken.add(keys + np.arange(len(values)), values, np.full(len(values), np.nan))
    return taken


def test_pairs_are_compared_with_themselves() -> None:
    random = np.random.default_rng(7)
    units = random.normal(0, 5, 400)
    control, challenger = units + random.normal(0, 0.1, 400), units + 0.05 + random.normal(0, 0.1, 400)
    found = estimate_difference(arm(control), arm(challenger), paired=True)
    statistic = ttest_rel(challenger, control).statistic
    assert found.difference / np.sqrt(found.variance) == pytest.approx(statistic)
    assert (found.units, found.effective_outcomes) == (400, 400)


def test_slope_of_the_past_is_that_of_least_squares_and_takes_away_the_variance_it_explains() -> None:
    random = np.random.default_rng(7)
    before = random.normal(10, 3, 2000)
    values = 0.8 * before + random.normal(0, 1, 2000)
    [adjusted] = cuped.adjust([values], [before], cuped.slope([values], [before]))
    assert cuped.slope([values], [before]) == pytest.approx(np.polyfit(before, values, 1)[0])
    assert adjusted.mean() == pytest.approx(values.mean())
    correlation = np.corrcoef(before, values)[0, 1]
    assert adjusted.var() / values.var() == pytest.approx(1 - correlation**2)


def test_units_without_a_past_and_a_past_that_tells_nothing_are_left_as_they_are() -> None:
    random = np.random.default_rng(7)
    values = random.normal(size=50)
    for past in (np.full(50, np.nan), np.full(50, 3.0), np.where(np.arange(50) % 2, 0.3, 0.1 + 0.2)):
        assert cuped.slope([values], [past]) == 0
        assert np.array_equal(cuped.adjust([values], [past], 0.0)[0], values)


def test_past_of_both_arms_sharpens_their_difference() -> None:
    random = np.random.default_rng(7)
    past = random.normal(0, 3, 4000)
    outcomes = past + random.normal(0, 1, 4000) + np.repeat([0, 0.2], 2000)
    arms = [Arm(4000), Arm(4000)]
    for place, taken in enumerate(arms):
        own = np.arange(2000) + 2000 * place
        taken.add(own, outcomes[own], past[own])
    found = estimate_difference(*arms, paired=False)
    assert found.variance_explained == pytest.approx(0.9, abs=0.01)
    assert found.difference == pytest.approx(0.2, abs=0.1)


def test_unit_counts_once_however_often_it_is_seen() -> None:
    random = np.random.default_rng(7)
    keys, values = np.repeat(np.arange(60), 10), random.normal(size=600)
    found = estimate_difference(arm(values, keys=keys), arm(values[::-1].copy(), keys=keys), paired=False)
    assert found.units == 120
    assert found.effective_outcomes == pytest.approx(1200, rel=0.35)
    same = np.repeat(random.normal(size=60), 10)
    assert estimate_difference(
        arm(same, keys=keys), arm(same + 1, keys=keys), paired=False
    ).effective_outcomes == pytest.approx(120)


def test_no_interval_of_too_few_units_nor_of_outcomes_that_do_not_vary() -> None:
    random = np.random.default_rng(7)
    few = estimate_difference(arm(random.normal(size=MIN_UNITS - 1)), arm(random.normal(size=500)), paired=False)
    assert few.interval(0.05) == (-np.inf, np.inf)
    constant = estimate_difference(arm(np.zeros(500)), arm(np.ones(500)), paired=True)
    assert constant.interval(0.05) == (-np.inf, np.inf)


def test_clusters_that_share_a_unit_are_one() -> None:
    keys, clusters = np.array([0, 1, 1, 2, 3, 4]), np.array([0, 0, 1, 1, 2, -1])
    merged = merge_clusters(keys, clusters).tolist()
    assert len(merged) == 5
    assert merged[0] == merged[1] == merged[2]
    assert len(set(merged)) == 3


def test_variance_by_cluster_is_that_of_statsmodels() -> None:
    """Whole days are dealt to an arm, so the difference is that of the arms' means."""
    random, day = np.random.default_rng(0), np.repeat(np.arange(80), 5)
    treated = day % 2 == 1
    values = random.normal(size=80)[day] + random.normal(size=400)
    arms = [arm(values[own], keys=np.flatnonzero(own)) for own in (~treated, treated)]
    control = Arm(400)
    control.add(np.flatnonzero(~treated), values[~treated], np.full(200, np.nan))
    found = estimate_difference(control, arms[1], paired=False, clusters=day)
    fitted = _regression(values, treated[:, None] * 1.0, day)
    correction = (80 / 79 * 399 / 398) / (80 / 79)
    assert found.difference == pytest.approx(fitted.params[1], rel=1e-9)
    assert found.variance * correction == pytest.approx(fitted.bse[1] ** 2, rel=1e-9)


def test_difference_within_clusters_is_that_of_a_regression_with_their_effects() -> None:
    random, day = np.random.default_rng(1), np.repeat(np.arange(60), 6)
    treated = random.random(360) < random.uniform(0.2, 0.8, 60)[day]
    values = 3 * random.normal(size=60)[day] + random.normal(size=360) + treated
    arms = [Arm(360), Arm(360)]
    for one, own in zip(arms, (~treated, treated), strict=True):
        one.add(np.flatnonzero(own), values[own], np.full(int(own.sum()), np.nan))
    found = estimate_difference(*arms, paired=False, clusters=day)
    effects = (day[:, None] == np.arange(1, 60)) * 1.0
    fitted = _regression(values, np.column_stack([treated, effects]), day)
    assert found.difference == pytest.approx(fitted.params[1], rel=1e-9)
    assert found.variance == pytest.approx(fitted.bse[1] ** 2, rel=0.25)
    plain = estimate_difference(*arms, paired=False)
    assert found.variance < plain.variance / 4
    assert found.effective_outcomes == pytest.approx(plain.effective_outcomes * plain.variance / found.variance)


def test_few_clusters_give_no_interval() -> None:
    day = np.arange(290) % (MIN_UNITS - 1)
    arms = [Arm(290), Arm(290)]
    for place, one in enumerate(arms):
        own = np.flatnonzero(np.arange(290) // 145 == place)
        one.add(own, np.random.default_rng(place).normal(size=145), np.full(145, np.nan))
    assert estimate_difference(*arms, paired=False).sufficient
    assert not estimate_difference(*arms, paired=False, clusters=day).sufficient


def test_paired_keys_of_a_cluster_are_summed() -> None:
    random, day = np.random.default_rng(2), np.repeat(np.arange(50), 4)
    differences = random.normal(size=50)[day] + random.normal(size=200)
    past = random.normal(size=200)
    arms = arm(past), arm(past + differences)
    found = estimate_difference(*arms, paired=True, clusters=day)
    sums = np.bincount(day, differences - differences.mean()) / 200
    assert found.variance == pytest.approx(sums @ sums * 50 / 49, rel=1e-9)


def _regression(values: np.ndarray, columns: np.ndarray, clusters: np.ndarray) -> Any:
    model = sm.OLS(values, sm.add_constant(columns, has_constant="add"))
    return model.fit(cov_type="cluster", cov_kwds={"groups": clusters})
