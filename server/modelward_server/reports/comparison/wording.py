"""The texts and the data of the reports of comparisons."""

from collections.abc import Sequence

from modelward.comparison import AnyMetric, Comparison, CustomMetric, MetricDifference, ModelResult
from modelward.lifecycle import VersionRef
from modelward_server.reports.intervals import Interval
from modelward_server.reports.verdicts import HEADLINES, TONES


def headline(comparison: Comparison) -> str:
    """Return the headline of the report."""
    found = comparison.conclusion
    return HEADLINES[found.verdict].format(found.version, found.against)


def ran(comparison: Comparison) -> list[ModelResult]:
    """Return the results of the versions that answered."""
    return [result for result in comparison.results if not result.failure]


def named(metric: AnyMetric) -> str:
    """Return the display name of a metric."""
    return str(metric) if isinstance(metric, CustomMetric) else metric.value.replace("_", " ")


def difference_of(result: ModelResult, metric: AnyMetric) -> MetricDifference | None:
    """Return a version's difference to the baseline in a metric; None for the baseline itself."""
    return next((found for found in result.differences if found.metric == metric), None)


def decisive(comparison: Comparison) -> MetricDifference:
    """Return the difference in the primary metric: the challenger minus the baseline, whichever of them is better."""
    found = comparison.conclusion
    challenger = found.against if found.version == comparison.baseline else found.version
    difference = difference_of(comparison.result(challenger), comparison.primary_metric)
    return difference or found.difference


def differences(comparison: Comparison) -> list[Interval]:
    """Return the differences to the baseline in the primary metric, the best version first."""
    found = ((result, difference_of(result, comparison.primary_metric)) for result in ran(comparison))
    return [
        Interval(str(result.version), one.difference, one.low, one.high, *_judged(result))
        for result, one in found
        if one is not None
    ]


def estimates(comparison: Comparison, metric: AnyMetric) -> list[Interval]:
    """Return the metric of each version, the baseline marked."""
    found = ((result.version, one) for result in ran(comparison) for one in result.metrics if one.metric == metric)
    return [
        Interval(str(version), one.value, one.low, one.high, "neutral", _role(version, comparison.baseline))
        for version, one in found
    ]


def covered(comparison: Comparison) -> list[ModelResult]:
    """Return the results that have a coverage, if any version left out a row."""
    results = [result for result in comparison.results if result.coverage is not None]
    return results if any(result.coverage != 1 for result in results) else []


def listed_refs(versions: Sequence[VersionRef]) -> str:
    return ", ".join(map(str, versions))


def _judged(result: ModelResult) -> tuple[str, str]:
    return (TONES[result.verdict], result.verdict.value) if result.verdict else ("neutral", "")


def _role(version: VersionRef, baseline: VersionRef) -> str:
    return "baseline" if version == baseline else ""
