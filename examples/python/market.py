"""Simulated days of a market, which take the place of real data in these examples."""

import numpy as np
from numpy.typing import NDArray

Table = dict[str, NDArray[np.float64]]


def simulated_days(rows: int, seed: int, *, shift: float = 0.0) -> tuple[Table, NDArray[np.int64]]:
    """Return features and labels of consecutive days.

    Args:
        rows: number of days.
        seed: the same seed gives the same days.
        shift: added to the momentum, in its standard deviations; 0 for a market like that of the training.

    Returns:
        The columns `momentum` and `volume`, and for each day 1 where the next one rose, else 0.
    """
    rng = np.random.default_rng(seed)
    features = {"momentum": rng.normal(shift, size=rows), "volume": rng.normal(size=rows)}
    return features, (features["momentum"] + rng.normal(size=rows) > shift).astype(np.int64)


def as_rows(features: Table) -> NDArray[np.float64]:
    """Return the columns side by side, as scikit-learn takes them: an array of shape (rows, columns)."""
    return np.column_stack(list(features.values()))
