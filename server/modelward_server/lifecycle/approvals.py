"""Requests of approval for transitions, decided by one person for each function that the promotion policy lists.

A request is for one version and one stage, and can be used by one transition. Its functions are those that the policy
lists when it is made; the gates compare them with those of the policy when the transition is made.
"""

from dataclasses import replace
from datetime import datetime
from uuid import uuid4

from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.orm import Session

from modelward.caller import Permission
from modelward.errors import (
    ApprovalClosed,
    ApprovalExists,
    ApprovalNotFound,
    ApprovalNotNeeded,
    FieldViolation,
    InvalidField,
    NotApprover,
)
from modelward.governance import Approval, ApprovalDecision, ApprovalState
from modelward.lifecycle import Page, PromotionPolicy, Stage, Transition, VersionRef
from modelward.shared.blank import is_blank
from modelward_server import identity
from modelward_server.actor_context import ActorContext
from modelward_server.lifecycle.approval_gates import functions_at
from modelward_server.lifecycle.evidence import check_evidence
from modelward_server.lifecycle.inventory import inventory_of
from modelward_server.lifecycle.policies import get_policy
from modelward_server.lifecycle.repository import check_etag, model_row, row_of, to_version, version_row
from modelward_server.storage import audit
from modelward_server.storage.approval_tables import ApprovalRow
from modelward_server.storage.audit import Kind
from modelward_server.storage.documents import APPROVAL
from modelward_server.storage.paging import Key, fetch_page

OPEN = (ApprovalState.PENDING, ApprovalState.APPROVED)


def required_functions(session: Session, policy: PromotionPolicy, to: Stage) -> tuple[str, ...]:
    """Return the functions that must approve a transition of a model's versions, by its tier."""
    return functions_at(policy, inventory_of(model_row(session, policy.model)).tier, to)


def request_approval(session: Session, wanted: Approval, actor: ActorContext) -> Approval:
    """Store a request.

    Args:
        session: the transaction.
        wanted: the request; the server sets its id, digest, functions and author.
        actor: its author.

    Raises:
        ModelNotFound, VersionNotFound: the version does not exist.
        ApprovalNotNeeded: the policy lists no function.
        ApprovalExists: another request for the transition is open.
        InvalidField: the evidence does not exist, or is of another model.
    """
    version = version_row(session, wanted.version, lock=True)
    functions = required_functions(session, get_policy(session, version.model), wanted.to)
    if not functions:
        message = f"the policy of {version.model} asks for no approval of a transition to {wanted.to}"
        raise ApprovalNotNeeded(message, model=version.model, to=wanted.to)
    if (other := open_approval(session, wanted.version, wanted.to, actor.at)) is not None:
        message = f"{other.approval_id} for {wanted.version} to {wanted.to} is {other.state}; withdraw it first"
        raise ApprovalExists(message, approval_id=other.approval_id)
    check_evidence(session, version.model, wanted.evidence)
    approval = replace(
        wanted,
        approval_id=f"approval-{uuid4().hex[:16]}",
        digest=version.digest,
        functions=functions,
        requested_by=actor.name,
        requested_at=actor.at,
    )
    row = ApprovalRow(approval_id=approval.approval_id, model=version.model, version=version.version, revision=0)
    session.add(row)
    return _store(session, row, approval, actor)


def decide_approval(
    session: Session, approval_id: str, function: str, approve: bool, comment: str, etag: str, actor: ActorContext
) -> Approval:
    """Approve or refuse for one function.

    Raises:
        ApprovalNotFound: there is no such request.
        EtagMismatch: it has changed since `etag` was read.
        ApprovalClosed: it is not pending, or the function has decided.
        NotApprover: the caller may not decide it.
        InvalidField: the function is not one of the request, or a refusal has no comment.
    """
    row, approval = _locked(session, approval_id, etag, actor)
    if not approve and is_blank(comment):
        raise InvalidField(FieldViolation("comment", "is missing; say why the request is refused"))
    if approval.state is not ApprovalState.PENDING:
        raise _closed(approval)
    function = function or _only_function(approval)
    _check_may_decide(session, approval, function, actor)
    decision = ApprovalDecision(function, approve, actor.name, actor.at, comment)
    decided = replace(approval, decisions=(*approval.decisions, decision))
    return _store(session, row, replace(decided, state=_state_after(decided)), actor)


