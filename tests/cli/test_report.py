"""The commands that write reports to files."""

from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from modelward import Client
from tests.cli.conftest import Commands

pytestmark = pytest.mark.system  # Takes seconds.


def test_the_inventory_report_is_written_in_each_format(
    commands: Commands, in_production: str, sdk: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    sdk.update_model(in_production, inventory={"owners": ["report desk"], "tier": 1, "scope": {"desks": ["reports"]}})
    day = datetime.now(UTC).date()
    chosen = ("report", "inventory", "--as-of", day, "--owner", "report desk", "--tier", 1, "--desk", "reports")
    assert commands.said(*chosen) == f"the report is in inventory-{day}.html\n"
    assert f'id="model-{in_production}"' in Path(f"inventory-{day}.html").read_text()
    commands.said(*chosen, "--format", "csv", "-o", "models.csv")
    assert [line.partition(",")[0] for line in Path("models.csv").read_text().splitlines()] == ["model", in_production]
    commands.said(*chosen, "--since", day, "--format", "events")
    assert f"\n{in_production}," in Path(f"inventory-{day}-events.csv").read_text()


def test_a_day_that_has_not_come_is_refused(commands: Commands, tmp_path: Path) -> None:
    refused = commands.refused("report", "inventory", "--as-of", date(2999, 1, 1), "-o", tmp_path / "report.html")
    assert refused == ["as_of: 2999-01-01 is in the future; today is the last day possible"]
    assert not list(tmp_path.iterdir())


def test_the_id_of_a_report_needs_no_command(commands: Commands) -> None:
    for before in ((), ("render",), ("--save", "page.html")):
        assert "no report" in commands.refused("report", *before, "no-such-report")[0]
    assert "inventory" in commands.said("report", "--help")
