"""What has changed, for open pages: one watch of the server for all pages of a credential."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from modelward import AsyncClient
from modelward.errors import ModelwardError
from modelward.lifecycle import EventKind, ModelEvent

Listener = Callable[[ModelEvent | None], None]
"""Is told of each change, and with None of the end."""


class Live:
    """The changes that one credential may see; the watch lasts as long as somebody listens.

    Args:
        client: has the credential.
        on_end: called when a watch ends on its own: with the credential, or the server refuses it.
    """

    def __init__(self, client: AsyncClient, on_end: Callable[[], None]) -> None:
        self._client = client
        self._on_end = on_end
        self._listeners: set[Listener] = set()
        self._watch: asyncio.Task[None] | None = None

    @contextmanager
    def telling(self, listener: Listener) -> Iterator[None]:
        """Tell a listener of every change, until the watch has ended or the context is left."""
        self._listeners.add(listener)
        self._watch = self._watch or asyncio.create_task(self._feed())
        try:
            yield
        finally:
            self._listeners.discard(listener)
            if not self._listeners and self._watch:
                self._watch.cancel()
                self._watch = None

    async def _feed(self) -> None:
        try:
            with suppress(ModelwardError):  # The credential has ended, or the server; the browser connects anew.
                async for event in self._client.watch(kinds=list(EventKind), changes_only=True):
                    for listener in list(self._listeners):
                        listener(event)
        finally:
            if self._watch is asyncio.current_task():
                self._end()

    def _end(self) -> None:
        """Tell all of the end; who listens from now on needs another watch."""
        self._watch = None
        self._on_end()
        listeners, self._listeners = self._listeners, set()
        for listener in listeners:
            listener(None)
