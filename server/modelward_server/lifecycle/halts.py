"""Halts: a halted model must not be used until it is resumed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from modelward.errors import FieldViolation, InvalidField, ModelHalted
from modelward.lifecycle import Halt, HaltResult, Model
from modelward.shared.blank import is_blank
from modelward_server.actor_context import ActorContext
from modelward_server.lifecycle.models import touch_model
from modelward_server.lifecycle.queries import select_models, with_production
from modelward_server.lifecycle.repository import check_etag, etag, model_row, production_version, to_model
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
    _check_reason(reason)
    row = model_row(session, name, lock=True)
    _halt(session, [row], reason, actor)
    return to_model(row, production_version(session, name))


def halt_models(
    session: Session, name_prefix: str, tags: Mapping[str, str], reason: str, actor: ActorContext
) -> HaltResult:
    """Halt every visible model that matches; one that is halted already is left as it is, with its own reason.

    Args:
        name_prefix, tags: all must match; without both, every model does.

    Raises:
        InvalidField: the reason is blank.
    """
    _check_reason(reason)
    selection = select_models(name_prefix, tags).with_for_update()
    rows = session.scalars(selection, execution_options={"populate_existing": True}).all()
    halted_before = [row for row in rows if row.halted_at is not None]
    running = [row for row in rows if row.halted_at is None]
    _halt(session, running, reason, actor)
    return HaltResult(with_production(session, running), with_production(session, halted_before))


def _check_reason(reason: str) -> None:
    if is_blank(reason):
        raise InvalidField(FieldViolation("reason", "is blank; state why, for all whose calls are rejected"))


def _halt(session: Session, rows: Sequence[ModelRow], reason: str, actor: ActorContext) -> None:
    for row in rows:
        row.halted_by, row.halt_reason, row.halted_at = actor.name, reason, actor.at
        touch_model(row, actor)
    halt = Halt(actor.name, reason, actor.at)
    audit.append_all(session, Kind.HALTED, [(row.name, 0, halt) for row in rows], actor)


def resume_model(session: Session, name: str, reason: str, expected_etag: str, actor: ActorContext) -> Model:
    """End the halt of a model; if it is not halted, nothing changes.

    Raises:
        ModelNotFound: the model does not exist.
        EtagMismatch: it has changed since `expected_etag` was read, such as by another halt.
    """
    row = model_row(session, name, lock=True)
    check_etag(expected_etag, etag(row))
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
