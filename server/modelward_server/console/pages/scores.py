"""The log of scores: which version answered which call, for whom."""

from dataclasses import dataclass

from starlette.requests import Request

from modelward import AsyncClient
from modelward.scoring import ScoreRecord
from modelward_server.console.pages.lists import Part, part
from modelward_server.console.pages.parameters import instant, whole_number

TEMPLATE = "scores"


@dataclass(frozen=True)
class View:
    """What the page shows."""

    given: dict[str, str]
    """The filter: `model`, `version`, `request`, `actor`, `since` and `until`; empty fields do not matter."""
    scores: Part[ScoreRecord]
    """The newest first."""


async def fetch(client: AsyncClient, request: Request) -> View:
    """Fetch the records that the query asks for.

    Raises:
        ModelNotFound, VersionNotFound: it does not exist.
        InvalidField: a time is not an instant, or `page` not the token of a page.
    """
    query = request.query_params
    model, call, actor = (query.get(name, "").strip() for name in ("model", "request", "actor"))
    version = whole_number(request, "version")
    since, until = instant(request, "since"), instant(request, "until")
    given = {
        "model": model,
        "version": str(version or ""),
        "request": call,
        "actor": actor,
        "since": since.isoformat() if since else "",
        "until": until.isoformat() if until else "",
    }
    listed = client.list_scores(
        model, version=version, request_id=call, actor=actor, scored_after=since, scored_before=until
    )
    return View(given, await part(listed, request, given))
