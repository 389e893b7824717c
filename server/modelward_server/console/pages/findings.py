"""Findings: what is wrong with models, who remedies it, and until when."""

from collections.abc import Sequence
from dataclasses import dataclass

from starlette.requests import Request

from modelward import AsyncClient
from modelward.findings import Finding, FindingSeverity, FindingState
from modelward.lifecycle import EventKind
from modelward_server.console.pages.lists import Part, part
from modelward_server.console.pages.parameters import choice_of, whole_number

TEMPLATE = "findings"
FOLLOWS = frozenset({EventKind.FINDING})
ANY = "any"
"""The state in an address that stands for both; without a state, open findings are shown."""


@dataclass(frozen=True)
class View:
    """What the page shows."""

    given: dict[str, str]
    """The filter: `state`, `min_severity`, `owner`, `overdue`, `model` and `version`; empty fields do not matter."""
    states: Sequence[str]
    severities: Sequence[str]
    findings: Part[Finding]
    """The newest first."""


async def fetch(client: AsyncClient, request: Request) -> View:
    """Fetch the findings that the query asks for; open ones if it names no state.

    Raises:
        ModelNotFound: there is no such model.
        InvalidField: a field is none of its words, or `page` not the token of a page.
    """
    query = request.query_params
    both = query.get("state") == ANY
    state = None if both else choice_of(query, "state", FindingState) or FindingState.OPEN
    severity, version = choice_of(query, "min_severity", FindingSeverity), whole_number(request, "version")
    model, owner = query.get("model", "").strip(), query.get("owner", "").strip()
    overdue = bool(query.get("overdue"))
    given = {
        "state": state or ANY,
        "min_severity": severity or "",
        "owner": owner,
        "model": model,
        "version": str(version or ""),
        "overdue": "on" if overdue else "",
    }
    listed = client.list_findings(
        model, version=version, min_severity=severity, state=state, overdue=overdue, owner=owner
    )
    return View(given, [*FindingState, ANY], list(FindingSeverity), await part(listed, request, given))
