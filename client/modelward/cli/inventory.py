"""Inventories of models and lineages of versions, as fields and columns of the commands' output."""

from collections.abc import Sequence
from typing import Any

from modelward.cli.cells import Cell
from modelward.inventory import Inventory, Lineage, SourceCode

BRIEF = ("owners", "tier", "next review")
"""The columns of tables; CSV has all."""


def inventory_facts(inventory: Inventory) -> dict[str, Any]:
    """Return what the inventory states of a model, by the headings of its fields."""
    scope = {name.replace("_", " "): _listed(values) for name, values in vars(inventory.scope).items()}
    return {
        "owners": _listed(inventory.owners),
        "tier": inventory.tier,
        "next review": inventory.next_review,
        "accountable manager": inventory.accountable_manager,
        "purpose": inventory.purpose,
        **scope,
        "depends on": _listed(inventory.depends_on),
        **_statements(inventory),
    }


def lineage_facts(lineage: Lineage) -> dict[str, Any]:
    """Return the lineage of a version, by the headings of its fields."""
    environment = lineage.environment
    return {
        "code": _code(lineage.code),
        "data": _listed([" ".join(filter(None, vars(data).values())) for data in lineage.data], "\n"),
        "python": ", ".join(filter(None, (environment.python, environment.platform))),
        "packages": environment.packages,
        "parent": lineage.parent_version or "",
        **_statements(lineage),
    }


def _statements(stated: Inventory | Lineage) -> dict[str, Any]:
    return {
        "restrictions": _listed(stated.restrictions, "\n"),
        "limits": _listed(stated.limits, "\n"),
        "assumptions": _listed(stated.assumptions, "\n"),
        "weaknesses": _listed(stated.weaknesses, "\n"),
    }


def _listed(values: Sequence[str], between: str = ", ") -> Any:
    return Cell(values, between.join(values)) if values else ""


def _code(code: SourceCode) -> str:
    changed = "with changes" if code.dirty else ""
    return " ".join(filter(None, (code.repository, code.commit, changed)))
