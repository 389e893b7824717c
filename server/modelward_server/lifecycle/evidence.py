"""What the other services found about a candidate, for the promotion gates."""

from sqlalchemy.orm import Session

from modelward.comparison import Comparison, ModelResult
from modelward.comparison import Verdict as Outcome
from modelward.lifecycle import DriftAlarm, VersionRef
from modelward_server.comparison.records import list_comparisons
from modelward_server.drift.observing import standing_drift_alarm
from modelward_server.drift.reports import latest_report
from modelward_server.lifecycle.gates import Verdict

RECENT = 50
"""How many comparisons of a model are looked at, the newest first."""


def verdict(session: Session, candidate: VersionRef, production: VersionRef | None) -> Verdict | None:
    """Return what the newest comparison of a candidate with the version in production found; None without one."""
    if production is None:
        return None
    for comparison in list_comparisons(session, candidate.model, RECENT, "").items:
        if comparison.baseline == production and (result := _result(comparison, candidate)):
            no_worse = result.verdict in {Outcome.SUPERIOR, Outcome.NON_INFERIOR}
            summary = f"{candidate} is {result.verdict} to {production} by {comparison.primary_metric}"
            return Verdict(comparison.comparison_id, no_worse, summary)
    return None


def _result(comparison: Comparison, candidate: VersionRef) -> ModelResult | None:
    return next((r for r in comparison.results if r.version == candidate and r.verdict is not None), None)


def drift_alarm(session: Session, candidate: VersionRef) -> DriftAlarm | None:
    """Return the alarm that stands for a version: of its live data, or its newest report, when that found drift."""
    if standing := standing_drift_alarm(session, candidate):
        return standing[0]
    report = latest_report(session, candidate.model, candidate.version)
    return DriftAlarm(candidate, report.report_id, report.score) if report and report.drift_detected else None
