"""Which of many models could be the best, and does any beat the baseline, all looks taken together?

Sources: Hansen, Lunde and Nason, "The model confidence set", Econometrica 79 (2011); Hansen, "A test for superior
predictive ability", Journal of Business & Economic Statistics 23 (2005). Both by `arch.bootstrap`, with the stationary
bootstrap.
"""

from collections.abc import Mapping

import numpy as np

from modelward.lifecycle import VersionRef
from modelward_server.comparison.metrics import Floats

DRAWS = 1000
MOST_VALUES = 60_000_000
"""How many rows times models times draws there may be; fewer draws keep to it, so that the answer takes seconds."""
FEWEST_DRAWS = 200
LEAST_ROWS = 10


def confidence_set(losses: Mapping[VersionRef, Floats], block_rows: float, seed: int) -> dict[VersionRef, float]:
    """Return the p-value with which each model would leave the set of those that could be the best.

    Args:
        losses: of each model, shape (rows,), in the order of time. Models whose losses are the same share a p-value.
        block_rows: the mean number of neighbouring rows drawn together.
        seed: the same seed gives the same answer.

    Returns:
        p-values in [0, 1]; empty when the rows are too few.
    """
    rows = len(next(iter(losses.values())))
    if rows < LEAST_ROWS:
        return {}
    distinct, place = np.unique(np.stack(list(losses.values())), axis=0, return_inverse=True)
    if len(distinct) == 1:
        return dict.fromkeys(losses, 1.0)
    from arch.bootstrap import MCS

    found = MCS(distinct.T, size=0.05, reps=_draws(distinct.size), block_size=_block(block_rows), seed=seed)
    found.compute()
    p_values = found.pvalues["Pvalue"].to_dict()
    return {version: float(p_values[number]) for version, number in zip(losses, place.ravel(), strict=True)}


def any_better(baseline: Floats, others: Mapping[VersionRef, Floats], block_rows: float, seed: int) -> float | None:
    """Return how likely luck alone makes one of the others look so much better than the baseline; None of few rows."""
    differing = [losses for losses in others.values() if np.ptp(losses - baseline) > 0]
    if len(baseline) < LEAST_ROWS:
        return None
    if not differing:
        return 1.0
    from arch.bootstrap import SPA

    models = np.column_stack(differing)
    found = SPA(baseline, models, reps=_draws(models.size), block_size=_block(block_rows), seed=seed)
    found.compute()
    return float(found.pvalues["consistent"])


def _block(block_rows: float) -> int:
    return max(1, round(block_rows))


def _draws(values: int) -> int:
    return int(np.clip(MOST_VALUES // values, FEWEST_DRAWS, DRAWS))
