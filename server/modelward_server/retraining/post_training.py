"""The follow-up of a job that succeeded: staging, comparison, promotion, with one transaction per step.

The progress of a follow-up is stored in the ledger, and each step first checks that it is still the next one. Any
server may therefore take any step at any time, and each step takes effect once.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from modelward.comparison import Comparison
from modelward.errors import GatesFailed, IllegalTransition
from modelward.lifecycle import Stage, VersionRef
from modelward.retraining import EvaluationWindow, FollowUp, FollowUpAction, FollowUpState, Job, RetrainingPolicy
from modelward_server.actor_context import ActorContext
from modelward_server.comparison.compare import DEFAULT_LABEL, ComparisonRequest, ComparisonResult
from modelward_server.comparison.repository import get_comparison, save_comparison
from modelward_server.lifecycle.gates import Evidence
from modelward_server.lifecycle.policies import get_policy
from modelward_server.lifecycle.promotion import transition
from modelward_server.lifecycle.repository import model_row, production_version, version_row
from modelward_server.retraining.evaluation_windows import evaluation_sessions
from modelward_server.retraining.policies import get_retraining_policy
from modelward_server.retraining.repository import job_row, to_job, write_job
from modelward_server.storage import audit
from modelward_server.storage.audit import Kind
from modelward_server.storage.retraining_tables import JobRow

CLAIM_DURATION = timedelta(seconds=15)
"""The duration for which a comparing server's claim keeps others from the same comparison, unless it is renewed."""
UNFINISHED = (FollowUpState.PENDING, FollowUpState.STAGED, FollowUpState.COMPARED)


@dataclass(frozen=True)
class ComparisonTask:
    """The comparison of a job's successor with the version in production."""

    request: ComparisonRequest
    evaluation: bytes | None
    """The test set of the completed job, as a serialized `modelward.v1.Dataset`."""
    evaluation_uri: str
    """The policy's test set, for jobs without one."""
    created_at: datetime
    """When the job was created."""
    window: EvaluationWindow | None = None
    """The part of the policy's test set that counts; None: all of it."""

    def request_of_sessions(self) -> ComparisonRequest:
        """Return the request, with the sessions of the window; their calendar is built, which may take long.

        Raises:
            CalendarEnds: this server does not know the sessions.
        """
        if self.window is None or self.evaluation is not None:
            return self.request
        return replace(self.request, sessions=evaluation_sessions(self.window, self.created_at))


def unfinished_jobs(session: Session, now: datetime) -> Sequence[str]:
    """Return the jobs with an unfinished follow-up that no server has claimed, the oldest first."""
    free = or_(JobRow.claimed_until.is_(None), JobRow.claimed_until <= now)
    jobs = select(JobRow.job_id).where(JobRow.follow_up.in_(UNFINISHED), free)
    return list(session.scalars(jobs.order_by(JobRow.sequence)))


def successor_of(session: Session, job_id: str) -> VersionRef:
    """Return the version that a job produced."""
    return _successor(job_row(session, job_id))


def advance(session: Session, job_id: str, evidence: Evidence | None, actor: ActorContext) -> ComparisonTask | None:
    """Take the next step of a job's follow-up; if that is a comparison, claim it and return its task.

    Raises:
        Outdated: a gate requires evidence that was not read, or that is no longer valid.
    """
    row = _locked(session, job_id)
    if row.claimed_until is not None and row.claimed_until > actor.at:
        return None
    policy = get_retraining_policy(session, row.model)
    if row.follow_up == FollowUpState.PENDING:
        _stage(session, row, policy, actor)
    elif row.follow_up == FollowUpState.STAGED:
        return _request_comparison(session, row, policy, actor)
    elif row.follow_up == FollowUpState.COMPARED:
        _decide(session, row, policy, evidence, actor)
    return None


def renew_claim(session: Session, job_id: str, actor: ActorContext) -> None:
    """Renew the claim of a comparison."""
    row = _locked(session, job_id)
    if row.follow_up == FollowUpState.STAGED:
        row.claimed_until = actor.at + CLAIM_DURATION


def release(session: Session, job_id: str) -> None:
    """Release the claim of a comparison, so that another server can take it."""
    _locked(session, job_id).claimed_until = None


def record_comparison(session: Session, job_id: str, result: ComparisonResult, actor: ActorContext) -> None:
    """Record the result of a comparison, unless another server has recorded its own."""
    row = _locked(session, job_id)
    if row.follow_up != FollowUpState.STAGED:
        return
    found = save_comparison(session, result, actor)
    _set_follow_up(session, row, FollowUpState.COMPARED, _verdict(found, _successor(row)), actor, found.comparison_id)


def wait_for_review(session: Session, job_id: str, reason: str, actor: ActorContext) -> None:
    """Record why a comparison was not possible; a person must decide."""
    row = _locked(session, job_id)
    if row.follow_up == FollowUpState.STAGED:
        _set_follow_up(session, row, FollowUpState.WAITING, reason, actor)


