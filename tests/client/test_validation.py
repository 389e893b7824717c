"""Splits for trainers: known answers, and what must hold for any rows."""

import datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV, KFold, TimeSeriesSplit, cross_val_score

from modelward.validation import CombinatorialPurgedKFold, PurgedKFold, TimeSplitter, WalkForward

DAYS = np.datetime64("2024-01-01") + np.arange(60)


def trained(splitter: TimeSplitter, rows: int) -> list[list[int]]:
    return [train.tolist() for train, _ in splitter.split(range(rows))]


@pytest.mark.parametrize(
    ("purge", "embargo", "expected"),
    [
        (0, 0, [[8, 9, 10, 11], [4, 5, 6, 7], [0, 1, 2, 3]]),
        (1, 0, [[9, 10, 11], [5, 6], [0, 1, 2]]),
        (0, 1, [[9, 10, 11], [5, 6, 7], [0, 1, 2, 3]]),
    ],
)
def test_three_blocks_of_twelve_rows_are_purged_as_published(
    purge: int, embargo: int, expected: list[list[int]]
) -> None:
    """The training rows are those that skfolio's tests expect of three folds, two of them tested."""
    assert trained(CombinatorialPurgedKFold(3, 2, purge=purge, embargo=embargo), 12) == expected


@pytest.mark.parametrize(
    ("folds", "tested", "splits", "paths"),
    [(3, 2, 3, 2), (5, 2, 10, 4), (6, 2, 15, 5), (10, 2, 45, 9), (10, 8, 45, 36)],
)
def test_there_are_as_many_combinations_and_paths_as_published(
    folds: int, tested: int, splits: int, paths: int
) -> None:
    """Lopez de Prado (2018), chapter 12."""
    splitter = CombinatorialPurgedKFold(folds, tested)
    assert splitter.get_n_splits() == splits == len(list(splitter.split(range(50))))
    assert splitter.n_paths == paths
    joined = splitter.paths([test for _, test in splitter.split(range(50))])
    assert np.array_equal(joined, np.tile(np.arange(50), (paths, 1)))


def test_each_path_takes_each_block_from_another_training() -> None:
    splitter = CombinatorialPurgedKFold(4, 2)
    numbers = [np.full(len(test), number) for number, (_, test) in enumerate(splitter.split(range(8)))]
    joined = splitter.paths(numbers)[:, ::2]
    assert joined.tolist() == [[0, 0, 1, 2], [1, 3, 3, 4], [2, 4, 5, 5]]


def test_without_purge_the_blocks_are_those_of_scikit_learn() -> None:
    ours = list(PurgedKFold(4).split(range(23)))
    for (train, test), (other_train, other_test) in zip(ours, KFold(4).split(np.arange(23)), strict=True):
        assert np.array_equal(train, other_train)
        assert np.array_equal(test, other_test)


@pytest.mark.parametrize(("size", "most", "purge"), [(None, None, 0), (3, None, 2), (4, 6, 1), (None, 5, 3)])
def test_walking_forward_takes_the_rows_that_scikit_learn_takes(size: int | None, most: int | None, purge: int) -> None:
    ours = WalkForward(4, test_times=size, max_train_times=most, purge=purge)
    theirs = TimeSeriesSplit(4, test_size=size, max_train_size=most, gap=purge)
    for (train, test), (other_train, other_test) in zip(
        ours.split(range(31)), theirs.split(np.arange(31)), strict=True
    ):
        assert np.array_equal(train, other_train)
        assert np.array_equal(test, other_test)


@pytest.mark.system
@given(
    st.sampled_from(
        [PurgedKFold(4, purge=2, embargo=1), CombinatorialPurgedKFold(5, 2, purge=1), WalkForward(3, purge=2)]
    ),
    st.lists(st.integers(0, 29), min_size=60, max_size=90),
    st.randoms(use_true_random=False),
)
def test_the_order_of_a_panels_rows_does_not_matter(splitter: Any, extra: list[int], random: Any) -> None:
    times = list(range(30)) + extra
    random.shuffle(times)
    by_row = np.array(times)
    for (train, test), (other_train, other_test) in zip(
        splitter.split(by_row, groups=by_row), splitter.split(range(30)), strict=True
    ):
        assert set(by_row[train]) == set(other_train)
        assert set(by_row[test]) == set(other_test)
        assert len(train) == np.isin(by_row, other_train).sum()


