"""What the inventory states of models: set it, check what it depends on, and record each change."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from modelward.errors import FieldViolation, InvalidField
from modelward.inventory import Inventory
from modelward_server.actor_context import ActorContext
from modelward_server.storage import audit
from modelward_server.storage.audit import Kind
from modelward_server.storage.documents import INVENTORY
from modelward_server.storage.paging import is_visible
from modelward_server.storage.search_tables import set_model_inventory
from modelward_server.storage.tables import ModelRow

DEPENDS_ON = "inventory.depends_on"


@dataclass(frozen=True)
class InventoryChange:
    """A change of a model's inventory, as the audit log records it beside the changed model."""

    before: Inventory
    after: Inventory


def inventory_of(row: ModelRow) -> Inventory:
    """Return what the inventory states of a model."""
    return INVENTORY.load(row.inventory) if row.inventory else Inventory()


def set_inventory(session: Session, row: ModelRow, inventory: Inventory) -> None:
    """Replace what the inventory states of a model.

    Raises:
        InvalidField: it depends on a model that does not exist, or on itself.
    """
    before = inventory_of(row)
    if inventory == before:
        return
    _check_dependencies(session, row.name, [name for name in inventory.depends_on if name not in before.depends_on])
    row.inventory = INVENTORY.dump(inventory) if inventory != Inventory() else None
    tier = [] if inventory.tier is None else [str(inventory.tier)]
    set_model_inventory(session, row.name, {"owner": inventory.owners, "tier": tier, "desk": inventory.scope.desks})


def record_inventory(session: Session, row: ModelRow, before: Inventory, actor: ActorContext) -> None:
    """Record the change of a model's inventory, if it changed."""
    after = inventory_of(row)
    if before != after:
        audit.append(session, Kind.INVENTORY, row.name, InventoryChange(before, after), actor)


def existing_models(session: Session, names: Collection[str]) -> list[str]:
    """Return those of some names that a model has which the client may see, sorted."""
    visible = select(ModelRow.name).where(ModelRow.name.in_(names), is_visible(ModelRow.name))
    return sorted(session.scalars(visible))


def _check_dependencies(session: Session, model: str, added: Collection[str]) -> None:
    """Check models on which a model is to depend; all writers wait for each other, so none can close a cycle meanwhile.

    Raises:
        InvalidField: one does not exist, or depends on the model.
    """
    if not added:
        return
    existing = existing_models(session, added)
    for name in added:
        if name not in existing:
            raise InvalidField(FieldViolation(DEPENDS_ON, f"names {name}, but there is no such model"))
        if name == model or model in _all_dependencies(session, [name]):
            fix = "no model may depend on itself, directly or through others"
            raise InvalidField(FieldViolation(DEPENDS_ON, f"names {name}, which depends on {model}; {fix}"))


def _all_dependencies(session: Session, models: Sequence[str]) -> set[str]:
    """Return the models on which some models depend, directly or through others."""
    found: set[str] = set()
    while models:
        new = set(_dependencies(session, models)) - found
        found |= new
        models = sorted(new)
    return found


def _dependencies(session: Session, models: Sequence[str]) -> Iterable[str]:
    for stored in session.scalars(select(ModelRow.inventory).where(ModelRow.name.in_(models))):
        if stored:
            yield from INVENTORY.load(stored).depends_on
