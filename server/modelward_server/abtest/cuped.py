"""CUPED (Deng, Xu, Kohavi and Walker 2013): what units were like before the test explains part of how they differ."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
FEWEST_KNOWN = 10
"""With fewer units of known past, nothing is explained."""


def adjust(values: Sequence[Floats], before: Sequence[Floats], *, centred: bool = False) -> list[Floats]:
    """Take from each unit's value what its past explains, with one slope for all arms.

    The past is the same in all arms but for luck, so the arms' difference keeps its expectation and loses variance.

    Args:
        values: each arm's values, by unit.
        before: the same units' values from before the test; NaN where there is none, which is left as it is.
        centred: whether the past is 0 in expectation, as the difference of two arms' is.
    """
    centre = 0.0 if centred else _mean(np.concatenate(before))
    theta = slope(values, before)
    return [
        value - theta * np.where(np.isnan(past), 0.0, past - centre) for value, past in zip(values, before, strict=True)
    ]


def slope(values: Sequence[Floats], before: Sequence[Floats]) -> float:
    """Return the slope of values on the past, each about its arm's mean; 0 where the past tells nothing."""
    pairs = [_about_means(value, past) for value, past in zip(values, before, strict=True)]
    spread = sum(float(past @ past) for _, past in pairs)
    if sum(len(past) for _, past in pairs) < FEWEST_KNOWN or spread == 0:
        return 0.0
    return sum(float(value @ past) for value, past in pairs) / spread


def _about_means(values: Floats, before: Floats) -> tuple[Floats, Floats]:
    known = ~np.isnan(before)
    return values[known] - _mean(values[known]), before[known] - _mean(before[known])


def _mean(values: Floats) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else 0.0
