"""Compute the result of an A/B test from its outcomes."""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime

import numpy as np

from modelward.abtest import AbEstimate, AbLook, AbMetric, AbTest, AbTestResult, VariantResult
from modelward_server.abtest.verdict import Split, broken_guardrails, interval_verdict, oriented, summarize, weights
from modelward_server.statistics import sample_ratio
from modelward_server.statistics.arm_statistics import Arm, Integers, Outcomes, estimate_difference
from modelward_server.statistics.confidence_sequences import DifferenceEstimate
from modelward_server.statistics.scaling import Scale, scale_of
from modelward_server.storage.outcome_tables import EPOCH, MICROSECOND

MAX_LOOKS = 200


def assess(
    test: AbTest, outcomes: Outcomes, units: Sequence[int], mismatched: int, max_looks: int = MAX_LOOKS
) -> AbTestResult:
    """Compute the result of a test.

    Args:
        test: the test.
        outcomes: its outcomes.
        units: the number of units of each variant.
        mismatched: the number of units that got another variant than assigned.
        max_looks: the maximum number of intermediate looks in the result, which take most of the time; 0 for the
            verdict only.
    """
    return _Assessment(test, outcomes, _split(test, units, mismatched), max_looks).result()


def _split(test: AbTest, units: Sequence[int], mismatched: int) -> Split:
    if test.shadow:  # Every unit is in every arm, so there is no split to test.
        return Split(units, 1.0, 1.0, False, mismatched)
    shares = weights(test.variants)
    sequential = sample_ratio.sequential_p_value(units, shares)
    return Split(
        units,
        sample_ratio.p_value(units, shares),
        sequential,
        sequential < sample_ratio.MISMATCH_SIGNIFICANCE,
        mismatched,
    )


