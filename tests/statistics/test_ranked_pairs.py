"""The area under the ROC curve of draws equals scikit-learn's of the repeated rows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from modelward_server.statistics.ranked_pairs import RankedPairs

pytestmark = pytest.mark.system  # Takes seconds.


@given(
    rows=st.integers(2, 60),
    times=st.integers(1, 60),
    seed=st.integers(0, 2**32 - 1),
    ties=st.booleans(),
    weighted=st.booleans(),
)
def test_area_of_draws_is_that_of_the_repeated_rows(
    rows: int, times: int, seed: int, ties: bool, weighted: bool
) -> None:
    random = np.random.default_rng(seed)
    scores = random.integers(5, size=rows).astype(float) if ties else random.normal(size=rows)
    positive, time = random.random(rows) < 0.5, random.integers(times, size=rows)
    own = random.random(rows) if weighted else None
    weights = random.integers(3, size=(7, times)).astype(float)
    found = RankedPairs(scores, positive, time, own).share(weights)
    for area, drawn in zip(found, weights[:, time] * (1.0 if own is None else own), strict=True):
        if drawn[positive].sum() and drawn[~positive].sum():
            np.testing.assert_allclose(area, roc_auc_score(positive, scores, sample_weight=drawn), atol=1e-12)
        else:
            assert np.isnan(area)
