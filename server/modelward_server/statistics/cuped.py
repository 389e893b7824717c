"""CUPED (Deng, Xu, Kohavi and Walker 2013): what units were like before the test explains part of how they differ."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from modelward_server.statistics.rounding import varies

Floats = npt.NDArray[np.float64]
FEWEST_KNOWN = 10
"""With fewer units of known past, nothing is explained."""


def adjust(values: Sequence[Floats], before: Sequence[Floats], theta: float, *, centred: bool = False) -> list[Floats]:
    """Take from each unit's value what its past explains, with one slope for all arms.

    The past is the same in all arms but for luck, so the arms' difference keeps its expectation and loses variance.

    Args:
        values: each arm's values, by unit.
        before: the same units' values from before the test; NaN where there is none, which is left as it is.
        theta: the slope.
        centred: whether the past is 0 in expectation, as the difference of two arms' is.
    """
    centre = 0.0 if centred else _mean(np.concatenate(before))
    return [
        value - theta * np.where(np.isnan(past), 0.0, past - centre) for value, past in zip(values, before, strict=True)
    ]


def slope(
    values: Sequence[Floats], before: Sequence[Floats], size: float | None = None, past_size: float | None = None
) -> float:
    """Return the slope of values on the past, each about its arm's mean; 0 where the one or the other does not vary.

    Args:
        size: the greatest magnitude of what the values were computed from; their own when it is left out.
        past_size: that of the past.
    """
    known = [~np.isnan(past) for past in before]
    values = [value[there] for value, there in zip(values, known, strict=True)]
    before = [past[there] for past, there in zip(before, known, strict=True)]
    few = sum(map(len, before)) < FEWEST_KNOWN
    if few or not _any_varies(values, size) or not _any_varies(before, past_size):
        return 0.0
    pairs = [(value - _mean(value), past - _mean(past)) for value, past in zip(values, before, strict=True)]
    return sum(float(value @ past) for value, past in pairs) / sum(float(past @ past) for _, past in pairs)


def _any_varies(arms: Sequence[Floats], size: float | None) -> bool:
    return any(varies(arm, size) for arm in arms)


def _mean(values: Floats) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else 0.0
