"""`--format`: each command prints a table, JSON or CSV."""

import csv
import io

import pytest

from modelward import Client
from modelward.cli.output import as_json
from tests.cli.conftest import Commands

pytestmark = pytest.mark.system  # Takes seconds.


def rows_of(said: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(said, newline="")))


def test_a_list_as_csv_has_each_value_in_full(commands: Commands, sdk: Client, in_production: str) -> None:
    sdk.update_version(f"{in_production}/2", tags={"note": "x" * 500})
    said = commands.said("versions", in_production, "--format", "csv", width=20)
    newest, oldest = rows_of(said)
    assert (newest["version"], newest["stage"], oldest["stage"]) == ("2", "production", "archived")
    assert newest["since"] == as_json(sdk.get_version(f"{in_production}/2").stage_since).strip('"')
    assert newest["metrics"] == '{"log_loss": 0.6931}'


def test_a_long_reason_is_a_column_of_csv(commands: Commands, sdk: Client, in_production: str) -> None:
    reason = "the exchange, its fees " * 20
    sdk.rollback(in_production, reason=reason)
    said = rows_of(commands.said("history", in_production, "--format", "csv", width=40))
    assert {"it is better", f"rollback: {reason}".strip()} <= {row["why"].strip() for row in said}


def test_what_is_shown_as_fields_is_one_row_of_csv(commands: Commands, in_production: str) -> None:
    [row] = rows_of(commands.said("show", in_production, "--format", "csv"))
    assert (row["model"], row["production"], row["halted"]) == (in_production, "2", "")


def test_a_change_as_csv_is_one_row(commands: Commands, in_production: str) -> None:
    [row] = rows_of(commands.said("halt", in_production, "--reason", "outage", "--format", "csv"))
    assert (row["name"], in_production in row["halt"] or "outage" in row["halt"]) == (in_production, True)


def test_status_as_csv_lists_the_models_in_production(commands: Commands, in_production: str, sdk: Client) -> None:
    sdk.halt(in_production, reason="the worst is first, and 50 are listed")
    assert f"{in_production}/2" in {row["version"] for row in rows_of(commands.said("status", "--format", "csv"))}


def test_json_is_short_for_its_format(commands: Commands, in_production: str) -> None:
    assert commands.said("show", in_production, "--json") == commands.said("show", in_production, "--format", "json")
    result = commands.run("show", in_production, "--json", "--format", "csv")
    assert result.exit_code == 2
    assert "give --json or --format csv, not both" in result.stderr