def withdraw_approval(session: Session, approval_id: str, etag: str, actor: ActorContext) -> Approval:
    """Withdraw a request.

    Raises:
        ApprovalNotFound: there is no such request.
        EtagMismatch: it has changed since `etag` was read.
        ApprovalClosed: it is not open.
        NotApprover: another client made it, and the caller does not operate.
    """
    row, approval = _locked(session, approval_id, etag, actor)
    if not approval.state.is_open:
        raise _closed(approval)
    client = identity.current.get()
    if client and actor.name != approval.requested_by and Permission.OPERATE not in client.role.permissions:
        raise _not_approver(approval, f"was requested by {approval.requested_by}; only they or an operator withdraw it")
    withdrawn = replace(approval, state=ApprovalState.WITHDRAWN, withdrawn_by=actor.name)
    return _store(session, row, withdrawn, actor)


def use(session: Session, approval: Approval, transition: Transition, actor: ActorContext) -> None:
    """Record that a transition has used an approval, so that no other one can."""
    row = _row(session, approval.approval_id)
    _store(session, row, replace(approval, state=ApprovalState.USED, transition=transition.sequence), actor)


def get_approval(session: Session, approval_id: str, now: datetime) -> Approval:
    """Return a request as it is now.

    Raises:
        ApprovalNotFound: there is no such request.
    """
    return to_approval(_row(session, approval_id), now)


def open_approval(session: Session, version: VersionRef, to: Stage, now: datetime) -> Approval | None:
    """Return the request for a transition that is pending or approved now, if there is one."""
    rows = select(ApprovalRow).where(
        ApprovalRow.model == version.model,
        ApprovalRow.version == version.version,
        ApprovalRow.to_stage == to,
        ApprovalRow.state.in_(OPEN),
        _lasts(now),
    )
    row = session.scalar(rows.limit(1))
    return None if row is None else to_approval(row, now)


def list_approvals(
    session: Session,
    version: VersionRef,
    state: ApprovalState | None,
    waits_for: str,
    page_size: int,
    page_token: str,
    now: datetime,
) -> Page[Approval]:
    """Return a page of requests, the newest first.

    Args:
        session: the transaction.
        version: only those about this version; of all models without a name, and of all versions with the number 0.
        state: only those in this state.
        waits_for: only those that wait for this function.
        page_size, page_token: see `fetch_page`.
        now: the time at which they are in that state.

    Raises:
        ModelNotFound: the model does not exist.
    """
    rows = select(ApprovalRow)
    if version.model:
        model_row(session, version.model)
        rows = rows.where(ApprovalRow.model == version.model)
    if version.version:
        rows = rows.where(ApprovalRow.version == version.version)
    if state is not None:
        rows = rows.where(_in_state(state, now))
    if waits_for:
        rows = rows.where(_in_state(ApprovalState.PENDING, now), ApprovalRow.waits_for.contains(f" {waits_for} "))
    filters = ("approvals", version.model, version.version, state, waits_for)
    page = fetch_page(session, rows, [Key(ApprovalRow.sequence, descending=True)], page_size, page_token, filters)
    return Page(tuple(to_approval(row, now) for row in page.items), page.next_page_token)


def to_approval(row: ApprovalRow, now: datetime | None = None) -> Approval:
    """Return the request of a row, as it is at a time; None: without regard to its end."""
    approval = replace(APPROVAL.load(row.found), state=ApprovalState(row.state), etag=f"r{row.revision}")
    return approval if now is None else at_time(approval, now)


def at_time(approval: Approval, now: datetime) -> Approval:
    """Return a request as it is at a time: it may have expired."""
    ended = approval.expires_at is not None and approval.expires_at <= now
    return replace(approval, state=ApprovalState.EXPIRED) if ended and approval.state.is_open else approval


