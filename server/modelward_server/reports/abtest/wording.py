"""The texts of the reports of A/B tests."""

from modelward.abtest import AbMetric, AbTest, AbTestResult
from modelward_server.reports.intervals import Interval
from modelward_server.reports.verdicts import HEADLINES, TONES


def headline(test: AbTest, result: AbTestResult) -> str:
    """Return the headline of the report."""
    if result.sample_ratio_broken:
        return "Sample ratio mismatch: no verdict"
    if result.broken_guardrails:
        return f"Guardrail violated: {', '.join(result.broken_guardrails)}"
    if result.verdict is None:
        return "No verdict yet"
    return HEADLINES[result.verdict].format(_foremost(test, result), test.control.name)


def _foremost(test: AbTest, result: AbTestResult) -> str:
    """Return the challenger that the verdict is about: the best one."""
    challengers = [variant.name for variant in test.challengers]
    if result.best in challengers:
        return result.best
    sign = -1 if test.primary_metric.lower_is_better else 1
    key = test.primary_metric.key
    return max(challengers, key=lambda name: sign * result[name][key].difference)


def differences(result: AbTestResult, metric: AbMetric) -> list[Interval]:
    """Return the challengers' differences to the control in a metric."""
    estimates = ((one.variant, one[metric.key]) for one in result.variants)
    return [
        Interval(variant, one.difference, one.low, one.high, TONES[one.verdict], one.verdict.value)
        for variant, one in estimates
        if one.verdict is not None
    ]
