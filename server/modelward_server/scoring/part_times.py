"""How long the parts of a prediction take."""

from prometheus_client import Histogram

SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class PartTimes:
    """Notes the times of the parts of each prediction, for metrics."""

    def __init__(self) -> None:
        self.histogram = Histogram(
            "modelward_scoring_seconds",
            "How long the parts of a prediction took.",
            ["part"],
            buckets=SECONDS,
            registry=None,
        )
        parts = "queue", "transport", "model"
        self._queue, self._transport, self._model = (self.histogram.labels(part) for part in parts)

    def predicted(self, queue: float, process: float, model: float) -> None:
        """Note a prediction.

        Args:
            queue: the seconds that it waited for a process, which may have been started for it.
            process: the seconds from the request to the process until its answer.
            model: those of them in which the model predicted.
        """
        self._queue.observe(queue)
        self._transport.observe(max(0.0, process - model))
        self._model.observe(model)
