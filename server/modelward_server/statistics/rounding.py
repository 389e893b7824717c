"""Comparison of numbers up to rounding errors: the only place that decides whether numbers vary or differ.

Numbers count as equal if they differ by at most `TOLERANCE` times the largest of the numbers from which they were
computed. The decision therefore does not depend on the unit, and no test finds a difference between numbers that
arithmetic alone made unequal. Doubles carry 16 digits; the tolerance leaves four of them for preceding arithmetic.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Reals = NDArray[np.floating[Any]]

TOLERANCE = 1e-12
SNAP_TOLERANCE = 2.0**-46
"""Maximum relative distance of two recurring values that count as one: some last digits of a double. It is smaller than
`TOLERANCE`, so that counters and times, which are large and differ by little, remain distinct."""
MAX_VALUES_AT_ONCE = 1 << 20
"""Maximum number of values compared at a time, so that tables of many versions take little memory."""


def size_of(*samples: ArrayLike) -> float:
    """Return the largest magnitude of the numbers in `samples`, ignoring NaN and infinities; 0 if there is none."""
    return max((_size(np.asarray(sample, np.float64)) for sample in samples), default=0.0)


def _size(values: Floats) -> float:
    return float(np.abs(values).max(where=np.isfinite(values), initial=0.0))


def unit_of(*samples: ArrayLike) -> float:
    """Return the power of two by which the numbers can be divided, without loss, to be below 2 in magnitude.

    In that unit no square overflows or vanishes. NaN and infinities are ignored; for zeros the unit is 1.
    """
    size = size_of(*samples)
    return float(np.ldexp(1.0, np.frexp(size)[1] - 1)) if size > 0 else 1.0


def varies(values: ArrayLike, size: float | None = None) -> bool:
    """Return whether numbers differ from each other by more than rounding errors.

    Args:
        values: finite numbers, any shape; fewer than two do not vary.
        size: the largest magnitude of the numbers from which they were computed; their own if it is omitted.
    """
    numbers = np.asarray(values, np.float64)
    if numbers.size < 2:
        return False
    size = size_of(numbers) if size is None else size
    return bool(numbers.max() / 2 - numbers.min() / 2 > TOLERANCE / 2 * size)  # Halved to avoid an overflow.


def differs(value: float, other: float, size: float | None = None) -> bool:
    """Return whether two finite numbers differ by more than rounding errors; `size` as in `varies`."""
    return varies([value, other], size)


def zero_rounding_errors(differences: ArrayLike, size: float) -> Floats:
    """Return differences with those set to 0 that are explained by rounding errors alone.

    Args:
        differences: any shape; NaN stays NaN.
        size: the largest magnitude of the numbers that were subtracted.
    """
    numbers = np.asarray(differences, np.float64)
    return np.where(np.abs(numbers) <= TOLERANCE * size, 0.0, numbers)


def equalize(values: Floats, size: float | None = None) -> Floats:
    """Return values with those of the same column made equal that differ only by rounding errors.

    Args:
        values: finite, shape (series, columns).
        size: the largest magnitude of the numbers from which they were computed; values within its rounding error
            become 0. If it is omitted, each value's own magnitude is used, so that small values remain distinct.
    """
    step = max(1, MAX_VALUES_AT_ONCE // max(len(values), 1))
    parts = [_equalize(values[:, start : start + step], size) for start in range(0, values.shape[1], step)]
    return np.hstack(parts) if parts else values


def equalize_sizes(values: Floats, *samples: ArrayLike) -> Floats:
    """Return values, shape (series, columns), made equal as by `equalize`, also those of opposite sign in their size.

    Args:
        samples: the numbers from which they were computed.
    """
    return np.copysign(equalize(np.abs(values), size_of(*samples)), values)


def equalize_ties(values: Floats) -> Floats:
    """Return values, shape (rows,), with those made equal that differ only by rounding errors, so that ranks tie."""
    return _equalize(values[:, None], None)[:, 0]


def merge_near_duplicates(ascending: Reals) -> Reals:
    """Replace each value that differs from its predecessor only by rounding errors by the first of such a run.

    Args:
        ascending: distinct values, ascending, without NaN, shape (k,); infinities are not changed.
    """
    with np.errstate(invalid="ignore"):
        begins = ~(np.diff(ascending, prepend=np.nan) <= SNAP_TOLERANCE * np.abs(ascending))
    begins |= np.isinf(ascending)
    return ascending[np.maximum.accumulate(np.where(begins, np.arange(len(ascending)), 0))]


def snap_to(values: Reals, known: Reals) -> Reals:
    """Replace each value that differs from a known value only by rounding errors by that known value.

    Args:
        values: in any order, shape (n,); NaN stays NaN.
        known: at least one distinct value, ascending, shape (k,). The tolerance around 0 is that of the smallest other
            magnitude.
    """
    least = np.abs(known).min(where=known != 0, initial=np.inf)
    size = np.where(known == 0, 0.0 if np.isinf(least) else least, np.abs(known))
    position = np.searchsorted(known, values).clip(0, len(known) - 1)
    for nearest in (position, np.maximum(position - 1, 0)):
        with np.errstate(invalid="ignore", over="ignore"):
            near = np.abs(values - known[nearest]) <= SNAP_TOLERANCE * size[nearest]
        values = np.where(near & np.isfinite(known[nearest]), known[nearest], values)
    return values


def _equalize(values: Floats, size: float | None) -> Floats:
    values = values if size is None else zero_rounding_errors(values, size)
    order = np.argsort(values, axis=0, kind="stable")
    ascending = np.take_along_axis(values, order, axis=0)
    limit = TOLERANCE * (np.abs(ascending) if size is None else size)
    begins = np.diff(ascending, axis=0, prepend=-np.inf) > limit
    first = np.maximum.accumulate(np.where(begins, np.arange(len(values))[:, None], 0), axis=0)
    equalized = np.empty_like(values)
    np.put_along_axis(equalized, order, np.take_along_axis(ascending, first, axis=0), axis=0)
    return equalized
