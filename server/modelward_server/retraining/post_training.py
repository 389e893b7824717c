"""What follows a job that succeeded: staging, comparison, promotion, one step in a transaction.

How far a job is stands in the ledger, and each step first looks whether it is still the next one. So any server may
take any step at any time, and each takes effect once.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from modelward.comparison import Comparison
from modelward.errors import GatesFailed, IllegalTransition
from modelward.lifecycle import Stage, VersionRef
from modelward.retraining import FollowUp, FollowUpAction, FollowUpState, Job, RetrainingPolicy
from modelward.shared.convert.common import ref_to_proto
from modelward.shared.convert.comparison import metric_to_proto
from modelward.v1 import comparison_pb2
from modelward.v1.common_pb2 import Dataset
from modelward_server.actor_context import Caller
from modelward_server.comparison.compare import Answer
from modelward_server.comparison.repository import get_comparison, save_comparison
from modelward_server.governance.promotion_evidence import Gathered, gather
from modelward_server.lifecycle.policies import get_policy
from modelward_server.lifecycle.promotion import transition
from modelward_server.lifecycle.repository import model_row, production_version, version_row
from modelward_server.retraining.policies import get_retraining_policy
from modelward_server.retraining.repository import job_row, to_job, write_job
from modelward_server.storage import audit
from modelward_server.storage.audit import Kind
from modelward_server.storage.retraining_tables import JobRow

CLAIM = timedelta(seconds=15)
"""How long a server that compares keeps others from doing the same, without saying so again."""
UNFINISHED = (FollowUpState.PENDING, FollowUpState.STAGED, FollowUpState.COMPARED)


def unfinished(session: Session, now: datetime) -> Sequence[str]:
    """Return the jobs that something follows and that no server has in hand, the oldest first."""
    free = or_(JobRow.claimed_until.is_(None), JobRow.claimed_until <= now)
    jobs = select(JobRow.job_id).where(JobRow.follow_up.in_(UNFINISHED), free)
    return list(session.scalars(jobs.order_by(JobRow.sequence)))


def evidence_for(session: Session, job_id: str) -> Gathered:
    """Read what the gates ask for that are between what came of a job and production."""
    return gather(session, _successor(job_row(session, job_id)))


def advance(
    session: Session, job_id: str, evidence: Gathered | None, caller: Caller
) -> comparison_pb2.CompareModelsRequest | None:
    """Take the next step of what follows a job; where that is a comparison, claim it and return what to ask.

    Raises:
        Outdated: a gate asks for evidence that was not read, or that does not hold any more.
    """
    row = _locked(session, job_id)
    if row.claimed_until is not None and row.claimed_until > caller.at:
        return None
    policy = get_retraining_policy(session, row.model)
    if row.follow_up == FollowUpState.PENDING:
        _stage(session, row, policy, caller)
    elif row.follow_up == FollowUpState.STAGED:
        return _ask(session, row, policy, caller)
    elif row.follow_up == FollowUpState.COMPARED:
        _decide(session, row, policy, evidence, caller)
    return None


def keep(session: Session, job_id: str, caller: Caller) -> None:
    """Say that the comparison goes on."""
    row = _locked(session, job_id)
    if row.follow_up == FollowUpState.STAGED:
        row.claimed_until = caller.at + CLAIM


def release(session: Session, job_id: str) -> None:
    """Leave the comparison to another server."""
    _locked(session, job_id).claimed_until = None


def compared(session: Session, job_id: str, answer: Answer, caller: Caller) -> None:
    """Note what a comparison found, unless another server has noted its own."""
    row = _locked(session, job_id)
    if row.follow_up != FollowUpState.STAGED:
        return
    found = save_comparison(session, answer, caller)
    _note(session, row, FollowUpState.COMPARED, _verdict(found, _successor(row)), caller, found.comparison_id)


def leave_to_a_person(session: Session, job_id: str, reason: str, caller: Caller) -> None:
    """Note why a comparison could not be made."""
    row = _locked(session, job_id)
    if row.follow_up == FollowUpState.STAGED:
        _note(session, row, FollowUpState.WAITING, reason, caller)


def _stage(session: Session, row: JobRow, policy: RetrainingPolicy, caller: Caller) -> None:
    ref = _successor(row)
    stage = Stage(version_row(session, ref).stage)
    if stage not in {Stage.TRAINING, Stage.STAGING}:
        _note(session, row, FollowUpState.WAITING, f"somebody moved {ref} to {stage} already", caller)
        return
    if stage is Stage.TRAINING:
        transition(session, ref, Stage.STAGING, f"came of the job {row.job_id}", "", caller)
    goes_on = policy.follow_up in {FollowUpAction.COMPARE, FollowUpAction.PROMOTE}
    said = f"{ref} is in staging"
    state = FollowUpState.STAGED if goes_on else FollowUpState.WAITING
    _note(session, row, state, said if goes_on else f"{said}; a person goes on", caller)


def _ask(
    session: Session, row: JobRow, policy: RetrainingPolicy, caller: Caller
) -> comparison_pb2.CompareModelsRequest | None:
    """Claim the comparison and say what it is asked, or note that there is none to make."""
    champion = production_version(session, row.model)
    if not champion:
        _note(session, row, FollowUpState.COMPARED, "nothing is in production to compare with", caller)
        return None
    data = Dataset.FromString(row.evaluation) if row.evaluation else Dataset(uri=policy.evaluation_uri)
    if not (row.evaluation or policy.evaluation_uri):
        lacking = "there is no test set: CompleteJob brought none, and the retraining policy names none"
        _note(session, row, FollowUpState.WAITING, lacking, caller)
        return None
    row.claimed_until = caller.at + CLAIM
    return comparison_pb2.CompareModelsRequest(
        versions=[ref_to_proto(VersionRef(row.model, champion)), ref_to_proto(_successor(row))],
        data=data,
        label=row.evaluation_label or policy.label,
        primary_metric=metric_to_proto(policy.primary_metric),
        baseline=ref_to_proto(VersionRef(row.model, champion)),
        margin=policy.margin,
    )


def _decide(session: Session, row: JobRow, policy: RetrainingPolicy, evidence: Gathered | None, caller: Caller) -> None:
    """Promote, refuse, or leave it to a person."""
    if policy.follow_up is not FollowUpAction.PROMOTE:
        _note(session, row, FollowUpState.WAITING, f"{row.follow_up_reason}; a person decides", caller)
        return
    champion = production_version(session, row.model)
    found = get_comparison(session, row.comparison_id) if row.comparison_id else None
    if champion and (found is None or found.baseline != VersionRef(row.model, champion)):
        said = f"{row.model}/{champion} went into production meanwhile; it is compared with that"
        _note(session, row, FollowUpState.STAGED, said, caller)
    elif champion and found and found.result(_successor(row)).verdict not in policy.promote_on:
        _note(session, row, FollowUpState.REFUSED, row.follow_up_reason, caller)
    elif get_policy(session, row.model).material:
        _note(session, row, FollowUpState.WAITING, f"{row.follow_up_reason}; it is material: a person decides", caller)
    else:
        _promote(session, row, evidence, caller)


def _promote(session: Session, row: JobRow, evidence: Gathered | None, caller: Caller) -> None:
    reason = f"{row.follow_up_reason} (job {row.job_id})"
    try:
        transition(session, _successor(row), Stage.PRODUCTION, reason, "", caller, evidence)
    except (GatesFailed, IllegalTransition) as error:
        _note(session, row, FollowUpState.WAITING, f"{row.follow_up_reason}; {error.message}", caller)
    else:
        _note(session, row, FollowUpState.PROMOTED, row.follow_up_reason, caller)


def _verdict(found: Comparison, successor: VersionRef) -> str:
    result = found.result(successor)
    if result.verdict is None:
        return f"{successor} failed: {result.failure}"
    return f"{successor} is {result.verdict} to {found.baseline} by {found.primary_metric}"


def _note(
    session: Session, row: JobRow, state: FollowUpState, reason: str, caller: Caller, comparison_id: str = ""
) -> None:
    """Write how far it is now, into the job and the history."""
    session.flush()
    follow_up = FollowUp(state, reason, comparison_id or row.comparison_id, caller.at)
    job: Job = replace(to_job(row, caller.at), follow_up=follow_up, updated_at=caller.at)
    write_job(row, job)
    row.claimed_until = None
    audit.append(session, Kind.JOB, job.model, job, caller, job.version)


def _locked(session: Session, job_id: str) -> JobRow:
    """Lock the model and then the job, in the order that every writer has."""
    model_row(session, job_row(session, job_id).model, lock=True)
    return job_row(session, job_id, lock=True)


def _successor(row: JobRow) -> VersionRef:
    return VersionRef(row.model, row.successor)
