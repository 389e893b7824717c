"""What needs attention, in words: pure functions of what is known about all models."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from modelward.lifecycle import DriftAlarm, Halt, PerformanceAlarm, RolloutState, Trial, VersionRef
from modelward.overview import Attention, AttentionKind, Severity
from modelward.retraining import Job, JobState
from modelward.shared.figures import metric, p_equals, statistic
from modelward_server.lifecycle.states import EngineGroup, Engines
from modelward_server.retraining.all_due import Due

SETTLING = timedelta(minutes=1)
"""The time that engines have to load a new version in production, and the mirror to show a change."""
SEVERITIES = {
    AttentionKind.HALTED: Severity.CRITICAL,
    AttentionKind.UNUSABLE: Severity.CRITICAL,
    AttentionKind.ENGINES_FAILED: Severity.CRITICAL,
    AttentionKind.DRIFT_ALARM: Severity.WARNING,
    AttentionKind.PERFORMANCE_ALARM: Severity.WARNING,
    AttentionKind.ENGINES_LAGGING: Severity.WARNING,
    AttentionKind.JOB_DEAD: Severity.WARNING,
    AttentionKind.JOB_STUCK: Severity.NOTICE,
    AttentionKind.SCHEDULE_PROBLEM: Severity.NOTICE,
    AttentionKind.ENGINES_GONE: Severity.NOTICE,
    AttentionKind.MLFLOW_BEHIND: Severity.NOTICE,
}
NEXT_STEPS = {
    AttentionKind.HALTED: "Resume the model once the reason no longer holds.",
    AttentionKind.UNUSABLE: "Roll back to the previous version, or halt the model.",
    AttentionKind.ENGINES_FAILED: "Correct what the engine lacks, or roll back to the previous version.",
    AttentionKind.DRIFT_ALARM: "Read the drift report; retrain the model if the change of its data will last.",
    AttentionKind.PERFORMANCE_ALARM: "Look at its performance over time; retrain the model, or roll back.",
    AttentionKind.ENGINES_LAGGING: "Check that these engines follow the model and reach the server.",
    AttentionKind.JOB_DEAD: "Correct the cause and retry the job.",
    AttentionKind.JOB_STUCK: "Check that a worker runs for the job's queue.",
    AttentionKind.SCHEDULE_PROBLEM: "Update the schedule, or pause it.",
    AttentionKind.ENGINES_GONE: "Check whether these engines should run.",
    AttentionKind.MLFLOW_BEHIND: "Check that MLflow answers; the server's log says why it does not.",
}
_SEVERITIES = {severity: place for place, severity in enumerate(Severity)}
_KINDS = {kind: place for place, kind in enumerate(AttentionKind)}


@dataclass(frozen=True)
class RegistryState:
    """What is known about all models, by the names of the models."""

    registered: int
    """Number of models."""
    halts: Mapping[str, Halt]
    in_production: Mapping[str, int]
    """The versions."""
    unusable: Mapping[str, Trial]
    """Trials of versions in production."""
    engines: Mapping[str, Engines]
    failures: Mapping[tuple[str, str], str]
    """Why engines could not load the expected version, by model and engine."""
    drift_alarms: Mapping[str, tuple[DriftAlarm, datetime]]
    performance_alarms: Mapping[str, tuple[PerformanceAlarm, datetime]]
    jobs: tuple[Job, ...]
    """The newest job of each model, unless it succeeded."""
    stuck: frozenset[str]
    """The ids of those whose lease ran out."""
    due: Mapping[str, Due]
    behind: int
    """Number of versions that MLflow does not show as they are."""
    behind_since: datetime | None


def urgency(severity: Severity) -> int:
    """Return the place of a severity in the ascending order."""
    return _SEVERITIES[severity]


def find_attention(state: RegistryState, now: datetime) -> list[Attention]:
    """Return what needs attention, the worst first."""
    found = [
        *_of_halts(state),
        *_of_trials(state),
        *_of_alarms(state),
        *_of_engines(state, now),
        *_of_jobs(state),
        *_of_schedules(state),
        *_of_mlflow(state, now),
    ]
    return sorted(found, key=lambda one: (-urgency(one.severity), _KINDS[one.kind], one.model, one.subject))


def _of_halts(state: RegistryState) -> Iterator[Attention]:
    for model, halt in state.halts.items():
        text, version = f"{model} is halted by {halt.actor}: {halt.reason}", state.in_production.get(model, 0)
        yield _attention(AttentionKind.HALTED, model, text, halt.halted_at, version=version)


def _of_trials(state: RegistryState) -> Iterator[Attention]:
    for model, trial in state.unusable.items():
        ref = VersionRef(model, state.in_production[model])
        text = f"{ref} is in production and cannot be used: {trial.reason}"
        yield _attention(AttentionKind.UNUSABLE, model, text, trial.tried_at, version=ref.version)


def _of_alarms(state: RegistryState) -> Iterator[Attention]:
    for model, (alarm, since) in state.drift_alarms.items():
        ref = VersionRef(model, state.in_production[model])
        text = f"the live data of {ref} drifted from its reference: score {statistic(alarm.score)}"
        yield _attention(AttentionKind.DRIFT_ALARM, model, text, since, alarm.report_id, ref.version)
    for model, (decline, since) in state.performance_alarms.items():
        ref = VersionRef(model, state.in_production[model])
        change = f"{metric(decline.value)}, previously {metric(decline.baseline)} ({p_equals(decline.p_value)})"
        text = f"the {decline.metric} of {ref} declined: {change}"
        yield _attention(AttentionKind.PERFORMANCE_ALARM, model, text, since, version=ref.version)


def _of_engines(state: RegistryState, now: datetime) -> Iterator[Attention]:
    for model, engines in state.engines.items():
        if model in state.in_production and model not in state.halts:
            yield from _of_engines_of(state, VersionRef(model, state.in_production[model]), engines, now)


def _of_engines_of(state: RegistryState, ref: VersionRef, engines: Engines, now: datetime) -> Iterator[Attention]:
    model = ref.model
    if failed := engines.get(RolloutState.FAILED):
        why = state.failures.get((model, failed.first), "")
        text = f"{_share(failed)} could not load {ref}, such as {failed.first}: {why}".removesuffix(": ")
        yield _attention(AttentionKind.ENGINES_FAILED, model, text, failed.since, failed.first, ref.version)
    if (lagging := engines.get(RolloutState.LAGGING)) and lagging.since and lagging.since + SETTLING <= now:
        text = f"{_share(lagging)} run another version than {ref}, such as {lagging.first}"
        yield _attention(AttentionKind.ENGINES_LAGGING, model, text, lagging.since, lagging.first, ref.version)
    if gone := engines.get(RolloutState.GONE):
        text = f"{_share(gone)} of {model} have not reported for too long, such as {gone.first}"
        yield _attention(AttentionKind.ENGINES_GONE, model, text, gone.reported_at, gone.first, ref.version)


def _share(group: EngineGroup) -> str:
    return f"{group.number} of {group.total} engines"


def _of_jobs(state: RegistryState) -> Iterator[Attention]:
    for job in state.jobs:
        if job.state is JobState.FAILED:
            why = f": {job.failures[-1].reason}" if job.failures else ""
            text = f"the retraining of {job.model} failed permanently in attempt {job.attempt}{why}"
            yield _attention(AttentionKind.JOB_DEAD, job.model, text, job.ended_at, job.job_id)
        elif job.job_id in state.stuck:
            text = f"the lease of the retraining of {job.model} ran out, and no worker has taken it up since"
            yield _attention(AttentionKind.JOB_STUCK, job.model, text, job.available_at, job.job_id)


def _of_schedules(state: RegistryState) -> Iterator[Attention]:
    for model, due in state.due.items():
        for problem in due.problems:
            kind, subject = AttentionKind.SCHEDULE_PROBLEM, problem.schedule_id
            yield _attention(kind, model, problem.summary, problem.since, subject)


def _of_mlflow(state: RegistryState, now: datetime) -> Iterator[Attention]:
    if state.behind_since and state.behind_since + SETTLING <= now:
        text = f"MLflow does not show the latest changes; versions concerned: {state.behind}"
        yield _attention(AttentionKind.MLFLOW_BEHIND, "", text, state.behind_since)


def _attention(
    kind: AttentionKind, model: str, text: str, since: datetime | None, subject: str = "", version: int = 0
) -> Attention:
    return Attention(kind, SEVERITIES[kind], model, version, subject, text, since, NEXT_STEPS[kind])


def worst_by_model(attention: Iterable[Attention]) -> dict[str, Severity]:
    """Return the greatest severity of what needs attention about each model."""
    worst: dict[str, Severity] = {}
    for one in attention:
        worst[one.model] = max(one.severity, worst.get(one.model, Severity.OK), key=urgency)
    return worst
