"""Statistics of bootstrap segments, and null distributions, are what plain definitions give."""

import numpy as np
import pytest
import scipy
from numpy.typing import NDArray

from modelward_server.statistics import null_distribution
from modelward_server.statistics.block_bootstrap import StationaryBootstrap, mean_block_length
from modelward_server.statistics.distances import Floats, Ints, kl_divergence, smoothed
from modelward_server.statistics.null_distribution import fit_null, p_values
from modelward_server.statistics.segment_statistics import QUANTILES, numeric_statistics, row_keys

EDGES = np.array([-0.5, 0.1, 0.8])


@pytest.mark.parametrize("length", [1, 16, 256, 1024])
@pytest.mark.parametrize("missing", [0.0, 0.3])
@pytest.mark.parametrize("recurring", [False, True])
def test_segments_are_measured_as_by_definition(length: int, missing: float, recurring: bool) -> None:
    random = np.random.default_rng(7)
    reference = random.normal(size=300)
    reference = np.round(reference, 1) if recurring else reference
    reference[random.random(300) < missing] = np.nan
    drawn = random.integers(300, size=(20, length))
    found = _statistics(reference, drawn)
    np.testing.assert_allclose(found.T, [_plain(reference, reference[rows]) for rows in drawn], rtol=1e-9, atol=1e-13)


def test_segment_of_missing_rows_differs_only_in_its_missing_share() -> None:
    reference = np.array([1.0, 2.0, np.nan, 3.0])
    found = _statistics(reference, np.full((1, 4), 2))
    np.testing.assert_allclose(found[:, 0], [0.0, 0.0, 4 * 0.75**2, 0.0])


def _statistics(reference: Floats, drawn: Ints) -> Floats:
    values, inverse, counts = np.unique(reference[~np.isnan(reference)], return_inverse=True, return_counts=True)
    ranks = np.full(len(reference), -1, np.int32)
    ranks[~np.isnan(reference)] = inverse
    cumulative, bins = counts.cumsum(), np.unique(np.searchsorted(EDGES, values), return_inverse=True)[1]
    by_row = numeric_statistics(cumulative, bins, values, float(np.isnan(reference).mean()))
    return by_row(row_keys(ranks, cumulative)[drawn])


def _plain(reference: Floats, segment: Floats) -> list[float]:
    known, live = (np.sort(side[~np.isnan(side)]) for side in (reference, segment))
    present, change = len(live), np.isnan(segment).mean() - np.isnan(reference).mean()
    if not present:
        return [0.0, 0.0, len(segment) * change**2, 0.0]
    ks = scipy.stats.ks_2samp(live, known, method="asymp").statistic
    shift = np.abs(live[(QUANTILES * present).astype(int)] - _quantiles(known)).mean()
    shares = [smoothed(np.bincount(np.searchsorted(EDGES, side), minlength=4)) for side in (live, known)]
    divergence = float(kl_divergence(*shares))
    return [present * ks**2, present * divergence, len(segment) * change**2, present * shift**2]


def _quantiles(known: Floats) -> Floats:
    return np.array([known[np.searchsorted(np.arange(1, len(known) + 1) / len(known), share)] for share in QUANTILES])


@pytest.mark.parametrize(("rows", "length", "block"), [(50, 64, 3.0), (5, 64, 1.2), (2000, 256, 40.0), (50, 16, 1.0)])
def test_blocks_continue_row_by_row(rows: int, length: int, block: float) -> None:
    bootstrap = StationaryBootstrap(np.random.default_rng(1), rows, length, 40)
    random = np.random.default_rng(1)
    ends, first = (
        random.random((40, length), dtype=np.float32),
        random.integers(rows, size=(40, length), dtype=np.int32),
    )
    expected = np.array([_plain_blocks(*one, rows, block) for one in zip(ends, first, strict=True)])
    np.testing.assert_array_equal(bootstrap.segments(block), expected)


def _plain_blocks(ends: NDArray[np.float32], first: Ints, rows: int, block: float) -> list[int]:
    drawn: list[int] = []
    for end, row in zip(ends, first.tolist(), strict=True):
        begins = not drawn or block <= 1 or end < 1 / mean_block_length(block, rows)
        drawn.append(row if begins else (drawn[-1] + 1) % rows)
    return drawn


@pytest.mark.parametrize("blocks", [2.0, 30.0, 5000.0])
@pytest.mark.parametrize("kind", ["continuous", "coarse", "constant", "zero"])
def test_null_is_that_of_the_whole_grid(blocks: float, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = np.random.default_rng(3).chisquare(1, (1, 2, 999))
    drawn = {"continuous": drawn, "coarse": np.round(drawn), "constant": drawn * 0 + 2, "zero": drawn * 0}[kind]
    found = fit_null(drawn, p_values(drawn), blocks)
    monkeypatch.setattr(null_distribution, "_grid", lambda drawn, *_: drawn[-1] * null_distribution.GRID)
    whole = fit_null(drawn, p_values(drawn), blocks)
    np.testing.assert_allclose(found.quantiles, whole.quantiles, rtol=1e-12)


def test_p_values_are_shares_of_those_that_reach() -> None:
    drawn = np.round(np.random.default_rng(5).normal(size=(2, 3, 99)), 1)
    expected = (drawn[..., None, :] >= drawn[..., :, None]).mean(axis=-1)
    np.testing.assert_allclose(p_values(drawn), expected, rtol=1e-12)
