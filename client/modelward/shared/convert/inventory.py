"""Convert what the inventory states of models, and the lineage of versions, between dataclasses and messages."""

from __future__ import annotations

from datetime import date

from modelward.errors import FieldViolation, InvalidField
from modelward.inventory import Environment, Inventory, InventoryScope, Lineage, SourceCode, TrainingData
from modelward.v1 import inventory_pb2 as pb


def inventory_to_proto(inventory: Inventory) -> pb.Inventory:
    return pb.Inventory(
        owners=inventory.owners,
        accountable_manager=inventory.accountable_manager,
        purpose=inventory.purpose,
        tier=inventory.tier,
        scope=pb.InventoryScope(**vars(inventory.scope)),
        restrictions=inventory.restrictions,
        limits=inventory.limits,
        assumptions=inventory.assumptions,
        weaknesses=inventory.weaknesses,
        depends_on=inventory.depends_on,
        next_review=inventory.next_review.isoformat() if inventory.next_review else "",
    )


def inventory_from_proto(message: pb.Inventory) -> Inventory:
    """Convert an inventory.

    Raises:
        InvalidField: the date of the next review does not exist.
    """
    return Inventory(
        owners=tuple(message.owners),
        accountable_manager=message.accountable_manager,
        purpose=message.purpose,
        tier=message.tier if message.HasField("tier") else None,
        scope=_scope_from_proto(message.scope),
        restrictions=tuple(message.restrictions),
        limits=tuple(message.limits),
        assumptions=tuple(message.assumptions),
        weaknesses=tuple(message.weaknesses),
        depends_on=tuple(message.depends_on),
        next_review=_date(message.next_review) if message.next_review else None,
    )


def _scope_from_proto(message: pb.InventoryScope) -> InventoryScope:
    return InventoryScope(
        regions=tuple(message.regions),
        asset_classes=tuple(message.asset_classes),
        instruments=tuple(message.instruments),
        venues=tuple(message.venues),
        desks=tuple(message.desks),
        portfolios=tuple(message.portfolios),
    )


def _date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise InvalidField(FieldViolation("inventory.next_review", f"{text!r} is not a date")) from None


def lineage_to_proto(lineage: Lineage) -> pb.Lineage:
    return pb.Lineage(
        code=pb.SourceCode(**vars(lineage.code)),
        data=[pb.TrainingData(**vars(data)) for data in lineage.data],
        environment=pb.Environment(**vars(lineage.environment)),
        parent_version=lineage.parent_version,
        restrictions=lineage.restrictions,
        limits=lineage.limits,
        assumptions=lineage.assumptions,
        weaknesses=lineage.weaknesses,
    )


def lineage_from_proto(message: pb.Lineage) -> Lineage:
    return Lineage(
        code=_code_from_proto(message.code),
        data=tuple(TrainingData(data.uri, data.sha256) for data in message.data),
        environment=_environment_from_proto(message.environment),
        parent_version=message.parent_version,
        restrictions=tuple(message.restrictions),
        limits=tuple(message.limits),
        assumptions=tuple(message.assumptions),
        weaknesses=tuple(message.weaknesses),
    )


def _code_from_proto(message: pb.SourceCode) -> SourceCode:
    dirty = message.dirty if message.HasField("dirty") else None
    return SourceCode(message.repository, message.commit, dirty)


def _environment_from_proto(message: pb.Environment) -> Environment:
    return Environment(message.python, message.platform, dict(sorted(message.packages.items())))
