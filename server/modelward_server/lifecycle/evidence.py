"""What requests, findings and reviews are based on: comparisons, drift reports and A/B tests of the model."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from modelward.errors import FieldViolation, InvalidField
from modelward_server.storage.ab_tables import AbTestModelRow, AbTestRow
from modelward_server.storage.comparison_tables import ComparedModelRow, ComparisonRow
from modelward_server.storage.drift_tables import DriftReportRow


def check_evidence(session: Session, model: str, evidence: Sequence[str]) -> None:
    """Validate that each piece of evidence exists and is of the model.

    Raises:
        InvalidField: one does not, or is of another model.
    """
    for number, name in enumerate(evidence):
        if not _is_evidence(session, model, name):
            fix = f"{name!r} is no comparison, drift report or A/B test of {model}"
            raise InvalidField(FieldViolation(f"evidence[{number}]", fix))


def _is_evidence(session: Session, model: str, name: str) -> bool:
    compared = select(ComparedModelRow.model).join(ComparisonRow, ComparisonRow.sequence == ComparedModelRow.sequence)
    tested = select(AbTestModelRow.model).join(AbTestRow, AbTestRow.sequence == AbTestModelRow.sequence)
    found = (
        compared.where(ComparisonRow.comparison_id == name, ComparedModelRow.model == model),
        tested.where(AbTestRow.test == name, AbTestModelRow.model == model),
        select(DriftReportRow.model).where(DriftReportRow.report_id == name, DriftReportRow.model == model),
    )
    return any(session.scalar(one.limit(1)) is not None for one in found)
