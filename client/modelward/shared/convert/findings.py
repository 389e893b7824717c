"""Convert findings between dataclasses and messages."""

from __future__ import annotations

from datetime import date

from modelward.errors import FieldViolation, InvalidField
from modelward.findings import Finding, FindingSeverity, FindingState
from modelward.shared.convert.common import time_from_proto, time_to_proto
from modelward.v1 import findings_pb2 as pb

SEVERITIES = {one: pb.FindingSeverity.Value(f"FINDING_SEVERITY_{one.name}") for one in FindingSeverity}
STATES = {one: pb.FindingState.Value(f"FINDING_STATE_{one.name}") for one in FindingState}


def severity_to_proto(severity: FindingSeverity | None) -> pb.FindingSeverity.ValueType:
    return pb.FINDING_SEVERITY_UNSPECIFIED if severity is None else SEVERITIES[severity]


def severity_from_proto(value: pb.FindingSeverity.ValueType) -> FindingSeverity | None:
    """Convert a severity; None for an unspecified one, or one that only newer servers know."""
    return next((one for one, known in SEVERITIES.items() if known == value), None)


def finding_state_from_proto(value: pb.FindingState.ValueType) -> FindingState | None:
    """Convert a state; None for an unspecified one."""
    return next((one for one, known in STATES.items() if known == value), None)


def day_to_proto(day: date | None) -> str:
    return day.isoformat() if day else ""


def day_from_proto(text: str, field: str) -> date | None:
    """Convert a day; None for an empty text.

    Raises:
        InvalidField: there is no such day; the field is named.
    """
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        raise InvalidField(FieldViolation(field, f"{text!r} is not a date such as 2027-03-31")) from None


def finding_to_proto(finding: Finding) -> pb.Finding:
    return pb.Finding(
        finding_id=finding.finding_id,
        model=finding.model,
        version=finding.version,
        title=finding.title,
        description=finding.description,
        severity=severity_to_proto(finding.severity),
        owner=finding.owner,
        due=day_to_proto(finding.due),
        remedy=finding.remedy,
        evidence=finding.evidence,
        opened_by=finding.opened_by,
        opened_at=time_to_proto(finding.opened_at),
        closed_by=finding.closed_by,
        closed_at=time_to_proto(finding.closed_at),
        closing_comment=finding.closing_comment,
        former_owners=finding.former_owners,
        etag=finding.etag,
    )


def finding_from_proto(message: pb.Finding) -> Finding:
    return Finding(
        finding_id=message.finding_id,
        model=message.model,
        version=message.version,
        title=message.title,
        severity=severity_from_proto(message.severity) or FindingSeverity.CRITICAL,  # One that hides nothing.
        owner=message.owner,
        opened_by=message.opened_by,
        opened_at=time_from_proto(message.opened_at),
        description=message.description,
        due=day_from_proto(message.due, "finding.due"),
        remedy=message.remedy,
        evidence=tuple(message.evidence),
        closed_by=message.closed_by,
        closed_at=time_from_proto(message.closed_at) if message.HasField("closed_at") else None,
        closing_comment=message.closing_comment,
        former_owners=tuple(message.former_owners),
        etag=message.etag,
    )
