"""Convert overviews between dataclasses and messages."""

from __future__ import annotations

from modelward.overview import (
    Attention,
    AttentionKind,
    DriftPoint,
    EngineCounts,
    ModelOverview,
    Overview,
    OverviewTotals,
    Severity,
)
from modelward.shared.convert.common import time_from_proto, time_to_proto
from modelward.shared.convert.events import (
    alarm_from_proto,
    alarm_to_proto,
    performance_alarm_from_proto,
    performance_alarm_to_proto,
)
from modelward.shared.convert.lifecycle import halt_from_proto, halt_to_proto, trial_from_proto, trial_to_proto
from modelward.v1 import lifecycle_pb2 as pb

KINDS = {kind: pb.AttentionKind.Value(f"ATTENTION_KIND_{kind.name}") for kind in AttentionKind}
SEVERITIES = {severity: pb.Severity.Value(f"SEVERITY_{severity.name}") for severity in Severity}


def overview_to_proto(overview: Overview) -> pb.GetOverviewResponse:
    return pb.GetOverviewResponse(
        attention=map(_attention_to_proto, overview.attention),
        attention_total=overview.attention_total,
        totals=_totals_to_proto(overview.totals),
        models=map(_model_to_proto, overview.models),
        next_page_token=overview.next_page_token,
    )


def overview_from_proto(message: pb.GetOverviewResponse) -> Overview:
    found = map(_attention_from_proto, message.attention)
    return Overview(
        attention=tuple(one for one in found if one is not None),
        attention_total=message.attention_total,
        totals=_totals_from_proto(message.totals),
        models=tuple(map(_model_from_proto, message.models)),
        next_page_token=message.next_page_token,
    )


def _attention_to_proto(attention: Attention) -> pb.Attention:
    return pb.Attention(
        kind=KINDS[attention.kind],
        severity=SEVERITIES[attention.severity],
        model=attention.model,
        version=attention.version,
        subject=attention.subject,
        text=attention.text,
        since=time_to_proto(attention.since),
        next_step=attention.next_step,
    )


def _attention_from_proto(message: pb.Attention) -> Attention | None:
    """Convert an entry; return None for a kind that only newer clients know."""
    kind = next((kind for kind, known in KINDS.items() if known == message.kind), None)
    if kind is None:
        return None
    return Attention(
        kind=kind,
        severity=_severity_from_proto(message.severity),
        model=message.model,
        version=message.version,
        subject=message.subject,
        text=message.text,
        since=time_from_proto(message.since) if message.HasField("since") else None,
        next_step=message.next_step,
    )


def _severity_from_proto(value: pb.Severity.ValueType) -> Severity:
    """Convert a severity; one that only newer clients know counts as critical."""
    return next((severity for severity, known in SEVERITIES.items() if known == value), Severity.CRITICAL)


def _totals_to_proto(totals: OverviewTotals) -> pb.OverviewTotals:
    return pb.OverviewTotals(
        registered=totals.registered,
        in_production=totals.in_production,
        halted=totals.halted,
        drift_alarms=totals.drift_alarms,
        performance_alarms=totals.performance_alarms,
        engines_not_converged=totals.engines_not_converged,
        due=totals.due,
        jobs_pending=totals.jobs_pending,
        jobs_leased=totals.jobs_leased,
        jobs_dead=totals.jobs_dead,
    )


def _totals_from_proto(message: pb.OverviewTotals) -> OverviewTotals:
    return OverviewTotals(
        registered=message.registered,
        in_production=message.in_production,
        halted=message.halted,
        drift_alarms=message.drift_alarms,
        performance_alarms=message.performance_alarms,
        engines_not_converged=message.engines_not_converged,
        due=message.due,
        jobs_pending=message.jobs_pending,
        jobs_leased=message.jobs_leased,
        jobs_dead=message.jobs_dead,
    )


def _model_to_proto(model: ModelOverview) -> pb.ModelOverview:
    performance = model.performance_alarm
    return pb.ModelOverview(
        model=model.model,
        version=model.version,
        since=time_to_proto(model.since),
        promoted_by=model.promoted_by,
        halt=halt_to_proto(model.halt) if model.halt else None,
        trial=trial_to_proto(model.trial),
        drift=map(_point_to_proto, model.drift),
        drift_alarm=alarm_to_proto(model.drift_alarm) if model.drift_alarm else None,
        performance_alarm=performance_alarm_to_proto(performance) if performance else None,
        engines=_engines_to_proto(model.engines),
        due_reasons=model.due_reasons,
        severity=SEVERITIES[model.severity],
    )


def _model_from_proto(message: pb.ModelOverview) -> ModelOverview:
    performance = message.performance_alarm if message.HasField("performance_alarm") else None
    return ModelOverview(
        model=message.model,
        version=message.version,
        since=time_from_proto(message.since),
        promoted_by=message.promoted_by,
        halt=halt_from_proto(message.halt) if message.HasField("halt") else None,
        trial=trial_from_proto(message.trial) if message.HasField("trial") else None,
        drift=tuple(map(_point_from_proto, message.drift)),
        drift_alarm=alarm_from_proto(message.drift_alarm) if message.HasField("drift_alarm") else None,
        performance_alarm=performance_alarm_from_proto(performance) if performance else None,
        engines=_engines_from_proto(message.engines),
        due_reasons=tuple(message.due_reasons),
        severity=_severity_from_proto(message.severity),
    )


def _point_to_proto(point: DriftPoint) -> pb.DriftPoint:
    return pb.DriftPoint(
        report_id=point.report_id,
        score=point.score,
        drift_detected=point.drift_detected,
        created_at=time_to_proto(point.created_at),
    )


def _point_from_proto(message: pb.DriftPoint) -> DriftPoint:
    return DriftPoint(message.report_id, message.score, message.drift_detected, time_from_proto(message.created_at))


def _engines_to_proto(engines: EngineCounts) -> pb.EngineCounts:
    return pb.EngineCounts(
        total=engines.total,
        converged=engines.converged,
        lagging=engines.lagging,
        failed=engines.failed,
        gone=engines.gone,
    )


def _engines_from_proto(message: pb.EngineCounts) -> EngineCounts:
    return EngineCounts(message.total, message.converged, message.lagging, message.failed, message.gone)
