"""Runs the console over HTTP."""

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import uvicorn
from starlette.applications import Starlette

from modelward import AsyncClient
from modelward_server.console.application import application
from modelward_server.console.connections import Connection, TlsConnection
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


def tls_of(cert: str | None, key: str | None) -> ssl.SSLContext | None:
    """Return how the console serves TLS; None for plain HTTP.

    Args:
        cert: the file of its certificate; empty or None for plain HTTP.
        key: the file of the certificate's private key.

    Raises:
        OSError: a file cannot be read, or is not what it should be.
    """
    if not cert:
        return None
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(cert, key or cert)
    return tls


class _Embedded(uvicorn.Server):
    """Leaves the signals to the program that it is a part of."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Console:
    """A console that serves until it is stopped.

    Args:
        app: the application.
        host: the address at which it listens.
        port: its port; 0 for any.
        tls: its certificate and key; None for plain HTTP.
        embedded: whether another program handles the signals.

    Raises:
        OSError: the address cannot be used.
    """

    def __init__(self, app: Starlette, host: str, port: int, tls: ssl.SSLContext | None, *, embedded: bool) -> None:
        bare = host.strip("[]")
        self._socket = socket.create_server((bare, port), family=socket.AF_INET6 if ":" in bare else socket.AF_INET)
        self.port: int = self._socket.getsockname()[1]
        """The port at which it listens."""
        self._config = uvicorn.Config(
            app,
            http=partial(TlsConnection, tls) if tls else Connection,  # type: ignore[arg-type]
            log_config=None,
            access_log=False,
            server_header=False,
            ws="none",
            timeout_graceful_shutdown=1,
        )
        self._kind = _Embedded if embedded else uvicorn.Server
        self._server: uvicorn.Server | None = None

    async def serve(self) -> None:
        """Serve until SIGTERM or SIGINT, or until `stop`."""
        self._server = self._kind(self._config)
        await self._server.serve([self._socket])

    def stop(self) -> None:
        """End it once the calls in progress have ended."""
        if self._server:
            self._server.should_exit = True
