"""Reviews: which are due, with all reasons, and those that were recorded."""

from collections.abc import Sequence
from dataclasses import dataclass

from starlette.requests import Request

from modelward import AsyncClient
from modelward.lifecycle import EventKind
from modelward.reviews import DueReview, Review
from modelward_server.console.pages.lists import ROWS, Part, first, part
from modelward_server.console.pages.parameters import whole_number

TEMPLATE = "reviews"
FOLLOWS = frozenset({EventKind.TRANSITION, EventKind.DRIFT_ALARM, EventKind.PERFORMANCE_ALARM})


@dataclass(frozen=True)
class View:
    """What the page shows."""

    given: dict[str, str]
    """The filter: `model` and `version`; empty fields do not matter."""
    due: Sequence[DueReview]
    """By name; only on the first page."""
    more_due: bool
    reviews: Part[Review]
    """The newest first."""


async def fetch(client: AsyncClient, request: Request) -> View:
    """Fetch due and recorded reviews; `model` and `version` in the query restrict them.

    Raises:
        ModelNotFound: there is no such model.
        InvalidField: `page` is not the token of a page, or `version` not a number.
    """
    model, version = request.query_params.get("model", "").strip(), whole_number(request, "version")
    given = {"model": model, "version": str(version or "")}
    reviews = await part(client.list_reviews(model, version=version), request, given)
    due = () if reviews.further else await first(client.list_due_reviews(model), ROWS)
    return View(given, due, len(due) == ROWS, reviews)
