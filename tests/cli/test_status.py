"""`modelward status` shows what needs attention, and then the models in production."""

import pytest

from modelward import AttentionKind, Client
from tests.cli.conftest import Commands

pytestmark = pytest.mark.system  # Takes seconds.


@pytest.fixture(autouse=True)
def nothing_halted(sdk: Client) -> None:
    """Resume what other tests halted on the shared server: the status shows the first fifty faults of all models."""
    for model in sdk.list_models():
        if model.halt:
            sdk.resume(model.name)


def test_status_names_the_halted_model_and_what_to_do(commands: Commands, sdk: Client, in_production: str) -> None:
    sdk.halt(in_production, reason="exchange outage")
    sdk.report_active(f"{in_production}/2", engine="ny4-07")
    shown = commands.said("status")
    assert f"{in_production} is halted by sdk: exchange outage. Resume the model" in shown
    [row] = [line.split() for line in shown.splitlines() if f"{in_production}/2" in line]
    assert row[0] == "critical"
    assert row[4:] == ["sdk", "0/1", "halted"]
    sdk.resume(in_production)
    assert f"{in_production} is halted" not in commands.said("status")


def test_status_as_json_is_the_overview(commands: Commands, sdk: Client, in_production: str) -> None:
    sdk.halt(in_production, reason="exchange outage")
    answer = commands.json("status")
    assert in_production in {one["model"] for one in answer["attention"] if one["kind"] == AttentionKind.HALTED}
    assert answer["totals"]["registered"] == sdk.get_overview().totals.registered


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_watch_without_a_terminal_is_refused(commands: Commands, more: list[str]) -> None:
    result = commands.run("status", "--watch", *more)
    assert result.exit_code == 2
    assert "leave it out" in result.stderr


def test_watch_shows_it_again_until_it_is_interrupted(
    commands: Commands, in_production: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses = iter([None, None])

    def pause(seconds: float) -> None:
        if next(pauses, KeyboardInterrupt) is not None:
            raise KeyboardInterrupt

    monkeypatch.setattr("modelward.cli.status.sleep", pause)
    monkeypatch.setattr("modelward.cli.status.is_terminal", lambda: True)
    shown = commands.said("status", "--watch")
    assert shown.count("models  ") == 3
