"""Verdicts and violated guardrails from confidence intervals, and the summary of a result."""

from collections.abc import Sequence
from dataclasses import dataclass

from modelward.abtest import AbEstimate, AbMetric, AbTest, Variant, VariantResult
from modelward.comparison import Verdict
from modelward.shared.figures import difference, level, p_equals
from modelward.shared.figures import metric as figure
from modelward_server.statistics.confidence_sequences import MIN_UNITS


def interval_verdict(low: float, high: float, metric: AbMetric) -> Verdict:
    """Return the verdict on a challenger, from the confidence interval of its difference to the control."""
    worst, best = oriented(low, high, metric)
    if worst > 0:
        return Verdict.SUPERIOR
    if metric.margin > 0 and worst > -metric.margin:
        return Verdict.NON_INFERIOR
    return Verdict.INFERIOR if best < 0 else Verdict.INCONCLUSIVE


def breaks(estimate: AbEstimate, metric: AbMetric) -> bool:
    """Return whether a guardrail is violated: significantly worse than the control by more than the margin."""
    return oriented(estimate.low, estimate.high, metric)[1] < -metric.margin


def oriented(low: float, high: float, metric: AbMetric) -> tuple[float, float]:
    """Return the worst and the best end of an interval, oriented so that above zero is better than the control."""
    return (-high, -low) if metric.lower_is_better else (low, high)


def broken_guardrails(test: AbTest, result: VariantResult) -> tuple[str, ...]:
    """Return the keys of the guardrails that a challenger violates."""
    if result.variant == test.control.name:
        return ()
    return tuple(metric.key for metric in test.guardrails if breaks(result[metric.key], metric))


@dataclass(frozen=True)
class Split:
    """The split of the units between the variants, and its tests."""

    units: Sequence[int]
    p_value: float
    sequential_p_value: float
    broken: bool
    mismatched: int


def summarize(
    test: AbTest,
    results: Sequence[VariantResult],
    leader: VariantResult | None,
    split: Split,
    clusters: int | None = None,
) -> str:
    """Summarize the result of a test in a few sentences.

    Args:
        leader: the challenger with the best estimate; None if there is none.
        clusters: the number of clusters of outcomes that may depend on each other; None if no outcome names one.
    """
    if split.broken:
        sentences = [_broken(test, split)]
    elif leader is None:
        sentences = [f"There are no outcomes of {test.primary_metric.key} yet for both the control and a challenger."]
    else:
        sentences = [_standing(test, leader, clusters), *_guardrails(test, results), *_clustered(clusters)]
    return " ".join([*sentences, *_mismatched(split)])


def _broken(test: AbTest, split: Split) -> str:
    seen = ", ".join(
        f"{units:,} units of {variant.name}" for variant, units in zip(test.variants, split.units, strict=True)
    )
    weights = " to ".join(f"{variant.weight:g}" for variant in test.variants)
    return (
        f"Sample ratio mismatch, so there is no verdict: {seen} do not match the weights {weights} "
        f"(sequential {p_equals(split.sequential_p_value)}). Check for lost units or outcomes."
    )


_SENTENCES = {
    Verdict.SUPERIOR: "{challenger} is better than {control}; the difference is statistically significant: {figures}.",
    Verdict.NON_INFERIOR: "{challenger} is non-inferior to {control} with a margin of {margin:g}: {figures}.",
    Verdict.INFERIOR: "{challenger} is worse than {control}; the difference is statistically significant: {figures}.",
    Verdict.INCONCLUSIVE: (
        "The mean of {challenger} is {compared} that of {control}; the difference is not statistically significant: "
        "{figures}."
    ),
}


def _standing(test: AbTest, leader: VariantResult, clusters: int | None) -> str:
    metric, found = test.primary_metric, leader.metrics[0]
    if found.high == float("inf"):
        return _too_little(test, leader, clusters)
    figures = (
        f"{metric.key} {_interval(found)} ({level(test.confidence_level)} confidence sequence, valid at any look), "
        f"mean {figure(found.mean)} of {found.outcomes:,} {_counted(test)}"
    )
    return _SENTENCES[found.verdict or Verdict.INCONCLUSIVE].format(
        challenger=leader.variant,
        control=test.control.name,
        margin=metric.margin,
        compared=_compared(found.difference, metric),
        figures=figures,
    )


def _clustered(clusters: int | None) -> list[str]:
    return [] if clusters is None else [f"The outcomes may depend on each other within {clusters:,} clusters."]


def _too_little(test: AbTest, leader: VariantResult, clusters: int | None) -> str:
    if clusters is not None and clusters < MIN_UNITS:
        return f"Too few data for a verdict: the outcomes are of {clusters:,} clusters, and a test needs {MIN_UNITS}."
    if leader.metrics[0].outcomes >= MIN_UNITS:
        return f"No verdict yet: {test.primary_metric.key} needs {MIN_UNITS} {_counted(test)} with varying values."
    return (
        f"Too few data for a verdict: {leader.variant} has {leader.metrics[0].outcomes} {_counted(test)} with "
        f"{test.primary_metric.key}, and each variant needs {MIN_UNITS}."
    )


def _compared(difference: float, metric: AbMetric) -> str:
    if difference == 0:
        return "equal to"
    return "worse than" if (difference > 0) == metric.lower_is_better else "better than"


def _guardrails(test: AbTest, results: Sequence[VariantResult]) -> list[str]:
    broken = ((result, key) for result in results for key in broken_guardrails(test, result))
    return [f"{result.variant} violates the guardrail {key}: {_interval(result[key])}." for result, key in broken]


def _interval(found: AbEstimate) -> str:
    return f"difference {difference(found.difference)}, between {figure(found.low)} and {figure(found.high)}"


def _mismatched(split: Split) -> list[str]:
    if not split.mismatched:
        return []
    total = sum(split.units)
    return [
        f"Of {total:,} units {split.mismatched:,} received a variant other than the assigned one: "
        "the arms may differ by more than their versions."
    ]


def _counted(test: AbTest) -> str:
    return "blocks" if test.block else "units"


def weights(variants: Sequence[Variant]) -> list[float]:
    return [variant.weight for variant in variants]
