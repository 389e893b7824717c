"""Commands about MLflow and about engines."""

from pathlib import Path

import pytest

from modelward import Client
from tests.cli.conftest import Commands

pytestmark = pytest.mark.system  # Takes seconds.


def test_rollout_lists_what_engines_run(commands: Commands, in_production: str, sdk: Client) -> None:
    assert "no engine has reported" in commands.said("rollout", in_production)
    [of_model] = commands.json("rollout", "--prefix", in_production)
    assert (of_model["model"], of_model["rollout"]["engines"]) == (in_production, [])
    version = sdk.resolve(in_production).version
    sdk.report_active(version, engine="ny4-07")
    [engine] = commands.json("rollout", in_production)
    assert (engine["engine"], engine["version"], engine["state"]) == ("ny4-07", version.version, "converged")


def test_engines_lists_what_they_ran_and_when(commands: Commands, in_production: str, sdk: Client) -> None:
    assert "no engine has reported" in commands.said("engines", in_production)
    version = sdk.resolve(in_production).version
    sdk.report_active(version, engine="ny4-07")
    [period] = commands.json("engines", in_production, "--engine", "ny4-07")
    assert (period["engine"], period["ended_at"]) == ("ny4-07", None)
    assert "now" in commands.said("engines", in_production)
    assert commands.json("engines", in_production, "--at", "2020-01-01T00:00") == []


def test_reconcile_and_import_say_when_there_is_nothing_to_do(
    commands: Commands, sdk: Client, in_production: str, weights: Path
) -> None:
    sdk.reconcile_mlflow(in_production)
    assert commands.json("reconcile", in_production, "--dry-run") == []
    assert "shows all" in commands.said("reconcile", in_production)
    assert commands.json("import", in_production, "--dry-run") == []
    assert "no versions that are not known here" in commands.said("import", in_production)
