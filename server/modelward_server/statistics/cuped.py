"""CUPED (Deng, Xu, Kohavi and Walker 2013): variance reduction by values of the units from before the test."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from modelward_server.statistics.rounding import varies

Floats = npt.NDArray[np.float64]
MIN_UNITS_WITH_PAST = 10
"""With fewer units that have a value from before the test, nothing is adjusted."""


def adjust(values: Sequence[Floats], before: Sequence[Floats], theta: float, *, centred: bool = False) -> list[Floats]:
    """Subtract from each unit's value the part explained by its past, with one slope for all arms.

    The arms' past values differ only by chance, so the arms' difference keeps its expectation and loses variance.

    Args:
        values: each arm's values, shape (units,).
        before: the same units' values from before the test; NaN where there is none, and the value stays unadjusted.
        theta: the slope.
        centred: whether the past has expectation 0, as the difference of two arms has.

    Returns:
        The adjusted values of each arm, shape (units,).
    """
    centre = 0.0 if centred else _mean(np.concatenate(before))
    return [
        value - theta * np.where(np.isnan(past), 0.0, past - centre) for value, past in zip(values, before, strict=True)
    ]


def slope(
    values: Sequence[Floats], before: Sequence[Floats], size: float | None = None, past_size: float | None = None
) -> float:
    """Return the slope of the regression of values on their past, each centred on its arm's mean.

    Args:
        values: each arm's values, shape (units,).
        before: the same units' values from before the test; units with NaN are left out.
        size: the largest magnitude of the numbers from which the values were computed; their own if it is omitted.
        past_size: the same for the past.

    Returns:
        The slope; 0 if either side does not vary or fewer than `MIN_UNITS_WITH_PAST` units have a past.
    """
    known = [~np.isnan(past) for past in before]
    values = [value[mask] for value, mask in zip(values, known, strict=True)]
    before = [past[mask] for past, mask in zip(before, known, strict=True)]
    few = sum(map(len, before)) < MIN_UNITS_WITH_PAST
    if few or not _any_varies(values, size) or not _any_varies(before, past_size):
        return 0.0
    pairs = [(value - _mean(value), past - _mean(past)) for value, past in zip(values, before, strict=True)]
    return sum(float(value @ past) for value, past in pairs) / sum(float(past @ past) for _, past in pairs)


def _any_varies(arms: Sequence[Floats], size: float | None) -> bool:
    return any(varies(arm, size) for arm in arms)


def _mean(values: Floats) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else 0.0
