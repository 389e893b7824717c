"""Convert events and rollouts between dataclasses and messages."""

from __future__ import annotations

from typing import Any

from modelward.inventory import Inventory
from modelward.lifecycle import (
    DriftAlarm,
    EnginePeriod,
    EngineStatus,
    EventKind,
    JobChange,
    LoadFailure,
    ModelEvent,
    ModelRollout,
    PerformanceAlarm,
    ProductionVersion,
    Rollout,
    RolloutState,
)
from modelward.shared.convert.common import ref_from_proto, ref_to_proto, time_from_proto, time_to_proto
from modelward.shared.convert.drills import drill_from_proto, drill_to_proto
from modelward.shared.convert.findings import finding_from_proto, finding_to_proto
from modelward.shared.convert.governance import approval_from_proto, approval_to_proto
from modelward.shared.convert.inventory import inventory_from_proto, inventory_to_proto
from modelward.shared.convert.lifecycle import (
    halt_from_proto,
    halt_to_proto,
    model_from_proto,
    model_to_proto,
    transition_from_proto,
    transition_to_proto,
    version_from_proto,
    version_to_proto,
)
from modelward.shared.convert.policy import policy_from_proto, policy_to_proto
from modelward.v1 import lifecycle_pb2 as pb

STATES = {
    RolloutState.CONVERGED: pb.ROLLOUT_STATE_CONVERGED,
    RolloutState.LAGGING: pb.ROLLOUT_STATE_LAGGING,
    RolloutState.GONE: pb.ROLLOUT_STATE_GONE,
    RolloutState.FAILED: pb.ROLLOUT_STATE_FAILED,
}


def alarm_to_proto(alarm: DriftAlarm) -> pb.DriftAlarm:
    return pb.DriftAlarm(version=ref_to_proto(alarm.version), report_id=alarm.report_id, score=alarm.score)


def alarm_from_proto(message: pb.DriftAlarm) -> DriftAlarm:
    return DriftAlarm(ref_from_proto(message.version), message.report_id, message.score)


def performance_alarm_to_proto(alarm: PerformanceAlarm) -> pb.PerformanceAlarm:
    return pb.PerformanceAlarm(
        version=ref_to_proto(alarm.version),
        metric=alarm.metric,
        value=alarm.value,
        baseline=alarm.baseline,
        start=time_to_proto(alarm.start),
        end=time_to_proto(alarm.end),
        p_value=alarm.p_value,
    )


def performance_alarm_from_proto(message: pb.PerformanceAlarm) -> PerformanceAlarm:
    return PerformanceAlarm(
        version=ref_from_proto(message.version),
        metric=message.metric,
        value=message.value,
        baseline=message.baseline,
        start=time_from_proto(message.start),
        end=time_from_proto(message.end),
        p_value=message.p_value,
    )


def job_to_proto(job: JobChange) -> pb.JobChange:
    return pb.JobChange(
        job_id=job.job_id,
        state=job.state,
        queue=job.queue,
        holder=job.holder,
        attempt=job.attempt,
        successor=job.successor,
    )


def job_from_proto(message: pb.JobChange) -> JobChange:
    return JobChange(message.job_id, message.state, message.queue, message.holder, message.attempt, message.successor)


def status_to_proto(status: EngineStatus) -> pb.EngineStatus:
    return pb.EngineStatus(
        engine=status.engine,
        version=status.version,
        state=STATES[status.state],
        reported_at=time_to_proto(status.reported_at),
        failure=failure_to_proto(status.failure) if status.failure else None,
    )


def status_from_proto(message: pb.EngineStatus) -> EngineStatus:
    state = next((state for state, known in STATES.items() if known == message.state), RolloutState.GONE)
    failure = failure_from_proto(message.failure) if message.HasField("failure") else None
    return EngineStatus(message.engine, message.version, state, time_from_proto(message.reported_at), failure)


def failure_to_proto(failure: LoadFailure) -> pb.LoadFailure:
    return pb.LoadFailure(version=failure.version, reason=failure.reason)


def failure_from_proto(message: pb.LoadFailure) -> LoadFailure:
    return LoadFailure(message.version, message.reason)


