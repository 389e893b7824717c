"""The scores of a version's earlier drift reports, read without loading the whole reports."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from modelward.drift import DriftReport
from modelward_server.storage.drift_tables import DriftReportRow

REPORTS_SHOWN = 60
"""Maximum number of reports in a chart over time: more could not be distinguished."""


@dataclass(frozen=True)
class ReportScore:
    """The score of one report."""

    label: str
    created_at: datetime
    score: float
    drift_detected: bool


def scores_until(session: Session, report: DriftReport) -> tuple[ReportScore, ...]:
    """Return the scores of the reports of the same version and reference, the oldest first and the given one last."""
    table = DriftReportRow
    label, reference = table.report["label"].as_string(), table.report["reference"].as_string()
    earlier = (
        select(label, table.created_at, table.score, table.drift_detected)
        .where(table.model == report.version.model, table.version == report.version.version)
        .where(reference == report.reference, table.created_at <= report.created_at)
        .where(table.report_id != report.report_id)
        .order_by(table.created_at.desc(), table.report_id.desc())
        .limit(REPORTS_SHOWN - 1)
    )
    before = [ReportScore(*row) for row in session.execute(earlier)]
    return (*reversed(before), ReportScore(report.label, report.created_at, report.score, report.drift_detected))
