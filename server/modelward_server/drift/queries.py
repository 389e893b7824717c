"""How a version's drift went before a report, without reading the earlier reports whole."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from modelward.drift import DriftReport
from modelward_server.storage.drift_tables import DriftReportRow

REPORTS_SHOWN = 60
"""How many reports a drawing shows over time: more would not be told apart."""


@dataclass(frozen=True)
class Score:
    """What one report came to."""

    label: str
    created_at: datetime
    score: float
    drift_detected: bool


def scores_until(session: Session, report: DriftReport) -> tuple[Score, ...]:
    """Return what the reports of the same version and reference came to, the oldest first and the given one last."""
    row = DriftReportRow
    label, reference = row.report["label"].as_string(), row.report["reference"].as_string()
    earlier = (
        select(label, row.created_at, row.score, row.drift_detected)
        .where(row.model == report.version.model, row.version == report.version.version)
        .where(reference == report.reference, row.created_at <= report.created_at, row.report_id != report.report_id)
        .order_by(row.created_at.desc(), row.report_id.desc())
        .limit(REPORTS_SHOWN - 1)
    )
    before = [Score(*found) for found in session.execute(earlier)]
    return (*reversed(before), Score(report.label, report.created_at, report.score, report.drift_detected))
