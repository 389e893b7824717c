"""The inventory of models: every field, partial changes, dependencies, filters, and what the audit log says."""

import asyncio
import json
from dataclasses import replace
from datetime import date
from itertools import pairwise
from typing import Any
from uuid import uuid4

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from modelward import AsyncClient, Client, Inventory, InventoryScope, errors
from modelward.shared.retry import error_of
from modelward.v1 import lifecycle_pb2
from modelward.v1.lifecycle_pb2_grpc import LifecycleServiceStub
from modelward_server.storage.audit import Kind
from tests.support.clients import collect
from tests.support.running_server import RunningServer

FULL = Inventory(
    owners=("index desk", "ada"),
    accountable_manager="Grace Hopper",
    purpose="Direction of the S&P 500 at the close",
    tier=1,
    scope=InventoryScope(
        regions=("US",),
        asset_classes=("equity index futures",),
        instruments=("ES", "MES"),
        venues=("XCME",),
        desks=("index",),
        portfolios=("overnight",),
    ),
    restrictions=("not for client orders",),
    limits=("gross exposure 5 million USD",),
    assumptions=("liquidity as in 2015 to 2025",),
    weaknesses=("slow after a change of regime",),
    next_review=date(2027, 3, 31),
)


async def records(client: AsyncClient, name: str, kind: Kind) -> list[dict[str, Any]]:
    found = await collect(client.export_audit_log())
    return [json.loads(record.payload) for record in found if record.model == name and record.kind == kind]


async def test_every_field_returns_as_it_was_given(client: AsyncClient, name: str) -> None:
    await client.create_model(f"{name}-vol")
    whole = replace(FULL, depends_on=(f"{name}-vol",))
    empty = vars(Inventory()) | vars(InventoryScope())
    given = vars(whole) | vars(whole.scope)
    assert [field for field in empty if given[field] == empty[field]] == []
    created = await client.create_model(name, inventory=whole)
    assert created.inventory == whole
    assert (await client.get_model(name)).inventory == whole
    [listed] = await collect(client.list_models(name_prefix=name, owner="ada"))
    assert listed == await client.get_model(name)


async def test_a_model_without_one_states_nothing(client: AsyncClient, name: str) -> None:
    assert (await client.create_model(name)).inventory == Inventory()


async def test_a_mapping_changes_the_fields_that_it_names_and_no_other(client: AsyncClient, name: str) -> None:
    await client.create_model(name, inventory=FULL)
    changed = await client.update_model(name, inventory={"tier": 3, "scope": {"desks": ["rates", "index"]}})
    scope = replace(FULL.scope, desks=("rates", "index"))
    assert changed.inventory == replace(FULL, tier=3, scope=scope)
    unset = await client.update_model(name, inventory={"tier": None, "next_review": None})
    assert unset.inventory == replace(FULL, tier=None, next_review=None, scope=scope)
    whole = await client.update_model(name, inventory=Inventory(purpose="retired"))
    assert whole.inventory == Inventory(purpose="retired")


async def test_other_changes_leave_it_as_it_is(client: AsyncClient, name: str) -> None:
    await client.create_model(name, inventory=FULL)
    assert (await client.update_model(name, description="new")).inventory == FULL


@pytest.mark.system
async def test_audit_log_has_the_values_before_and_after(client: AsyncClient, name: str) -> None:
    await client.create_model(name, inventory=FULL)
    await client.update_model(name, inventory={"tier": 2})
    await client.update_model(name, inventory={"tier": 2})
    [change] = await records(client, name, Kind.INVENTORY)
    assert (change["before"]["tier"], change["after"]["tier"]) == (1, 2)
    assert change["before"]["owners"] == change["after"]["owners"] == ["index desk", "ada"]
    assert change["after"]["next_review"] == "2027-03-31"
    states = await records(client, name, Kind.MODEL)
    assert [state["inventory"]["tier"] for state in states] == [1, 2, 2]
    assert (await client.verify_audit_log()).intact


async def test_stale_etag_changes_nothing(client: AsyncClient, name: str) -> None:
    model = await client.create_model(name, inventory=FULL)
    await client.update_model(name, inventory={"tier": 2})
    with pytest.raises(errors.EtagMismatch):
        await client.update_model(name, inventory={"tier": 3}, etag=model.etag)
    assert (await client.get_model(name)).inventory.tier == 2


