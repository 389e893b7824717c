"""Scaling of outcomes to a unit of their own magnitude, relative to one of them.

In that unit no outcome is too large or too small to be squared, and the sums of equal outcomes are exactly 0.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from modelward_server.statistics.rounding import size_of, unit_of

Floats = npt.NDArray[np.float64]
MAX_FLOAT = float(np.finfo(np.float64).max)


@dataclass(frozen=True)
class Scale:
    """The unit and the origin of one metric."""

    unit: float
    origin: float
    """The origin in that unit."""
    size: float
    """The largest magnitude in that unit, before the origin is subtracted."""

    def to_scaled(self, values: Floats) -> Floats:
        return np.asarray(values / self.unit - self.origin)

    def value(self, scaled: float) -> float:
        return self.difference(self.origin + scaled)

    def difference(self, scaled: float) -> float:
        """Return a difference in the metric's own unit; an infinite one means that there is no bound, and stays so."""
        if not np.isfinite(scaled):
            return scaled
        with np.errstate(over="ignore"):
            return float(np.clip(np.float64(scaled) * self.unit, -MAX_FLOAT, MAX_FLOAT))


def scale_of(values: Floats) -> Scale:
    """Return the scale of values, shape (n,); NaN is ignored."""
    present = values[~np.isnan(values)]
    if not len(present):
        return Scale(1.0, 0.0, 0.0)
    unit = unit_of(present)
    return Scale(unit, float(present[0] / unit), size_of(present / unit))
