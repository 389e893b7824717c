"""One request of approval: what it asks, on which evidence, and who has decided what."""

from collections.abc import Mapping
from dataclasses import dataclass

from starlette.requests import Request

from modelward import AsyncClient
from modelward.governance import Approval
from modelward.lifecycle import EventKind, ModelVersion
from modelward_server.console.independence import may_withdraw, why_not_decide

TEMPLATE = "approval"
FOLLOWS = frozenset({EventKind.APPROVAL, EventKind.TRANSITION})


@dataclass(frozen=True)
class View:
    """What the page shows."""

    approval: Approval
    version: ModelVersion
    waiting: Mapping[str, str]
    """Each function that it waits for, with why the user may not decide for it; empty if he may."""
    may_withdraw: bool


async def fetch(client: AsyncClient, request: Request) -> View:
    """Fetch the page of the request in the address.

    Raises:
        ApprovalNotFound: there is no such request.
    """
    approval = await client.get_approval(request.path_params["approval"])
    version, caller = await client.get_version(approval.version), request.state.caller
    waiting = {name: why_not_decide(approval, name, caller, version.registrants) for name in approval.waits_for}
    return View(approval, version, waiting, may_withdraw(approval, caller))
