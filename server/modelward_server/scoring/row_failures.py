"""Predictions of the rows that a model can answer, where it fails for others."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

import numpy as np

from modelward.data import Columns
from modelward.errors import ModelFailed
from modelward_server.sandbox.sandbox import Run

MAX_CALLS = 1_000
"""Maximum number of calls by which failing rows are found."""

Predict = Callable[[Columns], Awaitable[tuple[Run, float]]]


@dataclass
class RowFailures:
    """Finds the rows for which a model fails, by halving the table until each of them is alone.

    Args:
        predict: lets the model predict a table.
    """

    predict: Predict
    seconds: float = 0.0
    """The time in which the model predicted."""
    calls: int = 0

    async def run(self, columns: Columns) -> tuple[Run, dict[int, str]]:
        """Return the predictions of all rows, NaN where the model fails, and why it fails for which row.

        Raises:
            ModelFailed: it fails for every row, or for too many to find each.
        """
        rows = len(next(iter(columns.values())))
        parts: dict[int, Run] = {}
        failed: dict[int, str] = {}
        await self._split(columns, 0, rows, parts, failed)
        if not parts:
            raise ModelFailed(f"it fails for every row; for the first it {next(iter(failed.values()))}")
        return _joined(parts, rows), failed

    async def _split(
        self, columns: Columns, begin: int, end: int, parts: dict[int, Run], failed: dict[int, str]
    ) -> None:
        self.calls += 1
        try:
            parts[begin], seconds = await self.predict({name: values[begin:end] for name, values in columns.items()})
            self.seconds += seconds
        except ModelFailed as error:
            if self.calls > MAX_CALLS:
                raise
            if end - begin == 1:
                failed[begin] = str(error)
                return
            middle = (begin + end) // 2
            await self._split(columns, begin, middle, parts, failed)
            await self._split(columns, middle, end, parts, failed)


def _joined(parts: dict[int, Run], rows: int) -> Run:
    """Put parts at their places in a table of so many rows."""
    first = next(iter(parts.values()))
    predicted = np.full(rows, -1, first.predicted.dtype) if first.predicted.dtype.kind == "i" else np.full(rows, np.nan)
    probabilities = None if first.probabilities is None else np.full((rows, len(first.classes)), np.nan)
    for begin, part in parts.items():
        place = slice(begin, begin + len(part.predicted))
        predicted[place] = part.predicted
        if probabilities is not None and part.probabilities is not None:
            probabilities[place] = part.probabilities
    return replace(first, predicted=predicted, probabilities=probabilities)
