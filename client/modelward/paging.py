"""Lists of the server, which are fetched page by page.

Both classes keep one rule: an answer about the whole list, such as its length, is never given from a part of it.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Sequence
from typing import Any, Self, TypeVar, overload

from modelward._record import TableRecord, counted
from modelward.lifecycle import Page
from modelward.shared.json_values import to_json

Item = TypeVar("Item")
START = ""
"""The token of the first page."""


class _Fetched(TableRecord, Sequence[Item]):
    """The first items of a list, and the token of the page after them; the token is None when there is none."""

    _state: tuple[list[Item], str | None]

    @overload
    def __getitem__(self, index: int) -> Item: ...

    @overload
    def __getitem__(self, index: slice) -> list[Item]: ...

    def __getitem__(self, index: int | slice) -> Item | list[Item]:
        """Return one item, or those of a slice; a `Pager` requests the pages up to there first.

        Args:
            index: the position from 0, or from the end when negative; or a slice.

        Returns:
            The item, or a list of items for a slice.

        Raises:
            IndexError: the list has no such item.
            RuntimeError: an `AsyncPager` has not been awaited.
        """
        return self._first(_reach(index))[index]

    def __len__(self) -> int:
        return len(self._first(math.inf))

    def _first(self, count: float) -> list[Item]:
        """Return at least the first items, up to a number, or all that there are."""
        raise NotImplementedError

    def _rows(self) -> Sequence[Item]:
        return self._first(math.inf)

    def _keep(self, first: list[Item], pages: list[Page[Item]]) -> None:
        """Keep pages that follow the first items; items and token change together, so that none is kept twice."""
        self._state = [*first, *(item for page in pages for item in page.items)], pages[-1].next_page_token or None

    def _describe(self) -> str:
        items, token = self._state
        if token == START:
            return "not fetched yet"
        return f"{counted(len(items), 'item')}{' so far' if token else ''}"

    def _repr_html_(self) -> str:
        """Return a table of the first items for notebooks, in which all text is escaped."""
        from modelward._tables import to_html

        items, token = self._state
        return to_html(repr(self), items, more="more" if token else "")

    def to_dict(self) -> dict[str, Any]:
        """Return all items as JSON values.

        Returns:
            A dictionary with the key `items`: a list with the `to_dict()` of every item.
        """
        return {"items": to_json(list(self._rows()))}


class Pager(_Fetched[Item]):
    """A list of the server, as a sequence.

    Iterating requests pages as it reaches them, and keeps none of them. `pager[0]` and `pager[:10]` request as many
    pages as they need; `len(pager)`, `pager[-1]`, `to_dict()` and `to_pandas()` request all. What was requested is
    kept, so asking again costs nothing.

    Every method may raise the errors of the call that returned it.

    Args:
        pages: requests the pages from a token on, of a size, or of the client's for 0; the client passes it.
    """

    def __init__(self, pages: Callable[[str, int], Iterator[Page[Item]]]) -> None:
        self._pages = pages
        self._state = [], START

    def page(self, token: str = START, *, size: int = 50) -> Page[Item]:
        """Request one page, and no further one; it is not kept.

        Args:
            token: the `next_page_token` of the previous page; empty for the first one.
            size: the maximum number of items.

        Returns:
            The page, with the token of the next one.

        Raises:
            InvalidField: the token is not one of this list, or the size is too large.
        """
        return next(self._pages(token, size))

    def __iter__(self) -> Iterator[Item]:
        items, token = self._state
        yield from items
        if token is not None:
            for page in self._pages(token, 0):
                yield from page.items

    def __bool__(self) -> bool:
        return bool(self._first(1))

    def _first(self, count: float) -> list[Item]:
        items, token = self._state
        if token is not None and len(items) < count:
            self._keep(items, list(_enough(self._pages(token, 0), count - len(items))))
        return self._state[0]

    def _repr_html_(self) -> str:
        from modelward._tables import MAX_ROWS

        self._first(MAX_ROWS)
        return super()._repr_html_()


class AsyncPager(_Fetched[Item]):
    """A list of the server, as a sequence once it was awaited.

    `async for` requests pages as it reaches them, and keeps none of them. `await pager` requests all pages and returns
    the pager, which then has a length, an order, `to_dict()` and `to_pandas()`.

    Awaiting and iterating may raise the errors of the call that returned it.

    Args:
        pages: requests the pages from a token on, of a size, or of the client's for 0; the client passes it.
    """

    def __init__(self, pages: Callable[[str, int], AsyncIterator[Page[Item]]]) -> None:
        self._pages = pages
        self._state = [], START

    async def page(self, token: str = START, *, size: int = 50) -> Page[Item]:
        """Request one page, and no further one; it is not kept.

        Args:
            token: the `next_page_token` of the previous page; empty for the first one.
            size: the maximum number of items.

        Returns:
            The page, with the token of the next one.

        Raises:
            InvalidField: the token is not one of this list, or the size is too large.
        """
        return await anext(self._pages(token, size))

    def __await__(self) -> Generator[Any, None, Self]:
        return self._complete().__await__()

    async def __aiter__(self) -> AsyncIterator[Item]:
        items, token = self._state
        for item in items:
            yield item
        if token is not None:
            async for page in self._pages(token, 0):
                for item in page.items:
                    yield item

    def __iter__(self) -> Iterator[Item]:
        return iter(self._rows())

    async def _complete(self) -> Self:
        items, token = self._state
        if token is not None:
            self._keep(items, [page async for page in self._pages(token, 0)])
        return self

    def _first(self, count: float) -> list[Item]:
        items, token = self._state
        if token is not None:
            raise RuntimeError("the list is not fetched: `await` it first, or iterate with `async for`")
        return items


def _reach(index: int | slice) -> float:
    """Return how many of the first items an index needs."""
    if not isinstance(index, slice):
        return index + 1 if index >= 0 else math.inf
    ends = (index.start or 0, index.stop if index.stop is not None else -1)
    return max(ends) if min(ends) >= 0 and (index.step or 1) > 0 else math.inf


def _enough(pages: Iterator[Page[Item]], count: float) -> Iterator[Page[Item]]:
    """Yield pages until they have a number of items."""
    for page in pages:
        yield page
        count -= len(page.items)
        if count <= 0:
            return
