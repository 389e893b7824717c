"""Runs the console over HTTP."""

import asyncio
import socket
from collections.abc import Mapping
from typing import Any

import uvicorn
from starlette.applications import Starlette

from modelward import AsyncClient
from modelward_server.console.application import application
from modelward_server.console.guard import LOOPBACK

ACTOR = "console"
"""The actor of changes where the server requires no authentication."""
CALL_SECONDS = 20.0


def console_of(server: str, host: str, *, read_only: bool, credentials: Any = None) -> Starlette:
    """Return the console of a server.

    Args:
        server: its address.
        host: the address at which the console listens.
        read_only: whether it offers no changes.
        credentials: gRPC's, with which the console verifies the server; None for a connection without TLS.
    """

    def connect(token: str) -> AsyncClient:
        return AsyncClient(server, actor=ACTOR, token=token or None, timeout=CALL_SECONDS, credentials=credentials)

    return application(connect, loopback=host in LOOPBACK, read_only=read_only)


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()


class Console:
    """A console that serves until it is stopped.

    Args:
        app: the application.
        host: the address at which it listens.
        port: its port; 0 for any.
        tls: `ssl_certfile` and `ssl_keyfile`, where it serves TLS.
    """

    def __init__(self, app: Starlette, host: str, port: int, tls: Mapping[str, Any]) -> None:
        config = uvicorn.Config(
            app, host, port, log_config=None, access_log=False, server_header=False, lifespan="on", ws="none", **tls
        )
        self._server = _Server(config)

    async def serve(self) -> None:
        """Serve until SIGTERM or SIGINT, or until `stop`."""
        await self._server.serve()

    async def started(self) -> int:
        """Wait until it serves, and return its port."""
        await self._server.ready.wait()
        return int(self._server.servers[0].sockets[0].getsockname()[1])

    def stop(self) -> None:
        """End it once the calls in progress have ended."""
        self._server.should_exit = True
