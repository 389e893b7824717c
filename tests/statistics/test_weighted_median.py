"""Weighted medians equal numpy's median of the rows that a draw contains."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from modelward_server.statistics.weighted_median import WeightedMedian


@given(rows=st.integers(1, 60), times=st.integers(1, 60), seed=st.integers(0, 2**32 - 1), ties=st.booleans())
def test_median_of_draws_is_that_of_the_repeated_rows(rows: int, times: int, seed: int, ties: bool) -> None:
    random = np.random.default_rng(seed)
    values = random.integers(5, size=rows).astype(float) if ties else random.normal(size=rows)
    time = random.integers(times, size=rows)
    weights = random.integers(3, size=(7, times)).astype(float)
    weights[:, time[0]] += 1  # A draw has at least one row.
    expected = [np.median(np.repeat(values, drawn[time].astype(int))) for drawn in weights]
    np.testing.assert_array_equal(WeightedMedian(values, time, times).of(weights), expected)
