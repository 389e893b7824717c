"""Metrics of scoring: how long its parts take, the loaded models, and the records that were lost."""

from collections.abc import Iterable, Sequence
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from modelward_server.scoring.background_writer import BackgroundWriter
from modelward_server.scoring.pool import ModelPool


class ScoringMetrics(Collector):
    """Collects metrics of the pool of models and of the background writers at each scrape.

    Args:
        pool: the loaded models.
        writers: what writes the records of calls.
    """

    NAMES = ("modelward_scoring_processes", "modelward_scoring_memory_bytes", "modelward_scoring_records_lost")
    """The names of what is collected at each scrape."""

    def __init__(self, pool: ModelPool, writers: Sequence[BackgroundWriter[Any]]) -> None:
        self._pool = pool
        self._writers = writers

    def collect(self) -> Iterable[Metric]:
        processes = GaugeMetricFamily(self.NAMES[0], "Processes that keep models loaded.")
        processes.add_metric([], self._pool.processes)
        memory = GaugeMetricFamily(self.NAMES[1], "Memory of these processes.")
        memory.add_metric([], self._pool.memory_bytes)
        lost = CounterMetricFamily(self.NAMES[2], "Records of scoring that were lost.", labels=["kind"])
        for writer in self._writers:
            lost.add_metric([writer.kind], writer.lost)
        return [processes, memory, lost, *self._pool.times.histogram.collect()]
