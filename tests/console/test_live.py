"""Which models have changed, for open pages: the watch begins again for whoever looks after it has ended."""

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

from modelward.errors import NotAuthenticated
from modelward.lifecycle import EventKind
from modelward_server.console.live import Live


class Ending:
    """A client whose first watch ends with its credential, and whose second one tells of a change."""

    def __init__(self) -> None:
        self.watches = 0
        self.ended = asyncio.Event()

    async def watch(self) -> AsyncIterator[Any]:
        self.watches += 1
        if self.watches == 1:
            self.ended.set()
            raise NotAuthenticated("the token has expired")
        yield SimpleNamespace(kind=EventKind.HALTED, model="spx")
        await asyncio.Event().wait()


async def test_a_page_that_opens_after_a_watch_has_ended_is_told_of_changes() -> None:
    client: Any = Ending()
    live = Live(client)
    first = live.changes()
    assert [names async for names in first] == []
    waiting = live.changes()
    assert await anext(waiting) == ["spx"]
    await waiting.aclose()  # type: ignore[attr-defined]


async def test_a_page_that_opens_while_another_is_still_told_of_the_end_is_told_of_changes() -> None:
    client: Any = Ending()
    live = Live(client)
    slow = live.changes()
    ending = asyncio.ensure_future(anext(slow, None))
    await client.ended.wait()
    await asyncio.sleep(0)  # The watch has ended; the page has not taken that yet.
    second = live.changes()
    assert await anext(second) == ["spx"]
    ending.cancel()
    await second.aclose()  # type: ignore[attr-defined]
