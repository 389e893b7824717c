"""One finding, and its history."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from starlette.requests import Request

from modelward import AsyncClient
from modelward.findings import Finding
from modelward.lifecycle import EventKind
from modelward_server.console.independence import why_not_close
from modelward_server.console.pages import audit
from modelward_server.console.pages.audit import Change, Filter

TEMPLATE = "finding"
FOLLOWS = frozenset({EventKind.FINDING})
KIND = "finding"
"""The kind of its records in the audit log."""
TOLD = ("severity", "owner", "due", "remedy")
"""What can change while it is open."""
SECOND = timedelta(seconds=1)


@dataclass(frozen=True)
class Step:
    """A change of the finding."""

    at: datetime
    actor: str
    words: str


@dataclass(frozen=True)
class View:
    """What the page shows."""

    finding: Finding
    history: Sequence[Step]
    """The oldest first; empty where the user may not read the audit log."""
    whole_history: bool
    """Whether it begins with the opening."""
    not_closing: str
    """Why the user, if he is a reviewer, may not close it; empty if he may."""


async def fetch(client: AsyncClient, request: Request) -> View:
    """Fetch the page of the finding in the address.

    Raises:
        FindingNotFound: there is no such finding.
    """
    finding = await client.get_finding(request.path_params["finding"])
    states = await _records(client, finding) if await audit.may_read_log(client) else []
    whole = bool(states) and states[0].happened_at <= finding.opened_at + SECOND
    closing = await why_not_close(client, finding, request.state.caller)
    return View(finding, list(_steps(states)), whole, closing)


async def _records(client: AsyncClient, finding: Finding) -> list[Change]:
    """Return its records in the audit log, the oldest first; of very many, or very old ones, the newest."""
    own = Filter(finding.model, "", KIND, finding.opened_at, None, subject=finding.finding_id)
    found, *_ = await audit.records(client, own, 0)
    return found[::-1]


def _steps(changes: Sequence[Change]) -> Iterator[Step]:
    before: Mapping[str, Any] = {}
    for change in changes:
        after = json.loads(change.state)
        yield Step(change.happened_at, change.actor, "; ".join(_words(before, after)))
        before = after


def _words(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    if after.get("closed_by"):
        yield "closed"
    elif not before:
        yield "opened"
    for name in TOLD:
        old, new = before.get(name), after.get(name)
        if (new or old) and new != old:
            yield f"{name}: {new or 'none'}, before: {old}" if old else f"{name}: {new}"
