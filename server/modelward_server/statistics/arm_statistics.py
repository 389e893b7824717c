"""What the outcomes of an arm come to: one mean for each unit, since units and not outcomes were dealt at random."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from modelward_server.statistics import cuped
from modelward_server.statistics.confidence_sequences import FEWEST, Standing
from modelward_server.statistics.rounding import TOLERANCE, settled, size_of, varies

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Outcomes:
    """The outcomes of a test, in the order of time."""

    arms: Integers
    """The place of each outcome's variant, shape (outcomes,)."""
    keys: Integers
    """Its unit, or its block of time, numbered from 0 by first appearance, shape (outcomes,)."""
    at: Integers
    """When it was seen, in microseconds since 1970, shape (outcomes,)."""
    values: Floats
    """The metrics, NaN where there is none, shape (outcomes, metrics)."""
    before: Floats
    """The metrics from before the test, NaN where there is none, shape (outcomes, metrics)."""

    def __len__(self) -> int:
        return len(self.at)


class Arm:
    """The running sums of one metric of one arm, by key.

    Args:
        keys: how many keys there will be.
        size: the greatest magnitude of the outcomes, where those that are added are only what they are beyond an
            origin; what is within rounding of it does not vary.
        past_size: that of the values from before the test.
    """

    def __init__(self, keys: int, size: float = 0.0, past_size: float = 0.0) -> None:
        self.size, self.past_size = size, past_size
        self.counts, self._totals = np.zeros(keys), np.zeros(keys)
        self._past_counts, self._past_totals = np.zeros(keys), np.zeros(keys)
        self._squares = 0.0

    def add(self, keys: Integers, values: Floats, before: Floats) -> None:
        """Take outcomes; those without a value do not count."""
        told = ~np.isnan(values)
        self.size, self.past_size = max(self.size, size_of(values)), max(self.past_size, size_of(before))
        self._squares += float(values[told] @ values[told])
        _add(self.counts, self._totals, keys[told], values[told])
        remembered = told & ~np.isnan(before)
        _add(self._past_counts, self._past_totals, keys[remembered], before[remembered])

    @property
    def seen(self) -> Mask:
        """Which keys have an outcome."""
        return self.counts > 0

    def means(self, keys: Mask) -> Floats:
        """Return the keys' means; each of them must have an outcome."""
        return self._totals[keys] / self.counts[keys]

    def past(self, keys: Mask) -> Floats:
        """Return the keys' means from before the test; NaN where there is none."""
        known = self._past_counts[keys]
        return np.where(known > 0, self._past_totals[keys] / np.maximum(known, 1), np.nan)

    def averaged_out(self, keys: Mask) -> float:
        """Return by how much less a key's mean varies than a single outcome would, because outcomes were averaged."""
        seen = self.seen
        repeats = float(self.counts.sum()) - int(seen.sum())
        if repeats == 0:
            return 0.0
        within = self._squares - float(self._totals[seen] @ self.means(seen))
        if within <= TOLERANCE * self._squares:
            return 0.0
        return within / repeats * (1 - float((1 / self.counts[keys]).mean()))


def _add(counts: Floats, totals: Floats, keys: Integers, values: Floats) -> None:
    counts += np.bincount(keys, minlength=len(counts))
    totals += np.bincount(keys, weights=values, minlength=len(totals))


def standing(control: Arm, challenger: Arm, *, paired: bool) -> Standing:
    """Say how a challenger stands to the control.

    Args:
        paired: whether keys that both arms saw are compared with themselves, and others are left out.
    """
    if paired:
        both = control.seen & challenger.seen
        return _of_pairs(control, challenger, both) if both.any() else _NOTHING
    if not control.seen.any() or not challenger.seen.any():
        return _NOTHING
    return _of_two_samples(control, challenger)


_NOTHING = Standing(0, 0.0, 0.0, 0.0, enough=False)


def _of_pairs(control: Arm, challenger: Arm, both: Mask) -> Standing:
    raw = [challenger.means(both) - control.means(both)]
    past = [challenger.past(both) - control.past(both)]
    adjusted, variances = _adjusted(raw, past, [control, challenger], centred=True)
    averaged = control.averaged_out(both) + challenger.averaged_out(both)
    found = settled(adjusted[0].mean(), max(control.size, challenger.size))
    return _estimate(raw, variances, [averaged], float(found))


def _of_two_samples(control: Arm, challenger: Arm) -> Standing:
    arms = [control, challenger]
    raw = [arm.means(arm.seen) for arm in arms]
    adjusted, variances = _adjusted(raw, [arm.past(arm.seen) for arm in arms], arms)
    averaged = [arm.averaged_out(arm.seen) for arm in arms]
    found = settled(adjusted[1].mean() - adjusted[0].mean(), max(control.size, challenger.size))
    return _estimate(raw, variances, averaged, float(found))


def _adjusted(
    raw: Sequence[Floats], past: Sequence[Floats], arms: Sequence[Arm], *, centred: bool = False
) -> tuple[Sequence[Floats], tuple[float, float]]:
    """Return the values after CUPED, and the variance of the arms' difference before and after it.

    Values are left as they are where the past explains all of them: of what is left, rounding alone, nothing follows.
    """
    size, past_size = max(arm.size for arm in arms), max(arm.past_size for arm in arms)
    before = _variance(raw, size)
    theta = cuped.slope(raw, past, size, past_size)
    adjusted = cuped.adjust(raw, past, theta, centred=centred)
    after = _variance(adjusted, size + abs(theta) * past_size)
    return (adjusted, (before, after)) if after > 0 else (raw, (before, before))


def _estimate(
    raw: Sequence[Floats], variances: tuple[float, float], averaged: Sequence[float], found: float
) -> Standing:
    units, (before, variance) = sum(map(len, raw)), variances
    return Standing(
        units=units,
        difference=found,
        variance=variance,
        # Units whose outcomes go on count for more than one outcome each, as far as these differ within a unit.
        time=units * (1 + sum(map(_over_size, averaged, raw)) / variance) if variance > 0 else 0.0,
        variance_explained=max(0.0, 1 - variance / before) if before > 0 else 0.0,
        enough=min(map(len, raw)) >= FEWEST,
    )


def _variance(arms: Sequence[Floats], size: float) -> float:
    """Return the variance of the arms' difference in means; 0 when an arm has less than two units, or none varies.

    Args:
        size: the greatest magnitude of what their values were computed from.
    """
    if min(map(len, arms)) < 2:
        return 0.0
    return float(sum(arm.var(ddof=1) / len(arm) for arm in arms if varies(arm, size)))


def _over_size(averaged: float, arm: Floats) -> float:
    return averaged / len(arm)
