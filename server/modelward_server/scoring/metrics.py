"""Metrics of scoring: how long its parts take, the loaded models, and the records that were lost."""

from collections.abc import Iterable, Sequence
from typing import Any

from prometheus_client import Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from modelward_server.scoring.background_writer import BackgroundWriter
from modelward_server.scoring.pool import ModelPool

SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


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
        self._seconds = Histogram(
            "modelward_scoring_seconds",
            "How long the parts of scoring a table took.",
            ["part"],
            buckets=SECONDS,
            registry=None,
        )

    def predicted(self, model_seconds: float, all_seconds: float) -> None:
        """Note how long a model predicted, and how long its call took with waiting and transport."""
        self._seconds.labels("model").observe(model_seconds)
        self._seconds.labels("pool").observe(max(0.0, all_seconds - model_seconds))

    def collect(self) -> Iterable[Metric]:
        processes = GaugeMetricFamily(self.NAMES[0], "Processes that keep models loaded.")
        processes.add_metric([], self._pool.processes)
        memory = GaugeMetricFamily(self.NAMES[1], "Memory of these processes.")
        memory.add_metric([], self._pool.memory_bytes)
        lost = CounterMetricFamily(self.NAMES[2], "Records of scoring that were lost.", labels=["kind"])
        for writer in self._writers:
            lost.add_metric([writer.kind], writer.lost)
        return [processes, memory, lost, *self._seconds.collect()]
