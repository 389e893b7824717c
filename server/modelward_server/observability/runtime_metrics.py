"""Metrics of this server's executors and retention, collected at each scrape."""

from collections.abc import Iterable

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from modelward_server.runtime.executors import Executors
from modelward_server.storage.retention import Retention


class RuntimeMetrics(Collector):
    """Collects metrics of the executors and the retention at each scrape."""

    NAMES = ("modelward_executor_work", "modelward_retention_seconds", "modelward_retention_swept")
    """The names of all its metrics."""

    def __init__(self, executors: Executors, retention: Retention) -> None:
        self._executors = executors
        self._retention = retention

    def collect(self) -> Iterable[Metric]:
        work = GaugeMetricFamily(self.NAMES[0], "Pieces of work that run or wait for a thread.", labels=["threads"])
        for executor in self._executors.all:
            work.add_metric([executor.name], executor.outstanding)
        lifetimes = GaugeMetricFamily(self.NAMES[1], "How long it is kept.", labels=["kind"])
        swept = CounterMetricFamily(self.NAMES[2], "How many were removed.", labels=["kind"])
        for kind, lifetime in self._retention.lifetimes.items():
            lifetimes.add_metric([kind], lifetime.total_seconds())
            swept.add_metric([kind], self._retention.swept[kind])
        return [work, lifetimes, swept]
