"""Convert schedule policies, previews and firing histories between dataclasses and messages."""

from __future__ import annotations

from modelward.schedules import (
    CatchUp,
    Firing,
    FiringOutcome,
    FiringRecord,
    Overlap,
    SchedulePolicy,
    SchedulePreview,
    ScheduleProblem,
)
from modelward.shared.convert.common import span_from_proto, span_to_proto, time_from_proto, time_to_proto
from modelward.shared.convert.policy import freeze_from_proto, freeze_to_proto
from modelward.v1 import retraining_pb2 as pb

CATCH_UPS = {CatchUp.SKIP: pb.CATCH_UP_SKIP, CatchUp.ONCE: pb.CATCH_UP_ONCE, CatchUp.ALL: pb.CATCH_UP_ALL}
OVERLAPS = {
    Overlap.COALESCE: pb.OVERLAP_COALESCE,
    Overlap.SKIP: pb.OVERLAP_SKIP,
    Overlap.QUEUE: pb.OVERLAP_QUEUE,
}
OUTCOMES = {
    FiringOutcome.FIRED: pb.FIRING_OUTCOME_FIRED,
    FiringOutcome.JOINED: pb.FIRING_OUTCOME_JOINED,
    FiringOutcome.QUEUED: pb.FIRING_OUTCOME_QUEUED,
    FiringOutcome.SKIPPED: pb.FIRING_OUTCOME_SKIPPED,
}


def schedule_policy_to_proto(policy: SchedulePolicy) -> pb.SchedulePolicy:
    return pb.SchedulePolicy(
        starts_at=time_to_proto(policy.starts_at),
        ends_at=time_to_proto(policy.ends_at),
        freezes=map(freeze_to_proto, policy.freezes),
        jitter=span_to_proto(policy.jitter),
        catch_up=CATCH_UPS[policy.catch_up],
        overlap=OVERLAPS[policy.overlap],
        cool_down=span_to_proto(policy.cool_down),
        jobs_per_day=policy.jobs_per_day,
        time_zone=policy.time_zone,
    )


def schedule_policy_from_proto(message: pb.SchedulePolicy) -> SchedulePolicy:
    return SchedulePolicy(
        starts_at=time_from_proto(message.starts_at) if message.HasField("starts_at") else None,
        ends_at=time_from_proto(message.ends_at) if message.HasField("ends_at") else None,
        freezes=tuple(map(freeze_from_proto, message.freezes)),
        jitter=span_from_proto(message.jitter),
        catch_up=next((one for one, known in CATCH_UPS.items() if known == message.catch_up), CatchUp.ONCE),
        overlap=next((one for one, known in OVERLAPS.items() if known == message.overlap), Overlap.COALESCE),
        cool_down=span_from_proto(message.cool_down),
        jobs_per_day=message.jobs_per_day,
        time_zone=message.time_zone or "UTC",
    )


def preview_to_proto(preview: SchedulePreview) -> pb.PreviewScheduleResponse:
    return pb.PreviewScheduleResponse(firings=map(_firing_to_proto, preview.firings), conditions=preview.conditions)


def preview_from_proto(message: pb.PreviewScheduleResponse) -> SchedulePreview:
    return SchedulePreview(tuple(map(_firing_from_proto, message.firings)), tuple(message.conditions))


def _firing_to_proto(firing: Firing) -> pb.Firing:
    return pb.Firing(
        at=time_to_proto(firing.at),
        trigger=firing.trigger,
        summary=firing.summary,
        skipped=firing.skipped,
        nominal_at=time_to_proto(firing.nominal_at),
    )


def _firing_from_proto(message: pb.Firing) -> Firing:
    nominal = time_from_proto(message.nominal_at) if message.HasField("nominal_at") else None
    return Firing(time_from_proto(message.at), message.trigger, message.summary, message.skipped, nominal)


def record_to_proto(record: FiringRecord) -> pb.FiringRecord:
    return pb.FiringRecord(
        schedule_id=record.schedule_id,
        model=record.model,
        trigger=record.trigger,
        fired_at=time_to_proto(record.fired_at),
        outcome=OUTCOMES[record.outcome],
        job_id=record.job_id,
        summary=record.summary,
        decided_at=time_to_proto(record.decided_at),
    )


def record_from_proto(message: pb.FiringRecord) -> FiringRecord:
    return FiringRecord(
        schedule_id=message.schedule_id,
        model=message.model,
        trigger=message.trigger,
        fired_at=time_from_proto(message.fired_at),
        outcome=next((one for one, known in OUTCOMES.items() if known == message.outcome), FiringOutcome.SKIPPED),
        job_id=message.job_id,
        summary=message.summary,
        decided_at=time_from_proto(message.decided_at),
    )


def problem_to_proto(problem: ScheduleProblem) -> pb.ScheduleProblem:
    return pb.ScheduleProblem(
        schedule_id=problem.schedule_id,
        trigger=problem.trigger,
        summary=problem.summary,
        since=time_to_proto(problem.since),
    )


def problem_from_proto(message: pb.ScheduleProblem) -> ScheduleProblem:
    return ScheduleProblem(message.schedule_id, message.trigger, message.summary, time_from_proto(message.since))
