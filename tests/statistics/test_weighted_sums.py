"""Estimators from one matrix product equal those from a product each."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from modelward_server.statistics import weighted_sums
from modelward_server.statistics.weighted_sums import OfSums, SharedSums


def estimators(rows: int, seed: int) -> list[OfSums]:
    """Return estimators that share some columns: of small integers, so that their sums are exact."""
    known = np.random.default_rng(seed).integers(-9, 9, size=(rows, 3)).astype(float)
    chosen = ([0, 1], [1], [2, 2, 0], [1, 0])
    return [OfSums(known[:, one], lambda sums: sums @ np.arange(1.0, sums.shape[1] + 1)) for one in chosen]


@given(rows=st.integers(1, 50), draws=st.integers(1, 9), seed=st.integers(0, 2**32 - 1))
def test_each_has_the_value_that_it_has_alone(rows: int, draws: int, seed: int) -> None:
    weights = np.random.default_rng(seed).integers(3, size=(draws, rows)).astype(float)
    alone = [estimate(weights) for estimate in estimators(rows, seed)]
    np.testing.assert_array_equal(SharedSums(estimators(rows, seed)).values(weights), alone)
    many = weighted_sums.MAX_VALUES
    try:
        weighted_sums.MAX_VALUES = 2 * rows  # Fewer than the distinct columns have.
        np.testing.assert_array_equal(SharedSums(estimators(rows, seed)).values(weights), alone)
    finally:
        weighted_sums.MAX_VALUES = many


def test_of_no_estimators_there_are_no_values() -> None:
    assert SharedSums([]).values(np.ones((2, 3))) == []
