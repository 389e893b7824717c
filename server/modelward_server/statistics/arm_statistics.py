"""Per-arm statistics of an A/B test, based on one mean for each unit: units, not outcomes, were randomized."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import scipy

from modelward_server.statistics import cuped
from modelward_server.statistics.confidence_sequences import MIN_UNITS, DifferenceEstimate
from modelward_server.statistics.rounding import TOLERANCE, size_of, varies, zero_rounding_errors

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Outcomes:
    """The outcomes of a test, in the order of time."""

    arms: Integers
    """The index of each outcome's variant, shape (outcomes,)."""
    keys: Integers
    """Its unit or its block of time, numbered from 0 in the order of first appearance, shape (outcomes,)."""
    at: Integers
    """When it was observed, in microseconds since 1970, shape (outcomes,)."""
    values: Floats
    """The metrics, NaN where there is none, shape (outcomes, metrics)."""
    before: Floats
    """The metrics from before the test, NaN where there is none, shape (outcomes, metrics)."""
    clusters: Integers | None = None
    """The cluster of each key, numbered from 0, shape (keys,); None if each key is a cluster of its own."""

    def __len__(self) -> int:
        return len(self.at)


class Arm:
    """The running sums of one metric of one arm, by key (a unit or a block of time).

    Args:
        keys: the number of keys.
        size: the largest magnitude of the outcomes before an origin was subtracted from them; values that differ by no
            more than its rounding error do not vary.
        past_size: the same for the values from before the test.
    """

    def __init__(self, keys: int, size: float = 0.0, past_size: float = 0.0) -> None:
        self.size, self.past_size = size, past_size
        self.counts, self._totals = np.zeros(keys), np.zeros(keys)
        self._past_counts, self._past_totals = np.zeros(keys), np.zeros(keys)
        self._squares = 0.0

    def add(self, keys: Integers, values: Floats, before: Floats) -> None:
        """Add outcomes; those without a value do not count.

        Args:
            keys: the key of each outcome, shape (outcomes,).
            values: the metric, NaN where there is none, shape (outcomes,).
            before: the metric from before the test, NaN where there is none, shape (outcomes,).
        """
        present = ~np.isnan(values)
        self.size, self.past_size = max(self.size, size_of(values)), max(self.past_size, size_of(before))
        self._squares += float(values[present] @ values[present])
        _add(self.counts, self._totals, keys[present], values[present])
        with_past = present & ~np.isnan(before)
        _add(self._past_counts, self._past_totals, keys[with_past], before[with_past])

    @property
    def seen(self) -> Mask:
        """Return which keys have an outcome, shape (keys,)."""
        return self.counts > 0

    def means(self, keys: Mask) -> Floats:
        """Return the mean outcome of each selected key; each of them must have an outcome."""
        return self._totals[keys] / self.counts[keys]

    def past(self, keys: Mask) -> Floats:
        """Return the mean of each selected key from before the test; NaN where there is none."""
        known = self._past_counts[keys]
        return np.where(known > 0, self._past_totals[keys] / np.maximum(known, 1), np.nan)

    def averaging_reduction(self, keys: Mask) -> float:
        """Return by how much averaging reduces the variance: that of a single outcome minus that of a key's mean."""
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


def merge_clusters(keys: Integers, clusters: Integers) -> Integers:
    """Return the cluster of each key; clusters that share a key are one, as its outcomes make them dependent.

    Args:
        keys: the key of each outcome, numbered from 0, shape (outcomes,).
        clusters: the cluster of each outcome, -1 where its key is a cluster of its own, shape (outcomes,).

    Returns:
        Numbers from 0, shape (keys,).
    """
    shared, number = clusters >= 0, int(keys.max()) + 1
    places = number + np.unique(clusters[shared], return_inverse=True)[1]
    size = number + len(places)
    links = scipy.sparse.coo_array((np.ones(len(places)), (keys[shared], places)), shape=(size, size))
    components = scipy.sparse.csgraph.connected_components(links, directed=False)[1]
    return np.asarray(components[:number], np.int64)


def estimate_difference(
    control: Arm, challenger: Arm, *, paired: bool, clusters: Integers | None = None
) -> DifferenceEstimate:
    """Estimate the difference between a challenger and the control.

    Args:
        paired: whether the difference is computed within the keys that both arms have, leaving out the others.
        clusters: the cluster of each key, within which outcomes may depend on each other, shape (keys,); None if they
            are independent.

    Returns:
        The challenger's mean minus the control's; insufficient and without units if an arm has no (common) key.
    """
    if paired:
        both = control.seen & challenger.seen
        return _estimate_paired(control, challenger, both, clusters) if both.any() else _NOTHING
    if not control.seen.any() or not challenger.seen.any():
        return _NOTHING
    return _estimate_unpaired(control, challenger, clusters)


_NOTHING = DifferenceEstimate(0, 0.0, 0.0, 0.0, sufficient=False)


def _estimate_paired(control: Arm, challenger: Arm, both: Mask, clusters: Integers | None) -> DifferenceEstimate:
    raw = [challenger.means(both) - control.means(both)]
    past = [challenger.past(both) - control.past(both)]
    adjusted, variances = _adjusted(raw, past, [control, challenger], centred=True)
    averaged = control.averaging_reduction(both) + challenger.averaging_reduction(both)
    difference = zero_rounding_errors(adjusted[0].mean(), max(control.size, challenger.size))
    found = _to_estimate(raw, variances, [averaged], float(difference))
    return found if clusters is None else _by_cluster(found, adjusted, [clusters[both]], control.size)