@given(st.integers(2, 6), st.integers(0, 4), st.integers(0, 3))
def test_no_training_label_overlaps_a_test_label(splits: int, horizon: int, embargo: int) -> None:
    for train, test in PurgedKFold(splits, purge=horizon, embargo=embargo).split(range(80)):
        distance = np.abs(train[:, None] - test[None, :]).min(axis=1)
        assert distance.min() == horizon + 1 + embargo * (train.min() > test.max())
        after = train[train > test.max()]
        assert not len(after) or after.min() - test.max() == horizon + embargo + 1


@pytest.mark.parametrize(
    "times",
    [
        DAYS,
        DAYS.astype(str),
        np.array([datetime.date(2024, 1, 1) + datetime.timedelta(day) for day in range(60)]),
        np.arange(60.0),
    ],
    ids=["datetime64", "text", "date", "number"],
)
def test_times_of_any_kind_are_in_their_order(times: Any) -> None:
    shuffled = np.random.default_rng(1).permutation(np.repeat(np.arange(60), 3))
    for train, test in WalkForward(4).split(np.zeros((180, 2)), groups=times[shuffled]):
        assert shuffled[train].max() < shuffled[test].min()


def test_scikit_learn_takes_the_splitters() -> None:
    random = np.random.default_rng(0)
    day, x = np.repeat(DAYS, 5), random.normal(size=(300, 2))
    y = x @ [1.0, 2.0] + random.normal(0, 0.1, 300)
    for splitter, scores in ((PurgedKFold(purge=5), 5), (CombinatorialPurgedKFold(6, 2), 15), (WalkForward(4), 4)):
        found = cross_val_score(LinearRegression(), x, y, cv=splitter, groups=day)
        assert len(found) == scores
        assert found.min() > 0.99
    search = GridSearchCV(LinearRegression(), {"fit_intercept": [True, False]}, cv=PurgedKFold(3, purge=1))
    assert search.fit(x, y, groups=day).n_splits_ == 3


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: PurgedKFold(1), "n_splits is 1; it is at least 2"),
        (lambda: PurgedKFold(purge=-1), "purge is -1; it is at least 0"),
        (lambda: CombinatorialPurgedKFold(4, 4), "test fewer than the 4 folds"),
        (lambda: WalkForward(test_times=0), "test_times is 0; it is at least 1"),
        (lambda: next(PurgedKFold(5).split(range(4))), "there are 4 times: too few for 5 blocks"),
        (lambda: next(PurgedKFold(2, purge=9).split(range(10))), "split 0 has no training row left"),
        (lambda: next(WalkForward(5).split(range(5))), "there are 5 times: too few for WalkForward"),
        (
            lambda: next(PurgedKFold(2).split(range(4), groups=[1, 2])),
            r"groups has shape \(2,\); give the time of each",
        ),
        (lambda: next(PurgedKFold(2).split(range(3), groups=[1, None, 2])), "groups has no time for row 1"),
        (lambda: next(PurgedKFold(2).split(range(2), groups=np.array(["NaT", "2024-01-01"], "M8[D]"))), "for row 0"),
        (lambda: next(PurgedKFold(2).split(range(2), groups=[1.0, np.nan])), "for row 1"),
        (
            lambda: next(PurgedKFold(2).split(range(2), groups=pd.Series([pd.Timestamp(0, tz="UTC"), None]))),
            "for row 1",
        ),
        (
            lambda: CombinatorialPurgedKFold(3, 2).paths([[1, 1], [2, 3, 2], [3, 4, 4]]),
            "predictions are not those of the test rows",
        ),
    ],
)
def test_what_cannot_be_split_is_said(make: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make()


@pytest.mark.parametrize("wrong", ["5", 2.5, True, None, datetime.timedelta(days=5)], ids=repr)
def test_what_is_no_number_of_times_is_refused_in_words(wrong: Any) -> None:
    arguments: list[tuple[Any, str]] = [(PurgedKFold, "n_splits"), (PurgedKFold, "purge"), (WalkForward, "purge")]
    for splitter, name in [*arguments, (CombinatorialPurgedKFold, "n_test_folds")]:
        with pytest.raises(ValueError, match="give a whole number"):
            splitter(**{name: wrong})
