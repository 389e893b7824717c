"""Stage transitions: promotion, rollback, and their records."""

from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import select
from sqlalchemy.orm import Session

from modelward.errors import GatesFailed, NoPredecessor
from modelward.governance import Approval, ApprovalState
from modelward.lifecycle import (
    GateResult,
    PromotionPolicy,
    RollbackResult,
    Stage,
    Transition,
    TransitionResult,
    VersionRef,
)
from modelward_server.actor_context import ActorContext
from modelward_server.lifecycle.approval_gates import approval_gates
from modelward_server.lifecycle.approvals import open_approval, required_functions, use
from modelward_server.lifecycle.backtest_gates import needs_returns
from modelward_server.lifecycle.comparison_gates import asks_for_comparison
from modelward_server.lifecycle.deletion import check_not_deleted
from modelward_server.lifecycle.finding_gates import finding_gate
from modelward_server.lifecycle.findings import blocking_findings
from modelward_server.lifecycle.gates import Evidence, GateInputs, evaluate
from modelward_server.lifecycle.models import touch_model
from modelward_server.lifecycle.policies import get_policy
from modelward_server.lifecycle.repository import (
    check_etag,
    etag,
    from_transition,
    model_row,
    to_transition,
    to_version,
    version_row,
)
from modelward_server.lifecycle.stages import check_move
from modelward_server.lifecycle.versions import touch_version
from modelward_server.storage import audit
from modelward_server.storage.audit import Kind
from modelward_server.storage.prepared import Outdated
from modelward_server.storage.tables import TransitionRow, VersionRow


def transition(
    session: Session,
    ref: VersionRef,
    to: Stage,
    reason: str,
    expected_etag: str,
    actor: ActorContext,
    evidence: Evidence | None = None,
    expected_model_etag: str = "",
) -> TransitionResult:
    """Move a version to another stage; a promotion to production archives the version there in the same transaction.

    Args:
        session: the transaction.
        ref: the version.
        to: the new stage.
        reason: the reason, for the record.
        expected_etag: the etag of the version on which the request is based; empty for any.
        actor: the author and time of the change.
        evidence: the evidence for the gates; it was read before this transaction, which blocks other writers.
        expected_model_etag: the etag of the model on which the request is based; empty for any.

    Raises:
        Outdated: a gate requires evidence that was not read, or that is no longer valid.
        ModelNotFound, VersionNotFound: the version does not exist.
        EtagMismatch: it, or its model, has changed since its etag was read.
        IllegalTransition: the stage machine does not allow the move.
        ArtifactDeleted: its files were deleted.
        GatesFailed: the model's policy is not met; the error names every failed gate with its evidence.
    """
    row = version_row(session, ref, lock=True)
    model = model_row(session, ref.model)
    check_etag(expected_etag, etag(row))
    check_etag(expected_model_etag, etag(model))
    check_move(ref, Stage(row.stage), to)
    check_not_deleted(to_version(row))
    actor = actor.not_before(model.updated_at)
    approval = open_approval(session, ref, to, actor.at)
    gates = _pass_gates(session, row, to, approval, actor, evidence)
    if to is not Stage.PRODUCTION:
        result = _result(session, row, None, move(session, row, to, reason, actor, gates=gates), actor)
    else:
        note = f"{ref} was promoted" + (f": {reason}" if reason else "")
        result = put_into_production(session, row, reason, note, actor, gates)
    if approval is not None and approval.state is ApprovalState.APPROVED:
        use(session, approval, result.transition, actor)
    return result


def rollback(session: Session, model: str, reason: str, expected_etag: str, actor: ActorContext) -> RollbackResult:
    """Move the predecessor back into production and archive the current version.

    The predecessor is the version that the one in production displaced when it was promoted, so repeated rollbacks go
    back step by step. Gates are not evaluated: a rollback must always be possible.

    Raises:
        ModelNotFound: the model does not exist.
        EtagMismatch: it has changed since `expected_etag` was read.
        NoPredecessor: no version was in production before.
        ArtifactDeleted: the predecessor's files were deleted.
    """
    held = model_row(session, model, lock=True)
    check_etag(expected_etag, etag(held))
    current = in_production(session, model)
    target = _predecessor(session, model, current)
    check_not_deleted(to_version(target))
    actor = actor.not_before(held.updated_at)
    note = f"rolled back to {model}/{target.version}" + (f": {reason}" if reason else "")
    if target.stage != Stage.ARCHIVED:
        # A move from staging would count as a promotion, and the next rollback would return to this version.
        move(session, target, Stage.ARCHIVED, note, actor)
    result = put_into_production(session, target, f"rollback: {reason}" if reason else "rollback", note, actor)
    return RollbackResult(result.version, result.archived, result.transition)


def put_into_production(
    session: Session, row: VersionRow, reason: str, note: str, actor: ActorContext, gates: Sequence[GateResult] = ()
) -> TransitionResult:
    """Move a version into production, and archive the version there, if any, with `note` as the reason."""
    predecessor = in_production(session, row.model)
    if predecessor is not None:
        move(session, predecessor, Stage.ARCHIVED, note, actor, displaced_by=row.version)
    record = move(session, row, Stage.PRODUCTION, reason, actor, gates=gates)
    return _result(session, row, predecessor, record, actor)


