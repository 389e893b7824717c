"""The commands about findings."""

import pytest

from modelward import Client
from tests.cli.conftest import Commands

pytestmark = pytest.mark.system  # Takes seconds.


def test_a_finding_is_opened_changed_listed_shown_and_closed(
    commands: Commands, in_production: str, sdk: Client
) -> None:
    given = ("--title", "no costs", "--severity", "high", "--owner", "bob", "--due", "2020-03-31")
    said = commands.said("findings", "open", f"{in_production}/1", *given)
    [finding] = sdk.list_findings(in_production)
    about = f"{finding.finding_id} about {in_production}/1 is"
    assert said == f"{about} open, high, of bob\n"
    refused = commands.run("findings", "open", f"{in_production}/new", *given)
    assert f"'{in_production}/new' is not of the form MODEL or MODEL/VERSION" in refused.output
    assert commands.said("findings", "list", f"{in_production}/2") == "there is no finding\n"
    [row] = commands.said("findings", "list", in_production, "--overdue", width=200).splitlines()[2:]
    assert "2020-03-31, overdue" in row
    assert commands.said("findings", "list", in_production, "--min-severity", "critical") == "there is no finding\n"
    changed = commands.said("findings", "update", finding.finding_id, "--severity", "critical", "--due", "2099-01-01")
    assert changed == f"{about} open, critical, of bob\n"
    assert "no costs" in commands.said("findings", "show", finding.finding_id)
    assert commands.json("findings", "update", finding.finding_id, "--no-due")["due"] is None
    commands.said("findings", "update", finding.finding_id, "--due", "2099-01-01")
    refused = commands.run("findings", "update", finding.finding_id, "--due", "soon")
    assert "'soon' is not an ISO 8601 date" in refused.output
    closed = commands.json("findings", "close", finding.finding_id, "--remedy", "costs added", "--comment", "tried")
    assert (closed["closed_by"], closed["remedy"], closed["due"]) == ("ada", "costs added", "2099-01-01")
