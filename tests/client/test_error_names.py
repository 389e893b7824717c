"""Errors name what their reader can use: methods and arguments of the SDK, commands, or RPCs and fields."""

import ast
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import grpc
import numpy as np
import pytest

import modelward_server
from modelward import AsyncClient, errors
from modelward._method_names import METHODS
from modelward.cli.command_names import COMMANDS
from modelward.cli.commands import cli
from modelward.shared.retry import error_of
from modelward.v1 import comparison_pb2 as pb
from modelward.v1 import drift_pb2, lifecycle_pb2, retraining_pb2, scoring_pb2
from modelward.v1.comparison_pb2_grpc import ComparisonServiceStub
from tests.cli.conftest import Commands
from tests.support.running_server import RunningServer

SERVICES = [
    service
    for module in (pb, drift_pb2, lifecycle_pb2, retraining_pb2, scoring_pb2)
    for service in module.DESCRIPTOR.services_by_name.values()
]
RPCS = re.compile(rf"(?<![/.\w])({'|'.join(one.name for service in SERVICES for one in service.methods)})\b")
OF_OTHERS = {"Score"}
"""In an error of the Open Inference Protocol, which the SDK does not speak."""


def texts(path: Path) -> Iterator[str]:
    """Yield the sentences in a module, without its docstrings."""
    tree = ast.parse(path.read_text())
    documented = {id(one.value) for one in ast.walk(tree) if isinstance(one, ast.Expr)}
    for one in ast.walk(tree):
        if isinstance(one, ast.Constant) and isinstance(one.value, str) and id(one) not in documented:
            yield one.value if " " in one.value else ""


def test_every_rpc_that_an_error_names_has_a_method_and_these_exist() -> None:
    folder = Path(modelward_server.__file__).parent
    named = {rpc for path in folder.rglob("*.py") for text in texts(path) for rpc in RPCS.findall(text)}
    assert named - METHODS.keys() <= OF_OTHERS
    assert all(hasattr(AsyncClient, method) for method in METHODS.values())


@pytest.mark.parametrize(("method", "command"), COMMANDS.items())
def test_commands_for_methods_exist(method: str, command: str) -> None:
    assert method in METHODS.values()
    found: click.Command | None = cli
    for name in command.split():
        assert isinstance(found, click.Group)
        found = found.get_command(click.Context(found), name)
    assert found is not None


async def test_each_hears_the_names_that_he_can_use(client: AsyncClient, server: RunningServer) -> None:
    with pytest.raises(errors.AbTestNotFound, match="; list_ab_tests lists the existing ones"):
        await client.get_ab_test("nowhere")
    assert "modelward ab list lists the existing ones" in Commands(server.target).refused("ab", "show", "nowhere")[0]
    with grpc.insecure_channel(server.target) as channel, pytest.raises(grpc.RpcError) as refused:
        ComparisonServiceStub(channel).GetAbTest(pb.GetAbTestRequest(test="nowhere"))
    assert "; ListAbTests lists the existing ones" in error_of(refused.value).message


async def test_errors_of_a_comparison_name_its_arguments(client: AsyncClient, name: str, tmp_path: Path) -> None:
    (tmp_path / "model.txt").write_text("weights")
    versions = [str(await client.register(name, tmp_path / "model.txt")) for _ in range(2)]
    y = np.arange(50.0)
    good: dict[Any, Any] = {versions[0]: y, versions[1]: y + 1}
    wrong: list[tuple[str, dict[str, Any]]] = [
        ("y", {"y": [datetime(2026, 1, 1, tzinfo=UTC)] * 50}),
        ("y", {"y": [np.inf, *y[1:]]}),
        ("returns", {"returns": [np.inf, *y[1:]]}),
        (f"predictions[{versions[1]}]", {"predictions": {**good, versions[1]: ["a", *y[1:].astype(str)]}}),
        (f"predictions[{versions[1]}]", {"predictions": {**good, versions[1]: {"id": ["0"], "guess": [1.0]}}}),
    ]
    for field, change in wrong:
        with pytest.raises(errors.InvalidField) as refused:
            await client.compare([], None, **{"y": y, "predictions": good, **change})
        assert refused.value.violations[0].field.startswith(field), (field, str(refused.value))
        assert str(refused.value).startswith(field)


def test_errors_of_a_command_name_its_options(server: RunningServer, tmp_path: Path) -> None:
    (tmp_path / "model.txt").write_text("weights")
    arguments = ["register", "carry", tmp_path / "model.txt", "--trained-on", "yesterday", "2020"]
    assert Commands(server.target).refused(*arguments)[0].startswith("--trained-on.first: is 'yesterday'")


async def test_errors_of_a_list_name_the_arguments_of_its_method(client: AsyncClient) -> None:
    with pytest.raises(errors.InvalidField, match=r"^token: "):
        await client.list_models().page("bogus")