class _Assessment:
    """Computes the estimates, the verdicts and the looks of a test from its outcomes."""

    def __init__(self, test: AbTest, outcomes: Outcomes, split: Split, max_looks: int) -> None:
        self._test, self._outcomes, self._split, self._most_looks = test, outcomes, split, max_looks
        self._keys = int(outcomes.keys.max()) + 1 if len(outcomes) else 0
        self._scales = [scale_of(column) for column in outcomes.values.T]
        # Bonferroni: keeps the rate of false positives over many challengers at that of a single one.
        self._alpha = (1 - test.confidence_level) / len(test.challengers)

    def result(self) -> AbTestResult:
        variants = self._variants()
        leader = None if self._split.broken else self._leader(variants)
        broken = () if self._split.broken else self._broken_guardrails(variants)
        return AbTestResult(
            test=self._test.test,
            as_of=self._instant(self._outcomes.at[-1]) if len(self._outcomes) else self._test.created_at,
            variants=tuple(variants),
            sample_ratio_p_value=self._split.p_value,
            sample_ratio_sequential_p_value=self._split.sequential_p_value,
            sample_ratio_broken=self._split.broken,
            mismatched_units=self._split.mismatched,
            verdict=None if leader is None else leader.metrics[0].verdict,
            best=self._best(leader),
            broken_guardrails=broken,
            summary=summarize(self._test, variants, leader, self._split, self._clusters()),
            looks=tuple(sorted(self._looks(), key=lambda look: look.at)),
        )

    def _clusters(self) -> int | None:
        """Return the number of clusters; None if no outcome names one."""
        return None if self._outcomes.clusters is None else len(np.unique(self._outcomes.clusters))

    def _variants(self) -> list[VariantResult]:
        columns = [self._metric(column, metric) for column, metric in enumerate(self._test.metrics)]
        return [
            VariantResult(variant.name, self._split.units[place], tuple(column[place] for column in columns))
            for place, variant in enumerate(self._test.variants)
        ]

    def _metric(self, column: int, metric: AbMetric) -> list[AbEstimate]:
        """Return the estimates of one metric for every variant."""
        scale = self._scales[column]
        arms = self._filled_arms(column)
        control = AbEstimate(metric.key, *_counted(arms[0], scale), 0.0, 0.0, 0.0, None, 0.0)
        return [control, *(self._challenger(metric, scale, arms[0], arm) for arm in arms[1:])]

    def _challenger(self, metric: AbMetric, scale: Scale, control: Arm, challenger: Arm) -> AbEstimate:
        found = self._estimate_difference(control, challenger)
        low, high = map(scale.difference, found.interval(self._alpha))
        return AbEstimate(
            metric.key,
            *_counted(challenger, scale),
            difference=scale.difference(found.difference),
            low=low,
            high=high,
            verdict=None if self._split.broken or not found.units else interval_verdict(low, high, metric),
            variance_explained=found.variance_explained,
        )

    def _estimate_difference(self, control: Arm, challenger: Arm) -> DifferenceEstimate:
        paired = self._paired(control, challenger)
        return estimate_difference(control, challenger, paired=paired, clusters=self._outcomes.clusters)

    def _paired(self, control: Arm, challenger: Arm) -> bool:
        """Return whether the arms share keys: units in a shadow test; blocks of time, unless blocks were assigned."""
        if self._test.shadow or self._test.block is None:
            return self._test.shadow
        both, either = control.seen & challenger.seen, control.seen | challenger.seen
        return bool(2 * both.sum() >= either.sum())

    def _filled_arms(self, column: int) -> list[Arm]:
        arms, add = self._arms(column)
        add(slice(None))
        return arms

    def _arms(self, column: int) -> tuple[list[Arm], Callable[[slice], None]]:
        """Return empty arms of a metric, and a function that adds rows of outcomes to them."""
        outcomes, scale, past = self._outcomes, self._scales[column], scale_of(self._outcomes.before[:, column])
        arms = [Arm(self._keys, scale.size, past.size) for _ in self._test.variants]
        values, before = scale.to_scaled(outcomes.values[:, column]), past.to_scaled(outcomes.before[:, column])

        def add(rows: slice) -> None:
            for place, arm in enumerate(arms):
                own = outcomes.arms[rows] == place
                arm.add(outcomes.keys[rows][own], values[rows][own], before[rows][own])

        return arms, add

    def _leader(self, variants: Sequence[VariantResult]) -> VariantResult | None:
        """Return the challenger with the best estimate; among equals, the one named first."""
        judged = [result for result in variants[1:] if result.metrics[0].verdict is not None]
        return max(judged, key=self._lead, default=None)

    def _lead(self, result: VariantResult) -> float:
        difference = result.metrics[0].difference
        return oriented(difference, difference, self._test.primary_metric)[0]

    def _best(self, leader: VariantResult | None) -> str:
        ahead = leader is not None and self._lead(leader) > 0
        return leader.variant if leader is not None and ahead else self._test.control.name

    def _broken_guardrails(self, variants: Sequence[VariantResult]) -> tuple[str, ...]:
        broken = {key for result in variants for key in broken_guardrails(self._test, result)}
        return tuple(metric.key for metric in self._test.guardrails if metric.key in broken)

    def _looks(self) -> Iterator[AbLook]:
        """Yield the challengers' estimates of the primary metric over time, as many as a chart needs."""
        (arms, add), start = self._arms(0), 0
        for end in _look_ends(self._outcomes.at, self._most_looks // len(self._test.challengers)):
            add(slice(start, end))
            start = end
            yield from self._look(arms, self._instant(self._outcomes.at[end - 1]))

    def _look(self, arms: Sequence[Arm], at: datetime) -> Iterator[AbLook]:
        for variant, arm in zip(self._test.challengers, arms[1:], strict=True):
            found = self._estimate_difference(arms[0], arm)
            difference, low, high = map(self._scales[0].difference, (found.difference, *found.interval(self._alpha)))
            if np.isfinite(low):
                yield AbLook(variant.name, at, found.units, difference, low, high)

    def _instant(self, microseconds: np.int64) -> datetime:
        return EPOCH + int(microseconds) * MICROSECOND


def _counted(arm: Arm, scale: Scale) -> tuple[int, float]:
    """Return the number of keys of an arm, and the mean of their means."""
    seen = arm.seen
    return int(seen.sum()), scale.value(float(arm.means(seen).mean())) if seen.any() else 0.0


def _look_ends(at: Integers, max_ends: int) -> Integers:
    """Return the ends of the looks: after the last outcome of an instant, at evenly spaced numbers of outcomes."""
    ends: Integers = np.append(np.flatnonzero(np.diff(at)) + 1, len(at))[: len(at)]
    if not max_ends:
        return ends[:0]
    if len(ends) <= max_ends:
        return ends
    return np.take(ends, np.linspace(0, len(ends) - 1, max_ends).round().astype(np.int64))
