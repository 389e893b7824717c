"""How a test stands, worked out from its outcomes."""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime

import numpy as np

from modelward.abtest import AbEstimate, AbLook, AbMetric, AbTest, AbTestResult, VariantResult
from modelward_server.abtest.verdict import Split, broken_guardrails, judge, oriented, summarize, weights
from modelward_server.statistics import sample_ratio
from modelward_server.statistics.arm_statistics import Arm, Integers, Outcomes, estimate_difference
from modelward_server.statistics.confidence_sequences import DifferenceEstimate
from modelward_server.statistics.scaling import Scale, scale_of
from modelward_server.storage.outcome_tables import EPOCH, MICROSECOND

MOST_LOOKS = 200


def assess(
    test: AbTest, outcomes: Outcomes, units: Sequence[int], mismatched: int, most_looks: int = MOST_LOOKS
) -> AbTestResult:
    """Say how a test stands.

    Args:
        units: how many units each variant has.
        mismatched: how many units got another variant than the assignment gives them.
        most_looks: how often to say how it stood on the way, which takes longer than all else; 0 for a verdict alone.
    """
    return _Assessment(test, outcomes, _split(test, units, mismatched), most_looks).result()


def _split(test: AbTest, units: Sequence[int], mismatched: int) -> Split:
    if test.shadow:  # Every unit is in every arm: there is no split that could break.
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
    """A test, its outcomes, and the questions that are put to them."""

    def __init__(self, test: AbTest, outcomes: Outcomes, split: Split, most_looks: int) -> None:
        self._test, self._outcomes, self._split, self._most_looks = test, outcomes, split, most_looks
        self._keys = int(outcomes.keys.max()) + 1 if len(outcomes) else 0
        self._scales = [scale_of(column) for column in outcomes.values.T]
        # Bonferroni: so that of many challengers none is called better by luck more often than of one.
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
            summary=summarize(self._test, variants, leader, self._split),
            looks=tuple(sorted(self._looks(), key=lambda look: look.at)),
        )

    def _variants(self) -> list[VariantResult]:
        columns = [self._metric(column, metric) for column, metric in enumerate(self._test.metrics)]
        return [
            VariantResult(variant.name, self._split.units[place], tuple(column[place] for column in columns))
            for place, variant in enumerate(self._test.variants)
        ]

    def _metric(self, column: int, metric: AbMetric) -> list[AbEstimate]:
        """Return one metric of every variant."""
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
            verdict=None if self._split.broken or not found.units else judge(low, high, metric),
            variance_explained=found.variance_explained,
        )

    def _estimate_difference(self, control: Arm, challenger: Arm) -> DifferenceEstimate:
        return estimate_difference(control, challenger, paired=self._paired(control, challenger))

    def _paired(self, control: Arm, challenger: Arm) -> bool:
        """Whether the arms share their keys: units in a shadow test; blocks of time, unless blocks are dealt out."""
        if self._test.shadow or self._test.block is None:
            return self._test.shadow
        both, either = control.seen & challenger.seen, control.seen | challenger.seen
        return bool(2 * both.sum() >= either.sum())

    def _filled_arms(self, column: int) -> list[Arm]:
        arms, add = self._arms(column)
        add(slice(None))
        return arms

    def _arms(self, column: int) -> tuple[list[Arm], Callable[[slice], None]]:
        """Return empty arms of a metric, and what adds rows of outcomes to them."""
        taken, scale, past = self._outcomes, self._scales[column], scale_of(self._outcomes.before[:, column])
        arms = [Arm(self._keys, scale.size, past.size) for _ in self._test.variants]
        values, before = scale.to_scaled(taken.values[:, column]), past.to_scaled(taken.before[:, column])

        def add(rows: slice) -> None:
            for place, arm in enumerate(arms):
                own = taken.arms[rows] == place
                arm.add(taken.keys[rows][own], values[rows][own], before[rows][own])

        return arms, add

    def _leader(self, variants: Sequence[VariantResult]) -> VariantResult | None:
        """Return the challenger that measures best; of equals the one named first."""
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
        """Yield how the challengers stood by the primary metric, as often as a picture needs."""
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
    """Return how many keys an arm has, and the mean of their means."""
    seen = arm.seen
    return int(seen.sum()), scale.value(float(arm.means(seen).mean())) if seen.any() else 0.0


def _look_ends(at: Integers, most: int) -> Integers:
    """Return where to look: behind the last outcome of an instant, at even numbers of outcomes."""
    ends: Integers = np.append(np.flatnonzero(np.diff(at)) + 1, len(at))[: len(at)]
    if not most:
        return ends[:0]
    if len(ends) <= most:
        return ends
    return np.take(ends, np.linspace(0, len(ends) - 1, most).round().astype(np.int64))
