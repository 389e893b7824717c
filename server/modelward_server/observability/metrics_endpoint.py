"""The HTTP endpoint that Prometheus scrapes, in a thread of its own."""

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector, start_http_server


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
        self._server, self._thread = start_http_server(port, host, self.registry)
        return int(self._server.server_address[1])

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
