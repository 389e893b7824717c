"""What the outcomes of an arm come to: one mean for each unit, since units and not outcomes were dealt at random."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from modelward_server.abtest import cuped
from modelward_server.abtest.sequences import FEWEST, Standing

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
    """

    def __init__(self, keys: int) -> None:
        self.counts, self._totals = np.zeros(keys), np.zeros(keys)
        self._past_counts, self._past_totals = np.zeros(keys), np.zeros(keys)
        self._squares = 0.0

    def add(self, keys: Integers, values: Floats, before: Floats) -> None:
        """Take outcomes; those without a value do not count."""
        told = ~np.isnan(values)
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
        return max(within, 0.0) / repeats * (1 - float((1 / self.counts[keys]).mean()))


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
    raw = challenger.means(both) - control.means(both)
    [adjusted] = cuped.adjust([raw], [challenger.past(both) - control.past(both)], centred=True)
    averaged = control.averaged_out(both) + challenger.averaged_out(both)
    return _estimate([raw], [adjusted], [averaged], float(adjusted.mean()))


def _of_two_samples(control: Arm, challenger: Arm) -> Standing:
    arms = [control, challenger]
    raw = [arm.means(arm.seen) for arm in arms]
    adjusted = cuped.adjust(raw, [arm.past(arm.seen) for arm in arms])
    averaged = [arm.averaged_out(arm.seen) for arm in arms]
    return _estimate(raw, adjusted, averaged, float(adjusted[1].mean() - adjusted[0].mean()))


def _estimate(raw: Sequence[Floats], adjusted: Sequence[Floats], averaged: Sequence[float], found: float) -> Standing:
    units, variance = sum(map(len, raw)), _variance(adjusted)
    return Standing(
        units=units,
        difference=found,
        variance=variance,
        # Units whose outcomes go on count for more than one outcome each, as far as these differ within a unit.
        time=units * (1 + sum(map(_over_size, averaged, raw)) / variance) if variance > 0 else 0.0,
        variance_explained=max(0.0, 1 - variance / _variance(raw)) if variance > 0 else 0.0,
        enough=min(map(len, raw)) >= FEWEST,
    )


def _variance(arms: Sequence[Floats]) -> float:
    """Return the variance of the arms' difference in means; 0 when an arm has less than two units."""
    if min(map(len, arms)) < 2:
        return 0.0
    return float(sum(arm.var(ddof=1) / len(arm) for arm in arms))


def _over_size(averaged: float, arm: Floats) -> float:
    return averaged / len(arm)
