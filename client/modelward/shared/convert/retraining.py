"""Convert schedules, due reasons and jobs between dataclasses and messages."""

from __future__ import annotations

from datetime import datetime

from google.protobuf.message import Message

from modelward.comparison import Verdict
from modelward.retraining import (
    AtSession,
    ByClock,
    Cron,
    DriftEvidence,
    DueModel,
    DueReason,
    EvaluationWindow,
    Every,
    Evidence,
    FollowUp,
    FollowUpAction,
    FollowUpState,
    Job,
    JobFailure,
    JobState,
    OnDrift,
    OnPerformance,
    PerformanceEvidence,
    PeriodicEvidence,
    RequestEvidence,
    RetrainingPolicy,
    Schedule,
    SessionChoice,
    Trigger,
)
from modelward.shared.convert.common import span_from_proto, span_to_proto, time_from_proto, time_to_proto
from modelward.shared.convert.comparison import metric_from_proto, metric_to_proto, verdict_from_proto, verdict_to_proto
from modelward.shared.convert.schedules import (
    problem_from_proto,
    problem_to_proto,
    schedule_policy_from_proto,
    schedule_policy_to_proto,
)
from modelward.v1 import retraining_pb2 as pb

JOB_STATES = {
    JobState.PENDING: pb.JOB_STATE_PENDING,
    JobState.LEASED: pb.JOB_STATE_LEASED,
    JobState.SUCCEEDED: pb.JOB_STATE_SUCCEEDED,
    JobState.FAILED: pb.JOB_STATE_FAILED,
}

FOLLOW_UP_STATES = {
    FollowUpState.PENDING: pb.FOLLOW_UP_STATE_PENDING,
    FollowUpState.STAGED: pb.FOLLOW_UP_STATE_STAGED,
    FollowUpState.COMPARED: pb.FOLLOW_UP_STATE_COMPARED,
    FollowUpState.PROMOTED: pb.FOLLOW_UP_STATE_PROMOTED,
    FollowUpState.WAITING: pb.FOLLOW_UP_STATE_WAITING,
    FollowUpState.REFUSED: pb.FOLLOW_UP_STATE_REFUSED,
}
FOLLOW_UP_ACTIONS = {
    FollowUpAction.NONE: pb.FOLLOW_UP_ACTION_UNSPECIFIED,
    FollowUpAction.STAGE: pb.FOLLOW_UP_ACTION_STAGE,
    FollowUpAction.COMPARE: pb.FOLLOW_UP_ACTION_COMPARE,
    FollowUpAction.PROMOTE: pb.FOLLOW_UP_ACTION_PROMOTE,
}


SESSIONS = {
    SessionChoice.EVERY: pb.SESSION_CHOICE_EVERY,
    SessionChoice.FIRST_OF_WEEK: pb.SESSION_CHOICE_FIRST_OF_WEEK,
    SessionChoice.FIRST_OF_MONTH: pb.SESSION_CHOICE_FIRST_OF_MONTH,
    SessionChoice.LAST_OF_WEEK: pb.SESSION_CHOICE_LAST_OF_WEEK,
    SessionChoice.LAST_OF_MONTH: pb.SESSION_CHOICE_LAST_OF_MONTH,
}


def job_state_to_proto(state: JobState | None) -> pb.JobState.ValueType:
    return pb.JOB_STATE_UNSPECIFIED if state is None else JOB_STATES[state]


def job_state_from_proto(value: pb.JobState.ValueType) -> JobState | None:
    """Convert a state; return None for unspecified and for a state that only newer servers know."""
    return next((state for state, known in JOB_STATES.items() if known == value), None)


def trigger_to_proto(trigger: Trigger) -> pb.Trigger:
    if isinstance(trigger, Every):
        return pb.Trigger(periodic=pb.PeriodicTrigger(every=span_to_proto(trigger.span)))
    if isinstance(trigger, Cron):
        rule = pb.CronRule(expression=trigger.expression, time_zone=trigger.time_zone)
        return pb.Trigger(periodic=pb.PeriodicTrigger(cron=rule))
    if isinstance(trigger, AtSession):
        return pb.Trigger(periodic=pb.PeriodicTrigger(session=_session_to_proto(trigger)))
    if isinstance(trigger, OnDrift):
        return pb.Trigger(drift=pb.DriftTrigger(min_score=trigger.min_score))
    return pb.Trigger(performance=pb.PerformanceTrigger(metric=trigger.metric, **dict([trigger.bound])))


