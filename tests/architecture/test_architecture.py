"""`docs/architecture.md` against the code: its layers, its walks and its list of files."""

import importlib
import re
import tomllib
from pathlib import Path
from typing import Any

import grimp
import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text()
COMPOSITION = {"replica_process", "cli", "app", "backup", "replica_supervisor"}
"""What is above all layers: it puts the server together, and runs it."""


def contracts() -> dict[str, dict[str, Any]]:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return {contract["id"]: contract for contract in config["tool"]["importlinter"]["contracts"]}


def walks() -> dict[str, list[str]]:
    section = PAGE.partition("## Three walks")[2].partition("\n## ")[0]
    parts = re.split(r"\n### (.+)\n", section)[1:]
    return {
        name: re.findall(r"^\d+\. `([\w.]+:[\w.]+)`", text, re.M)
        for name, text in zip(parts[::2], parts[1::2], strict=True)
    }


def test_the_picture_shows_the_enforced_layers_in_their_order() -> None:
    picture = re.search(r"```text\n(.*?)```", PAGE, re.S)
    assert picture
    enforced = [name for layer in contracts()["layers"]["layers"] for name in re.split(r" \| ", layer)]
    assert re.findall(r"^ (\w+)", picture[1], re.M) == [name for name in enforced if name not in COMPOSITION]


def test_there_are_three_walks_of_at_most_ten_hops() -> None:
    assert [0 < len(hops) <= 10 for hops in walks().values()] == [True] * 3


@pytest.mark.parametrize("hop", [hop for hops in walks().values() for hop in hops])
def test_each_hop_of_a_walk_names_what_the_code_has(hop: str) -> None:
    module, _, path = hop.partition(":")
    found: Any = importlib.import_module(module)
    for name in path.split("."):
        found = getattr(found, name)
    assert callable(found)


def rows() -> dict[str, list[str]]:
    table = PAGE.partition("## Where would I add")[2]
    cells = re.findall(r"^\| (an? .+?) \| (.+) \|$", table, re.M)
    return {question: re.findall(r"`([\w/.]+/[\w.]*)`", files) for question, files in cells}


@pytest.mark.parametrize("question", rows())
def test_each_addition_takes_at_most_five_files_that_exist(question: str) -> None:
    files = rows()[question]
    assert 0 < len(files) <= 5
    assert [file for file in files if not (ROOT / file).exists()] == []


def test_the_server_imports_of_the_client_only_public_modules_and_the_shared_package() -> None:
    graph = grimp.build_graph("modelward", "modelward_server")
    private = {name for name in graph.modules if re.match(r"modelward\._", name)}
    assert private
    importers = {name: graph.find_modules_that_directly_import(name) for name in private}
    servers = {name: {one for one in found if one.startswith("modelward_server")} for name, found in importers.items()}
    assert {name: found for name, found in servers.items() if found} == {}