def _result(
    session: Session, row: VersionRow, archived: VersionRow | None, record: TransitionRow, actor: ActorContext
) -> TransitionResult:
    touch_model(model_row(session, row.model), actor)
    done = to_transition(record)
    return TransitionResult(to_version(row), None if archived is None else to_version(archived), done, done.gates)


def in_production(session: Session, model: str) -> VersionRow | None:
    """Return the version in production, or None."""
    return session.scalar(select(VersionRow).where(VersionRow.model == model, VersionRow.stage == Stage.PRODUCTION))


def move(
    session: Session,
    row: VersionRow,
    to: Stage,
    reason: str,
    actor: ActorContext,
    displaced_by: int = 0,
    gates: Sequence[GateResult] = (),
) -> TransitionRow:
    """Change a version's stage and record the transition; the caller checks that the move is allowed."""
    done = Transition(
        sequence=0,
        version=VersionRef(row.model, row.version),
        from_stage=Stage(row.stage),
        to_stage=to,
        actor=actor.name,
        reason=reason,
        moved_at=actor.at,
        displaced_by=displaced_by,
        gates=tuple(gates),
    )
    row.stage, row.stage_since = to, actor.at
    touch_version(row, actor)
    session.flush()  # Flushed so that the predecessor leaves production before the successor enters it.
    sequence = audit.append(session, Kind.TRANSITION, row.model, done, actor, row.version)
    record = from_transition(replace(done, sequence=sequence))
    session.add(record)
    return record


def _pass_gates(
    session: Session,
    row: VersionRow,
    to: Stage,
    approval: Approval | None,
    actor: ActorContext,
    evidence: Evidence | None,
) -> tuple[GateResult, ...]:
    """Return the results of the gates of a transition.

    Raises:
        GatesFailed: not all are met.
    """
    policy = get_policy(session, row.model)
    gates = approval_gates(required_functions(session, policy, to), to, to_version(row), approval)
    if to is Stage.PRODUCTION:
        gates = (*_production_gates(session, row, policy, actor, evidence), *gates)
    failed = [gate for gate in gates if not gate.passed]
    if failed:
        raise GatesFailed(*failed, model=row.model, version=row.version)
    return gates


def _production_gates(
    session: Session, row: VersionRow, policy: PromotionPolicy, actor: ActorContext, evidence: Evidence | None
) -> tuple[GateResult, ...]:
    production = in_production(session, row.model)
    inputs = GateInputs(to_version(row), None if production is None else to_version(production), actor.name, actor.at)
    if policy.require_comparison and production is not None:
        inputs = replace(inputs, verdict=_require(evidence).verdict(session, _ref(row), _ref(production)))
    if policy.forbid_drift_alarm:
        inputs = replace(inputs, drift_alarm=_require(evidence).drift_alarm(session, _ref(row)))
    if needs_returns(policy, inputs.candidate):
        inputs = replace(inputs, returns=_require(evidence).returns(session, _ref(row)))
    if asks_for_comparison(policy):
        inputs = replace(inputs, comparison=_require(evidence).comparison(session, _ref(row)))
    if policy.require_signature:
        inputs = replace(inputs, trusted_signers=_require(evidence).trusted_signers())
    return (*evaluate(policy, inputs), *_finding_gates(session, row, policy))


def _finding_gates(session: Session, row: VersionRow, policy: PromotionPolicy) -> tuple[GateResult, ...]:
    blocking = policy.blocking_severity
    return () if blocking is None else (finding_gate(blocking, blocking_findings(session, _ref(row), blocking)),)


def _require(evidence: Evidence | None) -> Evidence:
    if evidence is None:
        raise Outdated
    return evidence


def _ref(row: VersionRow) -> VersionRef:
    return VersionRef(row.model, row.version)


def _predecessor(session: Session, model: str, current: VersionRow | None) -> VersionRow:
    """Return the version to roll back to.

    Raises:
        NoPredecessor: no version was in production before.
    """
    moves = select(TransitionRow).where(TransitionRow.model == model).order_by(TransitionRow.sequence.desc()).limit(1)
    if current is None:
        last = session.scalar(moves.where(TransitionRow.from_stage == Stage.PRODUCTION))
    else:
        promoted = session.scalar(
            moves.where(
                TransitionRow.version == current.version,
                TransitionRow.from_stage == Stage.STAGING,
                TransitionRow.to_stage == Stage.PRODUCTION,
            )
        )
        last = promoted and session.get(TransitionRow, promoted.sequence - 1)
        last = last if last is not None and last.displaced_by == current.version and last.model == model else None
    if last is None:
        raise NoPredecessor(
            f"no version of {model!r} was in production before, so there is nothing to roll back to", model=model
        )
    return session.get_one(VersionRow, (model, last.version))
