"""The command line in this process, on the server that all tests share."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow  # noqa: F401 - now, not in the server's thread while scikit-learn asks which libraries are loaded
import numpy as np
import pytest
from click.testing import CliRunner, Result
from sklearn.linear_model import LogisticRegression

from modelward import Client
from modelward.cli.commands import cli
from tests.support.running_server import RunningServer

NO_PROFILES = "/no-such-folder"
"""In place of the folder with the profiles of who runs the tests."""


class Commands:
    """Runs commands as a person in a terminal would, or as a program that reads JSON."""

    def __init__(self, target: str) -> None:
        self._target = target

    def run(self, *arguments: object, width: int = 300, typed: str = "") -> Result:
        environment = {"MODELWARD_SERVER": self._target, "MODELWARD_ACTOR": "ada", "COLUMNS": str(width)}
        environment["XDG_CONFIG_HOME"] = NO_PROFILES
        return CliRunner(env=environment).invoke(cli, [str(argument) for argument in arguments], input=typed)

    def said(self, *arguments: object, width: int = 300) -> str:
        """Return what a command writes that goes well."""
        result = self.run(*arguments, width=width)
        assert result.exit_code == 0, result.output
        assert result.stderr == ""
        return result.stdout

    def refused(self, *arguments: object) -> list[str]:
        """Return the lines of a command that fails."""
        result = self.run(*arguments)
        assert result.exit_code == 1, result.output
        assert isinstance(result.exception, SystemExit)
        assert result.stdout == ""
        return result.stderr.splitlines()

    def json(self, *arguments: object) -> Any:
        return json.loads(self.said(*arguments, "--json"))


@pytest.fixture(scope="session")
def database_url() -> str:
    """One database is enough here: a command does not know which one the server has."""
    return ""


@pytest.fixture
def commands(server: RunningServer) -> Commands:
    return Commands(server.target)


@pytest.fixture
def sdk(server: RunningServer) -> Iterator[Client]:
    with Client(server.target, actor="sdk") as client:
        yield client


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A file to register."""
    path = tmp_path / "model.bin"
    path.write_bytes(b"weights")
    return path


@pytest.fixture
def in_production(sdk: Client, name: str, weights: Path) -> str:
    """A model whose version 2 followed version 1 into production."""
    for _ in range(2):
        version = sdk.register(name, weights, metrics={"log_loss": 0.6931}, description="guesses")
        sdk.promote(version, to="staging")
        sdk.promote(version, to="production", reason="it is better")
    return name


def columns(rows: int = 400, shift: float = 0.0) -> dict[str, Any]:
    random = np.random.default_rng(5)
    return {"momentum": random.normal(size=rows) + shift, "volume": random.normal(size=rows)}


@pytest.fixture
def trained(sdk: Client, name: str) -> str:
    """A model with two versions that run, the second better, and their training data."""
    data = columns()
    table = np.column_stack(list(data.values()))
    for strength in (1e-5, 1.0):
        estimator = LogisticRegression(C=strength).fit(table, data["momentum"] > 0.3)
        sdk.register(name, estimator, reference=data)
    return name
