"""Lists on pages: their beginnings only."""

from typing import TypeVar

from modelward import AsyncPager

Item = TypeVar("Item")
ROWS = 50
"""The most rows of a list on a page."""


async def first(items: AsyncPager[Item], count: int) -> tuple[Item, ...]:
    """Return the first items of a list; no others are requested of the server."""
    return (await items.page(size=count)).items
