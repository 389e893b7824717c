"""Predictions of the rows that a model can answer, where it fails for others."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from modelward.data import Columns
from modelward.errors import InvalidField, ModelFailed
from modelward.signature import ClassLabel
from modelward_server.sandbox.sandbox import Run

MAX_CALLS = 1_000
"""Maximum number of calls by which failing rows are found."""

Failure = ModelFailed | InvalidField
"""The model raised; or it does not take a value, such as a missing category."""
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
            InvalidField: it takes none of the rows, for example because a column is missing.
        """
        rows = len(next(iter(columns.values())))
        parts: dict[int, Run] = {}
        failed: dict[int, Failure] = {}
        await self._split(columns, 0, rows, parts, failed)
        if not parts:
            raise _of_every_row(failed[0])
        return _joined(parts, rows), {row: str(error) for row, error in failed.items()}

    async def _split(
        self, columns: Columns, begin: int, end: int, parts: dict[int, Run], failed: dict[int, Failure]
    ) -> None:
        self.calls += 1
        try:
            parts[begin], seconds = await self.predict({name: values[begin:end] for name, values in columns.items()})
            self.seconds += seconds
        except (ModelFailed, InvalidField) as error:
            if self.calls > MAX_CALLS:
                raise
            if end - begin == 1:
                failed[begin] = error
                return
            middle = (begin + end) // 2
            await self._split(columns, begin, middle, parts, failed)
            await self._split(columns, middle, end, parts, failed)


def _of_every_row(first: Failure) -> Failure:
    """Return the error of a table of which every row fails."""
    if isinstance(first, InvalidField):
        return first
    return ModelFailed(f"it fails for every row; for the first it {first}")


def _joined(parts: dict[int, Run], rows: int) -> Run:
    """Put parts at their places in a table of so many rows."""
    first = next(iter(parts.values()))
    classes = tuple(dict.fromkeys(chain.from_iterable(part.classes for part in parts.values())))
    predicted = np.full(rows, -1, first.predicted.dtype) if first.predicted.dtype.kind == "i" else np.full(rows, np.nan)
    probabilities = None if first.probabilities is None else np.full((rows, len(first.classes)), np.nan)
    for begin, part in parts.items():
        place = slice(begin, begin + len(part.predicted))
        predicted[place] = part.predicted if part.classes == classes else _moved(part, classes)
        if probabilities is not None and part.probabilities is not None:
            probabilities[place] = part.probabilities
    return replace(first, classes=classes, predicted=predicted, probabilities=probabilities)


def _moved(part: Run, classes: tuple[ClassLabel, ...]) -> NDArray[np.int64]:
    """Return the positions in `classes` of what a part predicts: some models name only the classes of these rows."""
    positions: NDArray[np.int64] = np.array([classes.index(label) for label in part.classes])[part.predicted]
    return positions
