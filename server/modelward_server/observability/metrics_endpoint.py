"""The HTTP endpoint that Prometheus scrapes, in a thread of its own."""

import socket
from contextlib import suppress
from threading import BoundedSemaphore, Thread, Timer
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.exposition import ThreadingWSGIServer, make_wsgi_app

MAX_CONNECTIONS = 32
"""Each has a thread; a connection beyond them is closed."""
CONNECTION_SECONDS = 30.0
"""Maximum time of a connection, which serves one scrape."""


class MetricsEndpoint:
    """The server's metrics and the endpoint that serves them."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self.registry)

    def serve(self, host: str, port: int) -> int:
        """Start to serve scrapes at `/metrics`, and return the port.

        Raises:
            OSError: the address cannot be used.
        """
        passive = socket.AI_PASSIVE
        family, *_, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=passive)[0]
        kind: type[_Server] = type("_Endpoint", (_Server,), {"address_family": family})
        self._server = make_server(str(place[0]), port, make_wsgi_app(self.registry), kind, _Handler)
        self._thread = Thread(target=self._server.serve_forever, name="modelward metrics", daemon=True)
        self._thread.start()
        return int(self._server.server_address[1])

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(WSGIRequestHandler):
    """Answers one scrape, and logs nothing."""

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its base class calls it so
        pass


class _Server(ThreadingWSGIServer):
    """Serves so many connections at once, and each for so long, whoever they are from."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._places = BoundedSemaphore(MAX_CONNECTIONS)

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._places.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        end = Timer(CONNECTION_SECONDS, _end, [request])
        end.daemon = True
        end.start()
        try:
            super().process_request_thread(request, client_address)
        finally:
            end.cancel()
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that has gone; its base class would print a traceback."""


def _end(request: socket.socket) -> None:
    with suppress(OSError):
        request.shutdown(socket.SHUT_RDWR)
