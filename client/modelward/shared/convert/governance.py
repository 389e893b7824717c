"""Convert requests of approval between dataclasses and messages."""

from __future__ import annotations

from modelward.errors import FieldViolation, InvalidField
from modelward.governance import Approval, ApprovalDecision, ApprovalState
from modelward.lifecycle import Stage
from modelward.shared.convert.common import (
    ref_from_proto,
    ref_to_proto,
    stage_from_proto,
    stage_to_proto,
    time_from_proto,
    time_to_proto,
)
from modelward.v1 import governance_pb2
from modelward.v1 import lifecycle_pb2 as pb

STATES = {state: pb.ApprovalState.Value(f"APPROVAL_STATE_{state.name}") for state in ApprovalState}

INVENTORY_FORMATS = {
    "html": governance_pb2.INVENTORY_REPORT_FORMAT_HTML,
    "csv": governance_pb2.INVENTORY_REPORT_FORMAT_CSV,
    "events": governance_pb2.INVENTORY_REPORT_FORMAT_EVENTS,
}


def inventory_format_to_proto(name: str) -> governance_pb2.InventoryReportFormat.ValueType:
    """Convert the name of a format of the inventory report.

    Raises:
        InvalidField: the name is not such a format.
    """
    if name not in INVENTORY_FORMATS:
        fix = f"{name!r} is not a format; use one of {', '.join(INVENTORY_FORMATS)}"
        raise InvalidField(FieldViolation("format", fix))
    return INVENTORY_FORMATS[name]


def approval_state_from_proto(value: pb.ApprovalState.ValueType) -> ApprovalState | None:
    """Convert a state; None for an unspecified one, or one that only newer servers know."""
    return next((state for state, known in STATES.items() if known == value), None)


def decision_to_proto(decision: ApprovalDecision) -> pb.ApprovalDecision:
    return pb.ApprovalDecision(
        function=decision.function,
        approved=decision.approved,
        decided_by=decision.decided_by,
        decided_at=time_to_proto(decision.decided_at),
        comment=decision.comment,
    )


def decision_from_proto(message: pb.ApprovalDecision) -> ApprovalDecision:
    return ApprovalDecision(
        message.function,
        message.approved,
        message.decided_by,
        time_from_proto(message.decided_at),
        message.comment,
    )


def approval_to_proto(approval: Approval) -> pb.Approval:
    return pb.Approval(
        approval_id=approval.approval_id,
        version=ref_to_proto(approval.version),
        digest=approval.digest,
        to=stage_to_proto(approval.to),
        reason=approval.reason,
        conditions=approval.conditions,
        evidence=approval.evidence,
        functions=approval.functions,
        requested_by=approval.requested_by,
        requested_at=time_to_proto(approval.requested_at),
        expires_at=time_to_proto(approval.expires_at),
        decisions=map(decision_to_proto, approval.decisions),
        state=STATES[approval.state],
        withdrawn_by=approval.withdrawn_by,
        transition=approval.transition,
        etag=approval.etag,
    )


def approval_from_proto(message: pb.Approval) -> Approval:
    return Approval(
        approval_id=message.approval_id,
        version=ref_from_proto(message.version),
        digest=message.digest,
        to=stage_from_proto(message.to) or Stage.PRODUCTION,
        reason=message.reason,
        conditions=tuple(message.conditions),
        evidence=tuple(message.evidence),
        functions=tuple(message.functions),
        requested_by=message.requested_by,
        requested_at=time_from_proto(message.requested_at),
        expires_at=time_from_proto(message.expires_at) if message.HasField("expires_at") else None,
        decisions=tuple(map(decision_from_proto, message.decisions)),
        state=approval_state_from_proto(message.state) or ApprovalState.WITHDRAWN,  # One that cannot be used.
        withdrawn_by=message.withdrawn_by,
        transition=message.transition,
        etag=message.etag,
    )
