"""Even samples: of the wanted size, nested, and without the period of what they are taken from."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelward_server.statistics.even_sample import even_sample, in_sample


@given(rows=st.integers(0, 20_000), max_rows=st.integers(1, 1_000))
def test_even_sample_has_the_wanted_size(rows: int, max_rows: int) -> None:
    chosen = even_sample(rows, max_rows)
    assert len(chosen) == min(rows, max_rows)
    assert (np.diff(chosen) > 0).all()
    assert not rows or 0 <= chosen[0] <= chosen[-1] < rows


@given(symbols=st.integers(2, 100), every=st.sampled_from([2, 4, 8, 16, 32]))
def test_each_symbol_of_a_sorted_panel_has_its_share(symbols: int, every: int) -> None:
    """With every k-th row, some symbols would have all of them wherever k and the symbols share a factor."""
    numbers = np.arange(symbols * every * 100)
    shares = np.bincount((numbers % symbols)[in_sample(numbers, every)], minlength=symbols) / 100
    assert (abs(shares - 1) < 0.6).all()


@given(every=st.sampled_from([1, 2, 4, 8, 64]), start=st.integers(0, 10**12))
def test_a_smaller_sample_is_part_of_a_larger_one(every: int, start: int) -> None:
    numbers = np.arange(start, start + 10_000)
    larger, smaller = in_sample(numbers, every), in_sample(numbers, 2 * every)
    assert not (smaller & ~larger).any()
    assert larger.sum() * every / 10_000 == pytest.approx(1, abs=0.5)
