"""Splits for trainers: purged k-fold, combinatorial purged, and walk-forward, for single series and for panels.

Each is a splitter of scikit-learn's protocol, as in `cross_val_score(model, x, y, cv=PurgedKFold(), groups=day)`.
What is split are *times*, in their order: the rows of one time, such as the symbols of one day, always stay together.
The time of each row is given as `groups`, in any order of rows: numbers, `datetime64`, dates, or text whose order is
that of time. Without `groups`, each row is a time of its own, and rows are in the order of time.

A label that looks ahead overlaps those of its neighbours. So as many times as a label looks ahead are purged from the
training rows on both sides of each test block, and an embargo leaves out more times after it, for features that look
back. Source: Lopez de Prado, Advances in Financial Machine Learning (2018), chapters 7 and 12.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from itertools import combinations
from math import comb
from typing import Any

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]
Mask = NDArray[np.bool_]
"""Which times are taken, shape (times,)."""
Block = slice
"""Consecutive times."""
OPTIONAL = frozenset({"test_times", "max_train_times"})
"""The arguments that may be None."""
MISSING = frozenset({"None", "NaT", "nan", "<NA>"})
"""How missing values among objects are printed."""


class TimeSplitter(ABC):
    """What the splitters share: the protocol of scikit-learn, over times."""

    def split(self, X: Any, y: Any = None, groups: Any = None) -> Iterator[tuple[Indices, Indices]]:  # noqa: N803
        """Yield the training rows and the test rows of each split, as scikit-learn asks for them.

        Args:
            X: of which only the number of rows is used.
            y: not used.
            groups: the time of each row, shape (rows,); without it each row is a time of its own.

        Yields:
            Two arrays of int64, ascending: the places of the training rows and of the test rows.

        Raises:
            ValueError: a time is missing, there are too few times, or a split has no training row left.
        """
        times, count = number_times(X, groups)
        for number, (train, test) in enumerate(self._split_times(count)):
            if not train.any():
                raise ValueError(f"split {number} has no training row left: {self} of {count:,} times")
            yield np.flatnonzero(train[times]), np.flatnonzero(test[times])

    @abstractmethod
    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:  # noqa: N803
        """Return the number of splits, as scikit-learn asks for it.

        Args:
            X: not used.
            y: not used.
            groups: not used.
        """

    @abstractmethod
    def _split_times(self, count: int) -> Iterator[tuple[Mask, Mask]]:
        """Yield the times of each training and of each test."""


@dataclass(frozen=True)
class PurgedKFold(TimeSplitter):
    """Split times into consecutive blocks; each is tested once, after training on the rest that does not overlap it.

    Args:
        n_splits: the number of blocks, at least 2.
        purge: how many times are left out on both sides of the test block: as many as a label looks ahead.
        embargo: how many more times are left out after it.

    Raises:
        ValueError: an argument is out of range, or no whole number.
    """

    n_splits: int = 5
    _: KW_ONLY
    purge: int = 0
    embargo: int = 0

    def __post_init__(self) -> None:
        _require(n_splits=(self.n_splits, 2), purge=(self.purge, 0), embargo=(self.embargo, 0))

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:  # noqa: N803
        return self.n_splits

    def _split_times(self, count: int) -> Iterator[tuple[Mask, Mask]]:
        for block in _blocks(count, self.n_splits):
            yield _without_overlap([block], count, self.purge, self.embargo), _taken([block], count)


@dataclass(frozen=True)
class CombinatorialPurgedKFold(TimeSplitter):
    """Split times into consecutive blocks, and test each combination of some of them.

    Each block is tested several times, after different trainings. One test of each block makes a path, which is a
    whole backtest; so there is a distribution of results instead of one.

    Args:
        n_folds: the number of blocks, at least 3.
        n_test_folds: how many of them are tested together: at least 1, and fewer than there are.
        purge: how many times are left out on both sides of a test block: as many as a label looks ahead.
        embargo: how many more times are left out after it.

    Raises:
        ValueError: an argument is out of range, or no whole number.
    """

    n_folds: int = 10
    n_test_folds: int = 2
    _: KW_ONLY
    purge: int = 0
    embargo: int = 0

    def __post_init__(self) -> None:
        _require(n_folds=(self.n_folds, 3), n_test_folds=(self.n_test_folds, 1))
        _require(purge=(self.purge, 0), embargo=(self.embargo, 0))
        if self.n_test_folds >= self.n_folds:
            raise ValueError(f"n_test_folds is {self.n_test_folds}; test fewer than the {self.n_folds} folds")

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:  # noqa: N803
        return comb(self.n_folds, self.n_test_folds)

    @property
    def n_paths(self) -> int:
        """How often each block is tested, which is the number of paths."""
        return comb(self.n_folds - 1, self.n_test_folds - 1)

    def _split_times(self, count: int) -> Iterator[tuple[Mask, Mask]]:
        blocks = _blocks(count, self.n_folds)
        for tested in combinations(blocks, self.n_test_folds):
            yield _without_overlap(tested, count, self.purge, self.embargo), _taken(tested, count)

    def paths(self, predictions: Sequence[Any], groups: Any = None) -> NDArray[Any]:
        """Join the predictions of the splits into paths: the first tests of all blocks, then the second ones, and on.

        Args:
            predictions: of each split, in their order, those of its test rows in their order.
            groups: as `split` was given.

        Returns:
            Shape (paths, rows): the predictions of each path, in the order of the rows.

        Raises:
            ValueError: there are not as many predictions as tests.
        """
        rows = sum(len(one) for one in predictions) // self.n_paths
        tests = [test for _, test in self.split(range(rows), groups=groups)]
        if [len(one) for one in predictions] != [len(test) for test in tests]:
            raise ValueError(f"predictions are not those of the test rows of the {len(tests)} splits, in their order")
        joined = np.empty((self.n_paths, rows), np.result_type(*map(np.asarray, predictions)))
        tested = np.zeros(rows, np.int64)
        for test, one in zip(tests, predictions, strict=True):
            joined[tested[test], test] = one
            tested[test] += 1
        return joined


@dataclass(frozen=True)
class WalkForward(TimeSplitter):
    """Train on the past and test on what follows, again and again; the last test ends with the last time.

    Args:
        n_splits: the number of tests.
        test_times: the times of each test; as many as leave as many for the first training, if None.
        max_train_times: the most times of a training, its newest ones; all of the past, if None.
        purge: how many times are left out before the test: as many as a label looks ahead, and an embargo's.

    Raises:
        ValueError: an argument is out of range, or no whole number.
    """

    n_splits: int = 5
    _: KW_ONLY
    test_times: int | None = None
    max_train_times: int | None = None
    purge: int = 0

    def __post_init__(self) -> None:
        _require(n_splits=(self.n_splits, 1), purge=(self.purge, 0))
        _require(test_times=(self.test_times, 1), max_train_times=(self.max_train_times, 1))

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:  # noqa: N803
        return self.n_splits

    def _split_times(self, count: int) -> Iterator[tuple[Mask, Mask]]:
        size = self.test_times or count // (self.n_splits + 1)
        if size < 1 or count - self.n_splits * size < 1:
            raise ValueError(f"there are {count:,} times: too few for {self}")
        for start in range(count - self.n_splits * size, count, size):
            until = max(0, start - self.purge)
            begin = max(0, until - (self.max_train_times or until))
            yield _taken([slice(begin, until)], count), _taken([slice(start, start + size)], count)


def number_times(rows: Any, groups: Any) -> tuple[Indices, int]:
    """Number the times of rows in their order.

    Args:
        rows: of which only the number is used.
        groups: the time of each row, shape (rows,), or None.

    Returns:
        The number of the time of each row, from 0, and how many times there are.

    Raises:
        ValueError: `groups` has another length, or a time is missing.
    """
    count = rows.shape[0] if hasattr(rows, "shape") else len(rows)
    if groups is None:
        return np.arange(count), count
    given = np.asarray(groups)
    if given.shape != (count,):
        raise ValueError(f"groups has shape {given.shape}; give the time of each of the {count:,} rows")
    if _is_missing(given).any():
        raise ValueError(f"groups has no time for row {int(_is_missing(given).argmax())}")
    times, numbers = np.unique(given, return_inverse=True)
    return numbers.astype(np.int64), len(times)


def _is_missing(times: NDArray[Any]) -> NDArray[np.bool_]:
    if times.dtype.kind == "O":
        return np.array([str(time) in MISSING for time in times], bool)
    if times.dtype.kind in "fmM":
        return np.asarray(np.isnan(times) if times.dtype.kind == "f" else np.isnat(times))
    return np.zeros(len(times), bool)


def _require(**bounds: tuple[int | None, int]) -> None:
    for name, (value, least) in bounds.items():
        if value is None and name in OPTIONAL:
            continue
        if isinstance(value, bool) or not isinstance(value, int | np.integer):
            raise ValueError(f"{name} is {value!r}; give a whole number")
        if value < least:
            raise ValueError(f"{name} is {value}; it is at least {least}")


def _blocks(count: int, number: int) -> list[Block]:
    """Return consecutive blocks of nearly equal lengths; the first ones are longer by one, as in `KFold`."""
    if count < number:
        raise ValueError(f"there are {count:,} times: too few for {number} blocks")
    ends = np.cumsum([count // number + (place < count % number) for place in range(number)])
    return [slice(start, end) for start, end in zip([0, *ends[:-1].tolist()], ends.tolist(), strict=True)]


def _taken(blocks: Sequence[Block], count: int) -> Mask:
    taken = np.zeros(count, bool)
    for block in blocks:
        taken[block] = True
    return taken


def _without_overlap(tested: Sequence[Block], count: int, purge: int, embargo: int) -> Mask:
    """Return the times that neither a test block nor what overlaps it takes."""
    overlapping = [slice(max(0, block.start - purge), block.stop + purge + embargo) for block in tested]
    return ~_taken(overlapping, count)
