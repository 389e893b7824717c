"""Who may decide, close and review: told before a form is filled in. The server decides about each change anyway."""

from collections.abc import Collection

from modelward import AsyncClient, Caller
from modelward.caller import Role
from modelward.findings import Finding, FindingState
from modelward.governance import Approval, ApprovalState
from modelward_server.console.pages.lists import ROWS, first


def why_not_decide(approval: Approval, function: str, caller: Caller, registrants: Collection[str]) -> str:
    """Return why a user may not decide a request for a function; empty if he may.

    Args:
        approval: the request.
        function: a function that it waits for.
        caller: the user.
        registrants: who registered the version, also where it was imported from.
    """
    if caller.authenticated and function not in caller.functions:
        return f"your functions are {', '.join(caller.functions)}" if caller.functions else "you hold no function"
    if caller.name == approval.requested_by:
        return "you requested it; another person must decide"
    if caller.name in registrants:
        return "you registered the version; another person must decide"
    if caller.name in {decision.decided_by for decision in approval.decisions}:
        return "you have decided for another function; each needs a person of its own"
    return ""


def may_withdraw(approval: Approval, caller: Caller) -> bool:
    """Return whether a user may withdraw a request: its author may, and operators."""
    own = caller.name == approval.requested_by and caller.role.covers(Role.TRAINER)
    return approval.state.is_open and (own or caller.role.covers(Role.OPERATOR))


def waits_for_caller(approval: Approval, caller: Caller) -> bool:
    """Return whether a request waits for one of a user's own functions."""
    return approval.state is ApprovalState.PENDING and not {*approval.waits_for}.isdisjoint(caller.functions)


async def why_not_close(client: AsyncClient, finding: Finding, caller: Caller) -> str:
    """Return why a reviewer may not close a finding or lower its severity; empty if he may."""
    if finding.state is FindingState.CLOSED:
        return f"it was closed by {finding.closed_by}"
    if caller.name in {finding.owner, *finding.former_owners}:
        return "you own it, or did; another person must close it"
    return await why_not_review(client, finding.model, finding.version, caller)


async def why_not_review(client: AsyncClient, model: str, version: int, caller: Caller) -> str:
    """Return why a reviewer may not conclude about a version, or about a model with 0; empty if he may."""
    versions = (
        [await client.get_version(f"{model}/{version}")] if version else await first(client.list_versions(model), ROWS)
    )
    own = next((one.version for one in versions if caller.name in one.registrants), 0)
    return f"you registered version {own}; another person must" if own else ""
