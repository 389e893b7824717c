"""How often a version is said to have declined: rarely when nothing changed, and when it really did."""

import numpy as np
import pytest

from modelward_server.drift.performance_test import SIGNIFICANCE, PeriodLoss, compare_period, independent_periods
from tests.support.scale import FULL

pytestmark = pytest.mark.system  # Draws thousands of series.

SERIES = 4000 if FULL else 1000
CHANCE = 4 * np.sqrt(SIGNIFICANCE * (1 - SIGNIFICANCE) / SERIES)
"""Four standard errors of a rate that is counted over so many series."""


def dependent(random: np.random.Generator, count: int, correlation: float) -> np.ndarray:
    """Make series of standard normal values whose neighbours correlate so."""
    series = random.normal(size=(SERIES, count))
    for i in range(1, count):
        series[:, i] = correlation * series[:, i - 1] + np.sqrt(1 - correlation**2) * series[:, i]
    return series


def of_classes(wrong: np.ndarray, rows: int) -> list[PeriodLoss]:
    return [PeriodLoss(rows, float(count), float(count)) for count in wrong]


def estimate_numeric(errors: np.ndarray) -> list[PeriodLoss]:
    squares = np.square(errors)
    return [PeriodLoss(len(row), float(row.sum()), float(np.square(row).sum())) for row in squares]


def declined(periods: list[PeriodLoss], classes: bool) -> bool:
    found = compare_period(periods[:-1], periods[-1], classes=classes)
    assert found is not None
    return found.declined


@pytest.mark.parametrize("correlation", [0.0, 0.3, 0.6, 0.9])
@pytest.mark.parametrize("count", [3, 4, 8, 20, 60])
@pytest.mark.weekly
def test_error_rates_that_wander_by_themselves_are_rarely_a_decline(count: int, correlation: float) -> None:
    random = np.random.default_rng([count, int(correlation * 10)])
    rates = np.clip(0.45 + 0.05 * dependent(random, count + 1, correlation), 0, 1)
    wrong = random.binomial(400, rates)
    alarms = np.mean([declined(of_classes(row, 400), classes=True) for row in wrong])
    assert alarms < 1.5 * SIGNIFICANCE + CHANCE


@pytest.mark.parametrize("correlation", [0.0, 0.6, 0.9])
@pytest.mark.parametrize("count", [4, 20])
def test_volatility_that_wanders_by_itself_is_rarely_a_decline(count: int, correlation: float) -> None:
    random = np.random.default_rng([count, int(correlation * 10), 1])
    volatility = np.exp(0.4 * dependent(random, count + 1, correlation))
    errors = volatility[:, :, None] * random.standard_t(5, size=(SERIES, count + 1, 50))
    alarms = np.mean([declined(estimate_numeric(row), classes=False) for row in errors])
    assert alarms < 1.5 * SIGNIFICANCE + CHANCE


def test_rows_that_err_by_chance_alone_are_rarely_a_decline_also_in_a_small_period() -> None:
    random = np.random.default_rng(3)
    rows = np.array([200] * 12 + [7])
    wrong = random.binomial(rows, 0.02, size=(SERIES, 13))
    series = [[PeriodLoss(int(n), float(w), float(w)) for n, w in zip(rows, row, strict=True)] for row in wrong]
    assert np.mean([declined(periods, classes=True) for periods in series]) < 1.5 * SIGNIFICANCE + CHANCE


def test_a_model_that_has_become_a_coin_is_found() -> None:
    random = np.random.default_rng(4)
    wrong = random.binomial(400, np.clip(0.36 + 0.02 * dependent(random, 21, 0.3), 0, 1))
    wrong[:, -1] = random.binomial(400, 0.5, SERIES)
    assert np.mean([declined(of_classes(row, 400), classes=True) for row in wrong]) > 0.8


def test_the_first_error_of_a_faultless_model_is_none() -> None:
    faultless = of_classes(np.zeros(10), 50)
    assert not declined([*faultless, PeriodLoss(50, 1, 1)], classes=True)
    assert declined([*faultless, PeriodLoss(50, 10, 10)], classes=True)
    assert not declined([PeriodLoss(50, 0.0, 0.0)] * 5, classes=False)


def test_few_periods_or_rows_are_no_baseline() -> None:
    assert compare_period(of_classes(np.zeros(2), 1000), PeriodLoss(9, 9, 9), classes=True) is None
    assert compare_period(of_classes(np.zeros(3), 33), PeriodLoss(9, 9, 9), classes=True) is None
    assert compare_period(of_classes(np.zeros(3), 34), PeriodLoss(9, 9, 9), classes=True) is not None


def test_dependent_periods_are_worth_fewer() -> None:
    random = np.random.default_rng(5)
    worth = {
        correlation: np.mean([independent_periods(row) for row in dependent(random, 200, correlation)[:200]])
        for correlation in (0.0, 0.5, 0.9)
    }
    assert worth[0.0] == pytest.approx(190, abs=15)
    assert worth[0.5] == pytest.approx(200 / 3, rel=0.1)  # (1 - r) / (1 + r) of them, in the long run.
    assert worth[0.9] == pytest.approx(200 / 19, rel=0.3)
