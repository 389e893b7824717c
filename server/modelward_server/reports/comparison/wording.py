"""What the drawings of comparisons say in words."""

from collections.abc import Sequence

from modelward.comparison import Comparison, Metric, MetricDifference, ModelResult
from modelward.lifecycle import VersionRef
from modelward_server.reports.intervals import Interval
from modelward_server.reports.verdicts import HEADLINES, TONES


def headline(comparison: Comparison) -> str:
    """Say in a few words what came out."""
    found = comparison.conclusion
    return HEADLINES[found.verdict].format(found.version, found.against)


def ran(comparison: Comparison) -> list[ModelResult]:
    """Return the results of the versions that answered."""
    return [result for result in comparison.results if not result.failure]


def metrics(comparison: Comparison) -> list[Metric]:
    """Return what was measured, the deciding metric first."""
    measured = [estimate.metric for estimate in ran(comparison)[0].metrics]
    return sorted(measured, key=lambda metric: metric is not comparison.primary_metric)


def named(metric: Metric) -> str:
    """Write a metric's name for people."""
    return metric.value.replace("_", " ")


def difference_of(result: ModelResult, metric: Metric) -> MetricDifference | None:
    """Return how a version differs from the baseline in a metric; None for the baseline itself."""
    return next((found for found in result.differences if found.metric is metric), None)


def decisive(comparison: Comparison) -> MetricDifference:
    """Return the difference that decides: the challenger minus the baseline, whichever of them is better."""
    found = comparison.conclusion
    challenger = found.against if found.version == comparison.baseline else found.version
    difference = difference_of(comparison.result(challenger), comparison.primary_metric)
    return difference or found.difference


def differences(comparison: Comparison) -> list[Interval]:
    """Return the differences to the baseline in the metric that decides, the best version first."""
    found = ((result, difference_of(result, comparison.primary_metric)) for result in ran(comparison))
    return [
        Interval(str(result.version), one.difference, one.low, one.high, *_judged(result))
        for result, one in found
        if one is not None
    ]


def estimates(comparison: Comparison, metric: Metric) -> list[Interval]:
    """Return the metric of each version, the baseline marked."""
    found = ((result.version, one) for result in ran(comparison) for one in result.metrics if one.metric is metric)
    return [
        Interval(str(version), one.value, one.low, one.high, "neutral", _role(version, comparison.baseline))
        for version, one in found
    ]


def listed_refs(versions: Sequence[VersionRef]) -> str:
    return ", ".join(map(str, versions))


def _judged(result: ModelResult) -> tuple[str, str]:
    return (TONES[result.verdict], result.verdict.value) if result.verdict else ("neutral", "")


def _role(version: VersionRef, baseline: VersionRef) -> str:
    return "baseline" if version == baseline else ""
