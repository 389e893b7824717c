"""The commands about drills."""

import pytest

from modelward import Client
from tests.cli.conftest import Commands

pytestmark = pytest.mark.system  # Takes seconds.


def test_a_drill_without_engines_is_started_listed_and_shown(
    commands: Commands, in_production: str, sdk: Client
) -> None:
    done = commands.run("drills", "start", in_production, "--reason", "yearly test")
    assert done.exit_code == 1
    assert "no engine was running; the drill has ended" in done.output
    assert f"nothing is proven of models without a running engine: {in_production}" in done.output
    [drill] = sdk.list_drills(in_production)
    [row] = commands.said("drills", "list", in_production, "--since", "2026-01-01", width=200).splitlines()[2:]
    assert drill.drill_id in row
    assert "yearly test" in row
    assert commands.said("drills", "list", in_production, "--until", "2026-01-01") == "there is no drill\n"
    [shown] = commands.json("drills", "show", drill.drill_id)
    assert (shown["drill_id"], shown["engines"]) == (drill.drill_id, [])
    assert "give either MODEL or --all" in commands.run("drills", "start", "--reason", "yearly test").output


def test_a_model_without_an_engine_is_shown_beside_one_that_has(
    commands: Commands, in_production: str, sdk: Client
) -> None:
    sdk.report_active(f"{in_production}/1", engine="in-go")
    sdk.create_model(f"{in_production}-b")
    given = ("drills", "start", in_production, f"{in_production}-b", "--reason", "yearly test", "--no-wait")
    done = commands.run(*given)
    assert done.exit_code == 1
    assert "no engine was running" in done.output


def test_the_exit_code_tells_that_an_engine_is_not_proven(commands: Commands, in_production: str, sdk: Client) -> None:
    sdk.report_active(f"{in_production}/1", engine="in-go")
    given = ("drills", "start", in_production, "--reason", "yearly test", "--within", "1s")
    done = commands.run(*given)
    assert done.exit_code == 1
    assert "1 of 1 engines are not proven to stop" in done.output
    assert "not proven" in done.output
    assert "waiting" in commands.said(*given, "--no-wait")
