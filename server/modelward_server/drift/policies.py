"""Drift policies: read and replace the thresholds of a model."""

from pydantic import TypeAdapter
from sqlalchemy.orm import Session

from modelward.drift import DriftPolicy, DriftThresholds
from modelward_server.actor_context import ActorContext
from modelward_server.drift.decision import with_defaults
from modelward_server.lifecycle.repository import check_etag, model_row
from modelward_server.storage import audit
from modelward_server.storage.audit import Kind
from modelward_server.storage.drift_tables import DriftPolicyRow

_json = TypeAdapter(DriftThresholds)


def get_drift_policy(session: Session, model: str) -> DriftPolicy:
    """Return a model's thresholds, with the defaults where none is set.

    Raises:
        ModelNotFound: the model does not exist.
    """
    model_row(session, model)
    row = session.get(DriftPolicyRow, model)
    thresholds = DriftThresholds() if row is None else _json.validate_python(row.thresholds)
    return DriftPolicy(model, with_defaults(thresholds), f"r{row.revision if row else 0}")


def set_drift_policy(session: Session, policy: DriftPolicy, actor: ActorContext) -> DriftPolicy:
    """Replace a model's thresholds.

    Raises:
        ModelNotFound: the model does not exist.
        EtagMismatch: they have changed since the given etag was read.
    """
    model_row(session, policy.model, lock=True)
    row = session.get(DriftPolicyRow, policy.model) or DriftPolicyRow(model=policy.model, thresholds={}, revision=0)
    check_etag(policy.etag, f"r{row.revision}")
    row.thresholds, row.revision = _json.dump_python(policy.thresholds, mode="json"), row.revision + 1
    session.add(row)
    session.flush()
    kept = get_drift_policy(session, policy.model)
    audit.append(session, Kind.DRIFT_POLICY, policy.model, kept, actor)
    return kept
