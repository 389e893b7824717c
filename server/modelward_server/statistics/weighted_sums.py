"""Estimators that are functions of weighted sums over the rows: one matrix product gives the sums of many of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np

from modelward_server.statistics.rounding import Floats

MAX_VALUES = 1 << 25
"""Maximum number of values of all columns that are summed by one product: 256 MiB."""


@dataclass(frozen=True)
class OfSums:
    """An estimator: a function of the weighted sums of columns.

    Attributes:
        columns: one value for each time, or without a panel each row, finite, shape (times, columns).
        combine: maps the sums of each draw, shape (draws, columns), to one value per draw, shape (draws,).
    """

    columns: Floats
    combine: Callable[[Floats], Floats]

    def __call__(self, weights: Floats) -> Floats:
        """Return one value per draw, shape (draws,), for weights of shape (draws, times)."""
        return self.combine(weights @ self.columns)


class SharedSums:
    """Computes several estimators from one matrix product, in which equal columns occur once.

    Models share columns, such as those that count the rows, and so do the metrics of one model.
    """

    def __init__(self, estimators: Sequence[OfSums]) -> None:
        places: dict[bytes, int] = {}
        distinct: list[Floats] = []
        self._combined: list[tuple[OfSums, list[int]]] = []
        for estimator in estimators:
            own = []
            for column in estimator.columns.T:
                place = places.setdefault(blake2b(column.tobytes()).digest(), len(distinct))
                distinct += [column] if place == len(distinct) else []
                own.append(place)
            self._combined.append((estimator, own))
        shared = 0 < sum(map(len, distinct)) <= MAX_VALUES
        self._columns = np.column_stack(distinct) if shared else None

    def values(self, weights: Floats) -> list[Floats]:
        """Return the values of each estimator, shape (draws,) each, for weights of shape (draws, times)."""
        if self._columns is None:
            return [estimator(weights) for estimator, _ in self._combined]
        sums = weights @ self._columns
        return [estimator.combine(sums[:, own]) for estimator, own in self._combined]
