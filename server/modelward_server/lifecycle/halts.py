"""Halts: a halted model must not be used until it is resumed."""

from dataclasses import dataclass

from sqlalchemy.orm import Session

from modelward.errors import FieldViolation, InvalidField, ModelHalted
from modelward.lifecycle import Halt, Model
from modelward_server.actor_context import ActorContext
from modelward_server.lifecycle.models import touch_model
from modelward_server.lifecycle.repository import model_row, production_version, to_model
from modelward_server.storage import audit
from modelward_server.storage.audit import Kind
from modelward_server.storage.tables import ModelRow


@dataclass(frozen=True)
class Resumption:
    """The audit record of the end of a halt."""

    model: Model
    reason: str


def halt_model(session: Session, name: str, reason: str, actor: ActorContext) -> Model:
    """Halt a model with immediate effect; a model that is halted already stays so, with the new reason.

    Raises:
        ModelNotFound: the model does not exist.
        InvalidField: the reason is blank.
    """
    if not reason.strip():
        raise InvalidField(FieldViolation("reason", "is blank; state why, for all whose calls are rejected"))
    row = model_row(session, name, lock=True)
    row.halted_by, row.halt_reason, row.halted_at = actor.name, reason, actor.at
    touch_model(row, actor)
    audit.append(session, Kind.HALTED, name, Halt(actor.name, reason, actor.at), actor)
    return to_model(row, production_version(session, name))


def resume_model(session: Session, name: str, reason: str, actor: ActorContext) -> Model:
    """End the halt of a model; if it is not halted, nothing changes.

    Raises:
        ModelNotFound: the model does not exist.
    """
    row = model_row(session, name, lock=True)
    if row.halted_at is not None:
        row.halted_by, row.halt_reason, row.halted_at = "", "", None
        touch_model(row, actor)
        resumed = to_model(row, production_version(session, name))
        audit.append(session, Kind.RESUMED, name, Resumption(resumed, reason), actor)
    return to_model(row, production_version(session, name))


def check_not_halted(row: ModelRow) -> None:
    """Check that a model is not halted.

    Raises:
        ModelHalted: it is; the error states by whom and why.
    """
    if row.halted_at is not None:
        raise ModelHalted(
            f"{row.name!r} was halted by {row.halted_by} at {row.halted_at.isoformat()}: {row.halt_reason}",
            model=row.name,
            halted_by=row.halted_by,
            halt_reason=row.halt_reason,
        )
