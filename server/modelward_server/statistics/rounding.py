"""Rounding is no difference: the one place where it is asked whether numbers vary, and whether they differ.

Numbers are taken as equal when they differ by at most `TOLERANCE` of the largest of the numbers that they were computed
from. So the question has the same answer in every unit, and no test finds a difference in what arithmetic leaves of
equal numbers. Doubles carry 16 digits; the tolerance leaves four of them to the arithmetic that came before.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Reals = NDArray[np.floating[Any]]

TOLERANCE = 1e-12
SAME = 2.0**-46
"""How far apart two values that recur may be, relative to their size, to be one: some last digits of a double. It is
less than `TOLERANCE`, so that counters and times, which are large and differ by little, stay apart."""
MOST_AT_ONCE = 1 << 20
"""How many values are compared at a time, so that tables of many versions take little memory."""


def size_of(*samples: ArrayLike) -> float:
    """Return the greatest magnitude of some numbers; NaN and infinities do not count, and of none it is 0."""
    return max((_size(np.asarray(sample, np.float64)) for sample in samples), default=0.0)


def _size(values: Floats) -> float:
    return float(np.abs(values).max(where=np.isfinite(values), initial=0.0))


def unit_of(*samples: ArrayLike) -> float:
    """Return the power of two by which numbers are divided, without loss, to lie below 2 in magnitude.

    In that unit no square overflows or vanishes. Of zeros it is 1.
    """
    size = size_of(*samples)
    return float(np.ldexp(1.0, np.frexp(size)[1] - 1)) if size > 0 else 1.0


def varies(values: ArrayLike, size: float | None = None) -> bool:
    """Say whether numbers differ from each other by more than rounding.

    Args:
        values: finite.
        size: the greatest magnitude of what they were computed from; their own when it is left out.
    """
    found = np.asarray(values, np.float64)
    if found.size < 2:
        return False
    size = size_of(found) if size is None else size
    return bool(found.max() / 2 - found.min() / 2 > TOLERANCE / 2 * size)  # Halves, or their difference overflows.


def differs(value: float, other: float, size: float | None = None) -> bool:
    """Say whether two numbers differ by more than rounding; `size` as in `varies`."""
    return varies([value, other], size)


def settled(differences: ArrayLike, size: float) -> Floats:
    """Return differences without those that rounding alone explains: they are 0.

    Args:
        size: the greatest magnitude of what was subtracted.
    """
    found = np.asarray(differences, np.float64)
    return np.where(np.abs(found) <= TOLERANCE * size, 0.0, found)


def alike(values: Floats, size: float | None = None) -> Floats:
    """Return values in which those of one column that differ by rounding alone are the same.

    Args:
        values: finite, shape (series, columns).
        size: the greatest magnitude of what they were computed from, next to which the smallest are 0. Left out: each
            value is judged by its own, so that what is small beside others stays apart.
    """
    step = max(1, MOST_AT_ONCE // max(len(values), 1))
    parts = [_alike(values[:, start : start + step], size) for start in range(0, values.shape[1], step)]
    return np.hstack(parts) if parts else values


def ties(values: Floats) -> Floats:
    """Return values in which neighbours that differ by rounding alone are the same, as ranks need it."""
    return _alike(values[:, None], None)[:, 0]


def leaders(ascending: Reals) -> Reals:
    """Return distinct ascending values in which those that differ from the one before by rounding alone are the first
    of them; infinities stay as they are."""
    with np.errstate(invalid="ignore"):
        begins = ~(np.diff(ascending, prepend=np.nan) <= SAME * np.abs(ascending))
    begins |= np.isinf(ascending)
    return ascending[np.maximum.accumulate(np.where(begins, np.arange(len(ascending)), 0))]


def snapped(values: Reals, known: Reals) -> Reals:
    """Return values in which those that differ from a known one by rounding alone are that one.

    Args:
        values: in any order; NaN stays NaN.
        known: distinct, ascending, at least one. What lies at 0 is judged by the least other magnitude.
    """
    least = np.abs(known).min(where=known != 0, initial=np.inf)
    size = np.where(known == 0, 0.0 if np.isinf(least) else least, np.abs(known))
    place = np.searchsorted(known, values).clip(0, len(known) - 1)
    for nearest in (place, np.maximum(place - 1, 0)):
        with np.errstate(invalid="ignore", over="ignore"):
            near = np.abs(values - known[nearest]) <= SAME * size[nearest]
        values = np.where(near & np.isfinite(known[nearest]), known[nearest], values)
    return values


def _alike(values: Floats, size: float | None) -> Floats:
    values = values if size is None else settled(values, size)
    order = np.argsort(values, axis=0, kind="stable")
    ascending = np.take_along_axis(values, order, axis=0)
    limit = TOLERANCE * (np.abs(ascending) if size is None else size)
    begins = np.diff(ascending, axis=0, prepend=-np.inf) > limit
    first = np.maximum.accumulate(np.where(begins, np.arange(len(values))[:, None], 0), axis=0)
    same = np.empty_like(values)
    np.put_along_axis(same, order, np.take_along_axis(ascending, first, axis=0), axis=0)
    return same