def _store(session: Session, row: ApprovalRow, approval: Approval, actor: ActorContext) -> Approval:
    row.to_stage, row.state, row.expires_at = approval.to, approval.state, approval.expires_at
    row.waits_for = "".join(f" {function} " for function in approval.waits_for)
    row.found, row.revision = APPROVAL.dump(replace(approval, etag="")), row.revision + 1
    session.flush()
    stored = to_approval(row)
    audit.append(session, Kind.APPROVAL, row.model, stored, actor, row.version)
    return stored


def _row(session: Session, approval_id: str, *, lock: bool = False) -> ApprovalRow:
    row = row_of(session, select(ApprovalRow).where(ApprovalRow.approval_id == approval_id), lock=lock)
    if row is None:
        message = f"there is no request of approval {approval_id!r}; ListApprovals lists them"
        raise ApprovalNotFound(message, approval_id=approval_id)
    return row


def _locked(session: Session, approval_id: str, etag: str, actor: ActorContext) -> tuple[ApprovalRow, Approval]:
    row = _row(session, approval_id, lock=True)
    check_etag(etag, f"r{row.revision}")
    return row, to_approval(row, actor.at)


def _lasts(now: datetime) -> ColumnElement[bool]:
    return or_(ApprovalRow.expires_at.is_(None), ApprovalRow.expires_at > now)


def _in_state(state: ApprovalState, now: datetime) -> ColumnElement[bool]:
    if state is ApprovalState.EXPIRED:
        return ApprovalRow.state.in_(OPEN) & (ApprovalRow.expires_at <= now)
    return (ApprovalRow.state == state) & _lasts(now) if state.is_open else ApprovalRow.state == state


def _state_after(approval: Approval) -> ApprovalState:
    """Return the state after a decision."""
    if not approval.decisions[-1].approved:
        return ApprovalState.REJECTED
    return ApprovalState.PENDING if approval.waits_for else ApprovalState.APPROVED


def _only_function(approval: Approval) -> str:
    """Return the function of the request that the caller holds.

    Raises:
        NotApprover: there is none.
        InvalidField: there are several.
    """
    client = identity.current.get()
    held = [name for name in approval.waits_for if client is None or name in client.functions]
    if not held:
        raise _not_approver(approval, f"needs a client with one of the functions {', '.join(approval.waits_for)}")
    if len(held) > 1:
        raise InvalidField(FieldViolation("function", f"is missing; name one of {', '.join(held)}"))
    return held[0]


def _check_may_decide(session: Session, approval: Approval, function: str, actor: ActorContext) -> None:
    """Refuse decisions of those who are not independent of the request."""
    if function not in approval.functions:
        fix = f"{function!r} is not asked; {approval.approval_id} asks {', '.join(approval.functions)}"
        raise InvalidField(FieldViolation("function", fix))
    if function not in approval.waits_for:
        raise ApprovalClosed(
            f"{function} has decided {approval.approval_id} before",
            approval_id=approval.approval_id,
            state=approval.state,
        )
    client = identity.current.get()
    if client and function not in client.functions:
        raise _not_approver(approval, f"needs a client with the function {function}")
    if actor.name == approval.requested_by:
        raise _not_approver(approval, f"was requested by {actor.name}; another person must decide")
    if actor.name in to_version(version_row(session, approval.version)).registrants:
        raise _not_approver(approval, f"is about {approval.version}, which {actor.name} registered")
    if actor.name in {decision.decided_by for decision in approval.decisions}:
        raise _not_approver(approval, f"was decided by {actor.name} for another function; each needs its own person")


def _not_approver(approval: Approval, why: str) -> NotApprover:
    return NotApprover(f"{approval.approval_id} {why}", approval_id=approval.approval_id)


def _closed(approval: Approval) -> ApprovalClosed:
    message = f"{approval.approval_id} is {approval.state}; request another approval"
    return ApprovalClosed(message, approval_id=approval.approval_id, state=approval.state)
