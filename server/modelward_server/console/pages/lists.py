"""Lists on pages: their beginnings only."""

from collections.abc import AsyncIterable
from typing import TypeVar

Item = TypeVar("Item")
ROWS = 50
"""The most rows of a list on a page."""


async def first(items: AsyncIterable[Item], count: int) -> tuple[Item, ...]:
    """Return the first items of a list, whose further pages are not requested."""
    found: list[Item] = []
    async for item in items:
        found.append(item)
        if len(found) == count:
            break
    return tuple(found)