def _estimate_unpaired(control: Arm, challenger: Arm, clusters: Integers | None) -> DifferenceEstimate:
    arms = [control, challenger]
    raw = [arm.means(arm.seen) for arm in arms]
    adjusted, variances = _adjusted(raw, [arm.past(arm.seen) for arm in arms], arms)
    averaged = [arm.averaging_reduction(arm.seen) for arm in arms]
    difference = zero_rounding_errors(adjusted[1].mean() - adjusted[0].mean(), max(control.size, challenger.size))
    found = _to_estimate(raw, variances, averaged, float(difference))
    if clusters is None:
        return found
    within = [clusters[arm.seen] for arm in arms]
    shared = _within_clusters(found, adjusted, within, control.size)
    return shared or _by_cluster(found, [-adjusted[0], adjusted[1]], within, control.size)


def _by_cluster(
    found: DifferenceEstimate, arms: Sequence[Floats], clusters: Sequence[Integers], size: float
) -> DifferenceEstimate:
    """Replace the variance of an estimate by that of sums over clusters, whatever the dependence within them.

    Each key's deviation from its arm's mean, divided by the arm's number of keys, is its influence on the difference.

    Args:
        found: the estimate for independent keys.
        arms: the values of each arm, with the sign with which they enter the difference, each of shape (keys,).
        clusters: the cluster of each of these keys.
        size: the largest magnitude of the outcomes.
    """
    influences = np.concatenate([(values - values.mean()) / len(values) for values in arms])
    _, places = np.unique(np.concatenate(clusters), return_inverse=True)
    sums = np.asarray(np.bincount(places, weights=influences), np.float64)
    return _clustered(found, found.difference, sums, size)


def _within_clusters(
    found: DifferenceEstimate, arms: Sequence[Floats], clusters: Sequence[Integers], size: float
) -> DifferenceEstimate | None:
    """Replace an estimate by that of differences within the clusters, from which what they share cancels out.

    The clusters' differences are weighted by their precision for independent keys, as in a regression on the arm with
    an effect of each cluster. Arguments as `_by_cluster`, with the control first.

    Returns:
        None if most clusters have keys of one arm only.
    """
    number = int(max(one.max() for one in clusters)) + 1
    counts, totals = (
        np.array([np.bincount(one, values, number) for one, values in zip(clusters, given, strict=True)])
        for given in ([np.ones(len(values)) for values in arms], arms)
    )
    both, either = counts.all(axis=0), counts.any(axis=0)
    if 2 * both.sum() < either.sum():
        return None
    counts, means = counts[:, both], totals[:, both] / counts[:, both]
    weights = counts.prod(axis=0) / counts.sum(axis=0)
    weights /= weights.sum()
    difference = float(zero_rounding_errors(weights @ (means[1] - means[0]), size))
    return _clustered(found, difference, weights * (means[1] - means[0] - difference), size)


def _clustered(found: DifferenceEstimate, difference: float, influences: Floats, size: float) -> DifferenceEstimate:
    """Return an estimate with the variance of the clusters' influences, shape (clusters,).

    Source: Liang and Zeger, "Longitudinal data analysis using generalized linear models", Biometrika 73 (1986), with
    the correction for few clusters of Cameron and Miller, "A practitioner's guide to cluster-robust inference", Journal
    of Human Resources 50 (2015). The number of outcomes with the same information changes in proportion (the design
    effect of Kish, "Survey sampling", 1965).
    """
    number, influences = len(influences), zero_rounding_errors(influences, size)
    variance = float(influences @ influences) * number / max(number - 1, 1)
    return replace(
        found,
        difference=difference,
        variance=variance,
        effective_outcomes=found.effective_outcomes * found.variance / variance if variance > 0 else 0.0,
        sufficient=found.sufficient and number >= MIN_UNITS,
    )


def _adjusted(
    raw: Sequence[Floats], past: Sequence[Floats], arms: Sequence[Arm], *, centred: bool = False
) -> tuple[Sequence[Floats], tuple[float, float]]:
    """Return the values after CUPED, and the variance of the arms' difference before and after it.

    Values stay unadjusted where the past explains all of their variance: the residuals would be rounding errors only.
    """
    size, past_size = max(arm.size for arm in arms), max(arm.past_size for arm in arms)
    before = _variance(raw, size)
    theta = cuped.slope(raw, past, size, past_size)
    adjusted = cuped.adjust(raw, past, theta, centred=centred)
    after = _variance(adjusted, size + abs(theta) * past_size)
    return (adjusted, (before, after)) if after > 0 else (raw, (before, before))


def _to_estimate(
    raw: Sequence[Floats], variances: tuple[float, float], averaged: Sequence[float], difference: float
) -> DifferenceEstimate:
    units, (before, variance) = sum(map(len, raw)), variances
    return DifferenceEstimate(
        units=units,
        difference=difference,
        variance=variance,
        # Units with repeated outcomes count for more than one outcome each, as far as these differ within a unit.
        effective_outcomes=units * (1 + sum(map(_over_size, averaged, raw)) / variance) if variance > 0 else 0.0,
        variance_explained=max(0.0, 1 - variance / before) if before > 0 else 0.0,
        sufficient=min(map(len, raw)) >= MIN_UNITS,
    )


def _variance(arms: Sequence[Floats], size: float) -> float:
    """Return the variance of the arms' difference in means; 0 if an arm has fewer than two units, or no arm varies.

    Args:
        size: the largest magnitude of the numbers from which the values were computed.
    """
    if min(map(len, arms)) < 2:
        return 0.0
    return float(sum(arm.var(ddof=1) / len(arm) for arm in arms if varies(arm, size)))


def _over_size(averaged: float, arm: Floats) -> float:
    return averaged / len(arm)
