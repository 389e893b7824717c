"""Commands for findings about models."""

from datetime import date
from itertools import islice
from typing import TYPE_CHECKING

import click

from modelward.cli.options import Day, about, limit
from modelward.cli.output import Output
from modelward.cli.remote import remote
from modelward.findings import Finding, FindingSeverity, FindingState

if TYPE_CHECKING:
    from modelward import Client

FINDING = click.argument("finding_id", metavar="ID")
SEVERITY = click.Choice([one.value for one in FindingSeverity])


@click.group()
def findings() -> None:
    """Open, close and list findings about models."""


@findings.command("list")
@about(required=False)
@click.option("--min-severity", type=SEVERITY, help="Only those of this severity or above.")
@click.option("--state", type=click.Choice([state.value for state in FindingState]), help="Only those in this state.")
@click.option("--overdue", is_flag=True, help="Only open ones whose day has passed.")
@click.option("--owner", default="", metavar="NAME", help="Only those of this owner.")
@limit(20)
@remote
def list_findings(
    client: "Client",
    out: Output,
    about: tuple[str, int],
    min_severity: str | None,
    state: str | None,
    overdue: bool,
    owner: str,
    limit: int,
) -> None:
    """List the findings about a model, one of its versions, or all models, the newest first."""
    model, version = about
    found = client.list_findings(
        model, version=version, min_severity=min_severity, state=state, overdue=overdue, owner=owner
    )
    out.rows(
        list(islice(found, limit)),
        ["id", "about", "severity", "state", "owner", "due", "title"],
        lambda one: [one.finding_id, one.about, one.severity, one.state, one.owner, _due(one), one.title],
        none="there is no finding",
    )


@findings.command("open")
@about(required=True)
@click.option("--title", required=True, metavar="TEXT", help="What is wrong, in a line.")
@click.option("--severity", required=True, type=SEVERITY, help="How serious it is.")
@click.option("--owner", required=True, metavar="NAME", help="Who remedies it.")
@click.option("--description", default="", metavar="TEXT", help="What is wrong, in detail.")
@click.option("--due", type=Day(), metavar="DATE", help="The day by which it is to be remedied.")
@click.option("--remedy", default="", metavar="TEXT", help="The remedy that is planned.")
@click.option("--evidence", multiple=True, metavar="ID", help="Comparison, report or A/B test; may be repeated.")
@remote
def open_finding(
    client: "Client",
    out: Output,
    about: tuple[str, int],
    title: str,
    severity: str,
    owner: str,
    description: str,
    due: date | None,
    remedy: str,
    evidence: tuple[str, ...],
) -> None:
    """Open a finding about a model or one of its versions."""
    model, version = about
    opened = client.open_finding(
        model,
        title=title,
        severity=severity,
        owner=owner,
        version=version,
        description=description,
        due=due,
        remedy=remedy,
        evidence=evidence,
    )
    out.say(opened, _state(opened))


@findings.command()
@FINDING
@remote
def show(client: "Client", out: Output, finding_id: str) -> None:
    """Show the finding with this ID."""
    found = client.get_finding(finding_id)
    facts = {
        "about": found.about,
        "title": found.title,
        "severity": found.severity,
        "state": found.state,
        "owner": found.owner,
        "due": _due(found),
        "description": found.description,
        "remedy": found.remedy,
        "evidence": ", ".join(found.evidence),
        "opened by": found.opened_by,
        "opened (UTC)": found.opened_at,
        "closed by": found.closed_by,
        "closed (UTC)": found.closed_at,
        "comment": found.closing_comment,
    }
    out.record(found, facts)


@findings.command()
@FINDING
@click.option("--owner", metavar="NAME", help="Who remedies it.")
@click.option("--due", type=Day(), metavar="DATE", help="The day by which it is to be remedied.")
@click.option("--no-due", is_flag=True, help="Remove the due date.")
@click.option("--severity", type=SEVERITY, help="How serious it is.")
@click.option("--remedy", metavar="TEXT", help="The remedy that is planned.")
@remote
def update(
    client: "Client",
    out: Output,
    finding_id: str,
    owner: str | None,
    due: date | None,
    no_due: bool,
    severity: str | None,
    remedy: str | None,
) -> None:
    """Change the open finding with this ID."""
    changed = client.update_finding(finding_id, owner=owner, due=due, no_due=no_due, severity=severity, remedy=remedy)
    out.say(changed, _state(changed))


@findings.command()
@FINDING
@click.option("--remedy", required=True, metavar="TEXT", help="The remedy that was made.")
@click.option("--comment", default="", metavar="TEXT", help="How that was verified, or what remains.")
@remote
def close(client: "Client", out: Output, finding_id: str, remedy: str, comment: str) -> None:
    """Close the finding with this ID."""
    closed = client.close_finding(finding_id, remedy=remedy, comment=comment)
    out.say(closed, _state(closed))


def _due(finding: Finding) -> str:
    late = ", overdue" if finding.is_overdue() else ""
    return f"{finding.due}{late}" if finding.due else ""


def _state(finding: Finding) -> str:
    return f"{finding.finding_id} about {finding.about} is {finding.state}, {finding.severity}, of {finding.owner}"
