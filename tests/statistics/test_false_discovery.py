"""Adjusted p-values, against statsmodels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from modelward_server.statistics.false_discovery import false_discovery_adjusted

P_VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=30)


@pytest.mark.parametrize(("dependent", "method"), [(False, "fdr_bh"), (True, "fdr_by")])
def test_adjusted_p_values_are_those_of_statsmodels(dependent: bool, method: str) -> None:
    @given(P_VALUES)
    def check(p_values: list[float]) -> None:
        expected = multipletests(p_values, method=method)[1]
        np.testing.assert_allclose(false_discovery_adjusted(p_values, dependent), expected, rtol=0, atol=1e-12)

    check()


def test_no_p_value_is_adjusted_to_none() -> None:
    assert false_discovery_adjusted([], dependent=True) == []
