"""Convert promotion policies and audit records between dataclasses and messages."""

from modelward.lifecycle import (
    AuditDefect,
    AuditRecord,
    AuditVerification,
    FreezeWindow,
    MetricMargin,
    PromotionPolicy,
    RequiredApproval,
    Stage,
)
from modelward.shared.convert.common import (
    span_from_proto,
    span_to_proto,
    stage_from_proto,
    stage_to_proto,
    time_from_proto,
    time_to_proto,
)
from modelward.shared.convert.findings import severity_from_proto, severity_to_proto
from modelward.shared.convert.leaks import LEAKS, leak_kind_from_proto
from modelward.shared.convert.lifecycle import metric_range_from_proto, metric_range_to_proto
from modelward.v1 import lifecycle_pb2 as pb
from modelward.v1.common_pb2 import LEAK_KIND_UNSPECIFIED


def margin_to_proto(margin: MetricMargin) -> pb.MetricMargin:
    return pb.MetricMargin(key=margin.key, margin=margin.margin, lower_is_better=margin.lower_is_better)


def margin_from_proto(message: pb.MetricMargin) -> MetricMargin:
    return MetricMargin(message.key, message.margin, message.lower_is_better)


def freeze_to_proto(window: FreezeWindow) -> pb.FreezeWindow:
    message = pb.FreezeWindow(until=time_to_proto(window.end), reason=window.reason)
    getattr(message, "from").CopyFrom(time_to_proto(window.start))  # The field's name is a keyword of Python.
    return message


def freeze_from_proto(message: pb.FreezeWindow) -> FreezeWindow:
    return FreezeWindow(time_from_proto(getattr(message, "from")), time_from_proto(message.until), message.reason)


def required_approval_to_proto(required: RequiredApproval) -> pb.RequiredApproval:
    return pb.RequiredApproval(tier=required.tier, to=stage_to_proto(required.to), functions=required.functions)


def required_approval_from_proto(message: pb.RequiredApproval) -> RequiredApproval:
    to = stage_from_proto(message.to) or Stage.PRODUCTION
    return RequiredApproval(tuple(message.functions), message.tier, to)


def policy_to_proto(policy: PromotionPolicy) -> pb.PromotionPolicy:
    return pb.PromotionPolicy(
        model=policy.model,
        metrics=map(metric_range_to_proto, policy.metrics),
        no_worse_than_production=map(margin_to_proto, policy.no_worse_than_production),
        require_comparison=policy.require_comparison,
        forbid_drift_alarm=policy.forbid_drift_alarm,
        required_tags=policy.required_tags,
        freezes=map(freeze_to_proto, policy.freezes),
        material=policy.material,
        disabled_gates=policy.disabled_gates,
        max_pbo=policy.max_pbo,
        min_deflated_sharpe=policy.min_deflated_sharpe,
        min_track_record=policy.min_track_record,
        min_coverage=policy.min_coverage,
        forbidden_leaks=(LEAKS.get(kind, LEAK_KIND_UNSPECIFIED) for kind in policy.forbidden_leaks),
        required_approvals=map(required_approval_to_proto, policy.required_approvals),
        blocking_severity=severity_to_proto(policy.blocking_severity),
        review_interval=span_to_proto(policy.review_interval),
        max_production_changes=policy.max_production_changes,
        require_signature=policy.require_signature,
        etag=policy.etag,
    )


def policy_from_proto(message: pb.PromotionPolicy) -> PromotionPolicy:
    return PromotionPolicy(
        model=message.model,
        metrics=tuple(map(metric_range_from_proto, message.metrics)),
        no_worse_than_production=tuple(map(margin_from_proto, message.no_worse_than_production)),
        require_comparison=message.require_comparison,
        forbid_drift_alarm=message.forbid_drift_alarm,
        required_tags=tuple(message.required_tags),
        freezes=tuple(map(freeze_from_proto, message.freezes)),
        material=message.material,
        disabled_gates=tuple(message.disabled_gates),
        max_pbo=message.max_pbo if message.HasField("max_pbo") else None,
        min_deflated_sharpe=message.min_deflated_sharpe if message.HasField("min_deflated_sharpe") else None,
        min_track_record=message.min_track_record if message.HasField("min_track_record") else None,
        forbidden_leaks=tuple(kind for one in message.forbidden_leaks if (kind := leak_kind_from_proto(one))),
        min_coverage=message.min_coverage if message.HasField("min_coverage") else None,
        required_approvals=tuple(map(required_approval_from_proto, message.required_approvals)),
        blocking_severity=severity_from_proto(message.blocking_severity),
        review_interval=span_from_proto(message.review_interval) if message.HasField("review_interval") else None,
        max_production_changes=message.max_production_changes if message.HasField("max_production_changes") else None,
        require_signature=message.require_signature,
        etag=message.etag,
    )


def audit_record_to_proto(record: AuditRecord) -> pb.AuditRecord:
    return pb.AuditRecord(
        sequence=record.sequence,
        happened_at=time_to_proto(record.happened_at),
        actor=record.actor,
        kind=record.kind,
        model=record.model,
        version=record.version,
        payload=record.payload,
        previous_hash=record.previous_hash,
        hash=record.hash,
    )


def audit_record_from_proto(message: pb.AuditRecord) -> AuditRecord:
    return AuditRecord(
        sequence=message.sequence,
        happened_at=time_from_proto(message.happened_at),
        actor=message.actor,
        kind=message.kind,
        model=message.model,
        version=message.version,
        payload=message.payload,
        previous_hash=message.previous_hash,
        hash=message.hash,
    )


def verification_to_proto(verification: AuditVerification) -> pb.VerifyAuditLogResponse:
    return pb.VerifyAuditLogResponse(
        intact=verification.intact,
        records=verification.records,
        head_hash=verification.head_hash,
        defects=[pb.AuditDefect(**vars(defect)) for defect in verification.defects],
        head_sequence=verification.head_sequence,
        expected_sequence=verification.expected_sequence,
        rows=verification.rows,
    )


def verification_from_proto(message: pb.VerifyAuditLogResponse) -> AuditVerification:
    return AuditVerification(
        message.records,
        message.head_hash,
        tuple(map(_defect_from_proto, message.defects)),
        message.head_sequence,
        message.expected_sequence,
        message.rows,
    )


def _defect_from_proto(message: pb.AuditDefect) -> AuditDefect:
    return AuditDefect(
        message.sequence,
        message.problem,
        message.table,
        message.key,
        message.field,
        message.recorded,
        message.found,
    )
