"""Importing the package is cheap, and hides nothing of it."""

import copy
import importlib
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

import modelward
from modelward._public_names import DEFINED_IN, MODULES

ROOT = Path(__file__).parents[2]
HEAVY = ("mlflow", "numpy", "pandas", "pyarrow", "rich", "click", "scipy", "sklearn", "sqlalchemy")


def said(program: str) -> list[str]:
    """Run a program in a process of its own and return the words that it prints."""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_import_of_the_package_loads_neither_grpc_nor_its_own_modules() -> None:
    loaded = said("import sys, modelward; print(*sys.modules)")
    assert {name for name in loaded if name.startswith("modelward")} == {"modelward", "modelward._public_names"}
    assert {"grpc", "google.protobuf", *HEAVY} & set(loaded) == set()


@pytest.mark.system
@pytest.mark.parametrize("name", ["Client", "AsyncClient"])
def test_a_client_brings_neither_a_heavy_package_nor_the_other_client(name: str) -> None:
    loaded = said(f"import sys, modelward; modelward.{name}('127.0.0.1:1'); print(*sys.modules)")
    other = {"Client": "modelward._async.client", "AsyncClient": "modelward._sync.client"}[name]
    assert {other, *HEAVY} & set(loaded) == set()


def test_a_record_brings_no_client() -> None:
    loaded = said("import sys; from modelward import Stage; print(*sys.modules)")
    assert "modelward.lifecycle" in loaded
    assert [name for name in loaded if name.endswith("sync.client")] == []


@pytest.mark.system
def test_a_client_brings_no_stub_of_a_service_that_it_has_not_called() -> None:
    loaded = said("import sys, modelward; modelward.Client('127.0.0.1:1'); print(*sys.modules)")
    assert [name for name in loaded if name.endswith("_pb2_grpc")] == []


@pytest.mark.system
def test_help_brings_no_client() -> None:
    program = "import sys; from modelward.cli.commands import MODULES, load_command\n"
    loaded = said(program + "[load_command(name) for name in MODULES]; print(*sys.modules)")
    assert [name for name in loaded if name.endswith("sync.client")] == []


def test_every_public_name_is_that_of_its_module() -> None:
    assert set(modelward.__all__) == {*DEFINED_IN, "__version__"}
    for name, module in DEFINED_IN.items():
        assert getattr(modelward, name) is getattr(importlib.import_module(module), name)


@pytest.mark.system
def test_star_import_brings_every_public_name() -> None:
    assert said("from modelward import *; print(*dir())") == sorted({*modelward.__all__, *said("print(*dir())")})


def test_dir_lists_every_name_and_every_module_before_they_are_used() -> None:
    listed = said("import modelward; print(*dir(modelward))")
    assert {*modelward.__all__, *MODULES, "__doc__", "__file__"} <= set(listed)


@pytest.mark.system
def test_every_public_module_is_an_attribute() -> None:
    names = said(f"import modelward; print(*[getattr(modelward, name).__name__ for name in {MODULES!r}])")
    assert names == [f"modelward.{name}" for name in MODULES]


def test_an_unknown_name_is_an_error_that_names_it() -> None:
    with pytest.raises(AttributeError, match="module 'modelward' has no attribute 'Clinet'"):
        getattr(modelward, "Clinet")  # noqa: B009 - a type checker refuses the attribute
    with pytest.raises(ImportError, match="cannot import name 'Clinet' from 'modelward'"):
        exec("from modelward import Clinet")


@pytest.mark.system
def test_results_and_errors_survive_pickling_in_a_process_that_has_used_none() -> None:
    sent = (modelward.VersionRef("momentum", 3), modelward.errors.ModelNotFound("no model"))
    program = f"""
import pickle, sys, modelward
version, error = pickle.loads({pickle.dumps(sent)!r})
print(type(version) is modelward.VersionRef, isinstance(error, modelward.ModelwardError), version)"""
    assert said(program) == ["True", "True", "momentum/3"]
    assert copy.deepcopy(modelward.Stage.PRODUCTION) is modelward.Stage.PRODUCTION


def test_the_list_of_names_is_that_of_the_package() -> None:
    command = [sys.executable, str(ROOT / "client" / "public_names.py"), "--check"]
    assert subprocess.run(command, capture_output=True, text=True, check=False).stdout == ""