def trigger_from_proto(message: pb.Trigger) -> Trigger:
    condition = message.WhichOneof("condition")
    if condition == "drift":
        return OnDrift(message.drift.min_score if message.drift.HasField("min_score") else None)
    if condition == "performance":
        bound = message.performance.WhichOneof("bound") or "below"
        return OnPerformance(message.performance.metric, **{bound: getattr(message.performance, bound)})
    return _clock_from_proto(message.periodic)


def _clock_from_proto(message: pb.PeriodicTrigger) -> ByClock:
    rule = message.WhichOneof("rule")
    if rule == "every":
        return Every(span_from_proto(message.every))
    if rule == "session":
        return _session_from_proto(message.session)
    return Cron(message.cron.expression, message.cron.time_zone or "UTC")


def _session_to_proto(trigger: AtSession) -> pb.SessionRule:
    return pb.SessionRule(
        calendar=trigger.calendar,
        sessions=SESSIONS[trigger.sessions],
        after_open=span_to_proto(trigger.after_open),
        after_close=span_to_proto(trigger.after_close),
        closure_days=trigger.closure_days,
        closure_session=trigger.closure_session if trigger.closure_days else 0,
    )


def _session_from_proto(message: pb.SessionRule) -> AtSession:
    sessions = next((one for one, known in SESSIONS.items() if known == message.sessions), SessionChoice.EVERY)
    moment = message.WhichOneof("moment") or "after_close"
    return AtSession(
        message.calendar,
        sessions,
        **{moment: span_from_proto(getattr(message, moment))},
        closure_days=message.closure_days,
        closure_session=message.closure_session or 1,
    )


def schedule_to_proto(schedule: Schedule) -> pb.Schedule:
    return pb.Schedule(
        schedule_id=schedule.schedule_id,
        model=schedule.model,
        description=schedule.description,
        triggers=map(trigger_to_proto, schedule.triggers),
        paused=schedule.paused,
        pause_reason=schedule.pause_reason,
        created_by=schedule.created_by,
        created_at=time_to_proto(schedule.created_at),
        updated_at=time_to_proto(schedule.updated_at),
        etag=schedule.etag,
        policy=schedule_policy_to_proto(schedule.policy),
    )


def schedule_from_proto(message: pb.Schedule) -> Schedule:
    return Schedule(
        schedule_id=message.schedule_id,
        model=message.model,
        description=message.description,
        triggers=tuple(map(trigger_from_proto, message.triggers)),
        paused=message.paused,
        pause_reason=message.pause_reason,
        created_by=message.created_by,
        created_at=time_from_proto(message.created_at),
        updated_at=time_from_proto(message.updated_at),
        etag=message.etag,
        policy=schedule_policy_from_proto(message.policy),
    )


def reason_to_proto(reason: DueReason) -> pb.DueReason:
    message = pb.DueReason(
        schedule_id=reason.schedule_id,
        summary=reason.summary,
        since=time_to_proto(reason.since),
        rule=reason.rule,
        trigger=reason.trigger,
    )
    _put_evidence(message, reason.evidence)
    return message


def _put_evidence(message: pb.DueReason, evidence: Evidence) -> None:
    if isinstance(evidence, PeriodicEvidence):
        fired_at, trained_at = time_to_proto(evidence.fired_at), time_to_proto(evidence.last_trained_at)
        message.periodic.CopyFrom(pb.PeriodicEvidence(fired_at=fired_at, last_trained_at=trained_at))
    elif isinstance(evidence, DriftEvidence):
        message.drift.CopyFrom(
            pb.DriftEvidence(
                report_id=evidence.report_id,
                version=evidence.version,
                score=evidence.score,
                min_score=evidence.min_score,
            )
        )
    elif isinstance(evidence, PerformanceEvidence):
        message.performance.CopyFrom(
            pb.PerformanceEvidence(
                metric=evidence.metric,
                version=evidence.version,
                value=evidence.value,
                threshold=evidence.threshold,
                registered=evidence.registered,
                measured_at=time_to_proto(evidence.measured_at),
            )
        )
    else:
        message.request.CopyFrom(pb.RequestEvidence(actor=evidence.actor, reason=evidence.reason))


