"""Outcomes in a unit of their own, counted from one of them: so none is too large or too small to be squared, and the
sums of equal ones are exactly 0."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from modelward_server.statistics.rounding import size_of, unit_of

Floats = npt.NDArray[np.float64]
GREATEST = float(np.finfo(np.float64).max)


@dataclass(frozen=True)
class Scale:
    """The unit and the origin of one metric."""

    unit: float
    origin: float
    """In that unit."""
    size: float
    """The greatest magnitude, in that unit, before the origin is taken off."""

    def inward(self, values: Floats) -> Floats:
        return np.asarray(values / self.unit - self.origin)

    def value(self, inside: float) -> float:
        return self.difference(self.origin + inside)

    def difference(self, inside: float) -> float:
        """Return a difference in the metric's own unit; an infinite one says that there is no bound, and stays so."""
        if not np.isfinite(inside):
            return inside
        with np.errstate(over="ignore"):
            return float(np.clip(np.float64(inside) * self.unit, -GREATEST, GREATEST))


def scale_of(values: Floats) -> Scale:
    """Return the scale of some values; NaN is none."""
    told = values[~np.isnan(values)]
    if not len(told):
        return Scale(1.0, 0.0, 0.0)
    unit = unit_of(told)
    return Scale(unit, float(told[0] / unit), size_of(told / unit))