@pytest.mark.parametrize(
    ("inventory", "field"),
    [
        ({"tier": 5}, "inventory.tier"),
        ({"tier": "one"}, "inventory.tier"),
        ({"owner": "ada"}, "inventory.owner"),
        ({"owners": ["ada", "ada"]}, "inventory.owners"),
        ({"owners": [""]}, "inventory.owners[0]"),
        ({"owners": list(map(str, range(51)))}, "inventory.owners"),
        ({"scope": {"desk": "index"}}, "inventory.scope.desk"),
        ({"scope": {"desks": ["a\nb"]}}, "inventory.scope.desks[0]"),
        ({"limits": ["x" * 2001]}, "inventory.limits[0]"),
        ({"next_review": "2027-02-30"}, "inventory.next_review"),
        ({"depends_on": ["no such model"]}, "inventory.depends_on[0]"),
        ({"depends_on": ["no-such-model"]}, "inventory.depends_on"),
    ],
)
async def test_bad_input_names_the_field(client: AsyncClient, name: str, inventory: dict[str, Any], field: str) -> None:
    before = await client.create_model(name, inventory=FULL)
    with pytest.raises(errors.InvalidField) as caught:
        await client.update_model(name, inventory=inventory)
    assert [violation.field for violation in caught.value.violations] == [field]
    assert await client.get_model(name) == before


async def test_no_model_depends_on_itself(client: AsyncClient, name: str) -> None:
    names = [f"{name}-{number}" for number in range(3)]
    for model in names:
        await client.create_model(model)
    for model, other in pairwise(names):
        await client.update_model(model, inventory={"depends_on": [other]})
    for other in names:
        with pytest.raises(errors.InvalidField) as caught:
            await client.update_model(names[2], inventory={"depends_on": [other]})
        assert caught.value.violations[0].field == "inventory.depends_on"
    await client.update_model(names[0], inventory={"depends_on": []})
    changed = await client.update_model(names[2], inventory={"depends_on": [names[0]]})
    assert changed.inventory.depends_on == (names[0],)


async def test_lists_find_models_by_owner_tier_and_desk(client: AsyncClient, name: str) -> None:
    stated = {
        "a": Inventory(owners=("ada", "bob"), tier=1, scope=InventoryScope(desks=("index", "rates"))),
        "b": Inventory(owners=("bob",), tier=1, scope=InventoryScope(desks=("rates",))),
        "c": Inventory(),
    }
    for letter, inventory in stated.items():
        await client.create_model(f"{name}-{letter}", inventory=inventory)

    async def found(**conditions: Any) -> str:
        models = await collect(client.list_models(name_prefix=name, **conditions))
        return "".join(model.name[-1] for model in models)

    assert [await found(owner=owner) for owner in ("ada", "bob", "eve")] == ["a", "ab", ""]
    assert [await found(tier=tier) for tier in (None, 1, 2)] == ["abc", "ab", ""]
    assert [await found(desk=desk) for desk in ("index", "rates")] == ["a", "ab"]
    assert await found(owner="bob", tier=1, desk="index") == "a"
    await client.update_model(f"{name}-a", inventory={"owners": ["eve"], "tier": 2})
    assert [await found(owner="eve"), await found(owner="bob"), await found(tier=2)] == ["a", "b", "a"]


async def test_inventory_of_production_has_owner_and_tier_of_now(client: AsyncClient, name: str) -> None:
    await client.create_model(name, inventory=FULL)
    [row] = await collect(client.list_production_versions(name_prefix=name))
    assert row.inventory == FULL


@pytest.mark.system
async def test_of_changes_at_once_none_closes_a_cycle(client: AsyncClient, name: str) -> None:
    names = [f"{name}-a", f"{name}-b"]
    for model in names:
        await client.create_model(model)
    for _ in range(5):
        pairs = ((names[0], names[1]), (names[1], names[0]))
        changes = (client.update_model(model, inventory={"depends_on": [other]}) for model, other in pairs)
        made = await asyncio.gather(*changes, return_exceptions=True)
        assert sorted(type(one).__name__ for one in made) == ["InvalidField", "Model"]
        for model in names:
            await client.update_model(model, inventory={"depends_on": []})


async def test_a_repeated_request_changes_it_once(server: RunningServer, name: str) -> None:
    with Client(server.target) as sdk, grpc.insecure_channel(server.target) as channel:
        sdk.create_model(name, inventory=FULL)
        stub: Any = LifecycleServiceStub(channel)
        change = lifecycle_pb2.UpdateModelRequest(model=name, request_id=str(uuid4()))
        change.inventory.tier = 2
        change.update_mask.paths.append("inventory.tier")
        first = stub.UpdateModel(change)
        sdk.update_model(name, inventory={"tier": 3})
        assert stub.UpdateModel(change) == first
        assert sdk.get_model(name).inventory.tier == 3


@pytest.mark.parametrize("path", ["inventory.owner", "inventory.owners.x", "inventory.", "inventoryx", "halt"])
def test_a_path_that_names_no_field_is_refused(server: RunningServer, name: str, path: str) -> None:
    with Client(server.target) as sdk, grpc.insecure_channel(server.target) as channel:
        sdk.create_model(name, inventory=FULL)
        stub: Any = LifecycleServiceStub(channel)
        change = lifecycle_pb2.UpdateModelRequest(model=name, update_mask=FieldMask(paths=[path]))
        with pytest.raises(grpc.RpcError) as refused:
            stub.UpdateModel(change)
        found = error_of(refused.value)
        assert isinstance(found, errors.InvalidField)
        assert found.violations[0].field.startswith("update_mask")
        assert sdk.get_model(name).inventory == FULL
