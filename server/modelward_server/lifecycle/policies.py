"""Promotion policies: read and replace the policy of a model."""

from dataclasses import replace

from pydantic import TypeAdapter
from sqlalchemy.orm import Session

from modelward.errors import FieldViolation, InvalidField
from modelward.lifecycle import PromotionPolicy, Stage
from modelward.shared.blank import is_blank
from modelward_server.actor_context import ActorContext
from modelward_server.lifecycle.gates import REASON
from modelward_server.lifecycle.repository import check_etag, model_row
from modelward_server.storage import audit
from modelward_server.storage.audit import Kind
from modelward_server.storage.tables import PolicyRow

_json = TypeAdapter(PromotionPolicy)


def get_policy(session: Session, model: str) -> PromotionPolicy:
    """Return a model's policy; without conditions if none was set.

    Raises:
        ModelNotFound: the model does not exist.
    """
    model_row(session, model)
    row = session.get(PolicyRow, model)
    return PromotionPolicy(model, etag="r0") if row is None else _from_row(row)


def set_policy(session: Session, policy: PromotionPolicy, actor: ActorContext) -> PromotionPolicy:
    """Replace a model's policy.

    Raises:
        ModelNotFound: the model does not exist.
        EtagMismatch: the policy has changed since the given etag was read.
        InvalidField: a range or a freeze ends before it begins.
    """
    _check(policy)
    model_row(session, policy.model, lock=True)
    row = session.get(PolicyRow, policy.model) or PolicyRow(model=policy.model, policy={}, revision=0)
    check_etag(policy.etag, f"r{row.revision}")
    row.policy = _json.dump_python(replace(policy, etag=""), mode="json")
    row.revision += 1
    session.add(row)
    session.flush()
    changed = _from_row(row)
    audit.append(session, Kind.POLICY, policy.model, changed, actor)
    return changed


def check_reason(session: Session, model: str, reason: str) -> None:
    """Require the reason of a change of what is in production, unless the model's policy does not.

    Raises:
        ModelNotFound: the model does not exist.
        InvalidField: it is blank.
    """
    if is_blank(reason) and REASON not in get_policy(session, model).disabled_gates:
        fix = "is missing; say why, for the record (the promotion policy can disable the gate reason)"
        raise InvalidField(FieldViolation("reason", fix))


def _from_row(row: PolicyRow) -> PromotionPolicy:
    return replace(_json.validate_python(row.policy), etag=f"r{row.revision}")


def _check(policy: PromotionPolicy) -> None:
    for i, bounds in enumerate(policy.metrics):
        if bounds.at_least is not None and bounds.at_most is not None and bounds.at_least > bounds.at_most:
            raise InvalidField(FieldViolation(f"policy.metrics[{i}].at_most", "is below at_least; nothing could pass"))
    for i, window in enumerate(policy.freezes):
        if window.end <= window.start:
            raise InvalidField(FieldViolation(f"policy.freezes[{i}].until", "must be later than from"))
    seen = set[tuple[int, Stage]]()
    for i, required in enumerate(policy.required_approvals):
        if (required.tier, required.to) in seen:
            fix = f"repeats tier {required.tier} for {required.to}; list all its functions in one"
            raise InvalidField(FieldViolation(f"policy.required_approvals[{i}].tier", fix))
        seen.add((required.tier, required.to))
