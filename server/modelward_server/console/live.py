"""Which models have changed, for open pages: one watch of the server feeds all pages of a session."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress

from modelward import AsyncClient
from modelward.errors import ModelwardError
from modelward.lifecycle import EventKind

TOGETHER_SECONDS = 0.25
"""Changes within so long are told together."""
MAX_WAITING = 1000
"""Of a page that takes nothing for so many changes, the oldest are left out."""
SILENCE_SECONDS = 20.0
"""After so long without a change a comment is sent, so that the connection of a browser that is gone ends."""


class Live:
    """The changes that one session's client sees; the watch lasts as long as somebody looks.

    Args:
        client: the session's.
    """

    def __init__(self, client: AsyncClient) -> None:
        self._client = client
        self._pages: set[asyncio.Queue[str | None]] = set()
        self._watch: asyncio.Task[None] | None = None

    async def changes(self) -> AsyncIterator[list[str]]:
        """Yield the names of models that have changed; an empty list after a silence. It ends with the session."""
        queue: asyncio.Queue[str | None] = asyncio.Queue(MAX_WAITING)
        self._pages.add(queue)
        if self._watch is None or self._watch.done():  # One that ended has told the pages of its time.
            self._watch = asyncio.create_task(self._feed())
        try:
            while (names := await _next(queue)) is not None:
                yield names
        finally:
            self._pages.discard(queue)
            if not self._pages and self._watch:
                self._watch.cancel()
                self._watch = None

    async def _feed(self) -> None:
        try:
            with suppress(ModelwardError):  # The credential has ended, or the server; the browser connects anew.
                async for event in self._client.watch():
                    if event.kind is not EventKind.STATE:  # The page shows how things were when it was loaded.
                        self._tell(event.model)
        finally:
            self._tell(None)

    def _tell(self, name: str | None) -> None:
        for queue in self._pages:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(name)


async def _next(queue: "asyncio.Queue[str | None]") -> list[str] | None:
    """Return the names that come within a moment of the first; None at the end."""
    try:
        names = [await asyncio.wait_for(queue.get(), SILENCE_SECONDS)]
    except TimeoutError:
        return []
    await asyncio.sleep(TOGETHER_SECONDS)
    while not queue.empty():
        names.append(queue.get_nowait())
    return None if None in names else sorted({name for name in names if name})


async def events(live: Live) -> AsyncIterator[bytes]:
    """Yield the changes as server-sent events.

    Args:
        live: of the session whose page is open.
    """
    yield b": connected\n\n"
    async for names in live.changes():
        yield f"data: {json.dumps(names)}\n\n".encode() if names else b": still here\n\n"
