"""Commands for approvals of transitions."""

from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING

import click

from modelward.cli.completion import complete_versions
from modelward.cli.options import Instant, about, limit
from modelward.cli.output import Output
from modelward.cli.remote import remote
from modelward.governance import Approval, ApprovalDecision, ApprovalState

if TYPE_CHECKING:
    from modelward import Client

APPROVAL = click.argument("approval_id", metavar="ID")
FUNCTION = click.option("--function", default="", metavar="NAME", help="The function that decides, such as risk.")


@click.group()
def approvals() -> None:
    """Request, decide and list approvals of transitions."""


@approvals.command("list")
@about(required=False)
@click.option("--state", type=click.Choice([state.value for state in ApprovalState]), help="Only those in this state.")
@click.option("--waits-for", default="", metavar="FUNCTION", help="Only those that wait for this function.")
@limit(20)
@remote
def list_requests(
    client: "Client", out: Output, about: tuple[str, int], state: str | None, waits_for: str, limit: int
) -> None:
    """List the requests of approval for a model, one of its versions, or all models, the newest first."""
    model, version = about
    out.rows(
        list(islice(client.list_approvals(model, version=version, state=state, waits_for=waits_for), limit)),
        ["id", "version", "to", "state", "waits for", "requested by", "requested (UTC)", "reason"],
        lambda one: [
            one.approval_id,
            one.version,
            one.to,
            one.state,
            ", ".join(one.waits_for),
            one.requested_by,
            one.requested_at,
            one.reason,
        ],
        none="there is no request of approval",
    )


@approvals.command()
@click.argument("version", metavar="MODEL/VERSION", shell_complete=complete_versions)
@click.option("--to", type=click.Choice(["staging", "production"]), default="production", show_default=True)
@click.option("--reason", required=True, metavar="TEXT", help="Why the transition is wanted.")
@click.option("--condition", "conditions", multiple=True, metavar="TEXT", help="What must hold; may be repeated.")
@click.option("--evidence", multiple=True, metavar="ID", help="Comparison, report or A/B test; may be repeated.")
@click.option("--expires", type=Instant(), metavar="TIME", help="When the request ends.")
@remote
def request(
    client: "Client",
    out: Output,
    version: str,
    to: str,
    reason: str,
    conditions: tuple[str, ...],
    evidence: tuple[str, ...],
    expires: datetime | None,
) -> None:
    """Request the approval of a transition."""
    made = client.request_approval(
        version, to=to, reason=reason, conditions=conditions, evidence=evidence, expires_at=expires
    )
    out.say(made, _state(made))


@approvals.command()
@APPROVAL
@remote
def show(client: "Client", out: Output, approval_id: str) -> None:
    """Show the request with this ID and its decisions."""
    found = client.get_approval(approval_id)
    facts = {
        "version": found.version,
        "to": found.to,
        "state": found.state,
        "waits for": ", ".join(found.waits_for),
        "reason": found.reason,
        "conditions": "; ".join(found.conditions),
        "evidence": ", ".join(found.evidence),
        "requested by": found.requested_by,
        "requested (UTC)": found.requested_at,
        "expires (UTC)": found.expires_at,
        "withdrawn by": found.withdrawn_by,
        "used by change": found.transition or "",
        "decisions": "; ".join(map(_decision, found.decisions)),
    }
    out.record(found, facts)


@approvals.command()
@APPROVAL
@FUNCTION
@click.option("--comment", default="", metavar="TEXT", help="Why, or under which conditions.")
@remote
def approve(client: "Client", out: Output, approval_id: str, function: str, comment: str) -> None:
    """Approve the request with this ID for a function."""
    decided = client.approve(approval_id, function=function, comment=comment)
    out.say(decided, _state(decided))


@approvals.command()
@APPROVAL
@FUNCTION
@click.option("--comment", required=True, metavar="TEXT", help="Why.")
@remote
def reject(client: "Client", out: Output, approval_id: str, function: str, comment: str) -> None:
    """Refuse the request with this ID for a function, which ends it."""
    decided = client.reject(approval_id, function=function, comment=comment)
    out.say(decided, _state(decided))


@approvals.command()
@APPROVAL
@remote
def withdraw(client: "Client", out: Output, approval_id: str) -> None:
    """Withdraw the request with this ID."""
    withdrawn = client.withdraw_approval(approval_id)
    out.say(withdrawn, _state(withdrawn))


def _decision(one: ApprovalDecision) -> str:
    how = f"{one.function} {'approved' if one.approved else 'refused'} by {one.decided_by}"
    return f"{how} at {one.decided_at:%Y-%m-%d %H:%M:%S} UTC" + (f": {one.comment}" if one.comment else "")


def _state(approval: Approval) -> str:
    waits = f" and waits for {', '.join(approval.waits_for)}" if approval.waits_for else ""
    return f"{approval.approval_id} of {approval.version} to {approval.to} is {approval.state}{waits}"