CONVERTERS: dict[EventKind, tuple[Any, Any]] = {
    EventKind.STATE: (model_to_proto, model_from_proto),
    EventKind.REGISTERED: (version_to_proto, version_from_proto),
    EventKind.VERSION_CHANGED: (version_to_proto, version_from_proto),
    EventKind.TRANSITION: (transition_to_proto, transition_from_proto),
    EventKind.HALTED: (halt_to_proto, halt_from_proto),
    EventKind.RESUMED: (model_to_proto, model_from_proto),
    EventKind.POLICY: (policy_to_proto, policy_from_proto),
    EventKind.DRIFT_ALARM: (alarm_to_proto, alarm_from_proto),
    EventKind.PERFORMANCE_ALARM: (performance_alarm_to_proto, performance_alarm_from_proto),
    EventKind.ENGINE: (status_to_proto, status_from_proto),
    EventKind.JOB: (job_to_proto, job_from_proto),
    EventKind.APPROVAL: (approval_to_proto, approval_from_proto),
    EventKind.FINDING: (finding_to_proto, finding_from_proto),
    EventKind.DRILL: (drill_to_proto, drill_from_proto),
}
"""The converter of each kind of event, by the name of its field."""
KINDS = {kind: pb.ModelEventKind.Value(f"MODEL_EVENT_KIND_{kind.name}") for kind in EventKind}
"""The contract's number of each kind of event."""


def event_to_proto(event: ModelEvent) -> pb.ModelEvent:
    to_proto, _ = CONVERTERS[event.kind]
    return pb.ModelEvent(
        sequence=event.sequence,
        happened_at=time_to_proto(event.happened_at),
        model=event.model,
        resume_token=event.resume_token,
        **{event.kind.value: to_proto(event.subject)},
    )


def event_from_proto(event: pb.ModelEvent) -> ModelEvent | None:
    """Convert an event; return None for a kind of event that only newer clients know."""
    kind = event.WhichOneof("event")
    if kind not in set(EventKind):
        return None
    _, from_proto = CONVERTERS[EventKind(kind)]
    return ModelEvent(
        sequence=event.sequence,
        happened_at=time_from_proto(event.happened_at),
        model=event.model,
        kind=EventKind(kind),
        subject=from_proto(getattr(event, kind)),
        resume_token=event.resume_token,
    )


def rollout_to_proto(rollout: Rollout) -> pb.GetRolloutResponse:
    return pb.GetRolloutResponse(
        expected=ref_to_proto(rollout.expected) if rollout.expected else None,
        engines=map(status_to_proto, rollout.engines),
    )


def model_rollout_to_proto(found: ModelRollout) -> pb.ModelRollout:
    rollout = found.rollout
    return pb.ModelRollout(
        model=found.model,
        halted=found.halted,
        expected=ref_to_proto(rollout.expected) if rollout.expected else None,
        engines=map(status_to_proto, rollout.engines),
    )


def model_rollout_from_proto(message: pb.ModelRollout) -> ModelRollout:
    return ModelRollout(message.model, message.halted, _rollout(message))


def production_version_to_proto(found: ProductionVersion) -> pb.ProductionVersion:
    promotion = transition_to_proto(found.promotion) if found.promotion else None
    inventory = inventory_to_proto(found.inventory) if found.inventory != Inventory() else None
    return pb.ProductionVersion(model=found.model, promotion=promotion, inventory=inventory)


def production_version_from_proto(message: pb.ProductionVersion) -> ProductionVersion:
    promotion = transition_from_proto(message.promotion) if message.HasField("promotion") else None
    return ProductionVersion(message.model, promotion, inventory_from_proto(message.inventory))


def rollout_from_proto(message: pb.GetRolloutResponse) -> Rollout:
    return _rollout(message)


def _rollout(message: pb.GetRolloutResponse | pb.ModelRollout) -> Rollout:
    return Rollout(
        ref_from_proto(message.expected) if message.HasField("expected") else None,
        tuple(map(status_from_proto, message.engines)),
    )


def period_to_proto(period: EnginePeriod) -> pb.EnginePeriod:
    return pb.EnginePeriod(
        engine=period.engine,
        version=ref_to_proto(period.version),
        started_at=time_to_proto(period.started_at),
        ended_at=time_to_proto(period.ended_at),
    )


def period_from_proto(message: pb.EnginePeriod) -> EnginePeriod:
    ended_at = time_from_proto(message.ended_at) if message.HasField("ended_at") else None
    return EnginePeriod(message.engine, ref_from_proto(message.version), time_from_proto(message.started_at), ended_at)
