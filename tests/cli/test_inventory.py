"""Commands about the inventory of models and the lineage of versions."""

import csv
import io
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from modelward import Client, Inventory, InventoryScope, Lineage, SourceCode, TrainingData
from tests.cli.conftest import Commands

STATED = Inventory(
    owners=("ada", "index desk"),
    accountable_manager="Grace Hopper",
    purpose="direction at the close",
    tier=2,
    scope=InventoryScope(desks=("index",), asset_classes=("futures",)),
    limits=("10 contracts", "only in regular hours"),
    next_review=date(2027, 3, 31),
)


@pytest.fixture
def stated(sdk: Client, name: str) -> str:
    sdk.create_model(name, inventory=STATED)
    sdk.create_model(f"{name}-b")
    return name


def test_models_are_listed_by_owner_tier_and_desk(commands: Commands, stated: str) -> None:
    conditions = ("--prefix", stated, "--owner", "index desk", "--tier", "2", "--desk", "index")
    heading, _, row = commands.said("models", *conditions).splitlines()
    assert heading.split()[5:9] == ["owners", "tier", "next", "review"]
    for fact in (stated, "ada, index desk", " 2 ", "2027-03-31"):
        assert fact in row
    for option, value in (("--owner", "bob"), ("--tier", "1"), ("--desk", "rates")):
        assert commands.said("models", "--prefix", stated, option, value) == "there is no such model\n"
    assert "5 is not in the range" in commands.run("models", "--tier", "5").stderr


def test_csv_of_the_models_has_the_whole_inventory(commands: Commands, stated: str) -> None:
    first, second = csv.DictReader(io.StringIO(commands.said("models", "--prefix", stated, "--format", "csv")))
    assert first["owners"] == '["ada", "index desk"]'
    assert first["limits"] == '["10 contracts", "only in regular hours"]'
    assert (first["desks"], first["asset_classes"]) == ('["index"]', '["futures"]')
    assert (first["tier"], first["next_review"], first["purpose"]) == ("2", "2027-03-31", "direction at the close")
    assert first["accountable_manager"] == "Grace Hopper"
    assert {second[key] for key in ("owners", "tier", "next_review", "limits", "desks")} == {""}


def test_inventory_of_production_has_owners_tier_and_review(commands: Commands, stated: str) -> None:
    first, _ = csv.DictReader(io.StringIO(commands.said("inventory", "--prefix", stated, "--format", "csv")))
    assert (first["owners"], first["tier"], first["next_review"]) == ('["ada", "index desk"]', "2", "2027-03-31")


def test_show_tells_the_inventory_and_the_lineage(commands: Commands, stated: str, sdk: Client, weights: Path) -> None:
    shown = commands.said("show", stated)
    for fact in ("ada, index desk", "Grace Hopper", "futures", "10 contracts", "only in regular hours", "2027-03-31"):
        assert fact in shown
    code = SourceCode("https://git.example.com/x.git", "0123abc", dirty=True)
    lineage = Lineage(code, (TrainingData("s3://bucket/x", "a" * 64),), weaknesses=("slow",))
    sdk.register(stated, weights, lineage=lineage)
    shown = commands.said("show", f"{stated}/1")
    for fact in ("https://git.example.com/x.git 0123abc with changes", f"s3://bucket/x {'a' * 64}", "slow", "numpy"):
        assert fact in shown


def test_register_tells_the_lineage_unless_it_shall_not(
    commands: Commands, name: str, weights: Path, sdk: Client
) -> None:
    commands.said("register", name, weights)
    commands.said("register", name, weights, "--no-lineage")
    assert sdk.get_version(f"{name}/1").lineage.environment.packages["modelward"]
    assert sdk.get_version(f"{name}/2").lineage == Lineage()


def test_update_changes_what_it_names_of_a_model(commands: Commands, stated: str, sdk: Client) -> None:
    given = ("--owner", "bob", "--owner", "rates desk", "--tier", "1", "--venue", "XCME", "--purpose", "2")
    said = commands.said("update", stated, *given, "--limit", "", "--next-review", "")
    assert said == f"owners, tier, venues, purpose, limits, next review of {stated} changed\n"
    scope = replace(STATED.scope, venues=("XCME",))
    new: Any = {"owners": ("bob", "rates desk"), "tier": 1, "purpose": "2", "limits": (), "next_review": None}
    assert sdk.get_model(stated).inventory == replace(STATED, scope=scope, **new)
    commands.said("update", stated, "--tier", "", "--next-review", "2028-01-31")
    inventory = sdk.get_model(stated).inventory
    assert (inventory.tier, inventory.next_review) == (None, date(2028, 1, 31))


def test_update_changes_what_a_version_states(commands: Commands, stated: str, sdk: Client, weights: Path) -> None:
    sdk.register(stated, weights)
    commands.said("update", f"{stated}/1", "--weakness", "slow", "--restriction", "not for clients")
    lineage = sdk.get_version(f"{stated}/1").lineage
    assert (lineage.weaknesses, lineage.restrictions) == (("slow",), ("not for clients",))
    assert "owners: stated of models" in commands.run("update", f"{stated}/1", "--owner", "bob").output
    assert "give a field" in commands.run("update", stated).output
    assert "'soon' is not an ISO 8601 date" in commands.run("update", stated, "--next-review", "soon").output
    assert commands.refused("update", f"{stated}-c", "--tier", "1")[0].startswith("there is no model")
