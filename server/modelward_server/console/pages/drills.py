"""Drills of halts: how long until every engine would have stopped."""

from dataclasses import dataclass

from starlette.requests import Request

from modelward import AsyncClient
from modelward.drills import Drill
from modelward.lifecycle import EventKind
from modelward_server.console.pages.lists import Part, part
from modelward_server.console.pages.parameters import instant

TEMPLATE = "drills"
FOLLOWS = frozenset({EventKind.DRILL})


@dataclass(frozen=True)
class View:
    """What the page shows."""

    given: dict[str, str]
    """The filter: `model`, `since` and `until`; empty fields do not matter."""
    drills: Part[Drill]
    """The newest first."""


async def fetch(client: AsyncClient, request: Request) -> View:
    """Fetch the drills that the query asks for.

    Raises:
        ModelNotFound: there is no such model.
        InvalidField: a time is not an instant, or `page` not the token of a page.
    """
    model = request.query_params.get("model", "").strip()
    since, until = instant(request, "since"), instant(request, "until")
    times = {"since": since.isoformat() if since else "", "until": until.isoformat() if until else ""}
    listed = client.list_drills(model, started_after=since, started_before=until)
    given = {"model": model, **times}
    return View(given, await part(listed, request, given))