def _stage(session: Session, row: JobRow, policy: RetrainingPolicy, actor: ActorContext) -> None:
    ref = _successor(row)
    stage = Stage(version_row(session, ref).stage)
    if stage not in {Stage.TRAINING, Stage.STAGING}:
        _set_follow_up(session, row, FollowUpState.WAITING, f"{ref} was already moved to {stage}", actor)
        return
    if stage is Stage.TRAINING:
        try:
            transition(session, ref, Stage.STAGING, f"produced by the job {row.job_id}", "", actor)
        except GatesFailed as error:
            _set_follow_up(session, row, FollowUpState.WAITING, error.message, actor)
            return
    goes_on = policy.follow_up in {FollowUpAction.COMPARE, FollowUpAction.PROMOTE}
    summary = f"{ref} is in staging"
    state = FollowUpState.STAGED if goes_on else FollowUpState.WAITING
    _set_follow_up(session, row, state, summary if goes_on else f"{summary}; a person goes on", actor)


def _request_comparison(
    session: Session, row: JobRow, policy: RetrainingPolicy, actor: ActorContext
) -> ComparisonTask | None:
    """Claim the comparison and return its task, or record that there is nothing to compare."""
    champion = production_version(session, row.model)
    if not champion:
        _set_follow_up(session, row, FollowUpState.COMPARED, "nothing is in production to compare with", actor)
        return None
    if not (row.evaluation or policy.evaluation_uri):
        lacking = "there is no test set: CompleteJob sent none, and the retraining policy names none"
        _set_follow_up(session, row, FollowUpState.WAITING, lacking, actor)
        return None
    row.claimed_until = actor.at + CLAIM_DURATION
    baseline = VersionRef(row.model, champion)
    request = ComparisonRequest(
        versions=(baseline, _successor(row)),
        label=row.evaluation_label or policy.label or DEFAULT_LABEL,
        primary=policy.primary_metric,
        baseline=baseline,
        margin=policy.margin,
        returns=policy.returns,
        cost_bps=policy.cost_bps,
        time=policy.time,
        group=policy.group,
        horizon=policy.horizon,
    )
    return ComparisonTask(request, row.evaluation, policy.evaluation_uri, row.created_at, policy.evaluation_window)


def _decide(
    session: Session, row: JobRow, policy: RetrainingPolicy, evidence: Evidence | None, actor: ActorContext
) -> None:
    """Promote the version, refuse it, or leave the decision to a person."""
    if policy.follow_up is not FollowUpAction.PROMOTE:
        _set_follow_up(session, row, FollowUpState.WAITING, f"{row.follow_up_reason}; a person decides", actor)
        return
    champion = production_version(session, row.model)
    found = get_comparison(session, row.comparison_id) if row.comparison_id else None
    if champion and (found is None or found.baseline != VersionRef(row.model, champion)):
        summary = f"{row.model}/{champion} entered production in the meantime; the comparison is repeated with it"
        _set_follow_up(session, row, FollowUpState.STAGED, summary, actor)
    elif champion and found and found.result(_successor(row)).verdict not in policy.promote_on:
        _set_follow_up(session, row, FollowUpState.REFUSED, row.follow_up_reason, actor)
    elif get_policy(session, row.model).material:
        _set_follow_up(
            session, row, FollowUpState.WAITING, f"{row.follow_up_reason}; it is material: a person decides", actor
        )
    else:
        _promote(session, row, evidence, actor)


def _promote(session: Session, row: JobRow, evidence: Evidence | None, actor: ActorContext) -> None:
    reason = f"{row.follow_up_reason} (job {row.job_id})"
    try:
        transition(session, _successor(row), Stage.PRODUCTION, reason, "", actor, evidence)
    except (GatesFailed, IllegalTransition) as error:
        _set_follow_up(session, row, FollowUpState.WAITING, f"{row.follow_up_reason}; {error.message}", actor)
    else:
        _set_follow_up(session, row, FollowUpState.PROMOTED, row.follow_up_reason, actor)


def _verdict(found: Comparison, successor: VersionRef) -> str:
    result = found.result(successor)
    if result.verdict is None:
        return f"{successor} failed: {result.failure}"
    return f"{successor} is {result.verdict} to {found.baseline} by {found.primary_metric}"


def _set_follow_up(
    session: Session, row: JobRow, state: FollowUpState, reason: str, actor: ActorContext, comparison_id: str = ""
) -> None:
    """Record the state of the follow-up in the job and the audit log."""
    session.flush()
    follow_up = FollowUp(state, reason, comparison_id or row.comparison_id, actor.at)
    job: Job = replace(to_job(row, actor.at), follow_up=follow_up, updated_at=actor.at)
    write_job(row, job)
    row.claimed_until = None
    audit.append(session, Kind.JOB, job.model, job, actor, job.version)


def _locked(session: Session, job_id: str) -> JobRow:
    """Lock the model and then the job, in the same order as every other writer."""
    model_row(session, job_row(session, job_id).model, lock=True)
    return job_row(session, job_id, lock=True)


def _successor(row: JobRow) -> VersionRef:
    return VersionRef(row.model, row.successor)
