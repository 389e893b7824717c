"""The console's connections: so many at once, and none for long that neither asks for anything nor reads.

Uvicorn ends only connections that say nothing after an answer. The others would hold a file of the server each, of
which the calls and the ledger need some.
"""

import asyncio
import ssl
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_CONNECTIONS = 500
IDLE_SECONDS = 30.0
"""A connection that has made no progress for so long, seen at two looks, is ended."""
HANDSHAKE_SECONDS = 10.0
"""Maximum time of a TLS handshake."""
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


class TlsConnection(asyncio.Protocol):
    """The TLS handshake of one connection, which counts from its beginning and has a time of its own.

    Uvicorn would leave it to asyncio, which allows a minute for each of any number of handshakes.

    Args:
        tls: the certificate and key.
        server: uvicorn's arguments of a connection.
    """

    def __init__(self, tls: ssl.SSLContext, **server: Any) -> None:
        self._tls = tls
        self._connections = server["server_state"].connections
        self._inner = Connection(**server)
        self._received: list[bytes] = []

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport
        self._connections.add(self)
        if len(self._connections) > MAX_CONNECTIONS:
            transport.abort()
            return
        transport.pause_reading()  # `start_tls` reads what follows.
        self._handshake = asyncio.get_running_loop().create_task(self._begin(transport))

    async def _begin(self, transport: asyncio.Transport) -> None:
        begin = asyncio.get_running_loop().start_tls
        try:
            encrypted = await begin(
                transport, self, self._tls, server_side=True, ssl_handshake_timeout=HANDSHAKE_SECONDS
            )
        except OSError:  # Not TLS, not in time, or gone.
            transport.abort()
            return
        finally:
            self._connections.discard(self)
        if encrypted is not None and not encrypted.is_closing():
            self._pass_on(encrypted)

    def _pass_on(self, encrypted: asyncio.Transport) -> None:
        """Let uvicorn speak HTTP; what came with the end of the handshake was received here."""
        encrypted.set_protocol(self._inner)
        self._inner.connection_made(encrypted)
        for data in self._received:
            self._inner.data_received(data)

    def data_received(self, data: bytes) -> None:
        self._received.append(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)

    def shutdown(self) -> None:
        """End it; uvicorn calls this when it stops."""
        self._transport.abort()
