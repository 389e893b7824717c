"""Moves between stages, and the record of them."""

from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import select
from sqlalchemy.orm import Session

from modelward.errors import GatesFailed, NoPredecessor
from modelward.lifecycle import (
    GateResult,
    RollbackResult,
    Stage,
    Transition,
    TransitionResult,
    VersionRef,
)
from modelward_server.actor_context import ActorContext
from modelward_server.lifecycle.deletion import check_not_deleted
from modelward_server.lifecycle.gates import Evidence, Facts, evaluate
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
) -> TransitionResult:
    """Move a version to another stage; into production, the version there is archived in the same transaction.

    Args:
        evidence: what the gates may ask for; it was read before this transaction, in which others wait.

    Raises:
        Outdated: a gate asks for evidence that was not read, or that does not hold any more.
        ModelNotFound, VersionNotFound: it does not exist.
        EtagMismatch: it changed since `expected_etag` was read.
        IllegalTransition: the stage machine forbids the move.
        ArtifactDeleted: its files are gone.
        GatesFailed: the model's policy forbids it; every gate that failed is named with its evidence.
    """
    row = version_row(session, ref, lock=True)
    check_etag(expected_etag, etag(row))
    check_move(ref, Stage(row.stage), to)
    check_not_deleted(to_version(row))
    actor = actor.not_before(model_row(session, ref.model).updated_at)
    if to is not Stage.PRODUCTION:
        return _result(session, row, None, move(session, row, to, reason, actor), actor)
    gates = _pass_gates(session, row, actor, evidence)
    note = f"{ref} was promoted" + (f": {reason}" if reason else "")
    return put_into_production(session, row, reason, note, actor, gates)


def rollback(session: Session, model: str, reason: str, expected_etag: str, actor: ActorContext) -> RollbackResult:
    """Put the predecessor back into production and archive what is there.

    The predecessor is the version that the one in production displaced when it was promoted; so repeated rollbacks go
    back further and further. Gates are not asked: going back must always be possible.

    Raises:
        ModelNotFound: there is no such model.
        EtagMismatch: it changed since `expected_etag` was read.
        NoPredecessor: nothing was in production before.
        ArtifactDeleted: its files are gone.
    """
    held = model_row(session, model, lock=True)
    check_etag(expected_etag, etag(held))
    current = in_production(session, model)
    target = _predecessor(session, model, current)
    check_not_deleted(to_version(target))
    actor = actor.not_before(held.updated_at)
    note = f"rolled back to {model}/{target.version}" + (f": {reason}" if reason else "")
    if target.stage != Stage.ARCHIVED:
        # A move from staging would read as a promotion, and the next rollback would come back here.
        move(session, target, Stage.ARCHIVED, note, actor)
    result = put_into_production(session, target, f"rollback: {reason}" if reason else "rollback", note, actor)
    return RollbackResult(result.version, result.archived, result.transition)


def put_into_production(
    session: Session, row: VersionRow, reason: str, note: str, actor: ActorContext, gates: Sequence[GateResult] = ()
) -> TransitionResult:
    """Move a version into production, and the version there, if any, to the archive, with `note` as its reason."""
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
    """Change a version's stage and record it. What may move where is for the caller to know."""
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
    session.flush()  # At once: the predecessor must have left production before the successor comes.
    sequence = audit.append(session, Kind.TRANSITION, row.model, done, actor, row.version)
    record = from_transition(replace(done, sequence=sequence))
    session.add(record)
    return record


def _pass_gates(
    session: Session, row: VersionRow, actor: ActorContext, evidence: Evidence | None
) -> tuple[GateResult, ...]:
    policy, production = get_policy(session, row.model), in_production(session, row.model)
    facts = Facts(to_version(row), None if production is None else to_version(production), actor.name, actor.at)
    if policy.require_comparison and production is not None:
        facts = replace(facts, verdict=_given(evidence).verdict(session, _ref(row), _ref(production)))
    if policy.forbid_drift_alarm:
        facts = replace(facts, drift_alarm=_given(evidence).drift_alarm(session, _ref(row)))
    gates = evaluate(policy, facts)
    failed = [gate for gate in gates if not gate.passed]
    if failed:
        raise GatesFailed(*failed, model=row.model, version=row.version)
    return gates


def _given(evidence: Evidence | None) -> Evidence:
    if evidence is None:
        raise Outdated
    return evidence


def _ref(row: VersionRow) -> VersionRef:
    return VersionRef(row.model, row.version)


def _predecessor(session: Session, model: str, current: VersionRow | None) -> VersionRow:
    """Find the version to go back to."""
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
        raise NoPredecessor(f"nothing was in production of {model!r} before, so there is no way back", model=model)
    return session.get_one(VersionRow, (model, last.version))
