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
ROUNDING = 1e-12
"""What rounding leaves of a difference that is the same on every row, relative to the losses."""


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
    kept = _undominated(losses)
    first = {version: next(other for other in kept if _apart(losses[version], losses[other]) == 0) for version in kept}
    distinct = {version: losses[version] for version in dict.fromkeys(first.values())}
    p_values = _p_values(distinct, block_rows, seed)
    return {version: p_values[first[version]] if version in kept else 0.0 for version in losses}


def _undominated(losses: Mapping[VersionRef, Floats]) -> list[VersionRef]:
    """Leave out what is worse than another by the same on every row: that needs no test, and none could be computed."""
    return [
        version
        for version, mine in losses.items()
        if not any((_apart(mine, others) or 0.0) > 0 for others in losses.values())
    ]


def _apart(losses: Floats, others: Floats) -> float | None:
    """Return by how much two models differ when that is the same on every row, or else None."""
    difference = losses - others
    return float(difference.mean()) if np.ptp(difference) <= ROUNDING * np.abs(losses).max() else None


def _p_values(losses: Mapping[VersionRef, Floats], block_rows: float, seed: int) -> dict[VersionRef, float]:
    if len(losses) == 1:
        return dict.fromkeys(losses, 1.0)
    from arch.bootstrap import MCS

    table = np.column_stack(list(losses.values()))
    found = MCS(table, size=0.05, reps=_draws(table.size), block_size=_block(block_rows), seed=seed)
    found.compute()
    p_values = found.pvalues["Pvalue"].to_dict()
    return {version: float(p_values[number]) for number, version in enumerate(losses)}


def any_better(baseline: Floats, others: Mapping[VersionRef, Floats], block_rows: float, seed: int) -> float | None:
    """Return how likely luck alone makes one of the others look so much better than the baseline; None of few rows."""
    if len(baseline) < LEAST_ROWS:
        return None
    apart = [_apart(losses, baseline) for losses in others.values()]
    if any(constant is not None and constant < 0 for constant in apart):
        return 0.0
    differing = [losses for losses, constant in zip(others.values(), apart, strict=True) if constant is None]
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
