"""Retraining policies: read and replace the policy of a model."""

from collections.abc import Collection, Iterator
from dataclasses import replace

from sqlalchemy.orm import Session

from modelward.errors import FieldViolation, InvalidField
from modelward.retraining import RetrainingPolicy
from modelward.shared.suggestions import unknown_columns
from modelward_server.actor_context import ActorContext
from modelward_server.lifecycle.repository import check_etag, model_row
from modelward_server.statistics.metric_applicability import TRADING_METRICS
from modelward_server.storage import audit
from modelward_server.storage.audit import Kind
from modelward_server.storage.documents import RETRAINING_POLICY
from modelward_server.storage.retraining_tables import RetrainingPolicyRow


def get_retraining_policy(session: Session, model: str) -> RetrainingPolicy:
    """Return a model's policy; the defaults if none was set.

    Raises:
        ModelNotFound: the model does not exist.
    """
    model_row(session, model)
    row = session.get(RetrainingPolicyRow, model)
    return RetrainingPolicy(model, etag="r0") if row is None else _from_row(row)


def set_retraining_policy(session: Session, policy: RetrainingPolicy, actor: ActorContext) -> RetrainingPolicy:
    """Replace a model's policy.

    Raises:
        InvalidField: its comparisons could never be made.
        ModelNotFound: the model does not exist.
        EtagMismatch: the policy has changed since the given etag was read.
    """
    for defect in _defects(policy):
        raise InvalidField(defect)
    model_row(session, policy.model, lock=True)
    row = session.get(RetrainingPolicyRow, policy.model)
    row = row or RetrainingPolicyRow(model=policy.model, policy={}, revision=0)
    check_etag(policy.etag, f"r{row.revision}")
    row.policy = RETRAINING_POLICY.dump(replace(policy, etag=""))
    row.revision += 1
    session.add(row)
    session.flush()
    changed = _from_row(row)
    audit.append(session, Kind.RETRAINING_POLICY, policy.model, changed, actor)
    return changed


def check_columns(policy: RetrainingPolicy, names: Collection[str]) -> None:
    """Refuse a policy that names columns which its test set lacks.

    Raises:
        InvalidField: as stated.
    """
    named = {policy.label: "label", policy.returns: "returns", policy.time: "time_column", policy.group: "group_column"}
    unknown = [name for name in named if name and name not in names]
    if unknown:
        fixes = zip(unknown, unknown_columns(unknown, names), strict=True)
        raise InvalidField(*(FieldViolation(f"policy.{named[name]}", fix) for name, fix in fixes))


def _defects(policy: RetrainingPolicy) -> Iterator[FieldViolation]:
    """Yield why no comparison of a policy can be made."""
    if policy.primary_metric in TRADING_METRICS and not policy.returns:
        fix = f"is missing, and {policy.primary_metric} is of returns; name their column in the test set"
        yield FieldViolation("policy.returns", fix)
    if policy.cost_bps and not policy.returns:
        yield FieldViolation("policy.cost_bps", "has no effect without returns; name their column in policy.returns")
    if policy.group and not policy.time:
        fix = "has no effect without the time of rows; name their column in policy.time_column"
        yield FieldViolation("policy.group_column", fix)
    if policy.evaluation_window and not policy.time:
        fix = "is missing, and evaluation_window needs the time of rows; name their column in the test set"
        yield FieldViolation("policy.time_column", fix)
    if policy.evaluation_window and not policy.evaluation_uri:
        fix = "is missing, and evaluation_window is a part of that test set; give its location"
        yield FieldViolation("policy.evaluation_uri", fix)
    named = [name for name in (policy.label, policy.returns, policy.time, policy.group) if name]
    if twice := sorted({name for name in named if named.count(name) > 1}):
        yield FieldViolation("policy", f"names the column {twice[0]!r} for two things; name two columns")


def _from_row(row: RetrainingPolicyRow) -> RetrainingPolicy:
    return replace(RETRAINING_POLICY.load(row.policy), etag=f"r{row.revision}")
