"""Metrics of the background tasks, collected at each scrape."""

from collections.abc import Iterable

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from modelward_server.runtime.background import Background, TaskState


class BackgroundMetrics(Collector):
    """Collects the states of the background tasks at each scrape."""

    NAMES = (
        "modelward_background_task_up",
        "modelward_background_task_failures",
        "modelward_background_task_last_failure_timestamp_seconds",
    )
    """The names of all its metrics."""

    def __init__(self, background: Background) -> None:
        self._background = background

    def collect(self) -> Iterable[Metric]:
        up = GaugeMetricFamily(self.NAMES[0], "Whether the task does its work.", labels=["task"])
        failures = CounterMetricFamily(
            self.NAMES[1], "How often the task failed, stalled, or gave up one item of many.", labels=["task"]
        )
        last = GaugeMetricFamily(self.NAMES[2], "When it last did so, and by which error.", labels=["task", "error"])
        for status in list(self._background.statuses):
            up.add_metric([status.name], float(status.state is TaskState.RUNNING))
            failures.add_metric([status.name], status.failures)
            if status.error_type:
                last.add_metric([status.name, status.error_type], status.failed_at)
        return [up, failures, last]
