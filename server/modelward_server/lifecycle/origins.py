"""Versions that are imported from other registries: register them, and find which are here."""

from dataclasses import replace

from sqlalchemy import select
from sqlalchemy.orm import Session

from modelward.errors import FileNotInArtifact, VersionExists
from modelward.evidence.layout import ORIGIN as PACK
from modelward.inventory import Inventory
from modelward.lifecycle import Model, ModelVersion, Origin, VersionRef
from modelward_server.actor_context import ActorContext
from modelward_server.lifecycle.inventory import existing_models
from modelward_server.lifecycle.models import create_model
from modelward_server.lifecycle.versions import NewVersion, register
from modelward_server.storage.documents import ORIGIN
from modelward_server.storage.tables import AuditRow, ModelRow, VersionRow


def adopt(session: Session, new: NewVersion, model: Model, actor: ActorContext) -> ModelVersion:
    """Register the next version of a model from another registry; a model that does not exist is created.

    Args:
        session: the transaction, for which all other writers wait.
        new: the version, with its origin; its lineage has the number of its parent there.
        model: the model there, which describes one that is created.
        actor: who imports it.

    Raises:
        VersionExists: the model has it.
    """
    assert new.origin
    origin, known = new.origin, origins_of(session, new.model)
    _check_new(session, new.model, origin, known)
    if session.get(ModelRow, new.model) is None:
        create_model(session, new.model, model.description, model.tags, _inventory(session, model.inventory), actor)
    parent = next((number for number, one in known.items() if _is_parent(one, origin, new)), 0)
    return register(session, replace(new, lineage=replace(new.lineage, parent_version=parent)), actor)


def origins_of(session: Session, model: str) -> dict[int, Origin]:
    """Return the origins of a model's imported versions, by their numbers."""
    rows = select(VersionRow.version, VersionRow.origin).where(
        VersionRow.model == model, VersionRow.origin.is_not(None)
    )
    return {row.version: ORIGIN.load(row.origin) for row in session.execute(rows)}


def required(version: ModelVersion) -> Origin:
    """Return the origin of a version.

    Raises:
        FileNotInArtifact: it was registered here.
    """
    if version.origin is None:
        message = f"{version} was registered here, and was not imported with a pack"
        raise FileNotInArtifact(message, model=version.model, version=version.version, path=PACK)
    return version.origin


def _check_new(session: Session, model: str, origin: Origin, known: dict[int, Origin]) -> None:
    """Refuse a version that the model has, imported before or registered here."""
    number = _own(session, model, origin)
    same = (number for number, one in known.items() if one.registration_hash == origin.registration_hash)
    if number := number or next(same, 0):
        ref = VersionRef(model, number)
        message = f"{model!r} has {origin.ref} of the pack already, as {ref}"
        raise VersionExists(message, model=model, version=number)


def _own(session: Session, model: str, origin: Origin) -> int:
    """Return the number of the version if the model's own log has its registration; else 0."""
    record = session.get(AuditRow, origin.registration_sequence)
    own = record is not None and (record.hash, record.model) == (origin.registration_hash, model)
    return record.version if record and own else 0


def _is_parent(one: Origin, origin: Origin, new: NewVersion) -> bool:
    there = VersionRef(origin.source_model, new.lineage.parent_version)
    return one.ref == there and one.key_id == origin.key_id


def _inventory(session: Session, inventory: Inventory) -> Inventory:
    """Leave out dependencies on models that do not exist here."""
    return replace(inventory, depends_on=tuple(existing_models(session, inventory.depends_on)))
