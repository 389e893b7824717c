"""Models: create, read and update them."""

from collections.abc import Collection, Mapping

from sqlalchemy.orm import Session

from modelward.errors import ModelExists
from modelward.inventory import Inventory
from modelward.lifecycle import Model
from modelward_server.actor_context import ActorContext
from modelward_server.lifecycle.field_paths import replaced
from modelward_server.lifecycle.inventory import inventory_of, record_inventory, set_inventory
from modelward_server.lifecycle.policies import get_policy
from modelward_server.lifecycle.repository import check_etag, check_mask, etag, model_row, production_version, to_model
from modelward_server.lifecycle.tiers import check_tier
from modelward_server.storage import audit
from modelward_server.storage.audit import Kind
from modelward_server.storage.search_tables import set_model_tags
from modelward_server.storage.tables import ModelRow, VersionRow


def create_model(
    session: Session, name: str, description: str, tags: Mapping[str, str], inventory: Inventory, actor: ActorContext
) -> Model:
    """Create a model without versions.

    Raises:
        ModelExists: a model of that name exists.
        InvalidField: the inventory names a model that does not exist, or this one, as a dependency.
    """
    if session.get(ModelRow, name) is not None:
        raise ModelExists(f"the model {name!r} exists; change it with UpdateModel", model=name)
    row = add_model(session, name, actor, description, tags)
    if inventory != Inventory():
        set_inventory(session, row, inventory)
    created = to_model(row, 0)
    audit.append(session, Kind.MODEL, name, created, actor)
    return created


def add_model(
    session: Session, name: str, actor: ActorContext, description: str = "", tags: Mapping[str, str] | None = None
) -> ModelRow:
    """Add the row of a new model to the ledger."""
    row = ModelRow(name=name, description=description, tags=dict(tags or {}), created_at=actor.at, updated_at=actor.at)
    session.add(row)
    session.flush()
    set_model_tags(session, row, row.tags)
    return row


def get_model(session: Session, name: str) -> Model:
    """Return a model.

    Raises:
        ModelNotFound: no model has that name.
    """
    return to_model(model_row(session, name), production_version(session, name))


def update_model(
    session: Session,
    name: str,
    paths: Collection[str],
    description: str,
    tags: Mapping[str, str],
    inventory: Inventory,
    expected_etag: str,
    actor: ActorContext,
) -> Model:
    """Replace what `paths` names of a model: its description, its tags, its inventory or parts of that.

    Raises:
        InvalidField: `paths` is empty or names no field, or the inventory has an invalid dependency.
        ModelNotFound: no model has that name.
        EtagMismatch: the model has changed since `expected_etag` was read.
        RoleTooLow: with the new tier fewer functions would approve transitions, and the client may not set policies.
    """
    check_mask(paths, "description", "tags", "inventory")
    row = model_row(session, name, lock=True)
    check_etag(expected_etag, etag(row))
    if "description" in paths:
        row.description = description
    if "tags" in paths:
        set_model_tags(session, row, tags)
    before = inventory_of(row)
    set_inventory(session, row, replaced(before, inventory, paths, "inventory"))
    check_tier(get_policy(session, name), before.tier, inventory_of(row).tier)
    touch_model(row, actor)
    _show_in_mlflow(session, row)
    changed = to_model(row, production_version(session, name))
    audit.append(session, Kind.MODEL, name, changed, actor)
    record_inventory(session, row, before, actor)
    return changed


def touch_model(row: ModelRow, actor: ActorContext) -> None:
    """Record that the model, or the stage of one of its versions, has changed."""
    row.revision += 1
    row.updated_at = max(row.updated_at, actor.at)


def _show_in_mlflow(session: Session, row: ModelRow) -> None:
    """Schedule the mirroring of the model's fields to MLflow, which happens with the latest version."""
    if row.latest_version:
        session.get_one(VersionRow, (row.name, row.latest_version)).mirror_wanted += 1