def reason_from_proto(message: pb.DueReason) -> DueReason:
    since, evidence = time_from_proto(message.since), _evidence(message)
    return DueReason(message.schedule_id, message.summary, since, evidence, message.rule, message.trigger)


def _evidence(message: pb.DueReason) -> Evidence:
    kind = message.WhichOneof("evidence")
    if kind == "periodic":
        periodic = message.periodic
        return PeriodicEvidence(time_from_proto(periodic.fired_at), time_from_proto(periodic.last_trained_at))
    if kind == "drift":
        drift = message.drift
        min_score = drift.min_score if drift.HasField("min_score") else None
        return DriftEvidence(drift.report_id, drift.version, drift.score, min_score)
    if kind == "performance":
        performance = message.performance
        registered = performance.registered if performance.HasField("registered") else None
        measured_at = time_from_proto(performance.measured_at)
        return PerformanceEvidence(
            performance.metric, performance.version, performance.value, performance.threshold, registered, measured_at
        )
    return RequestEvidence(message.request.actor, message.request.reason)


def due_model_to_proto(due: DueModel) -> pb.DueModel:
    return pb.DueModel(
        model=due.model,
        version=due.version,
        due_since=time_to_proto(due.due_since),
        last_trained_at=time_to_proto(due.last_trained_at),
        reasons=map(reason_to_proto, due.reasons),
        job_id=due.job_id,
        job_state=job_state_to_proto(due.job_state),
        newest_data_at=time_to_proto(due.newest_data_at),
        data_age=span_to_proto(due.data_age),
        summary=due.summary,
        problems=map(problem_to_proto, due.problems),
    )


def due_model_from_proto(message: pb.DueModel) -> DueModel:
    return DueModel(
        model=message.model,
        version=message.version,
        due_since=time_from_proto(message.due_since),
        last_trained_at=time_from_proto(message.last_trained_at) if message.HasField("last_trained_at") else None,
        reasons=tuple(map(reason_from_proto, message.reasons)),
        job_id=message.job_id,
        job_state=job_state_from_proto(message.job_state),
        newest_data_at=time_from_proto(message.newest_data_at) if message.HasField("newest_data_at") else None,
        data_age=span_from_proto(message.data_age) if message.HasField("data_age") else None,
        summary=message.summary,
        problems=tuple(map(problem_from_proto, message.problems)),
    )


def failure_to_proto(failure: JobFailure) -> pb.JobFailure:
    return pb.JobFailure(
        attempt=failure.attempt,
        holder=failure.holder,
        reason=failure.reason,
        failed_at=time_to_proto(failure.failed_at),
    )


def failure_from_proto(message: pb.JobFailure) -> JobFailure:
    return JobFailure(message.attempt, message.holder, message.reason, time_from_proto(message.failed_at))


def job_to_proto(job: Job) -> pb.Job:
    return pb.Job(
        job_id=job.job_id,
        model=job.model,
        version=job.version,
        state=job_state_to_proto(job.state),
        reasons=map(reason_to_proto, job.reasons),
        holder=job.holder,
        lease_expires_at=time_to_proto(job.lease_expires_at),
        attempt=job.attempt,
        max_attempts=job.max_attempts,
        available_at=time_to_proto(job.available_at),
        failures=map(failure_to_proto, job.failures),
        successor=job.successor,
        created_by=job.created_by,
        created_at=time_to_proto(job.created_at),
        updated_at=time_to_proto(job.updated_at),
        ended_at=time_to_proto(job.ended_at),
        queue=job.queue,
        labels=job.labels,
        parameters=job.parameters,
        data_from=time_to_proto(job.data_from),
        data_until=time_to_proto(job.data_until),
        fence=job.fence,
        progress=job.progress,
        progress_message=job.progress_message,
        follow_up=None if job.follow_up is None else follow_up_to_proto(job.follow_up),
    )


