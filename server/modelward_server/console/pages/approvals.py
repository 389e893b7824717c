"""Requests of approval: those that wait for somebody first."""

from collections.abc import Sequence
from dataclasses import dataclass

from starlette.requests import Request

from modelward import AsyncClient
from modelward.governance import Approval, ApprovalState
from modelward.lifecycle import EventKind
from modelward_server.console.pages.lists import ROWS, Part, first, part
from modelward_server.console.pages.parameters import choice_of, whole_number

TEMPLATE = "approvals"
FOLLOWS = frozenset({EventKind.APPROVAL})


@dataclass(frozen=True)
class View:
    """What the page shows."""

    given: dict[str, str]
    """The filter: `state`, `model`, `version` and `waits_for`; empty fields do not matter."""
    states: Sequence[str]
    pending: Sequence[Approval]
    """Those that wait, the newest first, above a list of all; empty with a filter of the state or the function."""
    more_pending: bool
    approvals: Part[Approval]
    """The newest first; without those above."""


async def fetch(client: AsyncClient, request: Request) -> View:
    """Fetch the requests that the query asks for.

    Raises:
        ModelNotFound: there is no such model.
        InvalidField: `state` is none of the states, or `page` not the token of a page.
    """
    query = request.query_params
    model, waits_for = query.get("model", "").strip(), query.get("waits_for", "").strip()
    state, version = choice_of(query, "state", ApprovalState), whole_number(request, "version")
    given = {"state": state or "", "model": model, "version": str(version or ""), "waits_for": waits_for}
    listed = client.list_approvals(model, version=version, state=state, waits_for=waits_for)
    page = await part(listed, request, given)
    if state or waits_for or page.further:
        return View(given, list(ApprovalState), (), False, page)
    pending = await first(client.list_approvals(model, version=version, state=ApprovalState.PENDING), ROWS)
    others = [one for one in page.items if one.state is not ApprovalState.PENDING]
    rest = Part(others, page.further, page.query, page.next_page)
    return View(given, list(ApprovalState), pending, len(pending) == ROWS, rest)
