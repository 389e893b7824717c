"""A sequential detector that examines rows between windows: a conformal test martingale.

Each row gets its rank among the reference and all preceding rows, with ties broken at random. While rows are
exchangeable with the reference these ranks are independent and uniform, and no strategy that bets on them is expected
to gain (Vovk, Nouretdinov and Gammerman, 2003); the capital of one that gains is evidence against exchangeability: the
probability that it ever reaches c is at most 1 / c (Ville, 1939). The strategy is the simple jumper (Vovk et al.,
2021), once on the level of each feature and once on its distance from the median; all capitals are averaged, which
keeps the bound.

Neighbouring rows of market data are dependent, and so not exchangeable even when nothing changes. The detector's
evidence is therefore reported for information, and raises no alarm by itself.
"""

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from modelward_server.statistics.distances import Floats, Ints, NormalizedRanks

BETS = np.array([-1.0, -0.5, 0.0, 0.5, 1.0])
"""The strategies: the stake on high ranks, as a share of the capital times two."""
JUMP = 0.01
"""The share of the capital that moves between strategies with each row."""
JUMPS = (1 - JUMP) * np.eye(len(BETS)) + JUMP / len(BETS)
"""What each strategy keeps and hands to the others, shape (strategies, strategies)."""
MAX_CAPITAL = 1e100
"""A larger capital is cut after each block of rows, long before it could overflow."""
MAX_ROWS_PER_BATCH = 1_000
"""Maximum number of rows of a batch that are examined; larger batches are thinned evenly."""
BLOCK_ROWS = 64
"""Rows that are counted together, of which a byte holds the number."""
SO_FAR = np.tri(BLOCK_ROWS, dtype=np.uint8)
"""Which rows of a block come before each one, itself included."""


class Detector:
    """The state of the detector of one stream.

    Args:
        reference: the number of reference rows in each of an even number of equal cells of the normalized rank, shape
            (features, cells).
    """

    def __init__(self, reference: Ints) -> None:
        self.counts = reference.astype(np.float64)
        self.capital = np.full((len(reference), 2, len(BETS)), 1 / len(BETS))
        self.peak = 1.0

    @property
    def evidence(self) -> float:
        """Return 1 - 1 / (the largest capital reached so far), from 0 to 1."""
        return 1.0 - 1.0 / self.peak

    def grew_from(self, reference: Ints) -> bool:
        """Return whether the rows of a reference are among those that were counted.

        Args:
            reference: the number of its rows in each cell, shape (features, cells).
        """
        return self.counts.shape == reference.shape and bool((self.counts >= reference).all())

    def update(self, batches: Sequence[tuple[NormalizedRanks, int]]) -> None:
        """Update the state with the next rows.

        Args:
            batches: of each batch the normalized rank of each value in the reference, from 0 to 1, shape (rows,
                features); and the seed of the random numbers that break its ties, a different one for each batch.
        """
        thinned = [(places[:: max(1, -(-len(places) // MAX_ROWS_PER_BATCH))], seed) for places, seed in batches]
        places = np.concatenate([rows for rows, _ in thinned])
        ties = np.concatenate([_ties(seed, rows.shape) for rows, seed in thinned])
        cell_count = self.counts.shape[1]
        cells = np.minimum((places * cell_count).astype(int), cell_count - 1)
        for start in range(0, len(cells), BLOCK_ROWS):
            block = slice(start, start + BLOCK_ROWS)
            self._bet(self._ranks(cells[block], ties[block]))

    def _ranks(self, cells: Ints, ties: Floats) -> Floats:
        """Count some rows, one after the other, and return the ranks of each feature's level and of its distance from
        the median, from 0 to 1, shape (rows, features, 2)."""
        middle = self.counts.shape[1] // 2
        folded = self.counts[:, middle:] + self.counts[:, middle - 1 :: -1]
        outward = np.where(cells >= middle, cells - middle, middle - 1 - cells)
        total = self.counts.sum(axis=1) + np.arange(1, len(cells) + 1)[:, None]
        ranks = [_broken(self.counts, cells, ties[:, 0]), _broken(folded, outward, ties[:, 1])]
        places = cells + self.counts.shape[1] * np.arange(cells.shape[1])
        self.counts += np.bincount(places.ravel(), minlength=self.counts.size).reshape(self.counts.shape)
        return np.stack([rank / total for rank in ranks], axis=2)

    def _bet(self, ranks: Floats) -> None:
        """Bet on rows one after the other."""
        rows, shape = len(ranks), self.capital.shape
        gains = 1 + BETS * (ranks[..., None] - 0.5)
        capitals = np.empty((rows, shape[0] * shape[1], shape[2]))
        before, staked = self.capital.reshape(capitals.shape[1:]), np.empty(capitals.shape[1:])
        for gain, after in zip(gains.reshape(capitals.shape), capitals, strict=True):
            np.dot(before, JUMPS, staked)
            before = np.multiply(staked, gain, after)
        averages = capitals.reshape(rows, -1).sum(axis=1) / capitals.shape[1]
        self.peak = max(self.peak, float(averages.max()))
        self.capital = np.minimum(before, MAX_CAPITAL).reshape(shape)


def _ties(seed: int, shape: tuple[int, ...]) -> Floats:
    return np.random.default_rng(seed).random((shape[0], 2, shape[1]))


def _broken(counts: Floats, cells: Ints, ties: Floats) -> Floats:
    """Return the number of rows that each of some new ones exceeds, itself and those before it included, where `ties`
    is the share of its cell's rows that it does not exceed, shape (rows, features).

    Args:
        counts: the number of rows in each cell before them, shape (features, cells).
        cells: their cells, at most `BLOCK_ROWS` rows, shape (rows, features).
        ties: shape (rows, features).
    """
    own, ordered = np.arange(len(counts)), np.ascontiguousarray(cells.T.astype(np.min_scalar_type(counts.shape[1])))
    rows, columns = ordered[:, :, None], ordered[:, None, :]
    same = counts[own, cells] + _number_before(rows == columns).T
    below = counts.cumsum(axis=1)[own, cells] + _number_before(rows >= columns).T
    return below - same * ties


def _number_before(holds: NDArray[np.bool_]) -> Ints:
    """Return for how many rows of a block, up to each one, a relation to it holds, shape (features, rows).

    Args:
        holds: shape (features, rows, rows).
    """
    rows = holds.shape[1]
    counted = np.einsum("frc,rc->fr", holds.view(np.uint8), SO_FAR[:rows, :rows])
    return np.asarray(counted, np.int64)


def to_bytes(detector: Detector) -> bytes:
    """Serialize the state of a detector as an npz file."""
    packed = io.BytesIO()
    np.savez_compressed(packed, counts=detector.counts, capital=detector.capital, peak=np.array(detector.peak))
    return packed.getvalue()


def from_bytes(packed: bytes) -> Detector:
    """Restore a detector that `to_bytes` serialized."""
    detector = Detector(np.zeros((0, 2), np.int64))
    with np.load(io.BytesIO(packed), allow_pickle=False) as arrays:
        detector.counts, detector.capital, detector.peak = arrays["counts"], arrays["capital"], float(arrays["peak"])
    return detector
