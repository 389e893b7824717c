"""Optimal block lengths equal those of `arch`."""

import numpy as np
import pytest
from arch.bootstrap import SPA
from arch.bootstrap import optimal_block_length as theirs
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import lfilter

from modelward_server.statistics.block_length import optimal_block_lengths
from modelward_server.statistics.model_confidence_set import superior_predictive_ability


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@given(
    rows=st.integers(10, 400),
    persistence=st.sampled_from([0.0, 0.3, 0.7, 0.95, 1.0]),
    seed=st.integers(0, 2**32 - 1),
)
def test_lengths_are_those_of_arch(rows: int, persistence: float, seed: int) -> None:
    shocks = np.random.default_rng(seed).normal(size=(rows, 3))
    series = lfilter([1.0], [1.0, -persistence], shocks, axis=0)
    series[:, 2] = series[:, 2] > np.quantile(series[:, 2], 0.8)
    lengths = optimal_block_lengths(series)
    np.testing.assert_allclose(lengths, theirs(series)["stationary"], rtol=1e-7)
    np.testing.assert_allclose(lengths[0], optimal_block_lengths(series[:, 0]))


@pytest.mark.parametrize(("rows", "block"), [(60, 1), (300, 4), (1500, 12)])
def test_superior_predictive_ability_is_that_of_arch(rows: int, block: int) -> None:
    random = np.random.default_rng(rows)
    baseline = np.abs(random.normal(size=rows))
    models = np.abs(random.normal(size=(rows, 4))) * np.array([0.95, 1.0, 1.1, 1.4])
    test = SPA(baseline, models, reps=1000, block_size=block, seed=5)
    test.compute()
    found = superior_predictive_ability(baseline, dict(enumerate(models.T)), float(block), seed=5)
    assert found == pytest.approx((1 + 1000 * test.pvalues["consistent"]) / 1001)