def job_from_proto(message: pb.Job) -> Job:
    return Job(
        job_id=message.job_id,
        model=message.model,
        version=message.version,
        state=job_state_from_proto(message.state) or JobState.PENDING,
        reasons=tuple(map(reason_from_proto, message.reasons)),
        holder=message.holder,
        lease_expires_at=_optional_time(message, "lease_expires_at"),
        attempt=message.attempt,
        max_attempts=message.max_attempts,
        available_at=time_from_proto(message.available_at),
        failures=tuple(map(failure_from_proto, message.failures)),
        successor=message.successor,
        created_by=message.created_by,
        created_at=time_from_proto(message.created_at),
        updated_at=time_from_proto(message.updated_at),
        ended_at=_optional_time(message, "ended_at"),
        queue=message.queue,
        labels=dict(message.labels),
        parameters=dict(message.parameters),
        data_from=_optional_time(message, "data_from"),
        data_until=_optional_time(message, "data_until"),
        fence=message.fence,
        progress=message.progress,
        progress_message=message.progress_message,
        follow_up=follow_up_from_proto(message.follow_up) if message.HasField("follow_up") else None,
    )


def _optional_time(message: Message, field: str) -> datetime | None:
    return time_from_proto(getattr(message, field)) if message.HasField(field) else None


def follow_up_to_proto(follow_up: FollowUp) -> pb.FollowUp:
    return pb.FollowUp(
        state=FOLLOW_UP_STATES[follow_up.state],
        reason=follow_up.reason,
        comparison_id=follow_up.comparison_id,
        updated_at=time_to_proto(follow_up.updated_at),
    )


def follow_up_from_proto(message: pb.FollowUp) -> FollowUp | None:
    """Convert the progress of a job's follow-up; return None for a state that only newer servers know."""
    state = next((state for state, known in FOLLOW_UP_STATES.items() if known == message.state), None)
    if state is None:
        return None
    return FollowUp(state, message.reason, message.comparison_id, time_from_proto(message.updated_at))


def retraining_policy_to_proto(policy: RetrainingPolicy) -> pb.RetrainingPolicy:
    return pb.RetrainingPolicy(
        model=policy.model,
        queue=policy.queue,
        labels=policy.labels,
        parameters=policy.parameters,
        data_window=span_to_proto(policy.data_window),
        follow_up=FOLLOW_UP_ACTIONS[policy.follow_up],
        promote_on=map(verdict_to_proto, policy.promote_on),
        evaluation_uri=policy.evaluation_uri,
        label=policy.label,
        primary_metric=metric_to_proto(policy.primary_metric),
        margin=policy.margin,
        etag=policy.etag,
        returns=policy.returns,
        cost_bps=policy.cost_bps,
        time_column=policy.time,
        group_column=policy.group,
        horizon=0 if policy.horizon == 1 else policy.horizon,
        evaluation_window=_window_to_proto(policy.evaluation_window),
    )


def _window_to_proto(window: EvaluationWindow | None) -> pb.EvaluationWindow | None:
    if window is None:
        return None
    return pb.EvaluationWindow(calendar=window.calendar, sessions=window.sessions, embargo=window.embargo)


def retraining_policy_from_proto(message: pb.RetrainingPolicy) -> RetrainingPolicy:
    """Convert a policy, applying the contract's defaults."""
    actions = (action for action, known in FOLLOW_UP_ACTIONS.items() if known == message.follow_up)
    verdicts = tuple(verdict for value in message.promote_on if (verdict := verdict_from_proto(value)))
    return RetrainingPolicy(
        model=message.model,
        queue=message.queue or "default",
        labels=dict(message.labels),
        parameters=dict(message.parameters),
        data_window=span_from_proto(message.data_window) if message.HasField("data_window") else None,
        follow_up=next(actions, FollowUpAction.NONE),
        promote_on=verdicts or (Verdict.SUPERIOR,),
        evaluation_uri=message.evaluation_uri,
        label=message.label or "label",
        primary_metric=metric_from_proto(message.primary_metric),
        margin=message.margin,
        etag=message.etag,
        returns=message.returns,
        cost_bps=message.cost_bps,
        time=message.time_column,
        group=message.group_column,
        horizon=message.horizon or 1,
        evaluation_window=_window_from_proto(message.evaluation_window)
        if message.HasField("evaluation_window")
        else None,
    )


def _window_from_proto(message: pb.EvaluationWindow) -> EvaluationWindow:
    return EvaluationWindow(message.calendar, message.sessions, message.embargo)
