"""Where Prometheus scrapes: an HTTP endpoint in a thread of its own, which no call waits for."""

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector, start_http_server

from modelward_server.interceptors.grpc_metrics import CallMetrics


class Metrics:
    """The server's metrics and where they are scraped."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self.registry)
        self.calls = CallMetrics(self.registry)

    def serve(self, host: str, port: int) -> int:
        """Begin to answer scrapes at `/metrics`, and return the port.

        Raises:
            OSError: one cannot listen there.
        """
        self._server, self._thread = start_http_server(port, host, self.registry)
        return int(self._server.server_address[1])

    def close(self) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
