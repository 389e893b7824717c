"""What the other services found about a candidate, for the promotion gates."""

from sqlalchemy.orm import Session

from modelward.abtest import AbTest, VariantResult
from modelward.comparison import Comparison, ModelResult
from modelward.comparison import Verdict as Outcome
from modelward.lifecycle import DriftAlarm, VersionRef
from modelward_server.abtest.outcomes import result_of
from modelward_server.abtest.records import list_ab_tests
from modelward_server.abtest.verdict import broken_guardrails
from modelward_server.comparison.records import list_comparisons
from modelward_server.drift.observing import standing_drift_alarm
from modelward_server.drift.reports import latest_report
from modelward_server.lifecycle.gates import Verdict

RECENT = 50
"""How many comparisons and tests of a model are looked at, the newest first."""
NO_WORSE = {Outcome.SUPERIOR, Outcome.NON_INFERIOR}


def verdict(session: Session, candidate: VersionRef, production: VersionRef | None) -> Verdict | None:
    """Return what a candidate's newest A/B test with the version in production found, or its newest comparison.

    Live traffic tells more than a test set: a comparison counts where no A/B test says anything. None without either.
    """
    if production is None:
        return None
    return _by_traffic(session, candidate, production) or _by_test_set(session, candidate, production)


def _by_traffic(session: Session, candidate: VersionRef, production: VersionRef) -> Verdict | None:
    for test in list_ab_tests(session, candidate.model, None, RECENT, "").items:
        arms = [variant.name for variant in test.challengers if variant.version == candidate]
        if test.control.version != production or not arms:
            continue
        result = test.conclusion.result if test.conclusion else result_of(session, test)
        if said := _said(test, result[arms[0]], f"{candidate} is {{}} to {production} by {test.primary_metric.key}"):
            return said
    return None


def _said(test: AbTest, found: VariantResult, sentence: str) -> Verdict | None:
    """Return what a test says of a challenger; None while it says nothing."""
    verdict, broken = found.metrics[0].verdict, broken_guardrails(test, found)
    if verdict in {None, Outcome.INCONCLUSIVE}:
        return None
    summary = sentence.format(verdict) + (f", but breaks the guardrail {', '.join(broken)}" if broken else "")
    return Verdict(f"A/B test {test.test}", verdict in NO_WORSE and not broken, summary)


def _by_test_set(session: Session, candidate: VersionRef, production: VersionRef) -> Verdict | None:
    for comparison in list_comparisons(session, candidate.model, RECENT, "").items:
        if comparison.baseline == production and (result := _result(comparison, candidate)):
            summary = f"{candidate} is {result.verdict} to {production} by {comparison.primary_metric}"
            return Verdict(f"comparison {comparison.comparison_id}", result.verdict in NO_WORSE, summary)
    return None


def _result(comparison: Comparison, candidate: VersionRef) -> ModelResult | None:
    return next((r for r in comparison.results if r.version == candidate and r.verdict is not None), None)


def drift_alarm(session: Session, candidate: VersionRef) -> DriftAlarm | None:
    """Return the alarm that stands for a version: of its live data, or its newest report, when that found drift."""
    if standing := standing_drift_alarm(session, candidate):
        return standing[0]
    report = latest_report(session, candidate.model, candidate.version)
    return DriftAlarm(candidate, report.report_id, report.score) if report and report.drift_detected else None
