"""The console's connections: so many at once, and none for long that neither asks for anything nor reads.

Uvicorn ends only connections that say nothing after an answer. The others would hold a file of the server each, of
which the calls and the ledger need some.
"""

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_CONNECTIONS = 500
IDLE_SECONDS = 30.0
"""A connection that has made no progress for so long, seen at two looks, is ended."""
Progress = tuple[object, int]
"""The last request, and how many bytes of answers its client has not read."""


class Connection(H11Protocol):
    """One connection, over which uvicorn speaks HTTP/1.1."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._timer = self.loop.call_later(IDLE_SECONDS, self._look, (None, 0))
        if len(self.connections) > MAX_CONNECTIONS:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()
        super().connection_lost(exc)

    def _look(self, before: Progress) -> None:
        """End it if it still waits for the same request to arrive, or for the same bytes to be read."""
        now: Progress = self.cycle, self.transport.get_write_buffer_size()
        waits_for_client = self.cycle is None or self.cycle.response_complete or now[1] > 0
        if waits_for_client and now == before:
            self.transport.abort()
        else:
            self._timer = self.loop.call_later(IDLE_SECONDS, self._look, now)
