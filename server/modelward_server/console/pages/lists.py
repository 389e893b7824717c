"""Lists on pages: their beginnings, or one page of them after the other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from starlette.requests import Request

from modelward import AsyncPager
from modelward_server.console.pages.parameters import query_of

Item = TypeVar("Item")
ROWS = 50
"""The most rows of a list on a page."""


@dataclass(frozen=True)
class Part(Generic[Item]):
    """A page of a list."""

    items: Sequence[Item]
    further: bool
    """Whether this is not the first page."""
    query: str
    """The query of the first page's address; may be empty."""
    next_page: str
    """The query of the next page's; empty if there is none."""


async def first(items: AsyncPager[Item], count: int) -> tuple[Item, ...]:
    """Return the first items of a list; no others are requested of the server."""
    return (await items.page(size=count)).items


async def part(items: AsyncPager[Item], request: Request, given: Mapping[str, str]) -> Part[Item]:
    """Return the page of a list that the query asks for by `page`.

    Args:
        items: the list.
        request: the request.
        given: the filter of the list, as in its query.

    Raises:
        InvalidField: `page` is not the token of a page of this list.
    """
    token = request.query_params.get("page", "")
    page = await items.page(token, size=ROWS)
    following = query_of({**given, "page": page.next_page_token}) if page.next_page_token else ""
    return Part(page.items, bool(token), query_of(given), following)
